// Quantization of one row of a weight, one copy per Highway target: ranges, scales, codes, packing. The bytes
// are those of src/core/quantize on every target. Rows are bf16 or f32 and need no alignment. A row falls
// into cells of `group` columns (the last one may be shorter), one scale each.
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpu/cpu_features.hpp"
#include "llmc/tensor.hpp"

namespace llmc::cpu {

inline constexpr int64_t kCellPadding = 16;  // arrays with one entry per cell have room for this many more
inline constexpr int64_t kCodePadding = 64;  // and rows of unpacked codes for this many

enum class ScaleKind { model_dtype, e4m3_of_global, e8m0 };
struct ScaleRule {
  ScaleKind kind = ScaleKind::model_dtype;
  DType model = DType::bf16;  // bf16 or f32
  bool symmetric = true;
  float low = -8, high = 7;  // the grid's ends
  float global_scale = 1;    // e4m3_of_global
  int mx_offset = 2;         // e8m0: 2 for 4 bits, 8 for 8 bits
};

struct CellScales {
  std::byte* stored;           // as the file holds them
  float* values;               // what codes are multiplied by
  float* zero_points;          // null when symmetric
  int8_t* stored_zero_points;  // null when symmetric
};

enum class CodeKind { integer, e4m3, e2m1 };
enum class ScaleValues { any, bf16, powers_of_two };  // what is known of the values codes are multiplied by
struct CodeRule {
  CodeKind kind = CodeKind::integer;
  float low = -8, high = 7;  // integer: the ends of the grid
  int offset = 0;            // integer: added to each stored code; even
  ScaleValues scales = ScaleValues::any;
  bool plain = false;           // scales_are_plain(): what allows the faster quotients
  bool round_quotient = false;  // to bf16 (Rounding::reference of bf16 weights)
  bool round_product = false;   // decoded values are rounded to bf16 before they are compared
};

struct WeightError {
  double error = 0, energy = 0;  // sums of (w - q)^2 and w^2
};

struct RangeKernel {
  // Widens low and high by the row's values, cell by cell; symmetric: only high, by magnitudes. False when
  // some value is NaN or infinite.
  bool (*ranges)(const void* row,
                 DType dtype,
                 int64_t columns,
                 int64_t group,
                 bool symmetric,
                 float* low,
                 float* high);
};
struct ScaleKernels {
  void (*scales)(const ScaleRule& rule,
                 const float* low,
                 const float* high,
                 int64_t cells,
                 const CellScales& out);
  // Whether CodeRule::plain holds: every value within [2^-90, 1], nothing in its cell 2^60 times as large.
  bool (*scales_are_plain)(const float* low, const float* high, const float* values, int64_t cells);
};
struct CodeKernel {
  // One byte per code. `error` may be null; otherwise it is added to.
  void (*codes)(const CodeRule& rule,
                const void* row,
                DType dtype,
                int64_t columns,
                int64_t group,
                const float* scales,
                const float* zero_points,
                uint8_t* codes,
                WeightError* error);
};
struct PackKernel {
  // codes: zeros from `count` up to the next multiple of 64; packed[0, bytes): lowest bits first, zeros after
  // the last code.
  void (*pack)(const uint8_t* codes, int64_t count, int num_bits, std::byte* packed, int64_t bytes);
};

const RangeKernel& range_kernels(VectorLevel level);
const ScaleKernels& scale_kernels(VectorLevel level);
const CodeKernel& code_kernels(VectorLevel level);
const PackKernel& pack_kernels(VectorLevel level);

// All of them, each from its own source file.
struct QuantizeKernels : RangeKernel, ScaleKernels, CodeKernel, PackKernel {
  explicit QuantizeKernels(VectorLevel level)
      : RangeKernel(range_kernels(level)),
        ScaleKernels(scale_kernels(level)),
        CodeKernel(code_kernels(level)),
        PackKernel(pack_kernels(level)) {}
};

}  // namespace llmc::cpu
