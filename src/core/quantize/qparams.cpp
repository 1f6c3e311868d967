#include "core/quantize/qparams.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/quantize/mse_observer.hpp"
#include "core/quantize/row_tiles.hpp"
#include "core/quantize/scale_grid.hpp"
#include "llmc/backend/ranges.hpp"
#include "llmc/backend/host_view.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

int64_t ceil_div(int64_t count, int64_t size) { return count / size + (count % size != 0); }

template <class T>
void reduce_row(const T* values, int64_t count, float& minimum, float& maximum) {
  constexpr int64_t kLanes = 16;
  float low[kLanes], high[kLanes];
  std::fill_n(low, kLanes, minimum);
  std::fill_n(high, kLanes, maximum);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      low[lane] = value < low[lane] ? value : low[lane];
      high[lane] = value > high[lane] ? value : high[lane];
    }
  for (; i < count; ++i) {
    low[0] = std::min(low[0], values[i]);
    high[0] = std::max(high[0], values[i]);
  }
  minimum = *std::min_element(low, low + kLanes);
  maximum = *std::max_element(high, high + kLanes);
}

void require_matrix(const Shape& shape, std::string_view where) {
  if (shape.size() != 2)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: shape {} got quantized, wanted [rows, columns]", where, to_string(shape)));
}

}  // namespace

Shape scale_shape(const QuantizationArgs& args, const Shape& weight_shape, std::string_view where) {
  require_matrix(weight_shape, where);
  const int64_t rows = weight_shape[0], columns = weight_shape[1];
  switch (args.strategy) {
    case Strategy::tensor:
      return {1};
    case Strategy::channel:
      return {rows, 1};
    case Strategy::block:
      return {ceil_div(rows, args.block_structure.value()[0]), scale_columns(args, columns)};
    case Strategy::group:
    case Strategy::tensor_group:
      if (columns % args.group_size.value() != 0)
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("{}: {} input channels are no multiple of group_size {}", where, columns,
                                *args.group_size));
      return {rows, columns / *args.group_size};
    default:
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{}: a weight cannot be quantized per token or per head", where));
  }
}

DType scale_storage_dtype(const QuantizationArgs& args, DType model_dtype) {
  if (is_mx(args)) return DType::u8;
  if (args.strategy == Strategy::tensor_group) return DType::f8_e4m3;
  switch (model_dtype) {
    case DType::bf16:
    case DType::f16:
    case DType::f32:
      return model_dtype;
    case DType::f64:
      return DType::f32;
    default:
      return DType::f16;
  }
}

DType code_dtype(const QuantizationArgs& args) {
  if (args.type == NumberType::integer) return DType::i8;
  return args.num_bits == 8 ? DType::f8_e4m3 : DType::u8;
}

ValueRanges observe_ranges(const TensorView& weight, const QuantizationArgs& args) {
  ValueRanges ranges{scale_shape(args, weight.shape), {}, {}};
  const auto cells = static_cast<size_t>(element_count(ranges.shape).value());
  ranges.min.assign(cells, 0.0f);
  ranges.max.assign(cells, 0.0f);

  const int64_t rows = weight.rows(), columns = weight.columns();
  const int64_t row_bytes = columns * static_cast<int64_t>(item_size(weight.dtype));
  const ScaleLayout layout(args, columns);
  std::vector<float> values(static_cast<size_t>(columns));
  for (int64_t row = 0; row < rows; ++row) {
    to_float(weight.data + row * row_bytes, weight.dtype, columns, values.data());
    size_t cell = static_cast<size_t>(row / layout.rows_per_scale * layout.scale_columns);
    for (int64_t begin = 0; begin < columns; begin += layout.columns_per_scale, ++cell)
      reduce_row(values.data() + begin, std::min(layout.columns_per_scale, columns - begin), ranges.min[cell],
                 ranges.max[cell]);
  }
  return ranges;
}

void merge_ranges(ValueRanges& into, const ValueRanges& other) {
  if (into.shape != other.shape)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("ranges: cannot merge {} into {}", to_string(other.shape), to_string(into.shape)));
  for (size_t i = 0; i < into.min.size(); ++i) {
    into.min[i] = std::min(into.min[i], other.min[i]);
    into.max[i] = std::max(into.max[i], other.max[i]);
  }
}

QuantizationParameters qparams_from_ranges(const ValueRanges& ranges,
                                           const QuantizationArgs& args,
                                           DType model_dtype,
                                           std::optional<float> global_scale,
                                           const ParallelFor& parallel) {
  constexpr int64_t kGrain = 4096;
  const DType storage = scale_storage_dtype(args, model_dtype);
  if (storage == DType::f8_e4m3 && !global_scale)
    throw Error(ErrorCode::internal, "qparams: tensor_group scales got no global scale");

  QuantizationParameters result;
  result.scales = Tensor(storage, ranges.shape);
  if (!args.symmetric) result.zero_points = Tensor(DType::i8, ranges.shape);
  if (storage == DType::f8_e4m3) result.global_scale = global_scale;

  const ScaleGrid grid(args, model_dtype, global_scale);
  const size_t item = item_size(storage);
  const auto fill = [&](int64_t begin, int64_t end) {
    for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
      const CellScale cell = scale_of_cell(std::min(ranges.min[i], 0.0f), std::max(ranges.max[i], 0.0f),
                                           grid);
      if (storage == DType::u8) result.scales.as<uint8_t>()[i] = mx_byte(cell.stored);
      else from_float(&cell.stored, 1, storage, result.scales.data() + i * item);
      if (!args.symmetric) result.zero_points.as<int8_t>()[i] = cell.zero_point;
    }
  };
  const auto cells = static_cast<int64_t>(ranges.min.size());
  parallel(cells, kGrain, fill);
  return result;
}

RangeScale scale_of_range(float minimum, float maximum, const QuantizationArgs& args, DType model_dtype) {
  ScaleGrid grid(args, model_dtype, {});
  if (grid.storage == ScaleStorage::e4m3) grid.storage = ScaleStorage::model;
  const CellScale cell = scale_of_cell(std::min(minimum, 0.0f), std::max(maximum, 0.0f), grid);
  return {cell.stored, cell.zero_point};
}

ValueRanges weight_ranges(const TensorView& weight,
                          const QuantizationArgs& args,
                          std::span<const float> importance,
                          const ParallelFor& parallel) {
  const auto search = range_search(args);
  return search ? search_ranges(weight, args, *search, importance, parallel)
                : observe_in_tiles(weight, args, parallel);
}

ValueRanges weight_ranges(const TensorView& weight,
                          const QuantizationArgs& args,
                          std::span<const float> importance,
                          Backend& backend) {
  if (const auto search = range_search(args))
    return search_ranges(weight, args, *search, importance, backend);
  if (RangeKernels* const kernels = weight.device != Device{} ? backend.range_kernels() : nullptr) {
    RangeTrials plain;
    plain.weight = weight;
    plain.args = &args;
    if (auto found = kernels->try_ranges(plain))
      return {scale_shape(args, weight.shape), std::move(found->min), std::move(found->max)};
  }
  return observe_in_tiles(*HostView(weight, backend), args, backend);
}

QuantizationParameters compute_qparams(const TensorView& weight,
                                       const QuantizationArgs& args,
                                       std::optional<float> global_scale,
                                       std::span<const float> importance) {
  const ValueRanges ranges = weight_ranges(weight, args, importance);
  if (args.strategy == Strategy::tensor_group && !global_scale)
    global_scale = nvfp4_global_scale(absolute_maximum(ranges), weight.dtype);
  return qparams_from_ranges(ranges, args, weight.dtype, global_scale);
}

float nvfp4_global_scale(float absmax, DType model_dtype) {
  constexpr float kRange = 448.0f * 6.0f;
  // 2688 / absmax overflows float16 for ordinary weights: float32 serves there.
  const DType dtype = model_dtype == DType::bf16 ? DType::bf16 : DType::f32;
  const float scale = round_to(
      round_to(1.0f / std::max(absmax, std::numeric_limits<float>::min()), dtype) * kRange, dtype);
  return std::isfinite(scale) ? scale : 1.0f;
}

float joint_global_scale(std::span<const ValueRanges> ranges, DType model_dtype) {
  float largest = 0;
  for (const ValueRanges& range : ranges) largest = std::max(largest, absolute_maximum(range));
  return nvfp4_global_scale(largest, model_dtype);
}

float absolute_maximum(const TensorView& values) {
  constexpr int64_t kPiece = 4096;
  float piece[kPiece], minimum = 0.0f, maximum = 0.0f;
  const int64_t count = values.size(), item = static_cast<int64_t>(item_size(values.dtype));
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t part = std::min(kPiece, count - begin);
    to_float(values.data + begin * item, values.dtype, part, piece);
    reduce_row(piece, part, minimum, maximum);
  }
  return std::max(-minimum, maximum);
}

float absolute_maximum(const ValueRanges& ranges) {
  float largest = 0;
  for (size_t i = 0; i < ranges.min.size(); ++i) largest = std::max({largest, -ranges.min[i], ranges.max[i]});
  return largest;
}

Tensor scale_values(const QuantizationParameters& parameters, const QuantizationArgs& args) {
  const TensorView stored(parameters.scales);
  Tensor values(DType::f32, stored.shape);
  to_float(stored.data, is_mx(args) ? DType::f8_e8m0 : stored.dtype, stored.size(), values.as<float>());
  if (parameters.global_scale)
    for (int64_t i = 0, count = values.size(); i < count; ++i)
      values.as<float>()[i] /= *parameters.global_scale;
  return values;
}

}  // namespace llmc
