// Statistics as a safetensors file: "gram" [n, n] (lower triangle; left out when there is none), "min", "max"
// [n] F32, "sum_abs", "sum_squares" [n] F64, "counts" [3] I64 (tokens, samples, version) and "checksum" [1]
// I64 over all the others.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>
#include <system_error>

#include "core/files/checksum.hpp"
#include "core/files/safetensors_reader.hpp"
#include "llmc/error.hpp"
#include "llmc/matrix.hpp"

namespace llmc {

namespace {

constexpr int64_t kVersion = 1;

struct StoredPart {
  const char* name;
  TensorView values;
};

std::vector<StoredPart> parts_of(const Statistics& statistics, const int64_t* counts) {
  const ChannelStatistics& c = statistics.channels;
  const auto n = static_cast<int64_t>(c.min.size());
  std::vector<StoredPart> parts{{"counts", TensorView(counts, DType::i64, {3})},
                                {"sum_abs", TensorView(c.sum_abs.data(), DType::f64, {n})},
                                {"sum_squares", TensorView(c.sum_squares.data(), DType::f64, {n})}};
  if (!statistics.gram.empty()) parts.push_back({"gram", statistics.gram});
  parts.push_back({"max", TensorView(c.max.data(), DType::f32, {n})});
  parts.push_back({"min", TensorView(c.min.data(), DType::f32, {n})});
  return parts;
}

int64_t checksum_of(const std::vector<StoredPart>& parts) {
  uint64_t sum = 0;
  for (const StoredPart& part : parts) sum = sum * 31 + checksum(part.values.data, part.values.bytes());
  int64_t stored;
  std::memcpy(&stored, &sum, sizeof stored);
  return stored;
}

// A file beside its target that takes its place, or is removed.
class PartialFile {
 public:
  explicit PartialFile(const std::string& target)
      : target_(target),
        path_(fmt::format("{}.llmc-partial-{}-{:08x}", target, ::getpid(), std::random_device()())) {}
  ~PartialFile() {
    if (!published_) ::unlink(path_.c_str());
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;
  const std::string& path() const { return path_; }
  void publish() {
    if (::rename(path_.c_str(), target_.c_str()) != 0)
      throw Error(ErrorCode::io,
                  fmt::format("{}: cannot rename to '{}': {}", path_, target_,
                              std::generic_category().message(errno)));
    published_ = true;
    const auto folder = std::filesystem::path(target_).parent_path();
    sync_folder(folder.empty() ? "." : folder.string());
  }

 private:
  std::string target_, path_;
  bool published_ = false;
};

template <class T>
std::vector<T> read_vector(const SafetensorsFile& file, const char* name, DType dtype, int64_t count) {
  const auto& entry = file.entry(name);
  if (entry.dtype != dtype || entry.shape != Shape{count})
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: tensor '{}' is {} {}, wanted [{}] {}", file.path(), name,
                            to_string(entry.shape), dtype_name(entry.dtype), count, dtype_name(dtype)));
  const Tensor tensor = file.read(name);
  return std::vector<T>(tensor.as<T>(), tensor.as<T>() + count);
}

}  // namespace

void save_statistics(const Statistics& statistics, const std::string& path) {
  if (path.empty()) throw Error(ErrorCode::invalid_argument, "gram: got no file name to save to");
  const int64_t counts[3] = {statistics.tokens, statistics.samples, kVersion};
  std::vector<StoredPart> parts = parts_of(statistics, counts);
  const int64_t sum = checksum_of(parts);
  parts.insert(parts.begin(), {"checksum", TensorView(&sum, DType::i64, {1})});
  std::vector<PlannedTensor> planned;
  for (const StoredPart& part : parts) planned.push_back({part.name, part.values.dtype, part.values.shape});
  const std::string header = make_safetensors_header(planned);
  PartialFile target(path);
  {
    const File file = File::create(target.path());
    file.write_at(0, reinterpret_cast<const std::byte*>(header.data()), static_cast<int64_t>(header.size()));
    auto offset = static_cast<int64_t>(header.size());
    for (const StoredPart& part : parts) {
      file.write_at(offset, part.values.data, part.values.bytes());
      offset += part.values.bytes();
    }
    file.sync();
  }
  target.publish();
}

Statistics load_statistics(const std::string& path) {
  const SafetensorsFile file(path);
  for (const char* name : {"checksum", "counts", "max", "min", "sum_abs", "sum_squares"})
    if (!file.entries().count(name))
      throw Error(ErrorCode::bad_file,
                  fmt::format("{}: has no tensor '{}', wanted statistics that llmc saved", path, name));
  const auto counts = read_vector<int64_t>(file, "counts", DType::i64, 3);
  if (counts[2] != kVersion)
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: statistics of version {}, wanted {}", path, counts[2], kVersion));
  if (counts[0] < 0 || counts[1] < 0)
    throw Error(
        ErrorCode::bad_file,
        fmt::format("{}: has {} tokens and {} samples, wanted none below 0", path, counts[0], counts[1]));
  const Shape shape = file.entry("min").shape;
  const int64_t n = shape.size() == 1 ? shape[0] : 0;
  if (n < 1)
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: tensor 'min' has shape {}, wanted [channels]", path, to_string(shape)));
  Statistics statistics;
  statistics.tokens = statistics.channels.tokens = counts[0];
  statistics.samples = counts[1];
  statistics.channels.min = read_vector<float>(file, "min", DType::f32, n);
  statistics.channels.max = read_vector<float>(file, "max", DType::f32, n);
  statistics.channels.sum_abs = read_vector<double>(file, "sum_abs", DType::f64, n);
  statistics.channels.sum_squares = read_vector<double>(file, "sum_squares", DType::f64, n);
  if (file.entries().count("gram")) {
    const auto& entry = file.entry("gram");
    if (entry.dtype != DType::f32 || entry.shape != Shape{n, n})
      throw Error(ErrorCode::bad_file,
                  fmt::format("{}: tensor 'gram' is {} {}, wanted [{}, {}] F32", path, to_string(entry.shape),
                              dtype_name(entry.dtype), n, n));
    statistics.gram = file.read("gram");
  }
  if (read_vector<int64_t>(file, "checksum", DType::i64, 1)[0] !=
      checksum_of(parts_of(statistics, counts.data())))
    throw Error(ErrorCode::bad_file, fmt::format("{}: its checksum does not fit its contents", path));
  return statistics;
}

}  // namespace llmc
