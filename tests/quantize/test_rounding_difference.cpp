// What --rounding exact changes against reference: docs/formats.md shows the table that `llmc_tests
// "[table]"` prints.
#include <catch2/catch.hpp>
#include <cstdio>

#include "core/files/checkpoint.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/rounding.hpp"

using namespace llmc;

namespace {

struct Comparison {
  int64_t codes = 0, different = 0;
  double energy = 0, exact_error = 0, reference_error = 0;  // sums of squares
  double share() const { return 100.0 * static_cast<double>(different) / static_cast<double>(codes); }
};

double squared_error(const Tensor& weight,
                     const Tensor& codes,
                     const QuantizationParameters& parameters,
                     const QuantizationArgs& args) {
  const Tensor decoded = dequantize_matrix(codes, parameters, args, DType::f32);
  std::vector<float> original(static_cast<size_t>(weight.size()));
  to_float(weight, original.data());
  double sum = 0;
  for (size_t i = 0; i < original.size(); ++i)
    sum += std::pow(static_cast<double>(original[i]) - static_cast<double>(decoded.as<float>()[i]), 2);
  return sum;
}

Comparison compare(const Checkpoint& model, const QuantizationArgs& args) {
  Comparison total;
  for (const std::string& name : model.names()) {
    if (!name.ends_with("_proj.weight")) continue;
    const Tensor weight = model.read(name);
    const QuantizationParameters parameters = compute_qparams(weight, args);
    const Tensor exact = quantize_matrix(weight, parameters, args, Rounding::exact),
                 reference = quantize_matrix(weight, parameters, args, Rounding::reference);
    total.codes += exact.size();
    for (int64_t i = 0; i < exact.size(); ++i) total.different += exact.data()[i] != reference.data()[i];
    total.exact_error += squared_error(weight, exact, parameters, args);
    total.reference_error += squared_error(weight, reference, parameters, args);
    std::vector<float> values(static_cast<size_t>(weight.size()));
    to_float(weight, values.data());
    for (const float value : values) total.energy += static_cast<double>(value) * static_cast<double>(value);
  }
  return total;
}

const std::string kMicroLlama = std::string(LLMC_SOURCE_DIR) + "/tests/golden/micro-llama",
                  kTinyLlama = std::string(LLMC_SOURCE_DIR) + "/examples/tiny-llama";

}  // namespace

TEST_CASE("exact rounding moves some codes of every bfloat16 scheme but NVFP4 and MX, and never errs more") {
  const Checkpoint model(kMicroLlama);
  for (const char* preset : {"W8A8", "W8A16", "W4A16", "W4A16_ASYM", "W2A16", "FP8_DYNAMIC", "FP8_BLOCK",
                             "NVFP4A16", "MXFP4A16", "MXFP8A16"}) {
    CAPTURE(preset);
    const QuantizationArgs args = *preset_scheme(preset).weights;
    const Comparison got = compare(model, args);
    // float32 in both, or exact in bfloat16
    const bool one_quotient = args.strategy == Strategy::tensor_group || args.scale_dtype == DType::u8;
    CHECK((got.different == 0) == one_quotient);
    CHECK(got.exact_error <= got.reference_error * (1 + 1e-9));
  }
}

TEST_CASE("the table of docs/formats.md", "[.][table]") {
  for (const std::string& folder : {kMicroLlama, kTinyLlama})
    for (const char* preset : {"W8A8", "W8A16", "W4A16", "W4A16_ASYM", "W3A16", "W2A16", "FP8", "FP8_DYNAMIC",
                               "FP8_BLOCK", "NVFP4A16", "MXFP4A16", "MXFP8A16"}) {
      QuantizationArgs args = *preset_scheme(preset).weights;
      const Comparison got = compare(Checkpoint(folder), args);
      std::printf("%s %s: %.2f %% of codes, relative error %.5f exact, %.5f reference\n",
                  folder.substr(folder.rfind('/') + 1).c_str(), preset, got.share(),
                  std::sqrt(got.exact_error / got.energy), std::sqrt(got.reference_error / got.energy));
    }
}
