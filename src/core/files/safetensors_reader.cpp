#include "core/files/safetensors_reader.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/files/foreign_file.hpp"
#include "core/json/json_value.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

constexpr int64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's limit

class HeaderReader {
 public:
  HeaderReader(const File& file,
               std::map<std::string, SafetensorsFile::Entry>& entries,
               std::map<std::string, std::string>& metadata)
      : file_(file),
        entries_(entries),
        metadata_(metadata) {}

  void read() {
    const JsonValue header = parse_json(read_text(), file_.path() + ": safetensors header",
                                        JsonDialect::strict);
    if (!header.is(JsonValue::Kind::object)) fail("header is not a JSON object");
    for (const auto& [name, value] : header.members) {
      if (name == "__metadata__") read_metadata(value);
      else entries_.emplace(name, read_entry(name, value));
    }
    check_layout();
  }

 private:
  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::bad_file, fmt::format("{}: safetensors: {}", file_.path(), message));
  }

  void refuse_foreign() const {
    if (const std::string what = describe_foreign(first_bytes(file_)); !what.empty())
      throw Error(ErrorCode::bad_file, fmt::format("{}: {}", file_.path(), what));
  }

  std::string read_text() {
    const int64_t file_bytes = file_.size();
    if (file_bytes < 8) fail(fmt::format("file has {} bytes, wanted at least 8", file_bytes));
    unsigned char word[8];
    file_.read_at(0, reinterpret_cast<std::byte*>(word), 8);
    uint64_t length = 0;
    for (int i = 7; i >= 0; --i) length = length << 8 | word[i];
    if (length > static_cast<uint64_t>(std::min(kMaxHeaderBytes, file_bytes - 8))) refuse_foreign();
    if (length == 0) fail("header has 0 bytes");
    if (length > static_cast<uint64_t>(kMaxHeaderBytes))
      fail(fmt::format("header has {} bytes, wanted at most {}", length, kMaxHeaderBytes));
    if (length > static_cast<uint64_t>(file_bytes - 8))
      fail(fmt::format("header has {} bytes, the file has {} after the length", length, file_bytes - 8));
    data_begin_ = 8 + static_cast<int64_t>(length);
    data_bytes_ = file_bytes - data_begin_;
    std::string text(length, '\0');
    file_.read_at(8, reinterpret_cast<std::byte*>(text.data()), static_cast<int64_t>(length));
    return text;
  }

  void read_metadata(const JsonValue& value) {
    if (!value.is(JsonValue::Kind::object)) fail("__metadata__ is not a JSON object");
    for (const auto& [key, text] : value.members) {
      if (!text.is(JsonValue::Kind::string)) fail(fmt::format("__metadata__ key '{}' is not a string", key));
      metadata_.emplace(key, text.text);
    }
  }

  std::vector<int64_t> read_sizes(const std::string& name, const JsonValue& value, const char* key) const {
    const JsonValue* list = value.find(key);
    if (!list || !list->is(JsonValue::Kind::array))
      fail(fmt::format("tensor '{}' has no list '{}'", name, key));
    std::vector<int64_t> sizes;
    for (const JsonValue& item : list->items) {
      const auto size = item.as_int();
      if (!size || *size < 0)
        fail(fmt::format("tensor '{}' has '{}' in '{}', wanted whole numbers from 0 on", name, item.text,
                         key));
      sizes.push_back(*size);
    }
    return sizes;
  }

  SafetensorsFile::Entry read_entry(const std::string& name, const JsonValue& value) const {
    if (!value.is(JsonValue::Kind::object)) fail(fmt::format("tensor '{}' is not a JSON object", name));
    const JsonValue* type = value.find("dtype");
    if (!type || !type->is(JsonValue::Kind::string)) fail(fmt::format("tensor '{}' has no dtype", name));
    const auto dtype = parse_dtype(type->text);
    if (!dtype) fail(fmt::format("tensor '{}' has dtype '{}', which is unknown", name, type->text));
    Shape shape = read_sizes(name, value, "shape");
    const auto offsets = read_sizes(name, value, "data_offsets");
    if (offsets.size() != 2)
      fail(fmt::format("tensor '{}' has {} data_offsets, wanted 2", name, offsets.size()));
    if (offsets[0] > offsets[1])
      fail(fmt::format("tensor '{}' begins at {} and ends at {}", name, offsets[0], offsets[1]));
    if (offsets[1] > data_bytes_)
      fail(fmt::format("tensor '{}' ends at {}, the file holds {} bytes of data", name, offsets[1],
                       data_bytes_));
    const int64_t span = offsets[1] - offsets[0];
    const auto needed = byte_count(shape, *dtype);
    if (!needed) fail(fmt::format("tensor '{}' has shape {}, which overflows", name, to_string(shape)));
    if (*needed != span)
      fail(fmt::format("tensor '{}' spans {} bytes, its shape {} {} needs {}", name, span, to_string(shape),
                       dtype_name(*dtype), *needed));
    return {*dtype, std::move(shape), data_begin_ + offsets[0], span};
  }

  // The tensors must tile the data exactly: no byte shared, none hidden.
  void check_layout() const {
    std::vector<std::pair<const std::string*, const SafetensorsFile::Entry*>> order;
    for (const auto& [name, entry] : entries_) order.emplace_back(&name, &entry);
    std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
      return std::pair(a.second->offset, a.second->bytes) < std::pair(b.second->offset, b.second->bytes);
    });
    int64_t expected = data_begin_;
    for (const auto& [name, entry] : order) {
      if (entry->offset < expected)
        fail(fmt::format("tensor '{}' begins at {}, inside the tensor before it, which ends at {}", *name,
                         entry->offset - data_begin_, expected - data_begin_));
      if (entry->offset > expected)
        fail(fmt::format("tensor '{}' begins at {}, {} bytes after the tensor before it", *name,
                         entry->offset - data_begin_, entry->offset - expected));
      expected = entry->offset + entry->bytes;
    }
    if (expected != data_begin_ + data_bytes_)
      fail(fmt::format("tensors end at {}, the file holds {} bytes of data", expected - data_begin_,
                       data_bytes_));
  }

  const File& file_;
  std::map<std::string, SafetensorsFile::Entry>& entries_;
  std::map<std::string, std::string>& metadata_;
  int64_t data_begin_ = 0, data_bytes_ = 0;
};

}  // namespace

SafetensorsFile::SafetensorsFile(const std::string& path) : file_(File::open_for_reading(path)) {
  HeaderReader(file_, entries_, metadata_).read();
}

const SafetensorsFile::Entry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end())
    throw Error(ErrorCode::not_found, fmt::format("{}: has no tensor '{}'", path(), name));
  return found->second;
}

Tensor SafetensorsFile::read(const std::string& name, const ParallelFor& parallel) const {
  const Entry& stored = entry(name);
  Tensor tensor(stored.dtype, stored.shape);
  file_.read_at(stored.offset, tensor.data(), stored.bytes, parallel);
  return tensor;
}

void SafetensorsFile::read_rows(const std::string& name,
                                int64_t first_row,
                                int64_t rows,
                                std::byte* destination,
                                const ParallelFor& parallel) const {
  const Entry& stored = entry(name);
  const int64_t all_rows = stored.shape.empty() ? 1 : stored.shape[0];
  if (first_row < 0 || rows < 0 || first_row > all_rows - rows)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: tensor '{}' has {} rows, got asked for {} from {}", path(), name, all_rows,
                            rows, first_row));
  if (rows == 0) return;
  const int64_t row_bytes = stored.bytes / all_rows;
  file_.read_at(stored.offset + first_row * row_bytes, destination, rows * row_bytes, parallel);
}

void SafetensorsFile::read_bytes(const Entry& stored,
                                 int64_t offset,
                                 int64_t bytes,
                                 std::byte* destination,
                                 const ParallelFor& parallel) const {
  if (offset < 0 || bytes < 0 || offset > stored.bytes - bytes)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: got asked for {} bytes at {} of a tensor of {}", path(), bytes, offset,
                            stored.bytes));
  file_.read_at(stored.offset + offset, destination, bytes, parallel);
}

std::string make_safetensors_header(const std::vector<PlannedTensor>& tensors) {
  JsonValue header = JsonValue::object(
      {{"__metadata__", JsonValue::object({{"format", JsonValue::from_string("pt")}})}});
  int64_t offset = 0;
  for (const PlannedTensor& tensor : tensors) {
    const auto bytes = byte_count(tensor.shape, tensor.dtype);
    int64_t end = 0;
    if (!bytes || __builtin_add_overflow(offset, *bytes, &end))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("safetensors: tensor '{}' has shape {}, which overflows", tensor.name,
                              to_string(tensor.shape)));
    std::vector<JsonValue> shape;
    for (const int64_t extent : tensor.shape) shape.push_back(JsonValue::from_int(extent));
    header.members.emplace_back(
        tensor.name,
        JsonValue::object(
            {{"dtype", JsonValue::from_string(std::string(dtype_name(tensor.dtype)))},
             {"shape", JsonValue::array(std::move(shape))},
             {"data_offsets", JsonValue::array({JsonValue::from_int(offset), JsonValue::from_int(end)})}}));
    offset = end;
  }
  std::string text = dump_json_compact(header);
  text.append((8 - text.size() % 8) % 8, ' ');
  if (static_cast<int64_t>(text.size()) > kMaxHeaderBytes)
    throw Error(
        ErrorCode::unsupported,
        fmt::format("safetensors: header has {} bytes, wanted at most {}", text.size(), kMaxHeaderBytes));
  std::string length;
  for (uint64_t rest = text.size(), i = 0; i < 8; ++i, rest >>= 8) length += static_cast<char>(rest & 0xFF);
  return length + text;
}

}  // namespace llmc
