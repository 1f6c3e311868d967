#include <catch2/catch.hpp>

#include "core/formats/compressed_tensors.hpp"
#include "core/formats/verify.hpp"
#include "core/quantize/rounding.hpp"
#include "llmc/error.hpp"
#include "files/temporary_folder.hpp"

using namespace llmc;
using Catch::Matchers::Contains;

namespace {

// A folder with the Linear "a" [8, 128] quantized by `preset`, changed in one way before it is written.
struct Sample {
  Scheme scheme;
  std::vector<PlannedTensor> planned;
  QuantizedMatrix matrix;
  std::vector<std::string> ignore;

  explicit Sample(const char* preset) : scheme(preset_scheme(preset)) {
    scheme.targets = {"Linear"};
    scheme.input_activations.reset();
    scheme.format = infer_format(scheme);
    Tensor weight(DType::f32, {8, 128});
    for (int64_t i = 0; i < weight.size(); ++i) weight.as<float>()[i] = static_cast<float>(i % 13 - 6);
    planned = planned_tensors("a", weight.shape(), scheme, *scheme.format, DType::f32);
    matrix = {*scheme.weights, weight.shape(), {}, compute_qparams(weight, *scheme.weights)};
    matrix.codes = quantize_matrix(weight, matrix.parameters, matrix.args, Rounding::exact);
  }

  std::vector<std::string> faults(const std::vector<PlannedTensor>& extra = {}) const {
    const TemporaryFolder folder;
    CheckpointWriter writer({.output_dir = folder / "out"});
    std::vector<PlannedTensor> all = planned;
    all.insert(all.end(), extra.begin(), extra.end());
    writer.plan(all);
    write_quantized(writer, "a", matrix, *scheme.format);
    for (const PlannedTensor& tensor : extra) {
      const Tensor zeros = Tensor::zeros(tensor.dtype, tensor.shape);
      writer.write_tensor(tensor.name, zeros);
    }
    QuantizationConfig config;
    config.groups.push_back({"", scheme});
    config.ignore = ignore;
    writer.write_file("config.json",
                      merge_quantization_config("{}", write_quantization_config(config, ConfigFlavor::vllm)));
    writer.finish();
    return verify_folder(Checkpoint(folder / "out"));
  }
};

}  // namespace

TEST_CASE("a sound folder has no faults") {
  for (const char* preset :
       {"W4A16", "W4A16_ASYM", "W3A16", "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4A16", "MXFP4A16", "MXFP8A16"}) {
    INFO(preset);
    CHECK(Sample(preset).faults({{"norm.weight", DType::f32, {8}}, {"a.bias", DType::f32, {8}}}).empty());
  }
}

TEST_CASE("every kind of fault is told with its module") {
  {
    Sample sample("W4A16");
    sample.matrix.parameters.scales.as<float>()[3] = 0;
    CHECK(sample.faults() ==
          std::vector<std::string>{"a.weight_scale: got 0 at index 3, wanted finite numbers above 0"});
  }
  CHECK(Sample("W4A16").faults({{"a.weight_zero_point", DType::i32, {1, 1}}}) ==
        std::vector<std::string>{
            "a.weight_zero_point: got a tensor, wanted none: its scheme has no such part"});
  CHECK(Sample("W4A16").faults({{"b.weight", DType::f32, {4, 4}}}) ==
        std::vector<std::string>{"b: got a plain weight, though it is a target of 'group_0' and is not "
                                 "ignored, wanted a quantized weight, or its name in ignore"});
  CHECK(Sample("W4A16")
            .faults({{"b.weight_scale", DType::f32, {4, 1}}})
            .at(0)
            .find("has no tensor 'b.weight_packed'") != std::string::npos);
  {
    Sample sample("W4A16");
    sample.ignore = {"a"};
    CHECK(
        sample.faults() ==
        std::vector<std::string>{"a: got quantized tensors, though it is in ignore, wanted a plain weight"});
    sample.ignore = {};
    sample.scheme.targets = {"re:b.*"};
    CHECK(sample.faults() ==
          std::vector<std::string>{"a: got quantized tensors, though no config group targets it, wanted a "
                                   "plain weight, or a config group"});
  }
  {
    Sample sample("FP8_DYNAMIC");
    sample.matrix.codes.as<uint8_t>()[2 * 128 + 5] = 0x7F;
    CHECK(sample.faults() ==
          std::vector<std::string>{"a.weight: got NaN or Inf at [2, 5], decoded, wanted finite numbers"});
  }
  {
    Sample sample("FP8_DYNAMIC");
    sample.scheme.weights->strategy = Strategy::tensor;  // the config says so, the tensors do not
    CHECK(sample.faults() ==
          std::vector<std::string>{"a.weight_scale: got [8, 1] F32, wanted [1] of the model's dtype"});
  }
}

TEST_CASE("a stored module is read back to the weights a server sees") {
  const TemporaryFolder folder;
  const Sample sample("W4A16_ASYM");
  CheckpointWriter writer({.output_dir = folder / "out"});
  writer.plan(sample.planned);
  write_quantized(writer, "a", sample.matrix, *sample.scheme.format);
  writer.finish();
  const Tensor weight = read_dequantized(Checkpoint(folder / "out"), "a", *sample.scheme.weights,
                                         *sample.scheme.format, DType::f32);
  const Tensor direct = dequantize_matrix(sample.matrix, DType::f32);
  CHECK(std::equal(weight.as<float>(), weight.as<float>() + weight.size(), direct.as<float>()));
}
