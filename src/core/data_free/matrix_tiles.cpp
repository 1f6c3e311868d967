#include "core/data_free/matrix_tiles.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/files/weight_reader.hpp"
#include "core/quantize/finite.hpp"
#include "core/quantize/mse_observer.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/packing.hpp"
#include "core/quantize/row_tiles.hpp"
#include "core/quantize/scale_grid.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

constexpr int64_t kWordRows = 32;  // so many zero points of any width fill whole words

double largest_code(const QuantizationArgs& args) {
  return args.symmetric ? -args.quant_min() : args.quant_max() - args.quant_min();
}

}  // namespace

struct MatrixTiles::Parts {
  TileBuffer scales, zero_points;  // scales as on disk; zero points i8, not packed
  Shape shape;
  DType dtype = DType::bf16;

  QuantizationParameters parameters(const QuantizationArgs& args, std::optional<float> global_scale) const {
    QuantizationParameters copy;
    copy.scales = Tensor::copy_of(TensorView(scales.data(), dtype, shape));
    if (!args.symmetric) copy.zero_points = Tensor::copy_of(TensorView(zero_points.data(), DType::i8, shape));
    if (args.strategy == Strategy::tensor_group) copy.global_scale = global_scale;
    return copy;
  }
};

MatrixTiles::MatrixTiles(const MatrixRun& run, const ModuleDecision& decision)
    : run_(run),
      decision_(decision),
      args_(*decision.scheme->weights),
      first_byte_(WeightReader(run.source, decision.weight.source).first_byte()),
      layout_(run.output.layout(decision.weight.module.name, args_, decision.format)) {}

bool MatrixTiles::needs_whole() const {
  return range_search(args_).has_value() || decision_.weight.source.transposed;
}

int64_t MatrixTiles::tile_rows() const {
  const int64_t unit = args_.strategy == Strategy::block ? args_.block_structure.value()[0] : kWordRows;
  const int64_t row_bytes = std::max<int64_t>(
      1, decision_.weight.shape[1] * static_cast<int64_t>(item_size(decision_.weight.dtype)));
  return std::max<int64_t>(1, kTileBytes / row_bytes / unit) * unit;
}

TileRead MatrixTiles::read_of(int64_t begin, int64_t end) const {
  const int64_t row_bytes = decision_.weight.shape[1] *
      static_cast<int64_t>(item_size(decision_.weight.dtype));
  return {&decision_.weight.source.tensor, first_byte_ + begin * row_bytes, (end - begin) * row_bytes};
}

TensorView MatrixTiles::view(int64_t begin, int64_t end, const TileBuffer& input) const {
  return TensorView(input.data(), decision_.weight.dtype, {end - begin, decision_.weight.shape[1]});
}

void MatrixTiles::scan(int64_t begin, int64_t end, const TileBuffer& input) {
  const ValueExtent found = run_.backend.scan(view(begin, end, input));
  if (found.first_non_finite)
    refuse_non_finite(run_.source.directory(), decision_.weight.source.tensor,
                      begin * decision_.weight.shape[1] + *found.first_non_finite);
  extent_.min = std::min(extent_.min, found.min);
  extent_.max = std::max(extent_.max, found.max);
}

float MatrixTiles::largest() const { return std::max(-extent_.min, extent_.max); }

void MatrixTiles::settle(std::optional<float> global_scale) {
  if (args_.strategy == Strategy::tensor_group) global_scale_ = global_scale;
  else
    tensor_parameters_ = qparams_from_ranges({{1}, {extent_.min}, {extent_.max}}, args_,
                                             decision_.weight.dtype);
}

void MatrixTiles::quantize(int64_t begin, int64_t end, const TileBuffer& input) {
  const TensorView tile = view(begin, end, input);
  Parts parts;
  parts.shape = scale_shape(args_, tile.shape);
  parts.dtype = scale_storage_dtype(args_, tile.dtype);
  const int64_t cells = element_count(parts.shape).value();
  parts.scales = run_.pipeline.allocate(cells * static_cast<int64_t>(item_size(parts.dtype)));
  if (!args_.symmetric) parts.zero_points = run_.pipeline.allocate(cells);

  RowQuantization job;
  job.weight = tile;
  job.args = &args_;
  job.rounding = run_.rounding;
  job.layout = layout_ ? layout_->code_layout : CodeLayout::bytes;
  job.global_scale = global_scale_;
  job.scales_given = !tensor_parameters_.scales.empty();
  TileBuffer codes = run_.pipeline.allocate((end - begin) *
                                            code_row_bytes(args_, job.layout, tile.columns()));
  job.codes = codes.data();
  job.scales = parts.scales.data();
  job.zero_points = args_.symmetric ? nullptr : reinterpret_cast<int8_t*>(parts.zero_points.data());
  if (!tensor_parameters_.scales.empty()) {
    std::memcpy(job.scales, tensor_parameters_.scales.data(),
                static_cast<size_t>(tensor_parameters_.scales.bytes()));
    if (job.zero_points) job.zero_points[0] = tensor_parameters_.zero_points.as<int8_t>()[0];
  }

  const RowsQuantized result = quantize_row_tile(job, run_.backend);
  if (result.first_non_finite)
    refuse_non_finite(run_.source.directory(), decision_.weight.source.tensor,
                      begin * tile.columns() + *result.first_non_finite);
  error_ += result.error;
  energy_ += result.energy;
  check_decodes(tile, begin, parts);
  layout_ ? store(begin, tile, std::move(codes), std::move(parts)) : store_decoded(begin, tile, codes, parts);
}

// What verify_folder looks for in values, looked for while they are at hand: scales above zero and finite, no
// code that decodes to infinity. Codes themselves are on their grid by construction. A product that might
// overflow is decoded to be sure.
void MatrixTiles::check_decodes(const TensorView& tile, int64_t begin, const Parts& parts) const {
  const QuantizationParameters parameters = parts.parameters(args_, global_scale_);
  const Tensor values = scale_values(parameters, args_);
  const float* const scales = values.as<float>();
  const int64_t cells = values.size();
  if (cells == 0) return;
  float least = scales[0], most = scales[0];
  for (int64_t i = 1; i < cells; ++i) {
    least = std::min(least, scales[i]);
    most = std::max(most, scales[i]);
  }
  const DType out = is_floating(parts.dtype) && item_size(parts.dtype) > 1 ? parts.dtype : DType::bf16;
  const double limit = out == DType::f16 ? 65000.0 : 3.38e38;
  if (least > 0 && static_cast<double>(most) * largest_code(args_) < limit) return;
  bool sound = least > 0 && std::isfinite(most);
  if (sound) {
    const Tensor codes = quantize_matrix(tile, parameters, args_, run_.rounding),
                 decoded = dequantize_matrix(codes, parameters, args_, out);
    sound = !first_non_finite(decoded);
  }
  if (!sound)
    throw Error(ErrorCode::numeric,
                fmt::format("'{}': tensor '{}' has values in rows [{}, {}) that {} cannot hold: they would "
                            "decode to infinity",
                            run_.source.directory(), decision_.weight.source.tensor, begin,
                            begin + tile.rows(), describe(args_)));
}

void MatrixTiles::store(int64_t begin, const TensorView& tile, TileBuffer codes, Parts parts) {
  const int64_t row_bytes = code_row_bytes(args_, layout_->code_layout, tile.columns());
  run_.pipeline.write(layout_->codes, begin * row_bytes, std::move(codes), tile.rows() * row_bytes);
  if (args_.strategy == Strategy::tensor) return;  // finish() stores the one scale
  const ScaleLayout scales(args_, tile.columns());
  const int64_t cells = element_count(parts.shape).value(),
                first = begin / scales.rows_per_scale * scales.scale_columns,
                item = static_cast<int64_t>(item_size(parts.dtype));
  run_.pipeline.write(layout_->scales, first * item, std::move(parts.scales), cells * item);
  if (args_.symmetric) return;
  if (!layout_->zero_points_packed)
    return run_.pipeline.write(layout_->zero_points, first, std::move(parts.zero_points), cells);
  const Tensor packed = pack_int_columns(TensorView(parts.zero_points.data(), DType::i8, parts.shape),
                                         args_.num_bits);
  TileBuffer words = run_.pipeline.allocate(packed.bytes());
  std::memcpy(words.data(), packed.data(), static_cast<size_t>(packed.bytes()));
  run_.pipeline.write(layout_->zero_points, begin / kWordRows * args_.num_bits * scales.scale_columns * 4,
                      std::move(words), packed.bytes());
}

void MatrixTiles::store_decoded(int64_t begin,
                                const TensorView& tile,
                                const TileBuffer& codes,
                                const Parts& parts) {
  QuantizedMatrix matrix{args_, tile.shape,
                         Tensor::copy_of(TensorView(codes.data(), code_dtype(args_), tile.shape)),
                         parts.parameters(args_, global_scale_)};
  const Tensor decoded = dequantize_in_tiles(matrix, tile.dtype, run_.backend);
  TileBuffer values = run_.pipeline.allocate(decoded.bytes());
  std::memcpy(values.data(), decoded.data(), static_cast<size_t>(decoded.bytes()));
  run_.pipeline.write(decision_.weight.module.name + ".weight",
                      begin * (tile.rows() ? decoded.bytes() / tile.rows() : 0), std::move(values),
                      decoded.bytes());
}

void MatrixTiles::finish() {
  if (!layout_) return;
  const std::string& module = decision_.weight.module.name;
  if (!tensor_parameters_.scales.empty()) {
    run_.writer.write_tensor(layout_->scales, tensor_parameters_.scales);
    if (!args_.symmetric) run_.writer.write_tensor(layout_->zero_points, tensor_parameters_.zero_points);
  }
  write_matrix_facts(run_.writer, module, args_, decision_.format, decision_.weight.shape, global_scale_);
}

double MatrixTiles::relative_error() const { return energy_ > 0 ? std::sqrt(error_ / energy_) : 0.0; }

}  // namespace llmc
