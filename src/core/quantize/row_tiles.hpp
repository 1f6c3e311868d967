// Row-parallel quantization of one matrix: the scalar definition of src/core/quantize, spread over the
// backend's threads.
#pragma once
#include "core/quantize/qparams.hpp"
#include "core/quantize/rounding.hpp"
#include "llmc/backend/rows.hpp"
#include "llmc/backend.hpp"

namespace llmc {

Tensor quantize_in_tiles(const TensorView& weight,
                         const QuantizationParameters& parameters,
                         const QuantizationArgs& args,
                         Rounding rounding,
                         Backend& backend);
Tensor dequantize_in_tiles(const QuantizedMatrix& matrix, DType out, Backend& backend);
// The same in the memory that the backend's execute() reads weights from.
Tensor dequantize_for_forward(const QuantizedMatrix& matrix, DType out, Backend& backend);

// ||W - Q|| / ||W|| over all elements (Frobenius), 0 for an all-zero weight.
double relative_weight_error(const TensorView& weight, const QuantizedMatrix& matrix, Backend& backend);

// A job of RowKernels::quantize_rows: by the backend, or by the definition below where the backend has no fast
// way.
RowsQuantized quantize_row_tile(const RowQuantization& job, Backend& backend);
// The definition itself, from qparams.hpp, rounding.hpp and packing.hpp.
RowsQuantized quantize_rows_by_definition(const RowQuantization& job, const ParallelFor& parallel = {});

std::string describe(const QuantizationArgs& args);  // "int4 group 128", "fp8 channel"

}  // namespace llmc
