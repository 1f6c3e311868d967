// Forward passes against transformers' recordings (tests/golden/README.md: float32 within 1e-4 of the logits'
// spread, bfloat16 within 2.5 % rms).
#include <catch2/catch.hpp>
#include <cmath>

#include "core/run_tools.hpp"
#include "llmc/evaluate.hpp"

using namespace llmc;

namespace {

struct Difference {
  double largest = 0, rms = 0, spread = 0;  // of `got` to `want`; spread: want's standard deviation
};

Difference compare(const Tensor& got, const Tensor& want) {
  REQUIRE(got.shape() == want.shape());
  double sum = 0, squares = 0, error = 0;
  Difference out;
  for (int64_t i = 0; i < want.size(); ++i) {
    const double g = got.as<float>()[i], w = want.as<float>()[i];
    sum += w;
    squares += w * w;
    error += (g - w) * (g - w);
    out.largest = std::max(out.largest, std::fabs(g - w));
  }
  const double n = static_cast<double>(want.size());
  out.spread = std::sqrt(squares / n - sum / n * (sum / n));
  out.rms = std::sqrt(error / n);
  return out;
}

}  // namespace

TEST_CASE("every family's forward pass equals the recording in float32 and is close in bfloat16") {
  const char* arch = GENERATE("llama", "llama3_rope", "llama_bias_tied", "mistral", "phi3", "qwen2", "qwen3",
                              "llama_linear_rope", "llama_yarn", "llama_dynamic", "mistral_full", "qwen2_sw",
                              "qwen3_tied");
  CAPTURE(arch);
  const test::ScratchFolder scratch;
  const auto backend = make_cpu_backend({});
  const std::string folder = test::golden(std::string("archs/") + arch);
  const SafetensorsFile expected(folder + "/expected.safetensors");

  forward_file(folder, folder + "/expected.safetensors", scratch / "f32.safetensors", DType::f32, *backend);
  const SafetensorsFile f32(scratch / "f32.safetensors");
  REQUIRE(f32.entries().size() + 1 == expected.entries().size());  // all but input_ids
  for (const auto& [name, entry] : f32.entries()) {
    CAPTURE(name);
    const Difference difference = compare(f32.read(name), expected.read(name));
    CHECK(difference.largest <= 1e-4 * difference.spread);
  }

  forward_file(folder, folder + "/expected.safetensors", scratch / "bf16.safetensors", DType::bf16, *backend);
  const Difference difference = compare(SafetensorsFile(scratch / "bf16.safetensors").read("logits"),
                                        expected.read("logits"));
  CHECK(difference.rms <= 0.025 * difference.spread);
}
