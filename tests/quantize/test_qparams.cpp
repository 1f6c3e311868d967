#include <catch2/catch.hpp>
#include <cstring>
#include <vector>

#include "core/quantize/number_formats.hpp"
#include "core/quantize/qparams.hpp"
#include "core/quantize/rounding.hpp"
#include "llmc/error.hpp"

using namespace llmc;

namespace {

Tensor bf16_row(const std::vector<float>& values) {
  Tensor row(DType::bf16, {1, static_cast<int64_t>(values.size())});
  from_float(values.data(), row.size(), DType::bf16, row.data());
  return row;
}

QuantizationArgs per_channel(int bits, NumberType type = NumberType::integer) {
  QuantizationArgs args;
  args.num_bits = bits;
  args.type = type;
  args.strategy = Strategy::channel;
  return args;
}

uint16_t scale_bits(const QuantizationParameters& parameters) { return parameters.scales.as<uint16_t>()[0]; }

int quantize_one(float absmax, float value, int bits, Rounding rounding) {
  const Tensor row = bf16_row({absmax, value});
  const QuantizationArgs args = per_channel(bits);
  return quantize_matrix(row, compute_qparams(row, args), args, rounding).as<int8_t>()[1];
}

}  // namespace

TEST_CASE("a symmetric scale is absmax over half the number of steps, rounded to bfloat16") {
  const Tensor row = bf16_row({1.0f});
  CHECK(scale_bits(compute_qparams(row, per_channel(4))) == 0x3E09);
  CHECK(scale_bits(compute_qparams(row, per_channel(8))) == 0x3C01);
  CHECK(scale_bits(compute_qparams(row, per_channel(8, NumberType::floating))) == 0x3B12);
}

TEST_CASE("the reference rounds the quotient to bfloat16 first, exact rounding does not") {
  CHECK(quantize_one(1.0f, 1.0f, 4, Rounding::reference) == 7);
  CHECK(quantize_one(1.0f, -1.0f, 4, Rounding::reference) == -7);
  CHECK(quantize_one(1.0f, 0.2001953125f, 4, Rounding::reference) == 2);
  CHECK(quantize_one(1.0f, 0.2001953125f, 4, Rounding::exact) == 1);
  CHECK(quantize_one(0.1865234375f, 0.1796875f, 8, Rounding::reference) == 122);
  CHECK(quantize_one(0.1865234375f, 0.1796875f, 8, Rounding::exact) == 123);
}

TEST_CASE("an asymmetric range puts its zero on a code") {
  QuantizationArgs args = per_channel(4);
  args.symmetric = false;
  const Tensor row = bf16_row({-0.30078125f, 0.8984375f});
  const QuantizationParameters parameters = compute_qparams(row, args);
  CHECK(float_from_bf16(scale_bits(parameters)) == 0.080078125f);
  CHECK(parameters.zero_points.as<int8_t>()[0] == -4);
}

TEST_CASE("a row of zeros gets the smallest scale and decodes to zeros") {
  for (const bool symmetric : {true, false}) {
    QuantizationArgs args = per_channel(4);
    args.symmetric = symmetric;
    const Tensor row = bf16_row({0, 0});
    const QuantizationParameters parameters = compute_qparams(row, args);
    CHECK(float_from_bf16(scale_bits(parameters)) == 0.0078125f);
    const Tensor codes = quantize_matrix(row, parameters, args, Rounding::exact);
    const Tensor back = dequantize_matrix(codes, parameters, args, DType::f32);
    CHECK(back.as<float>()[0] == 0.0f);
  }
}

TEST_CASE("NVFP4's global scale takes two roundings, and float32 where the model is float16") {
  CHECK(nvfp4_global_scale(0.37109375f, DType::bf16) == 7232.0f);
  CHECK(nvfp4_global_scale(0.0419921875f, DType::bf16) == 64256.0f);
  CHECK(nvfp4_global_scale(3.140625f, DType::bf16) == 856.0f);
  CHECK(nvfp4_global_scale(0.01f, DType::f16) == Approx(268800.0f));
  CHECK(nvfp4_global_scale(0.0f, DType::bf16) == 1.0f);
}

TEST_CASE("NVFP4's group scales are e4m3 multiples of one over the global scale") {
  const QuantizationArgs args = *preset_scheme("NVFP4A16").weights;
  const ValueRanges ranges{{1, 3}, {0, -0.10009765625f, 0}, {0.37109375f, 0, 0}};
  const QuantizationParameters parameters = qparams_from_ranges(ranges, args, DType::bf16, 7232.0f);
  const uint8_t* codes = parameters.scales.as<uint8_t>();
  CHECK(codes[0] == 0x7E);
  CHECK(codes[1] == 0x6F);
  CHECK(codes[2] == 0x20);
}

TEST_CASE("MX exponents step up at three quarters of the way to the next power of two") {
  struct Row {
    float absmax;
    int fp4, fp8;
  };
  const Row rows[] = {{1.0f, 125, 119}, {1.7421875f, 125, 119}, {1.75f, 126, 120}, {6.0f, 127, 121},
                      {7.0f, 128, 122}, {448.0f, 134, 128},     {0.0f, 0, 0},      {-0.0f, 0, 0}};
  for (const Row& row : rows) {
    const ValueRanges ranges{{1, 1}, {0}, {row.absmax}};
    CHECK(qparams_from_ranges(ranges, *preset_scheme("MXFP4A16").weights, DType::bf16)
              .scales.as<uint8_t>()[0] == row.fp4);
    CHECK(qparams_from_ranges(ranges, *preset_scheme("MXFP8A16").weights, DType::bf16)
              .scales.as<uint8_t>()[0] == row.fp8);
  }
  const ValueRanges zero{{1, 1}, {0}, {0}};
  CHECK(qparams_from_ranges(zero, *preset_scheme("MXFP4A16").weights, DType::f16).scales.as<uint8_t>()[0] ==
        127);
}

TEST_CASE("row tiles quantize to the same bytes as the whole matrix, for every strategy") {
  Tensor weight(DType::bf16, {300, 256});
  for (int64_t i = 0; i < weight.size(); ++i)
    weight.as<uint16_t>()[i] = bf16_from_float(static_cast<float>((i * 7919 % 2003) - 1001) / 500.0f);
  for (const auto* preset : {"W4A16", "W4A16_ASYM", "W8A8", "FP8", "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4A16",
                             "MXFP4A16", "MXFP8A16"}) {
    INFO(preset);
    const QuantizationArgs args = *preset_scheme(preset).weights;
    const QuantizationParameters parameters = compute_qparams(weight, args);
    const Tensor codes = quantize_matrix(weight, parameters, args, Rounding::exact);
    const Tensor values = dequantize_matrix(codes, parameters, args, DType::bf16);
    Tensor tiled_codes(codes.dtype(), codes.shape()), tiled_values(DType::bf16, codes.shape());
    for (int64_t row = 0; row < 300; row += 70) {
      const int64_t end = std::min<int64_t>(300, row + 70);
      quantize_rows(TensorView(weight).row_range(row, end), row, parameters, args, Rounding::exact,
                    tiled_codes.data() + row * 256);
      dequantize_rows(TensorView(codes).row_range(row, end), row, parameters, args, DType::bf16,
                      tiled_values.data() + row * 512);
    }
    CHECK(std::memcmp(codes.data(), tiled_codes.data(), static_cast<size_t>(codes.bytes())) == 0);
    CHECK(std::memcmp(values.data(), tiled_values.data(), static_cast<size_t>(values.bytes())) == 0);
  }
}

TEST_CASE("a ragged matrix gets a rounded-up grid of blocks") {
  QuantizationArgs args = *preset_scheme("FP8_BLOCK").weights;
  args.block_structure = {4, 3};
  const Tensor weight = Tensor::zeros(DType::bf16, {9, 7});
  CHECK(observe_ranges(weight, args).shape == Shape{3, 3});
}

TEST_CASE("input channels that do not fill whole groups are refused by name") {
  const QuantizationArgs args = *preset_scheme("W4A16").weights;
  CHECK_THROWS_WITH(scale_shape(args, {64, 100}, "model.layers.0.mlp.up_proj"),
                    "model.layers.0.mlp.up_proj: 100 input channels are no multiple of group_size 128");
}
