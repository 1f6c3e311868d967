// bf16 micro-kernel on VDPBF16PS: 6 rows times 64 columns, two depth elements per instruction.
#include "cpu/micro_kernel.hpp"
#include "cpu/pack_bf16.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#define LLMC_AVX512_BF16 __attribute__((target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace llmc::cpu {
namespace {

constexpr int kRows = 6, kVectors = 4;
constexpr int64_t kColumns = kVectors * 16;

LLMC_AVX512_BF16 inline void multiply_tile(int64_t pairs,
                                           const uint32_t* a,
                                           const uint32_t* b,
                                           float* c,
                                           int64_t ldc,
                                           bool accumulate) {
  __m512 sum[kRows][kVectors];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) sum[i][j] = _mm512_setzero_ps();
  for (int64_t p = 0; p < pairs; ++p, a += kRows, b += kColumns) {
    __m512i column[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) column[j] = _mm512_loadu_si512(b + j * 16);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      __m512i pair = _mm512_set1_epi32(static_cast<int>(a[i]));
#if defined(__clang__)
      asm("" : "+v"(pair));  // clang 16 crashes when it sees what is broadcast
#endif
      const __m512bh row = reinterpret_cast<__m512bh>(pair);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j)
        sum[i][j] = _mm512_dpbf16_ps(sum[i][j], row, reinterpret_cast<__m512bh>(column[j]));
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      float* to = c + i * ldc + j * 16;
      _mm512_storeu_ps(to, accumulate ? _mm512_add_ps(_mm512_loadu_ps(to), sum[i][j]) : sum[i][j]);
    }
}

LLMC_AVX512_BF16 void multiply(int64_t depth,
                               const Panels& a,
                               const Panels& b,
                               float* c,
                               int64_t ldc,
                               bool accumulate) {
  for (int64_t j = 0; j < b.count; ++j)
    for (int64_t i = 0; i < a.count; ++i)
      multiply_tile(depth / 2,
                    reinterpret_cast<const uint32_t*>(static_cast<const std::byte*>(a.first) + i * a.stride),
                    reinterpret_cast<const uint32_t*>(static_cast<const std::byte*>(b.first) + j * b.stride),
                    c + i * kRows * ldc + j * kColumns, ldc, accumulate);
}

}  // namespace

const MicroKernel kAvx512Bf16Kernel{.element = DType::bf16,
                                    .a = {kRows, 2},
                                    .b = {kColumns, 2},
                                    .tile_rows = 32 * kRows,
                                    .tile_columns = 128,
                                    .depth_block = 512,
                                    .depth_step = 2,
                                    .pack = pack_bf16,
                                    .multiply = multiply};

}  // namespace llmc::cpu
#endif
