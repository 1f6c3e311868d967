#include "core/quantize/row_tiles.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/quantize/finite.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/packing.hpp"
#include "core/quantize/scale_grid.hpp"

namespace llmc {

Tensor quantize_in_tiles(const TensorView& weight,
                         const QuantizationParameters& parameters,
                         const QuantizationArgs& args,
                         Rounding rounding,
                         Backend& backend) {
  Tensor codes(code_dtype(args), weight.shape);
  const int64_t row_bytes = weight.columns() * static_cast<int64_t>(item_size(codes.dtype()));
  backend.parallel_for(weight.rows(), kRowsPerTask, [&](int64_t begin, int64_t end) {
    quantize_rows(weight.row_range(begin, end), begin, parameters, args, rounding,
                  codes.data() + begin * row_bytes);
  });
  return codes;
}

Tensor dequantize_in_tiles(const QuantizedMatrix& matrix, DType out, Backend& backend) {
  Tensor values(out, matrix.shape);
  const int64_t row_bytes = values.columns() * static_cast<int64_t>(item_size(out));
  backend.parallel_for(values.rows(), kRowsPerTask, [&](int64_t begin, int64_t end) {
    dequantize_rows(matrix.codes.view().row_range(begin, end), begin, matrix.parameters, matrix.args, out,
                    values.data() + begin * row_bytes);
  });
  return values;
}

Tensor dequantize_for_forward(const QuantizedMatrix& matrix, DType out, Backend& backend) {
  const Tensor multipliers = scale_values(matrix.parameters, matrix.args);
  Dequantization job;
  job.codes = matrix.codes;
  job.args = &matrix.args;
  job.multipliers = multipliers;
  if (!matrix.parameters.zero_points.empty()) job.zero_points = matrix.parameters.zero_points;
  job.product_dtype = product_dtype(matrix.parameters, out);
  job.out = out;
  if (RowKernels* const kernels = backend.row_kernels())
    if (auto values = kernels->dequantize(job)) return std::move(*values);
  return dequantize_in_tiles(matrix, out, backend);
}

double relative_weight_error(const TensorView& weight, const QuantizedMatrix& matrix, Backend& backend) {
  const int64_t rows = weight.rows(), columns = weight.columns(),
                tiles = (rows + kRowsPerTask - 1) / kRowsPerTask;
  // one sum per tile: the total does not depend on threads
  std::vector<double> error(static_cast<size_t>(tiles)), energy(static_cast<size_t>(tiles));
  backend.parallel_for(tiles, 1, [&](int64_t first, int64_t last) {
    std::vector<float> original(static_cast<size_t>(columns)), decoded(static_cast<size_t>(columns));
    for (int64_t tile = first; tile < last; ++tile) {
      for (int64_t row = tile * kRowsPerTask; row < std::min(rows, (tile + 1) * kRowsPerTask); ++row) {
        to_float(weight.row_range(row, row + 1), original.data());
        dequantize_rows(matrix.codes.view().row_range(row, row + 1), row, matrix.parameters, matrix.args,
                        DType::f32, reinterpret_cast<std::byte*>(decoded.data()));
        for (int64_t k = 0; k < columns; ++k) {
          const double difference = static_cast<double>(original[k]) - static_cast<double>(decoded[k]);
          error[tile] += difference * difference;
          energy[tile] += static_cast<double>(original[k]) * static_cast<double>(original[k]);
        }
      }
    }
  });
  double total_error = 0, total_energy = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) {
    total_error += error[tile];
    total_energy += energy[tile];
  }
  return total_energy > 0 ? std::sqrt(total_error / total_energy) : 0.0;
}

namespace {

// The rows of `job` from `begin` on, with their part of what it reads and writes.
struct JobPart {
  const RowQuantization& job;
  TensorView weight;
  int64_t first_cell, cells;

  JobPart(const RowQuantization& whole, int64_t begin, int64_t end)
      : job(whole),
        weight(whole.weight.row_range(begin, end)) {
    const ScaleLayout layout(*job.args, weight.columns());
    first_cell = begin / layout.rows_per_scale * layout.scale_columns;
    cells = element_count(scale_shape(*job.args, weight.shape)).value();
  }

  QuantizationParameters given() const {
    QuantizationParameters parameters;
    const DType storage = scale_storage_dtype(*job.args, weight.dtype);
    const Shape shape = scale_shape(*job.args, weight.shape);
    parameters.scales = Tensor::copy_of(
        TensorView(job.scales + first_cell * static_cast<int64_t>(item_size(storage)), storage, shape));
    if (!job.args->symmetric)
      parameters.zero_points = Tensor::copy_of(TensorView(job.zero_points + first_cell, DType::i8, shape));
    if (job.args->strategy == Strategy::tensor_group) parameters.global_scale = job.global_scale;
    return parameters;
  }
  void store(const QuantizationParameters& parameters) const {
    const auto item = static_cast<int64_t>(item_size(parameters.scales.dtype()));
    std::memcpy(job.scales + first_cell * item, parameters.scales.data(), static_cast<size_t>(cells * item));
    if (!job.args->symmetric)
      std::memcpy(job.zero_points + first_cell, parameters.zero_points.data(), static_cast<size_t>(cells));
  }
};

void store_codes(const Tensor& codes, const RowQuantization& job, int64_t first_row) {
  std::byte* const to = job.codes + first_row * code_row_bytes(*job.args, job.layout, codes.columns());
  const auto put = [&](const Tensor& stored) {
    std::memcpy(to, stored.data(), static_cast<size_t>(stored.bytes()));
  };
  if (job.layout == CodeLayout::bytes || codes.dtype() == DType::f8_e4m3) put(codes);
  else if (codes.dtype() == DType::i8) put(pack_int_rows(codes, job.args->num_bits));
  else put(pack_fp4_rows(codes));
}

}  // namespace

int64_t code_row_bytes(const QuantizationArgs& args, CodeLayout layout, int64_t columns) {
  if (layout == CodeLayout::bytes || (args.type == NumberType::floating && args.num_bits == 8))
    return columns;
  return args.type == NumberType::integer ? packed_words(columns, args.num_bits) * 4 : columns / 2;
}

RowsQuantized quantize_rows_by_definition(const RowQuantization& job, const ParallelFor& parallel) {
  const QuantizationArgs& args = *job.args;
  RowsQuantized result;
  result.first_non_finite = first_non_finite(job.weight);
  if (result.first_non_finite) return result;
  const int64_t rows = job.weight.rows(), columns = job.weight.columns();
  const int64_t step = args.strategy == Strategy::block
      ? args.block_structure.value()[0]
      : std::min(kRowsPerTask, std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(columns, 1)));
  std::vector<RowsQuantized> parts(static_cast<size_t>((rows + step - 1) / step));
  const auto body = [&](int64_t begin, int64_t end) {
    for (; begin < end; begin += step) {
      const JobPart part(job, begin, std::min(end, begin + step));
      const QuantizationParameters parameters = job.scales_given
          ? part.given()
          : qparams_from_ranges(observe_ranges(part.weight, args), args, part.weight.dtype, job.global_scale);
      if (!job.scales_given) part.store(parameters);
      const Tensor codes = quantize_matrix(part.weight, parameters, args, job.rounding);
      store_codes(codes, job, begin);
      if (!job.want_error) continue;
      const Tensor decoded = dequantize_matrix(codes, parameters, args, DType::f32);
      std::vector<float> original(static_cast<size_t>(decoded.size()));
      to_float(part.weight, original.data());
      RowsQuantized& sums = parts[static_cast<size_t>(begin / step)];
      for (size_t i = 0; i < original.size(); ++i) {
        const double value = static_cast<double>(original[i]),
                     difference = value - static_cast<double>(decoded.as<float>()[i]);
        sums.error += difference * difference;
        sums.energy += value * value;
      }
    }
  };
  parallel(rows, step, body);
  for (const RowsQuantized& part : parts) {
    result.error += part.error;
    result.energy += part.energy;
  }
  return result;
}

RowsQuantized quantize_row_tile(const RowQuantization& job, Backend& backend) {
  if (RowKernels* const kernels = backend.row_kernels())
    if (const auto result = kernels->quantize_rows(job)) return *result;
  return quantize_rows_by_definition(job, backend);
}

std::string describe(const QuantizationArgs& args) {
  const std::string_view strategy = args.strategy == Strategy::attn_head ? "attention head"
      : args.strategy == Strategy::tensor_group                          ? "tensor group"
                                                                         : name_of(args.strategy);
  std::string text = fmt::format("{}{}{} {}", args.type == NumberType::integer ? "int" : "fp", args.num_bits,
                                 args.symmetric ? "" : " asymmetric", strategy);
  if (args.strategy == Strategy::group && args.group_size) text += fmt::format(" {}", *args.group_size);
  return text;
}

}  // namespace llmc
