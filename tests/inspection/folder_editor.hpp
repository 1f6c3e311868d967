// A small model folder in memory: changed in one way, written elsewhere, looked at.
#pragma once
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/files/checkpoint_writer.hpp"
#include "core/json/json_value.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/run_tools.hpp"

namespace llmc::test {

class FolderEditor {
 public:
  explicit FolderEditor(const std::string& directory) : directory_(directory) {
    const Checkpoint from(directory);
    for (const std::string& name : from.names()) tensors[name] = from.read(name);
    config = parse_json(from.config(), directory);
  }

  // The member at this path of config.json, for example {"quantization_config", "ignore"}.
  JsonValue& at(std::initializer_list<std::string_view> path) {
    JsonValue* value = &config;
    for (const std::string_view key : path)
      value = &std::find_if(value->members.begin(), value->members.end(), [&](const auto& member) {
                 return member.first == key;
               })->second;
    return *value;
  }
  JsonValue& group(std::string_view name = "group_0") {
    return at({"quantization_config", "config_groups", name});
  }
  JsonValue& weights() { return at({"quantization_config", "config_groups", "group_0", "weights"}); }

  void set_number(const std::string& name, int64_t index, float value) {
    Tensor& tensor = tensors.at(name);
    from_float(&value, 1, tensor.dtype(),
               tensor.data() + index * static_cast<int64_t>(item_size(tensor.dtype())));
  }
  float number(const std::string& name, int64_t index) {
    const Tensor& tensor = tensors.at(name);
    float value = 0;
    to_float(tensor.data() + index * static_cast<int64_t>(item_size(tensor.dtype())), tensor.dtype(), 1,
             &value);
    return value;
  }
  void multiply(const std::string& name, float factor) {
    for (int64_t i = 0; i < tensors.at(name).size(); ++i) set_number(name, i, number(name, i) * factor);
  }
  void zero(const std::string& name) {
    std::memset(tensors.at(name).data(), 0, static_cast<size_t>(tensors.at(name).bytes()));
  }
  void reverse_rows(const std::string& name) {
    Tensor& tensor = tensors.at(name);
    const int64_t width = tensor.bytes() / tensor.rows();
    Tensor turned(tensor.dtype(), tensor.shape());
    for (int64_t row = 0; row < tensor.rows(); ++row)
      std::memcpy(turned.data() + row * width, tensor.data() + (tensor.rows() - 1 - row) * width,
                  static_cast<size_t>(width));
    tensor = std::move(turned);
  }

  void save(const std::string& output) {
    CheckpointWriter writer({.output_dir = output});
    std::vector<PlannedTensor> planned;
    for (const auto& [name, tensor] : tensors) planned.push_back({name, tensor.dtype(), tensor.shape()});
    writer.plan(planned);
    for (const auto& [name, tensor] : tensors) writer.write_tensor(name, tensor);
    writer.write_file("config.json", dump_json_like_python(config));
    if (keep_recipe && std::filesystem::exists(directory_ + "/recipe.yaml"))
      writer.copy_file(directory_, "recipe.yaml");
    writer.finish();
  }

  std::map<std::string, Tensor> tensors;
  JsonValue config;
  bool keep_recipe = true;

 private:
  std::string directory_;
};

}  // namespace llmc::test
