// text.hpp in a build without LLMC_TEXT: no Rust, so no tokenizer and no shuffle; rows of token ids still
// load, as JSONL, with the same texts for the errors that both builds know.
#include <cerrno>
#include <cstring>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "llmc/error.hpp"
#include "text/text.hpp"

namespace llmc::text {
namespace {

using Json = nlohmann::json;

[[noreturn]] void throw_unbuilt() {
  throw Error(ErrorCode::unsupported, "text: this llmc was built without LLMC_TEXT; pass token ids");
}

std::vector<int32_t> read_ids(const std::string& line, const std::string& place) {
  auto fail = [&](const std::string& reason) { throw Error(ErrorCode::bad_file, place + ": " + reason); };
  const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (row.is_discarded()) fail("malformed JSON");
  if (!row.is_object()) fail(std::string("expected a JSON object, got ") + row.type_name());
  if (!row.contains("input_ids")) throw_unbuilt();
  const Json& list = row["input_ids"];
  if (!list.is_array())
    fail(std::string("'input_ids' must be an array of integers, got ") + list.type_name());
  constexpr int64_t kLargest = std::numeric_limits<int32_t>::max();
  std::vector<int32_t> ids;
  for (const Json& item : list) {
    const bool fits = item.is_number_integer() && item >= 0 && item <= kLargest;
    if (!fits) {
      fail("'input_ids[" + std::to_string(ids.size()) + "]' must be an integer from 0 to " +
           std::to_string(kLargest) + ", got " + (item.is_number() ? item.dump() : item.type_name()));
    }
    ids.push_back(item.get<int32_t>());
  }
  return ids;
}

void cut_into_equal_sequences(Dataset& dataset, int64_t length) {
  const int64_t total = static_cast<int64_t>(dataset.token_ids.size());
  dataset.sequence_starts = {0};
  for (int64_t end = length; end <= total; end += length) dataset.sequence_starts.push_back(end);
  if (total < length) dataset.sequence_starts.push_back(total);
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
  std::ifstream file(options.path);
  if (!file) {
    throw Error(errno == ENOENT ? ErrorCode::not_found : ErrorCode::io,
                "dataset: cannot read '" + options.path + "': " + std::strerror(errno));
  }
  Dataset dataset;
  dataset.sequence_starts = {0};
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r\n\f") == std::string::npos) continue;
    ++dataset.rows;
    if (options.num_samples > 0 && dataset.rows > options.num_samples) continue;
    std::vector<int32_t> ids = read_ids(line, "dataset: " + options.path + ":" + std::to_string(number));
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
    throw Error(ErrorCode::bad_file, "dataset: " + options.path + ": no row has any tokens");
  if (options.num_samples > dataset.rows) {
    dataset.notes.push_back("dataset: " + options.path + " has " + std::to_string(dataset.rows) + " rows, " +
                            std::to_string(options.num_samples) + " were asked for; all are used");
  }
  if (options.concatenate) cut_into_equal_sequences(dataset, options.max_seq_length);
  return dataset;
}

}  // namespace llmc::text
