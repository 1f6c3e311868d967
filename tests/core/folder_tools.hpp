// Model folders made by tests: any tensors, in any files, with or without an index and a config.
#pragma once
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "core/files/safetensors_reader.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/run_tools.hpp"

namespace llmc::test {

struct FolderTensor {
  std::string file, name;
  DType dtype;
  Shape shape;
  std::vector<float> values = {};  // empty: random, the same for the same name
};

inline std::vector<float> values_of(const FolderTensor& tensor) {
  if (!tensor.values.empty()) return tensor.values;
  std::mt19937 random(static_cast<unsigned>(std::hash<std::string>()(tensor.name)));
  std::normal_distribution<float> normal(0.0f, 0.03f);
  std::vector<float> values(static_cast<size_t>(element_count(tensor.shape).value()));
  for (float& value : values) value = normal(random);
  return values;
}

// Names no architecture that llmc knows.
inline void write_folder(const std::string& folder, const std::vector<FolderTensor>& tensors) {
  std::filesystem::create_directories(folder);
  std::map<std::string, std::vector<FolderTensor>> files;
  nlohmann::json map;
  for (const FolderTensor& tensor : tensors) {
    files[tensor.file].push_back(tensor);
    map[tensor.name] = tensor.file;
  }
  for (const auto& [file, members] : files) {
    std::vector<PlannedTensor> planned;
    for (const FolderTensor& tensor : members) planned.push_back({tensor.name, tensor.dtype, tensor.shape});
    std::ofstream out(folder + "/" + file, std::ios::binary);
    out << make_safetensors_header(planned);
    for (const FolderTensor& tensor : members) {
      Tensor stored(tensor.dtype, tensor.shape);
      const std::vector<float> values = values_of(tensor);
      if (is_floating(tensor.dtype)) from_float(values.data(), stored.size(), tensor.dtype, stored.data());
      else std::fill_n(stored.data(), stored.bytes(), std::byte{7});
      out.write(reinterpret_cast<const char*>(stored.data()), stored.bytes());
    }
  }
  if (files.size() > 1)
    std::ofstream(folder + "/model.safetensors.index.json")
        << nlohmann::json{{"metadata", {{"total_size", 0}}}, {"weight_map", map}};
  std::ofstream(folder + "/config.json") << nlohmann::json{
      {"architectures", {"ThingForCausalLM"}}, {"model_type", "thing"}, {"torch_dtype", "bfloat16"}};
}

}  // namespace llmc::test
