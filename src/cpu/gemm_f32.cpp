// float32 micro-kernel and packing for every Highway target: 6 rows times 4 vectors (2 where there are 16 registers).
#include <cstring>

#include "cpu/micro_kernel.hpp"
#include "cpu/vector_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gemm_f32.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using V = hn::Vec<F32>;
constexpr int kRows = 6;
#if HWY_TARGET == HWY_AVX3
constexpr int kVectors = 4;
#else
constexpr int kVectors = 2;
#endif
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(F32()));
constexpr int64_t kColumns = kVectors * kLanes;

HWY_INLINE void multiply_tile(int64_t depth, const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, float* HWY_RESTRICT c, int64_t ldc, bool accumulate) {
  const F32 d;
  V sum[kRows][kVectors];
  HWY_UNROLL(6)
  for (int i = 0; i < kRows; ++i)
    HWY_UNROLL(4)
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
  for (int i = 0; i < kRows; ++i)
    HWY_UNROLL(4)
    for (int j = 0; j < kVectors; ++j) {
      float* to = c + i * ldc + j * kLanes;
      hn::StoreU(accumulate ? hn::Add(hn::LoadU(d, to), sum[i][j]) : sum[i][j], d, to);
    }
}

void multiply(int64_t depth, int64_t a_panels, const void* a, int64_t b_panels, const void* b, float* c, int64_t ldc, bool accumulate) {
  for (int64_t j = 0; j < b_panels; ++j)
    for (int64_t i = 0; i < a_panels; ++i)
      multiply_tile(depth, static_cast<const float*>(a) + i * depth * kRows, static_cast<const float*>(b) + j * depth * kColumns, c + i * kRows * ldc + j * kColumns, ldc,
                    accumulate);
}

// Not std::min: its instantiation would carry this target's instructions into the whole program.
HWY_INLINE int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

HWY_INLINE float widen(float value) { return value; }
HWY_INLINE float widen(hwy::bfloat16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}
HWY_INLINE float widen(hwy::float16_t value) {
  uint16_t half;
  std::memcpy(&half, &value, sizeof half);
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, magnitude = half & 0x7FFFu;
  uint32_t bits = magnitude >= 0x7C00u ? 0x7F800000u | (magnitude & 0x3FFu) << 13 : (magnitude << 13) + 0x38000000u;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  if (magnitude < 0x400u) {  // subnormal: a multiple of 2^-24
    wide = static_cast<float>(magnitude) * 0x1p-24f;
    std::memcpy(&bits, &wide, sizeof bits);
  }
  bits |= sign;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}

template <class T>
void pack_from(const T* source, const Operand& operand, const PanelRange& range, const PanelLayout& layout, float* HWY_RESTRICT panel) {
  const int64_t width = layout.width, rows = lesser(width, operand.rows - range.row), depth = range.depth_end - range.depth_begin;
  source += range.row * operand.row_stride + range.depth_begin * operand.depth_stride;
  if (rows < width) std::memset(panel, 0, static_cast<size_t>(width * depth) * sizeof(float));
  if (operand.row_stride == 1) {
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t r = 0; r < rows; ++r) panel[k * width + r] = widen(source[k * operand.depth_stride + r]);
    return;
  }
  constexpr int64_t kStep = 16;  // keeps the destination lines of one step in L1
  for (int64_t k0 = 0; k0 < depth; k0 += kStep)
    for (int64_t r = 0; r < rows; ++r) {
      const T* row = source + r * operand.row_stride;
      for (int64_t k = k0; k < lesser(depth, k0 + kStep); ++k) panel[k * width + r] = widen(row[k]);
    }
}

void pack(const Operand& operand, const PanelRange& range, const PanelLayout& layout, int64_t, void* panel) {
  auto* to = static_cast<float*>(panel);
  if (operand.dtype == DType::bf16) return pack_from(static_cast<const hwy::bfloat16_t*>(operand.data), operand, range, layout, to);
  if (operand.dtype == DType::f16) return pack_from(static_cast<const hwy::float16_t*>(operand.data), operand, range, layout, to);
  pack_from(static_cast<const float*>(operand.data), operand, range, layout, to);
}

constexpr MicroKernel kF32Kernel{
    .element = DType::f32, .a = {kRows, 1}, .b = {kColumns, 1}, .tile_rows = 32 * kRows, .tile_columns = 512, .depth_block = 256, .depth_step = 1, .pack = pack, .multiply = multiply};

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
