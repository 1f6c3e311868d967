// `llmc forward` beside `llmc eval`: one function of one model.
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <csignal>

#include "core/run_tools.hpp"
#include "llmc/error.hpp"
#include "llmc/evaluate.hpp"

using namespace llmc;

TEST_CASE("forward's logits are those that eval measures, where the head's inputs are rounded too") {
  const test::ScratchFolder scratch;
  const auto backend = make_cpu_backend({});
  OneshotOptions options = test::micro_llama(scratch / "model");
  options.calibration = {};
  options.recipe =
      "q_stage: {q_modifiers: {QuantizationModifier: {scheme: W8A8, targets: [Linear], ignore: []}}}";
  oneshot(options, *backend, {});
  forward_file(scratch / "model", test::golden("micro-llama/calibration.safetensors"),
               scratch / "out.safetensors", DType::f32, *backend);
  const Tensor logits = SafetensorsFile(scratch / "out.safetensors").read("logits");
  const TokenBatch tokens = test::tokens_from(test::golden("micro-llama/calibration.safetensors"));
  Tensor rows(DType::f32, {tokens.tokens(), logits.shape().back()});
  std::copy_n(logits.as<float>(), logits.size(), rows.as<float>());
  const auto measured = backend->cross_entropy(rows, nullptr, tokens);

  EvaluateOptions eval;
  eval.model_dir = scratch / "model";
  eval.token_ids = tokens.token_ids;
  eval.window = logits.shape()[1];
  const Evaluation wanted = evaluate(eval, *backend);
  CHECK(measured.tokens == wanted.tokens);
  CHECK(std::exp(measured.negative_log_likelihood / static_cast<double>(measured.tokens)) ==
        wanted.perplexity);
}

TEST_CASE("a forward that cannot write its file whole leaves nothing behind") {
  const test::ScratchFolder scratch;
  const auto backend = make_cpu_backend({});
  const std::string ids = test::golden("micro-llama/calibration.safetensors");
  rlimit unlimited{};
  getrlimit(RLIMIT_FSIZE, &unlimited);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, unlimited.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  std::string problem;
  try {
    forward_file(test::golden("micro-llama"), ids, scratch / "out.safetensors", DType::f32, *backend);
  } catch (const Error& error) {
    problem = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &unlimited);
  std::signal(SIGXFSZ, handler);
  CHECK_THAT(problem, Catch::Contains("out.safetensors"));
  CHECK(std::filesystem::is_empty(scratch.path()));
}
