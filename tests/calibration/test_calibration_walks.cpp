// How often the calibration tokens walk through the model: never for values that nobody reads.
#include <catch2/catch.hpp>

#include "core/run_tools.hpp"

using namespace llmc;
using namespace llmc::test;

TEST_CASE("calibration walks once per set of Linears, on to the next block, and not beyond the last one") {
  struct Expected {
    const char* recipe;
    Propagation propagation;
    int64_t walks;  // embedding + two layers (+ the head)
  };
  const char* const gptq =
      "s_stage: {s_modifiers: {GPTQModifier: {targets: [Linear], scheme: W4A16, ignore: [lm_head]}}}";
  const char* const with_head = "s_stage: {s_modifiers: {GPTQModifier: {targets: [Linear], scheme: W8A8}}}";
  const char* const smoothed =
      "s_stage: {s_modifiers: {SmoothQuantModifier: {smoothing_strength: 0.8}, GPTQModifier: {targets: "
      "[Linear], scheme: W8A8, ignore: [lm_head]}}}";
  const char* const fixed =
      "s_stage: {s_modifiers: {QuantizationModifier: {targets: [Linear], scheme: FP8, ignore: [lm_head]}}}";
  const auto backend = make_cpu_backend({});
  for (const Expected& expected :
       {Expected{gptq, Propagation::sublayer, 1 + 5 + 4},
        Expected{with_head, Propagation::sublayer, 1 + 5 + 5 + 1},
        Expected{smoothed, Propagation::sublayer, 1 + 9 + 8},
        Expected{fixed, Propagation::sublayer, 1 + 5 + 4}, Expected{gptq, Propagation::layer, 1 + 2 + 1},
        Expected{with_head, Propagation::layer, 1 + 2 + 2 + 1},
        Expected{smoothed, Propagation::layer, 1 + 2 + 1 + 1 + 2 + 1}}) {
    CAPTURE(expected.recipe, expected.propagation == Propagation::layer);
    const ScratchFolder scratch;
    OneshotOptions options = micro_llama(scratch / "out");
    options.recipe = expected.recipe;
    options.propagation = expected.propagation;
    Callbacks callbacks;
    int64_t step = 0, steps = 0;
    callbacks.progress = [&](const Progress& progress) {
      step = progress.step;
      steps = progress.steps;
    };
    oneshot(options, *backend, callbacks);
    CHECK(step == expected.walks);
    CHECK(steps == expected.walks);
  }
}
