// What a run's memory is for, as the session's account tells it while it goes.
#include <algorithm>
#include <catch2/catch.hpp>

#include "core/model/model_outline.hpp"
#include "core/run_tools.hpp"
#include "llmc/error.hpp"
#include "llmc/memory.hpp"

using namespace llmc;
using Catch::Contains;

namespace {

struct Peaks {
  std::array<int64_t, kMemoryPurposes> bytes{};
  int64_t of(MemoryPurpose purpose) const { return bytes[static_cast<size_t>(purpose)]; }
};

Peaks run(OneshotOptions options) {
  auto backend = make_cpu_backend({2, ""});
  const MemoryAccount account;
  const MemoryScope scope(MemoryTag(account, MemoryPurpose::other));
  Peaks peaks;
  Callbacks callbacks;
  callbacks.memory = &account;
  callbacks.progress = [&](const Progress&) {
    for (size_t p = 0; p < kMemoryPurposes; ++p)
      peaks.bytes[p] = std::max(peaks.bytes[p], account.used(static_cast<MemoryPurpose>(p)));
  };
  oneshot(options, *backend, callbacks);
  backend = nullptr;  // which keeps packing buffers for its next call
  CHECK(account.used() == 0);
  return peaks;
}

}  // namespace

TEST_CASE("a calibrated run charges weights, activations and statistics to their purposes") {
  const test::ScratchFolder scratch;
  OneshotOptions options = test::micro_llama(scratch / "out");
  options.recipe =
      "s_stage: {s_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";
  const Peaks peaks = run(options);
  const Graph graph = graph_of(Checkpoint(options.model_dir));
  int64_t hidden = graph.values[static_cast<size_t>(graph.blocks[0].output)].width;
  // 24 sequences of 48 tokens in bfloat16 wait between blocks; a Gram matrix is [hidden, hidden] in float32
  CHECK(peaks.of(MemoryPurpose::activations) >= 24 * 48 * hidden * 2);
  CHECK(peaks.of(MemoryPurpose::statistics) >= hidden * hidden * 4);
  CHECK(peaks.of(MemoryPurpose::weights) >= hidden * hidden * 2);
  CHECK(peaks.of(MemoryPurpose::other) < peaks.of(MemoryPurpose::activations) / 10);
}

TEST_CASE("a run without data charges what it reads and what it writes") {
  const test::ScratchFolder scratch;
  OneshotOptions options = test::micro_llama(scratch / "out");
  options.calibration.reset();
  options.scheme = "FP8_DYNAMIC";
  const Peaks peaks = run(options);
  CHECK(peaks.of(MemoryPurpose::weights) + peaks.of(MemoryPurpose::output) > 0);
  CHECK(peaks.of(MemoryPurpose::activations) == 0);
}

TEST_CASE("the error of a memory limit says what the memory is for") {
  const test::ScratchFolder scratch;
  const auto backend = make_cpu_backend({1, ""});
  const MemoryAccount account;
  const MemoryScope scope(MemoryTag(account, MemoryPurpose::other));
  OneshotOptions options = test::micro_llama(scratch / "out");
  options.recipe =
      "s_stage: {s_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";
  Callbacks callbacks;
  callbacks.memory = &account;
  callbacks.memory_limit = 100000;
  CHECK_THROWS_WITH(oneshot(options, *backend, callbacks),
                    Contains("bytes of memory in use") && Contains("activations ") && Contains("weights "));
}
