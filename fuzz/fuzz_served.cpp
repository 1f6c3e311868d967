// Any bytes as the config.json of a compressed folder that is sound otherwise, through everything that reads such
// folders: verify and inspect, eval, diff, dequantize. The first byte chooses the folder and the reader.
#include <array>
#include <fstream>
#include <string>

#include "json_mutator.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/backend.hpp"
#include "llmc/error.hpp"
#include "llmc/evaluate.hpp"
#include "llmc/inspection.hpp"
#include "llmc/oneshot.hpp"
#include "tiny_model.hpp"

using namespace llmc;

namespace {

constexpr const char* kKeys[] = {"quantization_config",
                                 "config_groups",
                                 "group_0",
                                 "group_1",
                                 "weights",
                                 "input_activations",
                                 "output_activations",
                                 "targets",
                                 "format",
                                 "ignore",
                                 "kv_cache_scheme",
                                 "quant_method",
                                 "num_bits",
                                 "type",
                                 "symmetric",
                                 "strategy",
                                 "group_size",
                                 "block_structure",
                                 "dynamic",
                                 "actorder",
                                 "scale_dtype",
                                 "zp_dtype",
                                 "observer",
                                 "observer_kwargs",
                                 "quantization_status",
                                 "hidden_size",
                                 "head_dim",
                                 "num_attention_heads",
                                 "num_key_value_heads",
                                 "num_hidden_layers",
                                 "vocab_size",
                                 "intermediate_size",
                                 "rope_parameters",
                                 "rope_scaling",
                                 "sliding_window",
                                 "layer_types",
                                 "tie_word_embeddings",
                                 "architectures",
                                 "model_type",
                                 "dtype"};

constexpr const char* kRecipes[] = {
    "QuantizationModifier: {config_groups: {a: {targets: [Linear], weights: {num_bits: 4, type: int, "
    "strategy: group, "
    "group_size: 16}}}, ignore: [lm_head]}",
    "QuantizationModifier: {scheme: W8A8, targets: [Linear], ignore: []}",
    "QuantizationModifier: {scheme: FP8_DYNAMIC, targets: [Linear], ignore: [lm_head]}",
    "QuantizationModifier: {scheme: NVFP4A16, targets: [Linear], ignore: [lm_head]}",
    "QuantizationModifier: {config_groups: {a: {targets: [Linear], weights: {num_bits: 4, type: int, "
    "symmetric: "
    "false, strategy: group, group_size: 8}, input_activations: {num_bits: 8, type: int, symmetric: false, "
    "strategy: "
    "tensor}}}, ignore: [lm_head], kv_cache_scheme: {num_bits: 8, type: float, strategy: tensor, symmetric: "
    "true}}",
    "QuantizationModifier: {config_groups: {a: {targets: [Linear], weights: {num_bits: 8, type: float, "
    "strategy: "
    "block, block_structure: [8, 8]}}}, ignore: [lm_head]}"};
constexpr size_t kFolders = std::size(kRecipes), kReaders = 4;

Backend& backend() {
  static const auto cpu = make_cpu_backend({.threads = 1, .cpu_isa = ""});
  return *cpu;
}

std::string folder(size_t which) { return (fuzz::scratch() / std::to_string(which)).string(); }

std::string read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// each folder as it was compressed, its config.json, and a twin whose config.json is the input
const std::array<std::string, kFolders>& configs() {
  static const auto made = [] {
    std::array<std::string, kFolders> texts;
    const std::string source = (fuzz::scratch() / "source").string();
    fuzz::write_tiny_model(source);
    for (size_t i = 0; i < kFolders; ++i) {
      OneshotOptions options;
      options.model_dir = source;
      options.output_dir = folder(i);
      options.recipe = fmt::format("s_stage: {{s_modifiers: {{{}}}}}", kRecipes[i]);
      options.calibration = {{1, 2, 3, 4, 5, 6, 7, 8}, {0, 4, 8}};
      oneshot(options, backend(), {});
      texts[i] = read(folder(i) + "/config.json");
      std::filesystem::copy(folder(i), folder(i) + "-twin", std::filesystem::copy_options::recursive);
    }
    return texts;
  }();
  return made;
}

template <class Call>
void expect_error_only(Call call) {
  try {
    call();
  } catch (const Error& problem) {
    if (problem.code() == ErrorCode::internal && !std::getenv("LLMC_FUZZ_LENIENT")) {
      fmt::print(stderr, "an internal error: {}\n", problem.what());
      std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  configs();
  // LLMC_FUZZ_SEEDS=DIR writes the seeds of the corpus and goes on
  if (const char* seeds = std::getenv("LLMC_FUZZ_SEEDS"))
    for (size_t i = 0; i < kFolders * kReaders; ++i)
      std::ofstream(fmt::format("{}/folder_{}_reader_{}", seeds, i % kFolders, i / kFolders))
          << static_cast<char>(i) << configs()[i % kFolders];
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return fuzz::mutate(data, size, max_size, seed, 1, kKeys);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  if (!size) return 0;
  const size_t which = bytes[0] % kFolders, reader = bytes[0] / kFolders % kReaders;
  const std::string sound = folder(which), twin = sound + "-twin",
                    plain = (fuzz::scratch() / "plain").string();
  std::ofstream(twin + "/config.json")
      .write(reinterpret_cast<const char*>(bytes) + 1, static_cast<std::streamsize>(size - 1));
  const auto eval = [&](DType dtype) {
    EvaluateOptions options;
    options.model_dir = twin;
    options.token_ids = {1, 2, 3, 4, 5, 6, 7, 8};
    options.window = 4;
    options.value_dtype = dtype;
    evaluate(options, backend());
  };
  if (reader == 0) {
    expect_error_only([&] { to_json(verify_model({twin, {}}, backend())); });
    expect_error_only([&] { to_json(inspect_model(twin)); });
  } else if (reader == 1) {
    expect_error_only([&] { eval(DType::f32); });
    expect_error_only([&] { eval(DType::bf16); });
  } else if (reader == 2) {
    expect_error_only([&] { to_json(diff_models(sound, twin, backend())); });
  } else {
    expect_error_only([&] {
      dequantize_model({.model_dir = twin, .output_dir = plain, .overwrite = true}, backend(), {});
    });
  }
  return 0;
}
