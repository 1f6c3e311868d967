// text.hpp in a build without LLMC_TEXT: no Rust, so no tokenizer and no shuffle; rows of token ids still
// load, as JSONL, with the same texts for the errors that both builds know.
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "llmc/error.hpp"
#include "text/text.hpp"

namespace llmc::text {
namespace {

using Json = nlohmann::json;

constexpr const char* kUnread[] = {"position_ids", "cu_seqlens", "pixel_values"};

[[noreturn]] void throw_unbuilt() {
  throw Error(ErrorCode::unsupported, "text: this llmc was built without LLMC_TEXT; pass token ids");
}

std::string kind_of(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return "a boolean";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::array:
      return "an array";
    case Json::value_t::object:
      return "an object";
    default:
      return "a number";
  }
}

std::string number_or_kind(const Json& value) { return value.is_number() ? value.dump() : kind_of(value); }

bool has(const Json& row, const char* column) { return row.contains(column) && !row[column].is_null(); }

// A row's ids without those that its attention_mask hides.
class IdsReader {
 public:
  explicit IdsReader(std::string place) : place_(std::move(place)) {}

  std::vector<int32_t> read(const Json& row) const {
    if (row.is_discarded()) fail("malformed JSON");
    if (!row.is_object()) fail("expected a JSON object, got " + kind_of(row));
    if (!has(row, "input_ids")) throw_unbuilt();
    const Json& list = array_of(row, "input_ids");
    std::vector<int32_t> ids;
    for (const Json& item : list) {
      if (!item.is_number_integer() || item < 0 || item > kLargest)
        fail("'input_ids[" + std::to_string(ids.size()) + "]' must be an integer from 0 to " +
             std::to_string(kLargest) + ", got " + number_or_kind(item));
      ids.push_back(item.get<int32_t>());
    }
    return has(row, "attention_mask") ? seen(ids, array_of(row, "attention_mask")) : ids;
  }

 private:
  static constexpr int64_t kLargest = std::numeric_limits<int32_t>::max();

  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(ErrorCode::bad_file, place_ + ": " + reason);
  }

  const Json& array_of(const Json& row, const std::string& column) const {
    const Json& list = row[column];
    if (!list.is_array()) fail("'" + column + "' must be an array of integers, got " + kind_of(list));
    return list;
  }

  std::vector<int32_t> seen(const std::vector<int32_t>& ids, const Json& mask) const {
    if (mask.size() != ids.size())
      fail("'attention_mask' has " + std::to_string(mask.size()) + " entries, wanted " +
           std::to_string(ids.size()) + " as 'input_ids'");
    std::vector<int32_t> kept;
    for (size_t i = 0; i < ids.size(); ++i) {
      if (mask[i] == 1 || mask[i] == true) kept.push_back(ids[i]);
      else if (mask[i] != 0 && mask[i] != false)
        fail("'attention_mask[" + std::to_string(i) + "]' must be 0 or 1, got " + number_or_kind(mask[i]));
    }
    return kept;
  }

  const std::string place_;
};

void cut_into_equal_sequences(Dataset& dataset, int64_t length) {
  const int64_t total = static_cast<int64_t>(dataset.token_ids.size());
  dataset.sequence_starts = {0};
  for (int64_t end = length; end <= total; end += length) dataset.sequence_starts.push_back(end);
  if (total < length) {
    dataset.notes.push_back("dataset: all rows together have " + std::to_string(total) +
                            " tokens, fewer than one sequence of " + std::to_string(length));
    dataset.sequence_starts.push_back(total);
  }
  dataset.token_ids.resize(static_cast<size_t>(dataset.sequence_starts.back()));
}

void check_options(const DatasetOptions& options) {
  auto fail = [](const std::string& reason) { throw Error(ErrorCode::invalid_argument, reason); };
  if (options.num_samples < 0)
    fail("text: num_samples must be 0 or more, got " + std::to_string(options.num_samples));
  if (options.max_seq_length < 0)
    fail("text: max_seq_length must be 0 or more, got " + std::to_string(options.max_seq_length));
  if (options.concatenate && options.max_seq_length == 0)
    fail("dataset: concatenate needs a max_seq_length above 0, got 0");
  if (options.shuffle_seed)
    throw Error(ErrorCode::unsupported, "dataset: shuffling needs a build with LLMC_TEXT");
}

}  // namespace

void Tokenizer::Closer::operator()(llmc_text_tokenizer*) const {}
Tokenizer::Tokenizer(const std::string&, const std::optional<std::string>&) { throw_unbuilt(); }
int64_t Tokenizer::vocab_size() const { throw_unbuilt(); }
bool Tokenizer::has_chat_template() const { throw_unbuilt(); }
std::vector<int32_t> Tokenizer::encode(std::string_view, bool) const { throw_unbuilt(); }
std::string Tokenizer::render(std::string_view, bool, const std::string&) const { throw_unbuilt(); }

Dataset load_dataset(const Tokenizer*, const DatasetOptions& options) {
  check_options(options);
  std::error_code ignored;
  if (std::filesystem::is_directory(options.path, ignored))
    throw Error(ErrorCode::invalid_argument,
                "dataset: '" + options.path + "' is not a file; it is a folder, wanted a file of JSON lines");
  std::ifstream file(options.path);
  if (!file) {
    throw Error(errno == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                "dataset: cannot read '" + options.path + "': " + std::strerror(errno) + " (os error " +
                    std::to_string(errno) + ")");
  }
  Dataset dataset;
  dataset.sequence_starts = {0};
  std::map<std::string, int64_t> unread;
  int64_t used = 0;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r\n\f") == std::string::npos) continue;
    ++dataset.rows;
    if (options.num_samples > 0 && dataset.rows > options.num_samples) continue;
    if (options.cancel && options.cancel->load(std::memory_order_relaxed))
      throw Error(ErrorCode::cancelled, "dataset: cancelled");
    const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    const IdsReader reader("dataset: " + options.path + ":" + std::to_string(number));
    std::vector<int32_t> ids = reader.read(row);
    ++used;
    for (const char* column : kUnread)
      if (has(row, column)) ++unread[column];
    if (ids.empty()) {
      ++dataset.skipped_empty;
      continue;
    }
    ++dataset.samples;
    const size_t limit = static_cast<size_t>(options.max_seq_length);
    if (!options.concatenate && limit > 0 && ids.size() > limit) {
      ids.resize(limit);
      ++dataset.truncated;
    }
    dataset.token_ids.insert(dataset.token_ids.end(), ids.begin(), ids.end());
    dataset.sequence_starts.push_back(static_cast<int64_t>(dataset.token_ids.size()));
  }
  if (file.bad()) throw Error(ErrorCode::io, "dataset: cannot read '" + options.path + "'");
  if (dataset.rows == 0) throw Error(ErrorCode::bad_file, "dataset: " + options.path + ": no rows");
  if (dataset.token_ids.empty())
    throw Error(
        ErrorCode::bad_file,
        "dataset: " + options.path + ": none of the " + std::to_string(used) + " rows used has any tokens");
  if (options.num_samples > dataset.rows) {
    dataset.notes.push_back("dataset: " + options.path + " has " + std::to_string(dataset.rows) + " rows, " +
                            std::to_string(options.num_samples) + " were asked for; all are used");
  }
  if (dataset.skipped_empty > 0)
    dataset.notes.push_back("dataset: " + std::to_string(dataset.skipped_empty) +
                            " rows without tokens were skipped");
  for (const auto& [column, rows] : unread)
    dataset.notes.push_back("dataset: column '" + column + "' is not used, though " + std::to_string(rows) +
                            " rows have it");
  if (options.concatenate) cut_into_equal_sequences(dataset, options.max_seq_length);
  return dataset;
}

}  // namespace llmc::text
