// Scales and zero points of a weight, as they are stored on disk. This is the definition; fast versions are
// tested against it.
#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/quantize/packing.hpp"
#include "llmc/scheme.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

class Backend;

// Smallest and largest value under each scale, zero included. The grid is that of the scales:
// tensor [1]; channel [N, 1]; group and tensor_group [N, K / g]; block [ceil(N / bh), ceil(K / bw)].
struct ValueRanges {
  Shape shape;
  std::vector<float> min, max;  // [product of shape]
};

struct QuantizationParameters {
  Tensor scales;       // ValueRanges' shape; model dtype, or f8_e4m3 (NVFP4), or u8 exponents (MX)
  Tensor zero_points;  // i8, the same shape; empty when symmetric
  std::optional<float> global_scale;  // NVFP4: real scale = scales / global_scale
  // [K] the scale column of each column, in files written with actorder group (weight_g_idx); empty where
  // groups are runs of columns
  std::vector<int32_t> scale_column = {};
  QuantizationParameters copy() const {
    return {Tensor::copy_of(scales), zero_points.empty() ? Tensor() : Tensor::copy_of(zero_points),
            global_scale, scale_column};
  }
};

struct QuantizedMatrix {
  QuantizationArgs args;
  Shape shape;  // [N, K]
  // [N, K] i8 | f8_e4m3 | u8 fp4 codes; not packed. As a quantizer makes them, they may lie on its backend's
  // device
  Tensor codes;
  QuantizationParameters parameters;
  // [K]: which column GPTQ visited i-th; empty where order did not matter
  std::vector<int32_t> visiting_order = {};
};

// The scale grid of an [N, K] weight. Throws Error(invalid_argument), starting with `where`, when K is no
// multiple of the group size.
Shape scale_shape(const QuantizationArgs& args, const Shape& weight_shape, std::string_view where = "weight");
// of QuantizationParameters::scales
DType scale_storage_dtype(const QuantizationArgs& args, DType model_dtype);
DType code_dtype(const QuantizationArgs& args);  // of QuantizedMatrix::codes

// Works on any range of rows (block: ranges that start at a multiple of the block height); `merge_ranges`
// joins two views of the same grid (row tiles of a per-tensor scheme, batches of activations).
ValueRanges observe_ranges(const TensorView& weight, const QuantizationArgs& args);
void merge_ranges(ValueRanges& into, const ValueRanges& other);

// `model_dtype` is the dtype the arithmetic rounds to and the scales are stored in.
QuantizationParameters qparams_from_ranges(const ValueRanges& ranges,
                                           const QuantizationArgs& args,
                                           DType model_dtype,
                                           std::optional<float> global_scale = {},
                                           const ParallelFor& parallel = {});

// One scale of such a range before any global scale, a number of `model_dtype`: never zero, MX exponents
// expanded.
struct RangeScale {
  float scale = 0;
  int8_t zero_point = 0;
};
RangeScale scale_of_range(float minimum, float maximum, const QuantizationArgs& args, DType model_dtype);

// The ranges a weight's scales are made from, as args.observer finds them: the smallest and largest value, or
// less where that costs less error (mse_observer.hpp). `importance`: mean square of each input channel [K],
// for imatrix_mse; empty when there is none.
ValueRanges weight_ranges(const TensorView& weight,
                          const QuantizationArgs& args,
                          std::span<const float> importance = {},
                          const ParallelFor& parallel = {});

// The same on a backend, which searches itself where it can. The weight may lie on its device.
ValueRanges weight_ranges(const TensorView& weight,
                          const QuantizationArgs& args,
                          std::span<const float> importance,
                          Backend& backend);

// weight_ranges and qparams_from_ranges in one. A tensor_group weight without `global_scale` gets its own.
// Rows of a larger weight (block: from a multiple of the block height) get the scales that the whole would
// give them, unless the strategy is tensor or a searching observer's patience ends the search for the whole.
QuantizationParameters compute_qparams(const TensorView& weight,
                                       const QuantizationArgs& args,
                                       std::optional<float> global_scale = {},
                                       std::span<const float> importance = {});

// NVFP4's per-tensor divisor, 2688 / absmax, for the largest |value| of a weight and all its fused partners,
// or of an activation.
float nvfp4_global_scale(float absmax, DType model_dtype);
// of weights that are fused, by their ranges
float joint_global_scale(std::span<const ValueRanges> ranges, DType model_dtype);
float absolute_maximum(const TensorView& values);
float absolute_maximum(const ValueRanges& ranges);

// The multipliers that codes stand for: f32, the scales' shape, exponents expanded and the global scale
// divided in.
Tensor scale_values(const QuantizationParameters& parameters, const QuantizationArgs& args);

// The parameters of a static activation (input_scale, input_zero_point) or KV cache: like a per-tensor
// weight's.
inline QuantizationParameters activation_qparams(float minimum,
                                                 float maximum,
                                                 const QuantizationArgs& args,
                                                 DType model_dtype) {
  return qparams_from_ranges({{1}, {minimum}, {maximum}}, args, model_dtype);
}

}  // namespace llmc
