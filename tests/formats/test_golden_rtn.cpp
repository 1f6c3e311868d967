// Every preset on micro-llama, written by us and compared with llm-compressor's recording byte for byte.
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "core/formats/compressed_tensors.hpp"
#include "core/formats/quantization_config.hpp"
#include "core/formats/verify.hpp"
#include "core/quantize/rounding.hpp"
#include "files/temporary_folder.hpp"

using namespace llmc;

namespace {

const std::string kGolden = std::string(LLMC_SOURCE_DIR) + "/tests/golden/";

// Modules that share one NVFP4 global scale.
std::string fused_group(const std::string& module) {
  for (const auto& [part, group] :
       {std::pair("q_proj", "qkv"), std::pair("k_proj", "qkv"), std::pair("v_proj", "qkv"),
        std::pair("gate_proj", "gate_up"), std::pair("up_proj", "gate_up")})
    if (module.ends_with(part)) return module.substr(0, module.rfind('.') + 1) + group;
  return module;
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
      std::memcmp(a.data(), b.data(), static_cast<size_t>(a.bytes())) == 0;
}

}  // namespace

TEST_CASE(
    "all 29 presets are written as llm-compressor writes them, every tensor and config.json bit for bit") {
  const Checkpoint model(kGolden + "micro-llama");
  int presets = 0;
  for (const std::string& preset : preset_names()) {
    if (preset == "UNQUANTIZED") continue;
    INFO(preset);
    const Checkpoint golden(kGolden + "rtn/" + preset);
    const TemporaryFolder folder;
    Scheme scheme = preset_scheme(preset);
    scheme.targets = {"Linear"};
    const Format format = choose_format(scheme, ConfigFlavor::reference);

    std::vector<PlannedTensor> planned;
    std::map<std::string, float> absmax;
    std::vector<std::string> modules;
    for (const std::string& name : model.names()) {
      if (!name.ends_with("_proj.weight")) {
        planned.push_back({name, model.info(name).dtype, model.info(name).shape});
        continue;
      }
      const std::string module = name.substr(0, name.size() - 7);
      modules.push_back(module);
      const Tensor weight = model.read(name);
      float& largest = absmax[fused_group(module)];
      largest = std::max(largest, absolute_maximum(weight));
      for (PlannedTensor& tensor : planned_tensors(module, weight.shape(), scheme, format, DType::bf16))
        planned.push_back(std::move(tensor));
    }

    CheckpointWriter writer(
        {.output_dir = folder / "out", .inputs = {{"the model's folder", model.directory()}}});
    std::set<std::string> planned_names;
    for (const PlannedTensor& tensor : planned) planned_names.insert(tensor.name);
    writer.plan(planned);
    for (const std::string& name : model.names())
      if (planned_names.count(name) && !name.ends_with("_proj.weight")) writer.copy_tensor(model, name, name);
    for (const std::string& module : modules) {
      const Tensor weight = model.read(module + ".weight");
      QuantizedMatrix matrix{*scheme.weights, weight.shape(), {}, {}};
      std::optional<float> global_scale;
      if (scheme.weights->strategy == Strategy::tensor_group)
        global_scale = nvfp4_global_scale(absmax[fused_group(module)], DType::bf16);
      matrix.parameters = compute_qparams(weight, matrix.args, global_scale);
      matrix.codes = quantize_matrix(weight, matrix.parameters, matrix.args, Rounding::reference);
      write_quantized(writer, module, matrix, format);
      // from calibration, which is not tested here
      for (const char* part : {".input_scale", ".input_global_scale"})
        if (planned_names.count(module + part)) writer.copy_tensor(golden, module + part, module + part);
    }
    QuantizationConfig config;
    config.groups.push_back({"", scheme});
    config.ignore = {"lm_head"};
    const std::string config_text = merge_quantization_config(
        model.config(), write_quantization_config(config, ConfigFlavor::reference));
    CHECK(config_text == golden.config());
    writer.write_file("config.json", config_text);
    writer.finish();

    const Checkpoint written(folder / "out");
    REQUIRE(std::set<std::string>(written.names().begin(), written.names().end()) ==
            std::set<std::string>(golden.names().begin(), golden.names().end()));
    for (const std::string& name : golden.names()) {
      INFO(name);
      CHECK(same_bytes(written.read(name), golden.read(name)));
    }
    CHECK(verify_folder(written).empty());
    CHECK(verify_folder(golden).empty());
    ++presets;
  }
  CHECK(presets == 29);
}

TEST_CASE("what is read back from every preset's recording is packed to the same bytes again") {
  for (const auto& entry : std::filesystem::directory_iterator(kGolden + "rtn")) {
    INFO(entry.path().filename().string());
    const Checkpoint golden(entry.path().string());
    const auto config = parse_quantization_config(golden.config());
    REQUIRE(config);
    const Scheme& scheme = config->groups.at(0).scheme;
    const std::string module = "model.layers.1.mlp.down_proj";
    const QuantizedMatrix matrix = read_quantized(golden, module, *scheme.weights, *scheme.format);
    const TemporaryFolder folder;
    CheckpointWriter writer({.output_dir = folder / "out"});
    Scheme weights_only = scheme;
    weights_only.input_activations.reset();
    const auto planned = planned_tensors(module, matrix.shape, weights_only, *scheme.format, DType::bf16);
    writer.plan(planned);
    write_quantized(writer, module, matrix, *scheme.format);
    writer.finish();
    const Checkpoint written(folder / "out");
    for (const PlannedTensor& tensor : planned)
      CHECK(same_bytes(written.read(tensor.name), golden.read(tensor.name)));
  }
}

TEST_CASE("every recorded quantization_config is parsed and written again byte for byte") {
  for (const char* group : {"rtn", "recipes"})
    for (const auto& entry : std::filesystem::directory_iterator(kGolden + group)) {
      INFO(entry.path().string());
      const std::string text = read_text_file((entry.path() / "config.json").string());
      // rotations are not written yet
      if (text.find("\"transform_config\": {}") == std::string::npos) continue;
      const auto config = parse_quantization_config(text);
      if (!config) continue;
      CHECK(merge_quantization_config(text, write_quantization_config(*config, ConfigFlavor::reference)) ==
            text);
    }
}
