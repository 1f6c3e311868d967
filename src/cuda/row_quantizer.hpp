// RowKernels::quantize_rows and dequantize on a device: rows and codes come from the host; codes go
// back, values stay.
#pragma once
#include <optional>

#include "cuda/engine.hpp"
#include "llmc/backend/rows.hpp"

namespace llmc::cuda {

std::optional<RowsQuantized> quantize_rows(Engine& engine, const RowQuantization& job);
std::optional<Tensor> dequantize(Engine& engine, const Dequantization& job);

}  // namespace llmc::cuda
