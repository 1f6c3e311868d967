// Each chunk of rows runs all stages while it lies in the cache: memory is read once and written once.
#include "cpu/quantize_rows.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/quantize/finite.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/scale_grid.hpp"
#include "cpu/quantize_kernels.hpp"
#include "llmc/error.hpp"

namespace llmc::cpu {
namespace {

constexpr int64_t kChunkBytes = 128 << 10;  // of input, per task

bool is_supported(const RowQuantization& job) {
  const QuantizationArgs& args = *job.args;
  if (job.weight.dtype != DType::bf16 && job.weight.dtype != DType::f32) return false;
  return args.type == NumberType::integer || args.symmetric;
}

ScaleRule scale_rule(const RowQuantization& job) {
  const QuantizationArgs& args = *job.args;
  ScaleRule rule;
  rule.kind = is_mx(args)                       ? ScaleKind::e8m0
      : args.strategy == Strategy::tensor_group ? ScaleKind::e4m3_of_global
                                                : ScaleKind::model_dtype;
  rule.model = job.weight.dtype;
  rule.symmetric = args.symmetric;
  rule.low = static_cast<float>(args.quant_min());
  rule.high = static_cast<float>(args.quant_max());
  rule.mx_offset = args.num_bits == 4 ? 2 : 8;
  if (rule.kind == ScaleKind::e4m3_of_global) {
    if (!job.global_scale)
      throw Error(ErrorCode::internal, "cpu: rows of a tensor_group weight got no global scale");
    rule.global_scale = *job.global_scale;
  }
  return rule;
}

DType stored_scale_dtype(const ScaleRule& rule) {
  return rule.kind == ScaleKind::e8m0          ? DType::f8_e8m0
      : rule.kind == ScaleKind::e4m3_of_global ? DType::f8_e4m3
                                               : rule.model;
}

CodeRule code_rule(const RowQuantization& job, const ScaleRule& scales) {
  const QuantizationArgs& args = *job.args;
  CodeRule rule;
  rule.kind = args.type == NumberType::integer ? CodeKind::integer
      : args.num_bits == 8                     ? CodeKind::e4m3
                                               : CodeKind::e2m1;
  rule.low = scales.low;
  rule.high = scales.high;
  rule.offset = job.layout == CodeLayout::packed ? 1 << (args.num_bits - 1) : 0;
  if (scales.kind == ScaleKind::e8m0) rule.scales = ScaleValues::powers_of_two;
  else if (scales.kind == ScaleKind::model_dtype && job.weight.dtype == DType::bf16)
    rule.scales = ScaleValues::bf16;
  // NVFP4's global scale is float32, so quotients are float32 in the reference as well: no rounding to bfloat16.
  rule.round_quotient = job.rounding == Rounding::reference && job.weight.dtype == DType::bf16 &&
      scales.kind != ScaleKind::e4m3_of_global;
  rule.round_product = job.weight.dtype == DType::bf16 && scales.kind == ScaleKind::model_dtype;
  return rule;
}

// What one thread works with, for the cells of one row of cells.
struct Scratch {
  std::vector<float> low, high, values, zero_points;
  std::vector<std::byte> stored;
  std::vector<int8_t> stored_zero_points;
  std::vector<uint8_t> codes;
  Scratch(int64_t cells, int64_t columns)
      : low(static_cast<size_t>(cells + kCellPadding)),
        high(low.size()),
        values(low.size()),
        zero_points(low.size()),
        stored(low.size() * 4),
        stored_zero_points(low.size()),
        codes(static_cast<size_t>(columns + kCodePadding)) {}
};

class RowQuantizer {
 public:
  RowQuantizer(const QuantizeKernels& kernels, const RowQuantization& job)
      : kernels_(kernels),
        job_(job),
        layout_(*job.args, job.weight.columns()),
        cell_rows_(layout_.is_one() ? 1 : layout_.rows_per_scale),
        scale_rule_(scale_rule(job)),
        code_rule_(code_rule(job, scale_rule_)),
        columns_(job.weight.columns()),
        input_row_bytes_(columns_ * static_cast<int64_t>(item_size(job.weight.dtype))),
        code_row_bytes_(code_row_bytes(*job.args, job.layout, columns_)),
        scale_bytes_(static_cast<int64_t>(item_size(stored_scale_dtype(scale_rule_)))) {
    if (layout_.is_one() && !job.scales_given)
      throw Error(ErrorCode::internal, "cpu: rows with one scale for the whole tensor must be given it");
  }

  int64_t rows_per_chunk() const {
    const int64_t rows = std::max<int64_t>(1, kChunkBytes / std::max<int64_t>(input_row_bytes_, 1));
    return (rows + cell_rows_ - 1) / cell_rows_ * cell_rows_;
  }

  // Rows [begin, end), a whole number of cells high. False: some value is not finite.
  bool quantize(int64_t begin, int64_t end, WeightError& error) const {
    Scratch scratch(layout_.scale_columns, columns_);
    for (int64_t row = begin; row < end; row += cell_rows_) {
      const int64_t last = std::min(end, row + cell_rows_);
      if (!make_scales(row, last, scratch)) return false;
      CodeRule rule = code_rule_;
      rule.plain = kernels_.scales_are_plain(scratch.low.data(), scratch.high.data(), scratch.values.data(),
                                             layout_.scale_columns);
      for (int64_t r = row; r < last; ++r) make_codes(r, rule, scratch, error);
    }
    return true;
  }

 private:
  const std::byte* input(int64_t row) const { return job_.weight.data + row * input_row_bytes_; }

  bool make_scales(int64_t row, int64_t last, Scratch& scratch) const {
    std::fill(scratch.low.begin(), scratch.low.end(), 0.0f);
    std::fill(scratch.high.begin(), scratch.high.end(), 0.0f);
    const bool symmetric = job_.args->symmetric;
    for (int64_t r = row; r < last; ++r)
      if (!kernels_.ranges(input(r), job_.weight.dtype, columns_, layout_.columns_per_scale,
                           symmetric || job_.scales_given, scratch.low.data(), scratch.high.data()))
        return false;
    const int64_t first_cell = layout_.is_one() ? 0 : row / cell_rows_ * layout_.scale_columns;
    std::byte* const stored = job_.scales + first_cell * scale_bytes_;
    int8_t* const stored_zero_points = symmetric ? nullptr : job_.zero_points + first_cell;
    if (job_.scales_given) {
      take_scales(stored, stored_zero_points, scratch);
    } else {
      kernels_.scales(
          scale_rule_, scratch.low.data(), scratch.high.data(), layout_.scale_columns,
          {scratch.stored.data(), scratch.values.data(), symmetric ? nullptr : scratch.zero_points.data(),
           symmetric ? nullptr : scratch.stored_zero_points.data()});
      std::memcpy(stored, scratch.stored.data(), static_cast<size_t>(layout_.scale_columns * scale_bytes_));
      if (!symmetric)
        std::memcpy(stored_zero_points, scratch.stored_zero_points.data(),
                    static_cast<size_t>(layout_.scale_columns));
    }
    return true;
  }

  void take_scales(const std::byte* stored, const int8_t* zero_points, Scratch& scratch) const {
    to_float(stored, stored_scale_dtype(scale_rule_), layout_.scale_columns, scratch.values.data());
    if (scale_rule_.kind == ScaleKind::e4m3_of_global)
      for (int64_t cell = 0; cell < layout_.scale_columns; ++cell)
        scratch.values[static_cast<size_t>(cell)] /= scale_rule_.global_scale;
    if (zero_points) std::copy(zero_points, zero_points + layout_.scale_columns, scratch.zero_points.begin());
  }

  void make_codes(int64_t row, const CodeRule& rule, Scratch& scratch, WeightError& error) const {
    std::byte* const out = job_.codes + row * code_row_bytes_;
    const bool in_place = code_row_bytes_ == columns_ &&
        (job_.layout == CodeLayout::bytes || job_.args->num_bits == 8);
    uint8_t* const codes = in_place ? reinterpret_cast<uint8_t*>(out) : scratch.codes.data();
    kernels_.codes(rule, input(row), job_.weight.dtype, columns_, layout_.columns_per_scale,
                   scratch.values.data(), job_.args->symmetric ? nullptr : scratch.zero_points.data(), codes,
                   job_.want_error ? &error : nullptr);
    if (!in_place) kernels_.pack(codes, columns_, job_.args->num_bits, out, code_row_bytes_);
  }

  const QuantizeKernels kernels_;
  const RowQuantization& job_;
  const ScaleLayout layout_;
  const int64_t cell_rows_;  // one at a time where all share a scale
  const ScaleRule scale_rule_;
  const CodeRule code_rule_;
  const int64_t columns_, input_row_bytes_, code_row_bytes_, scale_bytes_;
};

}  // namespace

std::optional<RowsQuantized> quantize_rows(Engine& engine, const RowQuantization& job) {
  if (!is_supported(job)) return std::nullopt;
  const int64_t rows = job.weight.rows();
  if (rows == 0 || job.weight.columns() == 0) return RowsQuantized{};
  const RowQuantizer quantizer(QuantizeKernels(engine.isa.vectors), job);
  const int64_t per_chunk = quantizer.rows_per_chunk(), chunks = (rows + per_chunk - 1) / per_chunk;
  // summed in order afterwards: the total does not depend on threads
  std::vector<WeightError> errors(static_cast<size_t>(chunks));
  std::vector<char> bad(static_cast<size_t>(chunks));
  engine.pool.run(chunks, [&](int64_t chunk, int) {
    const bool finite = quantizer.quantize(chunk * per_chunk, std::min(rows, (chunk + 1) * per_chunk),
                                           errors[static_cast<size_t>(chunk)]);
    bad[static_cast<size_t>(chunk)] = finite ? 0 : 1;
  });
  RowsQuantized result;
  if (std::find(bad.begin(), bad.end(), 1) != bad.end())
    result.first_non_finite = first_non_finite(job.weight);
  for (const WeightError& part : errors) {
    result.error += part.error;
    result.energy += part.energy;
  }
  return result;
}

ValueExtent scan_values(Engine& engine, const TensorView& values) {
  const int64_t count = values.size(), item = static_cast<int64_t>(item_size(values.dtype)),
                per_chunk = kChunkBytes / item, chunks = (count + per_chunk - 1) / per_chunk;
  const QuantizeKernels kernels(engine.isa.vectors);
  const bool fast = values.dtype == DType::bf16 || values.dtype == DType::f32;
  std::vector<ValueExtent> parts(static_cast<size_t>(chunks));
  engine.pool.run(chunks, [&](int64_t chunk, int) {
    const int64_t begin = chunk * per_chunk, part = std::min(per_chunk, count - begin);
    const std::byte* const data = values.data + begin * item;
    ValueExtent& found = parts[static_cast<size_t>(chunk)];
    if (fast) {
      float low[1 + kCellPadding] = {}, high[1 + kCellPadding] = {};
      if (kernels.ranges(data, values.dtype, part, part, false, low, high)) {
        found.min = low[0];
        found.max = high[0];
        return;
      }
    }
    found.first_non_finite = first_non_finite(TensorView(data, values.dtype, {part}));
    if (found.first_non_finite) return;
    std::vector<float> floats(static_cast<size_t>(part));
    to_float(data, values.dtype, part, floats.data());
    for (const float value : floats) {
      found.min = std::min(found.min, value);
      found.max = std::max(found.max, value);
    }
  });
  ValueExtent total;
  for (size_t chunk = 0; chunk < parts.size(); ++chunk) {
    if (parts[chunk].first_non_finite) {
      total.first_non_finite = static_cast<int64_t>(chunk) * per_chunk + *parts[chunk].first_non_finite;
      return total;
    }
    total.min = std::min(total.min, parts[chunk].min);
    total.max = std::max(total.max, parts[chunk].max);
  }
  return total;
}

}  // namespace llmc::cpu
