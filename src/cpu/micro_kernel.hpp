// The inner kernels of every matrix product here: GEMM, Gram, Cholesky, GPTQ and attention.
//
// Both operands are "rows x depth" matrices and the product contracts depth: C[i][j] = sum_k A[i][k] B[j][k].
// They are packed into panels of `width` rows. Panel layout: [depth / group][width][group], zero-padded at
// both ends: any range of depth is a contiguous part of its panel.
#pragma once
#include <cstdint>

#include "cpu/cpu_features.hpp"
#include "llmc/tensor.hpp"

namespace llmc::cpu {

struct PanelLayout {
  int64_t width;  // rows of a panel
  int64_t group;  // depth elements of one row that lie side by side
};

// A borrowed matrix; element (row, k) is data[row * row_stride + k * depth_stride] and one of the strides is
// 1.
struct Operand {
  const void* data = nullptr;
  DType dtype = DType::f32;  // f32, bf16 or f16
  int64_t rows = 0, depth = 0;
  int64_t row_stride = 0, depth_stride = 1;
};

// Which part of an operand to pack: rows [row, row + width) and depth [depth_begin, depth_end).
struct PanelRange {
  int64_t row, depth_begin, depth_end;
};

// The same range of depth of `count` panels; `stride` bytes from one panel to the next.
struct Panels {
  const void* first;
  int64_t count, stride;
};

struct MicroKernel {
  DType element;  // of the packed operands: f32 or bf16
  PanelLayout a, b;
  // of C that are computed together, at most: multiples of a.width and b.width
  int64_t tile_rows, tile_columns;
  int64_t depth_block;  // depth of one multiply(): multiple of depth_step
  int64_t depth_step;   // packed depth is rounded up to it

  // Packs one panel. Out-of-range rows and depth (up to a multiple of depth_step) become zero. A float32
  // operand of a bf16 kernel is rounded to nearest even.
  void (*pack)(const Operand& operand,
               const PanelRange& range,
               const PanelLayout& layout,
               int64_t depth_step,
               void* panel);

  // c[i][j] (+)= sum over `depth` of a[i][k] b[j][k] for whole panels; c has a.count * a.width rows of `ldc`
  // floats.
  void (*multiply)(int64_t depth, const Panels& a, const Panels& b, float* c, int64_t ldc, bool accumulate);
};

const MicroKernel& f32_kernel(VectorLevel level);
const MicroKernel* bf16_kernel(MatrixUnit unit);  // null when there is none

// Defined only on x86-64, each in its own file; call them only where the unit is available.
extern const MicroKernel kAvx512Bf16Kernel, kAmxBf16Kernel;

inline int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }
inline int64_t round_up(int64_t value, int64_t to) { return divide_up(value, to) * to; }

}  // namespace llmc::cpu
