// Weight observers against llm-compressor's own choices (tests/golden/tools/record_observers.py).
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "core/formats/quantization_config.hpp"
#include "core/files/safetensors_reader.hpp"
#include "core/quantize/candidate_error.hpp"
#include "core/quantize/mse_observer.hpp"
#include "core/quantize/number_formats.hpp"
#include "llmc/error.hpp"

using namespace llmc;

namespace {

QuantizationArgs args_from(const std::string& json) {
  const auto config = parse_quantization_config(
      R"({"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"g": {"targets": ["Linear"], "weights": )" +
      json + "}}}}");
  return *config->groups.at(0).scheme.weights;
}

std::vector<float> floats(const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.size()));
  to_float(tensor, values.data());
  return values;
}

// Scales as numbers before the global scale, which is how they were recorded.
std::vector<float> plain_scales(const QuantizationParameters& parameters, const QuantizationArgs& args) {
  const QuantizationParameters plain{Tensor::copy_of(parameters.scales), {}, {}};
  return floats(scale_values(plain, args));
}

QuantizationArgs int4_group(const char* observer, const char* kwargs = "{}") {
  QuantizationArgs args = *preset_scheme("W4A16").weights;
  args.group_size = 4;
  args.observer = observer;
  args.observer_kwargs = kwargs;
  return args;
}

std::string message_of(const QuantizationArgs& args) {
  try {
    range_search(args);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("every observer chooses the scales, zero points and global scale that llm-compressor chose") {
  const SafetensorsFile file(std::string(LLMC_SOURCE_DIR) + "/tests/golden/observers.safetensors");
  int cases = 0;
  for (const auto& [number, json] : file.metadata()) {
    if (number == "made_with") continue;
    INFO("case " << number << ": " << json);
    const QuantizationArgs args = args_from(json);
    const Tensor weight = file.read(number + ".weight");
    const bool weighted = file.entries().count(number + ".importance") > 0;
    const std::vector<float> importance = weighted ? floats(file.read(number + ".importance"))
                                                   : std::vector<float>{};
    const QuantizationParameters parameters = compute_qparams(weight, args, {}, importance);
    CAPTURE(dtype_name(weight.dtype()));
    CHECK(plain_scales(parameters, args) == floats(file.read(number + ".scale")));
    if (!args.symmetric) CHECK(floats(parameters.zero_points) == floats(file.read(number + ".zero_point")));
    if (args.strategy == Strategy::tensor_group && weight.dtype() != DType::f16)
      CHECK(parameters.global_scale == file.read(number + ".global_scale").as<float>()[0]);
    ++cases;
  }
  CHECK(cases == 252);
}

TEST_CASE("a search gives up the outlier of a group when that costs less than coarse steps for the rest") {
  const std::vector<float> values = {0.1f, -0.2f, 0.3f, 1.0f, 0.1f, -0.2f, 0.3f, 0.35f};
  Tensor weight(DType::f32, {1, 8});
  std::copy(values.begin(), values.end(), weight.as<float>());
  const char* to_the_end = R"({"patience": 0})";
  const ValueRanges weighted = weight_ranges(weight, int4_group("imatrix_mse", to_the_end),
                                             std::vector<float>{1, 1, 1, 1e-6f, 1, 1, 1, 1});
  CHECK(weighted.max[0] < 0.8f);
  CHECK(weighted.max[1] > 0.3f);
  CHECK(weight_ranges(weight, int4_group("imatrix_mse", to_the_end), std::vector<float>(8, 1.0f)).max[0] >
        0.9f);
  CHECK(weight_ranges(weight, int4_group("memoryless_minmax")).max == std::vector<float>{1.0f, 0.35f});
}

TEST_CASE("a search gives the same ranges tile by tile, in any order, as for the whole weight") {
  Tensor weight(DType::bf16, {200, 64});
  for (int64_t i = 0; i < weight.size(); ++i)
    weight.as<uint16_t>()[i] = bf16_from_float(static_cast<float>((i * 7919 % 2003) - 1001) /
                                               static_cast<float>(500 + i % 977));
  const auto backwards = [](int64_t count, int64_t, const ParallelFor::Body& body) {
    for (int64_t i = count; i-- > 0;) body(i, i + 1);
  };
  for (const char* observer : {"memoryless_mse", "imatrix_mse"})
    for (const char* preset : {"W4A16", "W8A8", "FP8", "FP8_BLOCK", "NVFP4A16", "MXFP4A16"}) {
      CAPTURE(observer, preset);
      QuantizationArgs args = *preset_scheme(preset).weights;
      if (args.strategy == Strategy::group) args.group_size = 32;
      args.observer = observer;
      const std::vector<float> importance(64, 2.0f);
      const ValueRanges whole = weight_ranges(weight, args, importance),
                        tiled = weight_ranges(weight, args, importance, backwards);
      CHECK(whole.shape == tiled.shape);
      CHECK(whole.min == tiled.min);
      CHECK(whole.max == tiled.max);
      if (args.strategy == Strategy::tensor || args.strategy == Strategy::block) continue;
      const ValueRanges part = weight_ranges(TensorView(weight).row_range(64, 192), args, importance);
      const size_t begin = 64 * part.max.size() / 128;
      CHECK(std::equal(part.max.begin(), part.max.end(),
                       whole.max.begin() + static_cast<std::ptrdiff_t>(begin)));
    }
}

TEST_CASE("imatrix_mse without activations weighs all channels alike and says so, or refuses when strict") {
  const QuantizationArgs args = int4_group("imatrix_mse");
  CHECK(importance_fallback(args, 8, {}) ==
        "imatrix_mse: no activations were observed: every channel counts the same");
  CHECK(importance_fallback(args, 4, std::vector<float>{1, 2, 3, 4}).empty());
  CHECK(importance_fallback(args, 4, std::vector<float>{0, 0, 0, 0}) ==
        "imatrix_mse: all activations are zero: every channel counts the same");
  CHECK(importance_fallback(int4_group("memoryless_mse"), 8, {}).empty());
  CHECK_THROWS_WITH(
      importance_fallback(int4_group("imatrix_mse", R"({"strict": true})"), 8, {}),
      "imatrix_mse: no activations were observed: every channel counts the same, which strict forbids");
}

TEST_CASE("unknown observers and arguments are errors that list what there is") {
  CHECK_THAT(message_of(int4_group("mean_square")),
             Catch::Contains("observer 'mean_square' is unknown; there are memoryless_minmax, "));
  CHECK_THAT(message_of(int4_group("mse", R"({"patients": 3})")),
             Catch::Contains("observer_kwargs of mse: unknown key 'patients'"));
  CHECK(message_of(int4_group("mse", R"({"expand": 0.5})")) ==
        "observer_kwargs of mse: expand is 0.5, wanted at least 1");
  CHECK(message_of(int4_group("mse", R"({"norm": "two"})")) ==
        "observer_kwargs of mse: norm is '\"two\"', wanted a number");
  CHECK(message_of(int4_group("mse", R"({"chunk_size": 3, "averaging_constant": 0.1})")).empty());
}

TEST_CASE(
    "powers of float32 errors are those of the mathematics library to the last bit but one, and zero stays "
    "zero") {
  std::vector<float> values = {0.0f, 1e-30f, 3e-7f, 0.004f, 0.5f, 1.0f, 3.75f, 1e8f}, errors(values.size());
  // A grid whose codes are all zero: the error is the value itself.
  const Candidate candidate{
      values.data(), static_cast<int64_t>(values.size()), DType::f32, NumberType::integer, 8, 1e30f, 0, true,
      nullptr};
  for (const double norm : {2.4, 0.7, 1.0}) {
    candidate_errors(candidate, ErrorPower(norm, DType::f32, false), errors.data());
    for (size_t i = 0; i < values.size(); ++i)
      CHECK(static_cast<double>(errors[i]) ==
            Approx(static_cast<double>(static_cast<float>(std::pow(
                       static_cast<double>(values[i]), static_cast<double>(static_cast<float>(norm))))))
                .epsilon(1.2e-7));
  }
}
