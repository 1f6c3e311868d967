// Weights -> codes -> weights. Rounding (llmc/scheme.hpp): `exact` divides in float32 by the stored scale;
// `reference` rounds that quotient to the weight's dtype before it is rounded to a code, as llm-compressor
// does.
#pragma once
#include "core/quantize/qparams.hpp"
#include "llmc/scheme.hpp"

namespace llmc {

Tensor quantize_matrix(const TensorView& weight,
                       const QuantizationParameters& parameters,
                       const QuantizationArgs& args,
                       Rounding rounding);

// As the file's reader computes it, rounded to the scale's dtype (the model's), then converted to `out`.
Tensor dequantize_matrix(const TensorView& codes,
                         const QuantizationParameters& parameters,
                         const QuantizationArgs& args,
                         DType out);
Tensor dequantize_matrix(const QuantizedMatrix& matrix, DType out);

// What (code - zero point) * scale is rounded to: the dtype that scales carry from the model, or else `out`.
DType product_dtype(const QuantizationParameters& parameters, DType out);

// The same for rows [first_row, first_row + rows) of a matrix whose whole `parameters` are given: for loops
// over row tiles, in any order or thread.
void quantize_rows(const TensorView& weight,
                   int64_t first_row,
                   const QuantizationParameters& parameters,
                   const QuantizationArgs& args,
                   Rounding rounding,
                   std::byte* codes);  // [rows, K] of code_dtype(args)
void dequantize_rows(const TensorView& codes,
                     int64_t first_row,
                     const QuantizationParameters& parameters,
                     const QuantizationArgs& args,
                     DType out,
                     std::byte* values);  // [rows, K] of `out`

}  // namespace llmc
