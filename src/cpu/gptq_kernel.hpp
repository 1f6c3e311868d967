// The column loop of GPTQ for one panel of rows, rows across SIMD lanes.
#pragma once
#include <cstdint>

#include "cpu/cpu_features.hpp"
#include "llmc/backend.hpp"

namespace llmc::cpu {

// One block of columns for one panel of `width` rows; `width` is the float32 kernel's b.width. Every array is
// [columns][width] unless said.
struct ColumnBlock {
  int64_t columns = 0, width = 0;
  // [columns, factor_stride]: U^T of the block (lower triangular), U = inv(R_BB); null: plain rounding
  const float* factor = nullptr;
  int64_t factor_stride = 0;
  // in: the conditional optimum W1; out: the scaled error (w1 - q) / U_ii
  float* current = nullptr;
  const float* original = nullptr;        // W
  float* difference = nullptr;            // out: W - Q
  const float* scales = nullptr;          // [scale columns][width]
  const float* zero_points = nullptr;     // [scale columns][width]; null when symmetric
  const int32_t* scale_column = nullptr;  // [columns]
  uint8_t* codes = nullptr;               // out: int8, float8 e4m3fn or fp4 bits
  double* loss = nullptr;                 // [width] += sum of squared scaled errors
  NumberGrid grid;
  DType product_dtype = DType::bf16;
};

using ColumnKernel = void (*)(const ColumnBlock& block);
ColumnKernel column_kernel(VectorLevel level);

}  // namespace llmc::cpu
