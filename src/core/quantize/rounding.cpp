#include "core/quantize/rounding.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/quantize/scale_grid.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

template <class Quotient, class Code>
void quantize_segment(const float* values,
                      int64_t count,
                      float scale,
                      float zero_point,
                      Quotient quotient,
                      Code code,
                      typename Code::Type* codes) {
  for (int64_t i = 0; i < count; ++i) codes[i] = code(quotient(quotient(values[i] / scale) + zero_point));
}

// body(first column, columns, index of the scale) for each run of columns of `row` that shares a scale.
template <class Body>
void for_each_segment(const ScaleLayout& layout, int64_t row, int64_t columns, Body body) {
  int64_t cell = row / layout.rows_per_scale * layout.scale_columns;
  for (int64_t begin = 0; begin < columns; begin += layout.columns_per_scale, ++cell)
    body(begin, std::min(layout.columns_per_scale, columns - begin), cell);
}

// The same where a table says the scale of each column.
template <class Body>
void for_each_run(const ScaleLayout& layout,
                  const std::vector<int32_t>& scale_column,
                  int64_t row,
                  int64_t columns,
                  Body body) {
  if (scale_column.empty()) return for_each_segment(layout, row, columns, body);
  const int64_t first = row / layout.rows_per_scale * layout.scale_columns;
  for (int64_t k = 0; k < columns; ++k) body(k, 1, first + scale_column[static_cast<size_t>(k)]);
}

struct Expanded {  // parameters of the whole matrix as floats, by scale index
  std::vector<float> scales, zero_points;
  ScaleLayout layout;
};

Expanded expand(const TensorView& rows,
                int64_t first_row,
                const QuantizationParameters& parameters,
                const QuantizationArgs& args) {
  if (rows.shape.size() != 2 || first_row < 0)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("rounding: got shape {} from row {}, wanted [rows, columns]",
                            to_string(rows.shape), first_row));
  Expanded result;
  result.layout = ScaleLayout(args, rows.columns());
  // Only the scales that these rows use: row tiles of a large matrix must not pay for all of it.
  const int64_t last_row = first_row + std::max<int64_t>(rows.rows(), 1) - 1;
  const int64_t begin = first_row / result.layout.rows_per_scale * result.layout.scale_columns;
  const int64_t end = (last_row / result.layout.rows_per_scale + 1) * result.layout.scale_columns;
  if (end > parameters.scales.size() ||
      (!parameters.zero_points.empty() && end > parameters.zero_points.size()))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("rounding: rows [{}, {}] need {} scales, got shape {}", first_row, last_row, end,
                            to_string(parameters.scales.shape())));
  QuantizationParameters part;
  part.scales = Tensor::copy_of(TensorView(
      parameters.scales.data() + begin * static_cast<int64_t>(item_size(parameters.scales.dtype())),
      parameters.scales.dtype(), {end - begin}));
  part.global_scale = parameters.global_scale;
  const Tensor scales = scale_values(part, args);
  result.scales.assign(scales.as<float>(), scales.as<float>() + scales.size());
  result.zero_points.assign(result.scales.size(), 0.0f);
  if (!parameters.zero_points.empty())
    to_float(parameters.zero_points.data() + begin, DType::i8, end - begin, result.zero_points.data());
  return result;
}

// Row index within the expanded part, such that its scales start at 0.
int64_t local_row(const ScaleLayout& layout, int64_t first_row, int64_t row) {
  return first_row + row - first_row / layout.rows_per_scale * layout.rows_per_scale;
}

template <class Quotient, class Code>
void quantize_all(const TensorView& weight,
                  int64_t first_row,
                  const Expanded& grid,
                  Quotient quotient,
                  Code code,
                  std::byte* destination) {
  const int64_t columns = weight.columns(),
                row_bytes = columns * static_cast<int64_t>(item_size(weight.dtype));
  auto* codes = reinterpret_cast<typename Code::Type*>(destination);
  std::vector<float> values(static_cast<size_t>(columns));
  for (int64_t row = 0; row < weight.rows(); ++row) {
    to_float(weight.data + row * row_bytes, weight.dtype, columns, values.data());
    for_each_segment(grid.layout, local_row(grid.layout, first_row, row), columns,
                     [&](int64_t begin, int64_t count, int64_t cell) {
                       const auto index = static_cast<size_t>(cell);
                       quantize_segment(values.data() + begin, count, grid.scales[index],
                                        grid.zero_points[index], quotient, code,
                                        codes + row * columns + begin);
                     });
  }
}

template <class Quotient>
void quantize_with(const TensorView& weight,
                   int64_t first_row,
                   const Expanded& grid,
                   const QuantizationArgs& args,
                   Quotient quotient,
                   std::byte* codes) {
  if (args.type == NumberType::integer)
    return quantize_all(
        weight, first_row, grid, quotient,
        IntegerCode{static_cast<float>(args.quant_min()), static_cast<float>(args.quant_max())}, codes);
  if (args.num_bits == 8) return quantize_all(weight, first_row, grid, quotient, Fp8Code{}, codes);
  quantize_all(weight, first_row, grid, quotient, Fp4Code{}, codes);
}

// fp4 codes are indices, not bytes that a dtype explains.
void codes_to_float(const std::byte* codes, DType dtype, int64_t count, float* values) {
  if (dtype != DType::u8) return to_float(codes, dtype, count, values);
  for (int64_t i = 0; i < count; ++i) values[i] = float_from_fp4(static_cast<uint8_t>(codes[i]));
}

}  // namespace

void quantize_rows(const TensorView& weight,
                   int64_t first_row,
                   const QuantizationParameters& parameters,
                   const QuantizationArgs& args,
                   Rounding rounding,
                   std::byte* codes) {
  const Expanded grid = expand(weight, first_row, parameters, args);
  // A global scale is float32 and lifts the quotient to float32 in the reference too.
  const DType quotient = rounding == Rounding::exact || parameters.global_scale ? DType::f32 : weight.dtype;
  if (quotient == DType::bf16) return quantize_with(weight, first_row, grid, args, QuotientToBf16{}, codes);
  if (quotient == DType::f16) return quantize_with(weight, first_row, grid, args, QuotientToF16{}, codes);
  quantize_with(weight, first_row, grid, args, KeepQuotient{}, codes);
}

DType product_dtype(const QuantizationParameters& parameters, DType out) {
  const DType scales = parameters.scales.dtype();
  return is_floating(scales) && item_size(scales) > 1 ? scales : out;
}

void dequantize_rows(const TensorView& codes,
                     int64_t first_row,
                     const QuantizationParameters& parameters,
                     const QuantizationArgs& args,
                     DType out,
                     std::byte* values) {
  if (codes.dtype != code_dtype(args))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("rounding: codes are {}, wanted {}", dtype_name(codes.dtype),
                            dtype_name(code_dtype(args))));
  const Expanded grid = expand(codes, first_row, parameters, args);
  if (!parameters.scale_column.empty() &&
      static_cast<int64_t>(parameters.scale_column.size()) != codes.columns())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("rounding: {} columns have {} entries of scale_column", codes.columns(),
                            parameters.scale_column.size()));
  const DType product = product_dtype(parameters, out);
  const int64_t columns = codes.columns(), row_bytes = columns * static_cast<int64_t>(item_size(out));
  std::vector<float> row_values(static_cast<size_t>(columns));
  std::vector<std::byte> rounded(static_cast<size_t>(columns) * item_size(product));
  for (int64_t row = 0; row < codes.rows(); ++row) {
    codes_to_float(codes.data + row * columns, codes.dtype, columns, row_values.data());
    for_each_run(grid.layout, parameters.scale_column, local_row(grid.layout, first_row, row), columns,
                 [&](int64_t begin, int64_t count, int64_t cell) {
                   const float scale = grid.scales[static_cast<size_t>(cell)],
                               zero_point = grid.zero_points[static_cast<size_t>(cell)];
                   for (int64_t i = begin; i < begin + count; ++i)
                     row_values[static_cast<size_t>(i)] = (row_values[static_cast<size_t>(i)] - zero_point) *
                         scale;
                 });
    if (product != out) {
      from_float(row_values.data(), columns, product, rounded.data());
      to_float(rounded.data(), product, columns, row_values.data());
    }
    from_float(row_values.data(), columns, out, values + row * row_bytes);
  }
}

Tensor quantize_matrix(const TensorView& weight,
                       const QuantizationParameters& parameters,
                       const QuantizationArgs& args,
                       Rounding rounding) {
  Tensor codes(code_dtype(args), weight.shape);
  quantize_rows(weight, 0, parameters, args, rounding, codes.data());
  return codes;
}

Tensor dequantize_matrix(const TensorView& codes,
                         const QuantizationParameters& parameters,
                         const QuantizationArgs& args,
                         DType out) {
  Tensor values(out, codes.shape);
  dequantize_rows(codes, 0, parameters, args, out, values.data());
  return values;
}

Tensor dequantize_matrix(const QuantizedMatrix& matrix, DType out) {
  return dequantize_matrix(matrix.codes, matrix.parameters, matrix.args, out);
}

}  // namespace llmc
