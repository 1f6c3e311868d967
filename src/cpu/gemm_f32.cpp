// float32 micro-kernel and packing for every Highway target: 6 rows times 4 vectors (2 where there are 16
// registers).
#include <cstring>

#include "cpu/micro_kernel.hpp"
#include "cpu/vector_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm_f32.cpp"
#include "hwy/foreach_target.h"
#include "cpu/vector_math-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {

constexpr int kRows = 6;
#if HWY_TARGET == HWY_AVX3
constexpr int kVectors = 4;
#else
constexpr int kVectors = 2;
#endif
constexpr int64_t kColumns = kVectors * kLanes;

HWY_INLINE void multiply_tile(int64_t depth,
                              const float* HWY_RESTRICT a,
                              const float* HWY_RESTRICT b,
                              float* HWY_RESTRICT c,
                              int64_t ldc,
                              bool accumulate) {
  const F32 d;
  V sum[kRows][kVectors];
  HWY_UNROLL(6)
  for (int i = 0; i < kRows; ++i) HWY_UNROLL(4)
  for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(d);
  for (int64_t k = 0; k < depth; ++k, a += kRows, b += kColumns) {
    V column[kVectors];
    HWY_UNROLL(4)
    for (int j = 0; j < kVectors; ++j) column[j] = hn::Load(d, b + j * kLanes);
    HWY_UNROLL(6)
    for (int i = 0; i < kRows; ++i) {
      const V row = hn::Set(d, a[i]);
      HWY_UNROLL(4)
      for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::MulAdd(row, column[j], sum[i][j]);
    }
  }
  HWY_UNROLL(6)
  for (int i = 0; i < kRows; ++i) HWY_UNROLL(4)
  for (int j = 0; j < kVectors; ++j) {
    float* to = c + i * ldc + j * kLanes;
    hn::StoreU(accumulate ? hn::Add(hn::LoadU(d, to), sum[i][j]) : sum[i][j], d, to);
  }
}

void multiply(int64_t depth, const Panels& a, const Panels& b, float* c, int64_t ldc, bool accumulate) {
  for (int64_t j = 0; j < b.count; ++j)
    for (int64_t i = 0; i < a.count; ++i)
      multiply_tile(depth,
                    reinterpret_cast<const float*>(static_cast<const std::byte*>(a.first) + i * a.stride),
                    reinterpret_cast<const float*>(static_cast<const std::byte*>(b.first) + j * b.stride),
                    c + i * kRows * ldc + j * kColumns, ldc, accumulate);
}

// Not std::min: its instantiation would carry this target's instructions into the whole program.
HWY_INLINE int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

struct Widen {
  HWY_INLINE float operator()(float value) const { return value; }
};
struct WidenBf16 {
  HWY_INLINE float operator()(uint16_t value) const { return bf16_to_float(value); }
};
struct WidenHalf {
  HWY_INLINE float operator()(uint16_t value) const { return half_to_float(value); }
};

template <class T, class Widening>
void pack_from(const T* source,
               const Widening& widened,
               const Operand& operand,
               const PanelRange& range,
               const PanelLayout& layout,
               float* HWY_RESTRICT panel) {
  const int64_t width = layout.width, rows = lesser(width, operand.rows - range.row),
                depth = range.depth_end - range.depth_begin;
  source += range.row * operand.row_stride + range.depth_begin * operand.depth_stride;
  if (rows < width) std::memset(panel, 0, static_cast<size_t>(width * depth) * sizeof(float));
  if (operand.row_stride == 1) {
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t r = 0; r < rows; ++r) panel[k * width + r] = widened(source[k * operand.depth_stride + r]);
    return;
  }
  constexpr int64_t kStep = 16;  // keeps the destination lines of one step in L1
  for (int64_t k0 = 0; k0 < depth; k0 += kStep)
    for (int64_t r = 0; r < rows; ++r) {
      const T* row = source + r * operand.row_stride;
      for (int64_t k = k0; k < lesser(depth, k0 + kStep); ++k) panel[k * width + r] = widened(row[k]);
    }
}

void pack(const Operand& operand, const PanelRange& range, const PanelLayout& layout, int64_t, void* panel) {
  auto* to = static_cast<float*>(panel);
  if (operand.dtype == DType::bf16)
    return pack_from(static_cast<const uint16_t*>(operand.data), WidenBf16(), operand, range, layout, to);
  if (operand.dtype == DType::f16)
    return pack_from(static_cast<const uint16_t*>(operand.data), WidenHalf(), operand, range, layout, to);
  pack_from(static_cast<const float*>(operand.data), Widen(), operand, range, layout, to);
}

}  // namespace

constexpr MicroKernel kF32Kernel{.element = DType::f32,
                                 .a = {kRows, 1},
                                 .b = {kColumns, 1},
                                 .tile_rows = 32 * kRows,
                                 .tile_columns = 128,
                                 .depth_block = 256,
                                 .depth_step = 1,
                                 .pack = pack,
                                 .multiply = multiply};

}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmc::cpu {

const MicroKernel& f32_kernel(VectorLevel level) { return LLMC_CPU_PICK(level, kF32Kernel); }

const MicroKernel* bf16_kernel(MatrixUnit unit) {
#if defined(__x86_64__)
  if (unit == MatrixUnit::amx_bf16) return &kAmxBf16Kernel;
  if (unit == MatrixUnit::avx512_bf16) return &kAvx512Bf16Kernel;
#endif
  static_cast<void>(unit);
  return nullptr;
}

}  // namespace llmc::cpu
#endif
