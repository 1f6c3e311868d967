// Bad input: one line naming place, thing, got and wanted, and nothing under the output name.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "core/quantize/number_formats.hpp"
#include "core/run_tools.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using Catch::Contains;

namespace {

constexpr const char* kGptq =
    "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";

struct Attempt {
  test::ScratchFolder scratch;
  OneshotOptions options = test::micro_llama(scratch / "out");
  Attempt() { options.recipe = kGptq; }

  // A copy of micro-llama that a test may damage.
  std::string copy_model() {
    const std::string model = scratch / "model";
    std::filesystem::copy(test::golden("micro-llama"), model);
    for (const auto& file : std::filesystem::directory_iterator(model))
      std::filesystem::permissions(file, std::filesystem::perms::owner_write,
                                   std::filesystem::perm_options::add);
    options.model_dir = model;
    return model;
  }
  std::string error() {
    const auto backend = make_cpu_backend({});
    std::string text;
    try {
      oneshot(options, *backend, {});
    } catch (const Error& problem) {
      text = problem.what();
    }
    CHECK(text.find('\n') == std::string::npos);
    // neither the output nor a leftover beside it
    for (const auto& entry : std::filesystem::directory_iterator(scratch.path())) {
      const std::string name = entry.path().filename();
      CHECK((name == "model" || name == "kept"));
    }
    return text;
  }
};

void edit_config(const std::string& model, const std::string& key, const nlohmann::json& value) {
  auto config = nlohmann::json::parse(test::read_text(model + "/config.json"));
  config[key] = value;
  std::ofstream(model + "/config.json") << config.dump();
}

}  // namespace

TEST_CASE("a missing folder and a missing config.json are named") {
  Attempt attempt;
  attempt.options.model_dir = "/nonexistent/model";
  CHECK_THAT(attempt.error(), Contains("/nonexistent/model"));
  Attempt bare;
  std::filesystem::remove(bare.copy_model() + "/config.json");
  CHECK_THAT(bare.error(), Contains("config.json"));
}

TEST_CASE("an unknown architecture cannot be calibrated, but data-free schemes work on it") {
  Attempt attempt;
  const std::string model = attempt.copy_model();
  edit_config(model, "architectures", {"HyenaForCausalLM"});
  CHECK_THAT(attempt.error(),
             Contains("HyenaForCausalLM") && Contains("llama, mistral, phi3, qwen2, qwen3") &&
                 Contains("data-free"));
  attempt.options.recipe.clear();
  attempt.options.scheme = "FP8_DYNAMIC";
  const auto backend = make_cpu_backend({});
  CHECK(oneshot(attempt.options, *backend, {}).linears.size() == 14);
}

TEST_CASE("a truncated shard is an error, not a crash") {
  Attempt attempt;
  const std::string model = attempt.copy_model();
  std::filesystem::resize_file(model + "/model.safetensors",
                               std::filesystem::file_size(model + "/model.safetensors") - 1000);
  CHECK_THAT(attempt.error(), Contains("model.safetensors"));
}

TEST_CASE("NaN in a weight names the tensor and the position") {
  const char* tensor = GENERATE("model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight");
  Attempt attempt;
  const std::string model = attempt.copy_model();
  const auto entry = SafetensorsFile(model + "/model.safetensors").entry(tensor);
  std::fstream file(model + "/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(entry.offset + 2 * 5);
  file.write("\xC0\x7F", 2);  // bfloat16 NaN
  file.close();
  CHECK_THAT(attempt.error(), Contains(tensor) && Contains("NaN or Inf at element 5"));
}

TEST_CASE("columns that no group divides list the layers and the ways out") {
  Attempt attempt;
  attempt.options.recipe =
      "q_stage: {q_modifiers: {GPTQModifier: {config_groups: {g: {targets: [Linear], weights: {num_bits: 4, "
      "strategy: group, group_size: 96}}}, ignore: [lm_head]}}}";
  CHECK_THAT(attempt.error(),
             Contains("group size 96") && Contains("model.layers.0.self_attn.q_proj (128 columns)") &&
                 Contains("group_size"));
}

TEST_CASE("a target that matches nothing is an error") {
  Attempt attempt;
  attempt.options.recipe = "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: ['re:.*wqkv']}}}";
  CHECK_THAT(attempt.error(), Contains("re:.*wqkv"));
}

TEST_CASE("a calibrated recipe without data says so") {
  Attempt attempt;
  attempt.options.calibration.reset();
  CHECK_THAT(attempt.error(), Contains("no tokens") && Contains("--dataset"));
}

TEST_CASE("data are asked for once, after the plan, and only by a recipe that needs them") {
  Attempt attempt;
  const TokenBatch tokens = *attempt.options.calibration;
  attempt.options.calibration.reset();
  int asked = 0;
  attempt.options.load_calibration = [&](const std::function<void(const std::string&)>& note) {
    ++asked;
    note("two rows were skipped");
    return tokens;
  };
  SECTION("a wrong recipe is told before") {
    attempt.options.recipe = "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: [wqkv]}}}";
    CHECK_THAT(attempt.error(), Contains("wqkv"));
    CHECK(asked == 0);
  }
  SECTION("a recipe without data leaves them alone, with a note") {
    attempt.options.recipe.clear();
    attempt.options.scheme = "FP8_DYNAMIC";
    const auto backend = make_cpu_backend({});
    CHECK_THAT(oneshot(attempt.options, *backend, {}).notes,
               Catch::VectorContains(std::string("calibration: this recipe needs no data; none was read")));
    CHECK(asked == 0);
  }
  SECTION("what they tell is a note of the run") {
    const auto backend = make_cpu_backend({});
    CHECK_THAT(oneshot(attempt.options, *backend, {}).notes,
               Catch::VectorContains(std::string("two rows were skipped")));
    CHECK(asked == 1);
  }
}

TEST_CASE("a token id outside the vocabulary names id, position and vocabulary") {
  Attempt attempt;
  attempt.options.calibration->token_ids[7] = 5000;
  CHECK_THAT(attempt.error(), Contains("token id 5000 at position 7 is outside the vocabulary of 256"));
}

TEST_CASE("a model that is already quantized is refused, with the method named") {
  Attempt attempt;
  edit_config(attempt.copy_model(), "quantization_config", {{"quant_method", "gptq"}});
  CHECK_THAT(attempt.error(), Contains("already quantized, by 'gptq'") && !Contains("--dequantize"));
  edit_config(attempt.options.model_dir, "quantization_config", {{"quant_method", "compressed-tensors"}});
  CHECK_THAT(attempt.error(),
             Contains("already quantized, by 'compressed-tensors'") && Contains("--dequantize"));
  // as it was called in 2024, and methods that only their keys tell
  edit_config(attempt.options.model_dir, "quantization_config", nullptr);
  edit_config(attempt.options.model_dir, "compression_config", {{"quant_method", "compressed-tensors"}});
  CHECK_THAT(attempt.error(), Contains("already quantized, by 'compressed-tensors'"));
  edit_config(attempt.options.model_dir, "quantization_config",
              {{"load_in_4bit", true}, {"bnb_4bit_quant_type", "nf4"}});
  CHECK_THAT(attempt.error(), Contains("by 'bitsandbytes'") && Contains("model.dequantize()"));
}

TEST_CASE("an output folder that is not empty needs --overwrite, and is kept on failure") {
  constexpr const char* kModel = R"({"model_type": "llama"})";
  Attempt attempt;
  attempt.options.output_dir = attempt.scratch / "kept";
  std::filesystem::create_directory(attempt.options.output_dir);
  std::ofstream(attempt.options.output_dir + "/config.json") << kModel;
  CHECK_THAT(attempt.error(), Contains("overwrite"));
  CHECK(test::read_text(attempt.options.output_dir + "/config.json") == kModel);
  attempt.options.overwrite = true;
  const auto backend = make_cpu_backend({});
  oneshot(attempt.options, *backend, {});
  CHECK(Checkpoint(attempt.options.output_dir).is_quantized());
}

TEST_CASE("the output may not lie inside the input") {
  Attempt attempt;
  attempt.options.output_dir = attempt.copy_model() + "/compressed";
  CHECK_THAT(attempt.error(), Contains("inside"));
}

TEST_CASE("a cancelled run leaves nothing behind") {
  test::ScratchFolder scratch;
  OneshotOptions options = test::micro_llama(scratch / "out");
  options.recipe = kGptq;
  const auto backend = make_cpu_backend({});
  std::atomic<bool> cancel{false};
  Callbacks callbacks;
  callbacks.cancel = &cancel;
  callbacks.progress = [&](const Progress& progress) { cancel = progress.step > 3; };
  CHECK_THROWS_WITH(oneshot(options, *backend, callbacks), Contains("cancelled"));
  CHECK(std::filesystem::is_empty(scratch.path()));
}

TEST_CASE("a Hessian that cannot be factored falls back, and the report says why") {
  // One token repeated: every input is the same vector, so the Hessian has rank one. Dampening must carry it.
  test::ScratchFolder scratch;
  OneshotOptions options = test::micro_llama(scratch / "out");
  options.recipe = kGptq;
  options.calibration = TokenBatch{std::vector<int32_t>(64, 9), {0, 64}};
  const auto backend = make_cpu_backend({});
  const Report report = oneshot(options, *backend, {});
  for (const LinearReport& row : report.linears) {
    CHECK(std::isfinite(row.relative_error));
    CHECK((row.method == "GPTQ" || !row.note.empty()));
  }
}
