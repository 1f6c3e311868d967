#include <catch2/catch.hpp>
#include <limits>

#include "folder_editor.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/error.hpp"
#include "llmc/inspection.hpp"
#include "llmc/oneshot.hpp"

using namespace llmc;
using namespace llmc::test;
using Catch::Matchers::Contains;

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();
const std::string kLayer = "model.layers.1.", kUp = kLayer + "mlp.up_proj",
                  kKeys = kLayer + "self_attn.k_proj", kValues = kLayer + "self_attn.v_proj";

VerifyReport verify(const std::string& directory, const std::string& source = "") {
  const auto backend = make_cpu_backend({2, ""});
  return verify_model({directory, source}, *backend);
}

std::string lines(const VerifyReport& report) {
  std::string text;
  for (const auto& fault : report.faults)
    text += fault.tensor + ": got " + fault.got + ", wanted " + fault.wanted + "\n";
  return text;
}

// What verify says of the folder after `change`.
std::string faults_after(FolderEditor& folder, const std::string& source = golden("micro-llama")) {
  const ScratchFolder scratch;
  folder.save(scratch / "out");
  const VerifyReport with = verify(scratch / "out", source);
  return lines(with);
}
std::string faults_after(const std::string& base, const std::function<void(FolderEditor&)>& change) {
  FolderEditor folder(golden(base));
  change(folder);
  return faults_after(folder);
}

JsonValue names(std::initializer_list<const char*> list) {
  JsonValue array = JsonValue::array();
  for (const char* name : list) array.items.push_back(JsonValue::from_string(name));
  return array;
}

const std::string kInt4 = "rtn/W4A16";

}  // namespace

TEST_CASE("every recorded folder is sound, by itself and against its source") {
  for (const char* kind : {"rtn", "recipes"})
    for (const auto& entry : std::filesystem::directory_iterator(golden(kind))) {
      INFO(entry.path());
      CHECK(lines(verify(entry.path().string())) == "");
      const VerifyReport report = verify(entry.path().string(), golden("micro-llama"));
      CHECK(lines(report) == "");
      CHECK(report.tensors > 0);
    }
}

TEST_CASE("what could not be compared with the source is said") {
  const auto notes = [](const std::string& folder) {
    std::string text;
    for (const std::string& note : verify(golden(folder), golden("micro-llama")).notes) text += note + "\n";
    return text;
  };
  CHECK(notes("recipes/gptq_w4a16") == "");
  CHECK_THAT(notes("recipes/sq_rtn_w8a8"), Contains("scale was moved between channels"));
  CHECK_THAT(notes("recipes/spinquant_w4a16"), Contains("the weights were rotated"));
  CHECK_THAT(notes("recipes/sparsegpt_24"), Contains("14 tensor(s) were pruned"));
}

TEST_CASE("a scale that is NaN, infinite or negative is named with its place") {
  CHECK(faults_after(kInt4, [](FolderEditor& f) { f.set_number(kUp + ".weight_scale", 3, kNaN); }) ==
        kUp + ".weight_scale: got nan at index 3, wanted finite numbers above 0\n");
  CHECK(faults_after(kInt4, [](FolderEditor& f) { f.set_number(kUp + ".weight_scale", 3, kInf); }) ==
        kUp + ".weight_scale: got inf at index 3, wanted finite numbers above 0\n");
  CHECK(faults_after(kInt4, [](FolderEditor& f) { f.set_number(kUp + ".weight_scale", 3, -1.0f); }) ==
        kUp + ".weight_scale: got -1 at index 3, wanted finite numbers above 0\n");
}

TEST_CASE("a scale that is off by 64 times is found, one of many and all of them, up and down") {
  for (const char* base : {"rtn/W4A16", "rtn/FP8_DYNAMIC", "rtn/FP8_BLOCK", "rtn/INT8", "recipes/gptq_w4a16",
                           "recipes/mse_w4a16", "recipes/sq_gptq_w8a8"})
    for (const float factor : {64.0f, 1.0f / 64}) {
      INFO(base << " " << factor);
      CHECK_THAT(faults_after(base,
                              [&](FolderEditor& f) {
                                f.set_number(kUp + ".weight_scale", 0,
                                             f.number(kUp + ".weight_scale", 0) * factor);
                              }),
                 Contains(kUp + ".weight"));
      CHECK_THAT(faults_after(base, [&](FolderEditor& f) { f.multiply(kUp + ".weight_scale", factor); }),
                 Contains(kUp + ".weight"));
    }
  CHECK_THAT(
      faults_after("rtn/NVFP4A16", [](FolderEditor& f) { f.multiply(kUp + ".weight_global_scale", 64); }),
      Contains(kUp + ".weight"));
  CHECK_THAT(faults_after("rtn/MXFP4A16",
                          [](FolderEditor& f) { f.tensors.at(kUp + ".weight_scale").as<uint8_t>()[5] += 6; }),
             Contains(kUp + ".weight_scale"));
}

TEST_CASE("missing scales, missing codes and cut codes are named") {
  CHECK(faults_after(kInt4, [](FolderEditor& f) { f.tensors.erase(kUp + ".weight_scale"); }) ==
        kUp + ".weight_scale: got nothing, wanted [256, 1] of the model's dtype\n");
  CHECK_THAT(faults_after(kInt4, [](FolderEditor& f) { f.tensors.erase(kUp + ".weight_packed"); }),
             Contains(kUp) && Contains("has no tensor '" + kUp + ".weight_packed'"));
  CHECK_THAT(faults_after("rtn/INT8", [](FolderEditor& f) { f.tensors.erase(kUp + ".weight"); }),
             Contains("has no tensor '" + kUp + ".weight'"));
  CHECK_THAT(faults_after(kInt4,
                          [](FolderEditor& f) {
                            f.tensors[kUp + ".weight_packed"] = Tensor::zeros(DType::i32, {256, 15});
                          }),
             Contains(kUp) && Contains("[256, 15]"));
  CHECK_THAT(faults_after("rtn/INT8",
                          [](FolderEditor& f) {
                            f.tensors[kUp + ".weight"] = Tensor::zeros(DType::i8, {256, 120});
                          }),
             Contains(kUp) && Contains("[256, 120]"));
}

TEST_CASE("a file that ends too early is a fault that names the file") {
  const ScratchFolder scratch;
  FolderEditor(golden(kInt4)).save(scratch / "out");
  const std::string file = scratch / "out/model.safetensors";
  std::filesystem::resize_file(file, std::filesystem::file_size(file) - 1000);
  CHECK_THAT(lines(verify(scratch / "out")), Contains("model.safetensors"));
}

TEST_CASE("codes that are all zero are found, with a source and without") {
  for (const char* base : {"rtn/W4A16", "rtn/FP8_DYNAMIC", "rtn/INT8", "rtn/NVFP4A16", "rtn/MXFP4A16",
                           "rtn/MXFP8A16", "recipes/sq_gptq_w8a8", "recipes/awq_w4a16"}) {
    INFO(base);
    FolderEditor folder(golden(base));
    folder.zero(folder.tensors.count(kUp + ".weight") ? kUp + ".weight" : kUp + ".weight_packed");
    CHECK_THAT(faults_after(folder), Contains(kUp + ".weight"));
    CHECK_THAT(faults_after(folder, ""), Contains(kUp + ".weight"));
  }
}

TEST_CASE("an all-zero matrix whose scales are those of zeros is found beside a source that is not zero") {
  FolderEditor folder(golden("rtn/INT8"));
  folder.zero(kUp + ".weight");
  for (int64_t row = 0; row < 256; ++row) folder.set_number(kUp + ".weight_scale", row, 0.0078125f);
  CHECK(faults_after(folder, "") == "");
  CHECK_THAT(faults_after(folder), Contains(kUp + ".weight"));
}

TEST_CASE("rows in reverse order are found in every format") {
  for (const char* base : {"rtn/W4A16", "rtn/W2A16", "rtn/FP8_DYNAMIC", "rtn/FP8_BLOCK", "rtn/INT8",
                           "rtn/NVFP4A16", "rtn/MXFP4A16", "recipes/gptq_w4a16", "recipes/mse_w4a16",
                           "recipes/sq_gptq_w8a8", "recipes/awq_w4a16"}) {
    INFO(base);
    FolderEditor folder(golden(base));
    for (const char* part : {".weight", ".weight_packed"})
      if (folder.tensors.count(kUp + part)) folder.reverse_rows(kUp + part);
    CHECK_THAT(faults_after(folder), Contains(kUp + ".weight"));
    folder.reverse_rows(kUp + ".weight_scale");  // whole rows, scales and all
    CHECK_THAT(faults_after(folder), Contains(kUp + ".weight"));
  }
}

TEST_CASE("a wrong weight_shape is found, also one that needs as many words") {
  CHECK_THAT(faults_after(
                 kInt4, [](FolderEditor& f) { f.tensors.at(kUp + ".weight_shape").as<int64_t>()[0] = 128; }),
             Contains(kUp) && Contains("[128, 128]"));
  CHECK_THAT(
      faults_after("recipes/w4_channel",
                   [](FolderEditor& f) { f.tensors.at(kUp + ".weight_shape").as<int64_t>()[1] = 127; }),
      Contains(kUp + ".weight: got a matrix [256, 127], wanted [256, 128]"));
}

TEST_CASE("a zero point beside symmetric codes is stray") {
  CHECK(faults_after(kInt4, [](FolderEditor& f) {
          f.tensors[kUp + ".weight_zero_point"] = Tensor::zeros(DType::i32, {32, 1});
        }) == kUp + ".weight_zero_point: got a tensor, wanted none: its scheme has no such part\n");
}

TEST_CASE("a lost and a changed tensor that is not quantized are named") {
  const std::string norm = kLayer + "input_layernorm.weight";
  CHECK_THAT(faults_after(kInt4, [&](FolderEditor& f) { f.tensors.erase(norm); }),
             Contains(norm + ": got nothing, wanted [128]"));
  CHECK(faults_after(kInt4, [](FolderEditor& f) { f.set_number("lm_head.weight", 77, 0.5f); }) ==
        "lm_head.weight: got other values than the source, wanted the source's bytes\n");
  // without a recipe a changed norm could be smoothing: then its readers must have taken up what it gave away
  for (const bool recipe : {true, false}) {
    INFO(recipe);
    const auto changed = [&](const char* base, float factor) {
      FolderEditor folder(golden(base));
      folder.keep_recipe = recipe;
      factor == 0 ? folder.set_number(norm, 5, 3.0f) : folder.multiply(norm, factor);
      return faults_after(folder);
    };
    CHECK_THAT(changed("rtn/W4A16", 0), Contains(norm + ": got other values than the source"));
    CHECK_THAT(changed("rtn/W4A16", 1.5f), Contains(norm + ": got other values than the source"));
    CHECK_THAT(changed("recipes/sq_gptq_w8a8", 0), Contains(norm + ": got other values than the source"));
    CHECK_THAT(changed("recipes/awq_w4a16", 0), Contains(norm + ": got other values than the source"));
    CHECK_THAT(changed("recipes/sq_gptq_w8a8", 1.5f), Contains(norm + ": got other values than the source"));
  }
  CHECK_THAT(
      faults_after(
          kInt4, [](FolderEditor& f) { f.tensors["model.extra.weight"] = Tensor::zeros(DType::bf16, {4}); }),
      Contains("model.extra.weight: got a tensor, wanted none"));
}

TEST_CASE("a smoothed folder is sound without its recipe too") {
  for (const char* base : {"recipes/sq_gptq_w8a8", "recipes/sq_half_rtn_w8a8", "recipes/awq_w4a16"}) {
    INFO(base);
    FolderEditor folder(golden(base));
    folder.keep_recipe = false;
    CHECK(faults_after(folder) == "");
  }
}

TEST_CASE("a config that says something else than the tensors is found") {
  CHECK_THAT(
      faults_after(kInt4, [](FolderEditor& f) { f.weights().set("group_size", JsonValue::from_int(64)); }),
      Contains(kUp + ".weight_scale: got [256, 1] BF16, wanted [256, 2]"));
  CHECK_THAT(
      faults_after(kInt4, [](FolderEditor& f) { f.weights().set("num_bits", JsonValue::from_int(8)); }),
      Contains(kUp) && Contains("weight_packed"));
  CHECK_THAT(
      faults_after("rtn/W4A8", [](FolderEditor& f) { f.weights().set("num_bits", JsonValue::from_int(8)); }),
      Contains(kUp + ".weight_scale"));
  CHECK_THAT(
      faults_after("rtn/INT8", [](FolderEditor& f) { f.weights().set("num_bits", JsonValue::from_int(4)); }),
      Contains(kUp + ".weight: got the code") && Contains("wanted -8 to 7"));
  CHECK_THAT(faults_after(kInt4, [](FolderEditor& f) { f.weights().set("bits", JsonValue::from_int(4)); }),
             Contains("config.json") && Contains("unknown key 'bits'"));
  CHECK_THAT(faults_after(kInt4, [](FolderEditor& f) { f.group().set("kind", JsonValue::from_int(4)); }),
             Contains("config.json") && Contains("unknown key 'kind'"));
}

TEST_CASE("an ignore list that is too long or too short is found") {
  const auto with_ignore = [](std::initializer_list<const char*> list) {
    return faults_after(kInt4, [&](FolderEditor& f) {
      f.at({"quantization_config", "ignore"}) = names(list);
    });
  };
  CHECK(with_ignore({"lm_head", "model.layers.1.mlp.up_proj"}) ==
        kUp + ": got quantized tensors, though it is in ignore, wanted a plain weight\n");
  CHECK(with_ignore({"lm_head", "model.layers.7.mlp.up_proj"}) ==
        "config.json: got ignore entry 'model.layers.7.mlp.up_proj', which names no module, wanted names of "
        "modules that are there\n");
  CHECK(with_ignore({}) ==
        "lm_head: got a plain weight, though it is a target of 'group_0' and is not ignored, wanted a "
        "quantized weight, or its name in ignore\n");
  CHECK(with_ignore({"re:lm.*"}) == "");
}

TEST_CASE("swapped scales of k and v are found") {
  for (const char* base :
       {"rtn/W4A16", "rtn/FP8_DYNAMIC", "rtn/INT8", "rtn/MXFP4A16", "rtn/NVFP4A16", "recipes/gptq_w4a16",
        "recipes/gptq_w8a8", "recipes/mse_w4a16", "recipes/kv_fp8", "recipes/sq_gptq_w8a8"})
    for (const bool recipe : {true, false}) {
      // searched scales and tuned codes leave nothing exact to compare with
      if (!recipe && std::string(base) == "recipes/mse_w4a16") continue;
      INFO(base << " " << recipe);
      FolderEditor folder(golden(base));
      folder.keep_recipe = recipe;
      std::swap(folder.tensors.at(kKeys + ".weight_scale"), folder.tensors.at(kValues + ".weight_scale"));
      CHECK_THAT(faults_after(folder), Contains(kKeys + ".weight") && Contains(kValues + ".weight"));
    }
}

TEST_CASE("swapped scales of k and v are found after AWQ on the side that no factor explains") {
  FolderEditor folder(golden("recipes/awq_w4a16"));
  std::swap(folder.tensors.at(kKeys + ".weight_scale"), folder.tensors.at(kValues + ".weight_scale"));
  CHECK_THAT(faults_after(folder), Contains(kKeys + ".weight: got an error"));
}

TEST_CASE("scales of the KV cache are checked: missing, broken, or without a scheme") {
  const std::string scale = kLayer + "self_attn.k_scale";
  CHECK(faults_after("recipes/kv_fp8", [&](FolderEditor& f) { f.tensors.erase(scale); }) ==
        scale + ": got nothing, wanted the scale that kv_cache_scheme asks for\n");
  CHECK(faults_after("recipes/kv_fp8", [&](FolderEditor& f) { f.set_number(scale, 0, kNaN); }) ==
        scale + ": got nan at index 0, wanted finite numbers above 0\n");
  CHECK_THAT(faults_after("recipes/kv_fp8",
                          [](FolderEditor& f) {
                            f.at({"quantization_config", "kv_cache_scheme"}) = JsonValue{};
                          }),
             Contains(scale + ": got a tensor, wanted none"));
  CHECK_THAT(faults_after("recipes/static_int8",
                          [](FolderEditor& f) { f.tensors.erase(kUp + ".input_zero_point"); }),
             Contains(kUp + ".input_zero_point: got nothing, wanted [1] I8"));
  CHECK_THAT(faults_after("recipes/static_int8",
                          [](FolderEditor& f) { f.set_number(kUp + ".input_scale", 0, 0.0f); }),
             Contains(kUp + ".input_scale: got 0 at index 0"));
}

TEST_CASE("an expert that was zeroed is found in a mixture no family describes") {
  const ScratchFolder scratch;
  const std::string source = golden("archs/mixtral"), expert = "model.layers.1.block_sparse_moe.experts.2.w1";
  OneshotOptions options;
  options.model_dir = source;
  options.recipe =
      "q_stage: {q_modifiers: {QuantizationModifier: {ignore: [lm_head, 're:.*gate$'], config_groups: {g: "
      "{targets: [Linear], weights: {num_bits: 4, group_size: 32}}}}}}";
  options.output_dir = scratch / "moe";
  oneshot(options, *make_cpu_backend({2, ""}), {});
  CHECK(lines(verify(scratch / "moe", source)) == "");
  const std::string code = "got the code -8 everywhere";
  FolderEditor folder(scratch / "moe");
  folder.zero(expert + ".weight_packed");
  CHECK_THAT(faults_after(folder, source), Contains(expert + ".weight: " + code));
  CHECK_THAT(faults_after(folder, ""), Contains(expert + ".weight: " + code));
  // codes of zero
  for (int64_t i = 0; i < folder.tensors.at(expert + ".weight_packed").size(); ++i)
    folder.tensors.at(expert + ".weight_packed").as<uint32_t>()[i] = 0x88888888u;
  CHECK_THAT(faults_after(folder, source), Contains(expert + ".weight: got zeros only"));
}

TEST_CASE("a weight that is not there in any form is found") {
  CHECK_THAT(faults_after(kInt4,
                          [](FolderEditor& f) {
                            for (const char* part : {".weight_packed", ".weight_scale", ".weight_shape"})
                              f.tensors.erase(kUp + part);
                          }),
             Contains(kUp + ".weight: got nothing"));
}

TEST_CASE("a folder that is none is an error, not a fault") {
  CHECK_THROWS_AS(verify("/nonexistent"), Error);
  const ScratchFolder scratch;
  CHECK_THROWS_AS(verify(scratch.path().string()), Error);
  CHECK_THROWS_AS(verify(golden(kInt4), golden(kInt4)), Error);  // a source that is quantized itself
}
