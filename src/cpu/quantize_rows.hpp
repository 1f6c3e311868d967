// Rounding to nearest of many rows at once, on all threads.
#pragma once
#include "cpu/gemm.hpp"
#include "llmc/backend/rows.hpp"
#include "llmc/backend.hpp"

namespace llmc::cpu {

// nothing: float16, asymmetric floats
std::optional<RowsQuantized> quantize_rows(Engine& engine, const RowQuantization& job);
ValueExtent scan_values(Engine& engine, const TensorView& values);

}  // namespace llmc::cpu
