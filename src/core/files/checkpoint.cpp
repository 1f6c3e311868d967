#include "core/files/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/files/quantization_method.hpp"
#include "core/json/json_value.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";

std::string join(const std::string& directory, const std::string& name) {
  return (fs::path(directory) / name).string();
}

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

std::vector<std::string> list_files(const std::string& directory) {
  std::vector<std::string> names = list_folder(directory);
  std::erase_if(names, [&](const std::string& name) { return !is_file(join(directory, name)); });
  return names;
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name.find("..") == std::string::npos &&
      name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

// tensor -> shard, as model.safetensors.index.json says
std::map<std::string, std::string> read_index(const std::string& directory) {
  const std::string path = join(directory, kIndexFile);
  const JsonValue index = parse_json(read_text_file(path), path, JsonDialect::strict);
  const JsonValue* map = index.find("weight_map");
  if (!map || !map->is(JsonValue::Kind::object))
    throw Error(ErrorCode::bad_file, fmt::format("{}: has no object 'weight_map'", path));
  std::map<std::string, std::string> result;
  for (const auto& [name, file] : map->members) {
    if (!file.is(JsonValue::Kind::string) || !is_plain_name(file.text))
      throw Error(ErrorCode::bad_file,
                  fmt::format("{}: tensor '{}' is said to be in '{}', wanted a file name in the same folder",
                              path, name, file.text));
    result.emplace(name, file.text);
  }
  return result;
}

[[noreturn]] void refuse_without_weights(const std::string& directory) {
  constexpr std::string_view kConvert =
      "; transformers' from_pretrained and save_pretrained make safetensors of it";
  constexpr std::string_view kPublished = "; take the model as its makers published it";
  constexpr struct {
    std::string_view ending, format, way_out;
  } kOthers[] = {
      {".bin", "PyTorch's format", kConvert},   {".pt", "PyTorch's format", kConvert},
      {".pth", "PyTorch's format", kConvert},   {".gguf", "quantized for llama.cpp", kPublished},
      {".h5", "TensorFlow's format", kConvert}, {".msgpack", "Flax's format", kConvert},
      {".onnx", "an ONNX graph", kPublished},
  };
  const std::vector<std::string> files = list_files(directory);
  for (const auto& other : kOthers)
    for (const std::string& name : files)
      if (name.ends_with(other.ending) && name != "training_args.bin")
        throw Error(ErrorCode::unsupported,
                    fmt::format("{}: holds no safetensors file but {}, {}{}", directory, name, other.format,
                                other.way_out));
  throw Error(
      ErrorCode::not_found,
      fmt::format("{}: holds no safetensors file, wanted {} or {}", directory, kSingleFile, kIndexFile));
}

}  // namespace

Checkpoint::Checkpoint(const std::string& directory) : directory_(directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error))
    throw Error(ErrorCode::not_found, fmt::format("{}: is not a folder", directory));

  std::map<std::string, std::string> index;
  file_names_ = choose_files(index);
  if (file_names_.empty()) refuse_without_weights(directory);

  for (const std::string& name : file_names_) {
    const std::string path = join(directory, name);
    if (!index.empty() && !is_file(path))
      throw Error(
          ErrorCode::not_found,
          fmt::format("{}: names the file '{}', which is not there", join(directory, kIndexFile), name));
    shards_.emplace_back(path);
    for (const auto& [tensor, entry] : shards_.back().entries()) {
      const auto [there, added] = where_.emplace(tensor, shards_.size() - 1);
      if (!added)
        throw Error(ErrorCode::bad_file,
                    fmt::format("{}: tensor '{}' is in '{}' and in '{}'", directory, tensor,
                                file_names_[there->second], name));
      names_.push_back(tensor);
      total_bytes_ += entry.bytes;
    }
  }
  for (const auto& [tensor, file] : index) {
    const auto there = where_.find(tensor);
    if (there == where_.end() || file_names_[there->second] != file)
      throw Error(ErrorCode::bad_file,
                  fmt::format("{}: tensor '{}' is said to be in '{}', which does not hold it",
                              join(directory, kIndexFile), tensor, file));
  }

  const std::string config_path = join(directory, "config.json");
  if (!is_file(config_path)) return;
  read_config(read_text_file(config_path), config_path);
  if (!is_quantized_) find_older_quantization();
}

// Which files hold the weights. index: filled where they are those that an index names.
std::vector<std::string> Checkpoint::choose_files(std::map<std::string, std::string>& index) {
  const bool single = is_file(join(directory_, kSingleFile));
  if (is_file(join(directory_, kIndexFile))) {
    index = read_index(directory_);
    std::set<std::string> files;
    for (const auto& [name, file] : index) files.insert(file);
    const auto is_there = [&](const std::string& file) { return is_file(join(directory_, file)); };
    const bool stale = single && std::none_of(files.begin(), files.end(), is_there);
    if (!stale) {  // as vLLM does; transformers would take the single file
      if (single && !files.count(kSingleFile))
        notes_.push_back(fmt::format("two sets of weights: the {} file(s) that {} names are used, {} is not",
                                     files.size(), kIndexFile, kSingleFile));
      return {files.begin(), files.end()};
    }
    index.clear();
    notes_.push_back(fmt::format("{} names files that are not there: {} is used", kIndexFile, kSingleFile));
  }
  if (single) return {kSingleFile};
  std::vector<std::string> files;
  for (std::string& name : list_files(directory_))
    if (name.ends_with(".safetensors")) files.push_back(std::move(name));
  return files;
}

Checkpoint::Checkpoint(const TensorSource& source)
    : directory_("tensor source"),
      file_names_{kSingleFile},
      borrowed_(new Borrowed{source, {}}) {
  const auto& tensors = source.tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto bytes = byte_count(tensors[i].shape, tensors[i].dtype);
    const auto refuse = [&](const std::string& text) {
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{}: tensor '{}' {}", directory_, tensors[i].name, text));
    };
    if (tensors[i].name.empty() || tensors[i].name == "__metadata__")
      refuse("has no name that a safetensors file can hold");
    if (!bytes || __builtin_add_overflow(total_bytes_, *bytes, &total_bytes_))
      refuse(fmt::format("has shape {}, a negative or too large size", to_string(tensors[i].shape)));
    if (!where_.emplace(tensors[i].name, i).second) refuse("is there twice");
    names_.push_back(tensors[i].name);
  }
  if (names_.empty())
    throw Error(ErrorCode::invalid_argument, fmt::format("{}: holds no tensor", directory_));
  read_config(source.config(), "tensor source: config.json");
}

void Checkpoint::read_config(std::string text, const std::string& place) {
  const JsonValue config = parse_json(text, place);
  if (!config.is(JsonValue::Kind::object))
    throw Error(ErrorCode::bad_file, fmt::format("{}: is not a JSON object", place));
  const JsonValue* quantization = find_quantization_config(config);
  is_quantized_ = quantization && quantization->is(JsonValue::Kind::object);
  if (is_quantized_) quantization_method_ = llmc::quantization_method(*quantization);
  config_ = std::move(text);
}

void Checkpoint::find_older_quantization() {
  constexpr std::string_view kCodes = ".qweight", kScales = ".weight_scale";
  const auto told = std::find_if(names_.begin(), names_.end(), [&](const std::string& name) {
    return name.ends_with(kCodes) || name.ends_with(kScales);
  });
  if (told == names_.end()) return;
  for (const char* file : {"quantize_config.json", "quant_config.json", "hf_quant_config.json"})
    if (const std::string path = join(directory_, file); is_file(path)) {
      const JsonValue config = parse_json(read_text_file(path), path);
      const JsonValue* inner = config.find("quantization");  // of hf_quant_config.json
      quantization_method_ = llmc::quantization_method(inner ? *inner : config);
      is_quantized_ = true;
      return;
    }
  is_quantized_ = told->ends_with(kCodes);
  if (is_quantized_) quantization_method_ = fmt::format("GPTQ or AWQ, as tensor '{}' tells", *told);
}

size_t Checkpoint::place_of(const std::string& name) const {
  const auto found = where_.find(name);
  if (found == where_.end())
    throw Error(ErrorCode::not_found, fmt::format("{}: has no tensor '{}'", directory_, name));
  return found->second;
}

SafetensorsFile::Entry Checkpoint::entry_of(const std::string& name) const {
  const size_t place = place_of(name);
  if (!borrowed_) return shards_[place].entry(name);
  const TensorSource::Entry& entry = borrowed_->source.tensors()[place];
  return {entry.dtype, entry.shape, 0, byte_count(entry.shape, entry.dtype).value()};
}

TensorInfo Checkpoint::info(const std::string& name) const {
  const SafetensorsFile::Entry entry = entry_of(name);
  return {entry.dtype, entry.shape, file_names_[borrowed_ ? 0 : place_of(name)], entry.bytes};
}

Tensor Checkpoint::read(const std::string& name, const ParallelFor& parallel) const {
  const SafetensorsFile::Entry entry = entry_of(name);
  Tensor tensor(entry.dtype, entry.shape);
  read_bytes(name, 0, entry.bytes, tensor.data(), parallel);
  return tensor;
}

void Checkpoint::read_rows(const std::string& name,
                           int64_t first_row,
                           int64_t rows,
                           std::byte* destination,
                           const ParallelFor& parallel) const {
  const SafetensorsFile::Entry entry = entry_of(name);
  const int64_t all_rows = entry.shape.empty() ? 1 : entry.shape[0];
  if (first_row < 0 || rows < 0 || first_row > all_rows - rows)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: tensor '{}' has {} rows, got asked for {} from {}", directory_, name,
                            all_rows, rows, first_row));
  if (rows > 0)
    read_bytes(name, first_row * (entry.bytes / all_rows), rows * (entry.bytes / all_rows), destination,
               parallel);
}

void Checkpoint::read_bytes(const std::string& name,
                            int64_t offset,
                            int64_t bytes,
                            std::byte* destination,
                            const ParallelFor& parallel) const {
  const size_t place = place_of(name);
  if (!borrowed_)
    return shards_[place].read_bytes(shards_[place].entry(name), offset, bytes, destination, parallel);
  const std::lock_guard lock(borrowed_->one_read);
  borrowed_->source.read(place, offset, bytes, destination);
}

void Checkpoint::read_ahead(const std::string& name) const {
  if (!borrowed_) shards_[place_of(name)].read_ahead(entry_of(name));
}

const std::string& Checkpoint::config() const {
  if (!config_) {
    const bool mistral = !borrowed_ && is_file(join(directory_, "params.json"));
    throw Error(ErrorCode::not_found,
                fmt::format("config.json: not found in '{}'{}", directory_,
                            mistral ? ", which holds Mistral's own form (params.json); wanted the one for "
                                      "transformers, with config.json"
                                    : ""));
  }
  return *config_;
}

bool Checkpoint::is_quantized() const { return is_quantized_; }

SideFiles Checkpoint::side_files() const {
  return borrowed_ ? SideFiles{} : find_side_files(directory_, config_.value_or(""));
}

}  // namespace llmc
