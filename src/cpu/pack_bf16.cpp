#include "cpu/pack_bf16.hpp"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored \
    "-Wmaybe-uninitialized"  // GCC bug 105593: the intrinsics' own undefined vectors
#endif
#include <immintrin.h>

#define LLMC_AVX512 __attribute__((target("avx2,fma,bmi,bmi2,avx512f,avx512bw,avx512vl,avx512dq")))

namespace llmc::cpu {
namespace {

using Block = __m512i[16];  // 16 x 16 pairs; either vector r = row r, lane p = pair p; or the transpose

inline int64_t clamp(int64_t value, int64_t high) { return value < 0 ? 0 : value > high ? high : value; }

LLMC_AVX512 inline __mmask16 lanes(int64_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xFFFF : count <= 0 ? 0 : (1 << count) - 1);
}
LLMC_AVX512 inline __mmask32 halves(int64_t count) {
  return count >= 32 ? 0xFFFFFFFFu : count <= 0 ? 0u : (1u << count) - 1u;
}

LLMC_AVX512 inline void transpose(Block& x) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(x[i], x[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(x[i], x[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    x[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    x[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    x[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    x[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(x[i], x[i + 4], 0xDD);
    t[i + 8] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(x[i + 8], x[i + 12], 0xDD);
  }
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    x[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    x[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xDD);
    x[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xDD);
  }
}

// 16 floats to bf16 in the low half of each lane, to nearest even; NaN stays NaN.
LLMC_AVX512 inline __m512i round_to_bf16(__m512 value) {
  const __m512i bits = _mm512_castps_si512(value),
                odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(
      _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
  return _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q),
                               _mm512_set1_epi32(0x7FC0));
}

// 16 elements, as bf16 in the low half of each lane.
LLMC_AVX512 inline __m512i load_lanes(const Operand& operand, int64_t offset, __mmask16 mask) {
  if (operand.dtype == DType::bf16)
    return _mm512_cvtepu16_epi32(
        _mm256_maskz_loadu_epi16(mask, static_cast<const uint16_t*>(operand.data) + offset));
  return round_to_bf16(_mm512_maskz_loadu_ps(mask, static_cast<const float*>(operand.data) + offset));
}

// 32 consecutive elements as 16 pairs.
LLMC_AVX512 inline __m512i load_pairs(const Operand& operand, int64_t offset, int64_t count) {
  if (operand.dtype == DType::bf16)
    return _mm512_maskz_loadu_epi16(halves(count), static_cast<const uint16_t*>(operand.data) + offset);
  const __m256i low = _mm512_cvtepi32_epi16(load_lanes(operand, offset, lanes(count)));
  const __m256i high = _mm512_cvtepi32_epi16(load_lanes(operand, offset + 16, lanes(count - 16)));
  return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
}

// The source lies in short runs, which the processor's own prefetcher does not follow. Any address may be
// asked for.
LLMC_AVX512 inline void fetch(const Operand& operand, int64_t offset) {
  _mm_prefetch(static_cast<const char*>(operand.data) + offset * (operand.dtype == DType::bf16 ? 2 : 4),
               _MM_HINT_T0);
}

}  // namespace

LLMC_AVX512 void pack_bf16(const Operand& operand,
                           const PanelRange& range,
                           const PanelLayout& layout,
                           int64_t depth_step,
                           void* panel) {
  auto* to = static_cast<uint32_t*>(panel);  // pairs
  const bool by_row = layout.group == 32, source_by_row = operand.depth_stride == 1;
  const int64_t depth = (range.depth_end - range.depth_begin + depth_step - 1) / depth_step * depth_step;
  if (by_row && source_by_row) {  // row after row: longer runs of the source
    for (int64_t r = 0; r < layout.width; ++r)
      for (int64_t k0 = 0; k0 < depth; k0 += 32) {
        const int64_t row = range.row + r, k = range.depth_begin + k0;
        fetch(operand, (row + 8) * operand.row_stride + k);
        const __m512i pairs = row < operand.rows
            ? load_pairs(operand, row * operand.row_stride + k, clamp(range.depth_end - k, 32))
            : _mm512_setzero_si512();
        _mm512_storeu_si512(to + (k0 / 32 * layout.width + r) * 16, pairs);
      }
    return;
  }
  for (int64_t k0 = 0; k0 < depth; k0 += 32)
    for (int64_t r0 = 0; r0 < layout.width; r0 += 16) {
      const int64_t row = range.row + r0, k = range.depth_begin + k0;
      const int64_t rows = clamp(operand.rows - row, 16), depths = clamp(range.depth_end - k, 32);
      Block x;
      if (source_by_row) {
        for (int64_t r = 0; r < 16; ++r) fetch(operand, (row + r + 32) * operand.row_stride + k);
        for (int64_t r = 0; r < 16; ++r)
          x[r] = r < rows ? load_pairs(operand, (row + r) * operand.row_stride + k, depths)
                          : _mm512_setzero_si512();
      } else {
        const __mmask16 mask = lanes(rows);
        for (int64_t p = 0; p < 16; ++p) {
          const int64_t even = (k + 2 * p) * operand.depth_stride + row;
          fetch(operand, even + 32 * operand.depth_stride);
          fetch(operand, even + 33 * operand.depth_stride);
          const __m512i first = 2 * p < depths ? load_lanes(operand, even, mask) : _mm512_setzero_si512();
          const __m512i second = 2 * p + 1 < depths ? load_lanes(operand, even + operand.depth_stride, mask)
                                                    : _mm512_setzero_si512();
          x[p] = _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
        }
      }
      if (by_row != source_by_row) transpose(x);
      const int64_t kept = clamp(layout.width - r0, 16);
      if (by_row) {
        for (int64_t r = 0; r < kept; ++r)
          _mm512_storeu_si512(to + (k0 / 32 * layout.width + r0 + r) * 16, x[r]);
      } else {
        const int64_t pairs = clamp((depth - k0) / 2, 16);
        for (int64_t p = 0; p < pairs; ++p)
          _mm512_mask_storeu_epi32(to + (k0 / 2 + p) * layout.width + r0, lanes(kept), x[p]);
      }
    }
}

}  // namespace llmc::cpu
#endif
