// Models in float16: most checkpoints of Llama 2's time.
#include <catch2/catch.hpp>

#include "inspection/folder_editor.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/evaluate.hpp"
#include "llmc/inspection.hpp"

using namespace llmc;

namespace {

// micro-llama with every weight as float16
void write_float16(const std::string& model) {
  test::FolderEditor folder(test::golden("micro-llama"));
  for (auto& [name, tensor] : folder.tensors) tensor = converted(tensor, DType::f16);
  folder.config.set("dtype", JsonValue::from_string("float16"));
  folder.save(model);
}

double perplexity(const std::string& model, Backend& backend) {
  EvaluateOptions options;
  options.model_dir = model;
  options.token_ids = test::tokens_from(test::golden("micro-llama/calibration.safetensors")).token_ids;
  options.window = 64;
  return evaluate(options, backend).perplexity;
}

}  // namespace

TEST_CASE("a float16 model calibrates, and what it stores is float16 as its source") {
  const char* recipe = GENERATE(
      "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}",
      "q_stage: {q_modifiers: {SmoothQuantModifier: {smoothing_strength: 0.8}, GPTQModifier: {scheme: W8A8, "
      "targets: [Linear], ignore: [lm_head]}}}",
      "q_stage: {q_modifiers: {QuantizationModifier: {scheme: FP8, targets: [Linear], ignore: [lm_head], "
      "kv_cache_scheme: {num_bits: 8, type: float, strategy: tensor, dynamic: false, symmetric: true}}}}");
  const auto propagation = GENERATE(Propagation::sublayer, Propagation::layer);
  const test::ScratchFolder scratch;
  const auto backend = make_cpu_backend({});
  write_float16(scratch / "model");
  OneshotOptions options = test::micro_llama(scratch / "out");
  options.model_dir = scratch / "model";
  options.recipe = recipe;
  options.propagation = propagation;
  oneshot(options, *backend, {});
  CHECK(verify_model({scratch / "out", scratch / "model"}, *backend).faults.empty());
  const Checkpoint out(scratch / "out");
  for (const std::string& name : out.names()) {
    CAPTURE(name);
    const DType dtype = out.info(name).dtype;
    CHECK((dtype == DType::f16 || !is_floating(dtype) || dtype == DType::f8_e4m3));
  }
  // bfloat16 weights of this size are float16 numbers too: the same model
  const double before = perplexity(test::golden("micro-llama"), *backend),
               after = perplexity(scratch / "out", *backend);
  CHECK(perplexity(scratch / "model", *backend) == Approx(before).epsilon(1e-5));
  CHECK(after == Approx(before).epsilon(0.05));
}
