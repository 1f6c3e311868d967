// Row-parallel quantization of one matrix: the scalar definition of src/core/quantize, spread over the backend's threads.
#pragma once
#include "core/quantize/qparams.hpp"
#include "core/quantize/rounding.hpp"
#include "llmc/backend.hpp"

namespace llmc {

Tensor quantize_in_tiles(const Tensor& weight, const QuantizationParameters& parameters, const QuantizationArgs& args, Rounding rounding, Backend& backend);
Tensor dequantize_in_tiles(const QuantizedMatrix& matrix, DType out, Backend& backend);

// ||W - Q|| / ||W|| over all elements (Frobenius), 0 for an all-zero weight.
double relative_weight_error(const Tensor& weight, const QuantizedMatrix& matrix, Backend& backend);

std::string describe(const QuantizationArgs& args);  // "int4 group 128", "fp8 channel"

}  // namespace llmc
