// bf16 micro-kernel on AMX: 2 x 2 tiles of 16 x 16 floats, 32 depth elements per step.
#include "cpu/micro_kernel.hpp"
#include "cpu/pack_bf16.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#define LLMC_AMX __attribute__((target("amx-tile,amx-bf16")))

namespace llmc::cpu {
namespace {

constexpr int64_t kWidth = 32;     // rows of a panel of A or B
constexpr int64_t kStep = 32;      // depth of one tile
constexpr int64_t kRowBytes = 64;  // of a tile
constexpr int64_t kHalfA = 16 * kRowBytes;

struct alignas(64) TileConfiguration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// `ahead`: fetched into L2 meanwhile, `ahead_lines` cache lines per step (a panel has 32 per step).
LLMC_AMX inline void multiply_tile(int64_t steps,
                                   const std::byte* a,
                                   const std::byte* b,
                                   float* c,
                                   int64_t ldc,
                                   bool accumulate,
                                   const std::byte* ahead,
                                   int64_t ahead_lines) {
  const int64_t stride = ldc * static_cast<int64_t>(sizeof(float));
  if (accumulate) {
    _tile_loadd(0, c, stride);
    _tile_loadd(1, c + 16, stride);
    _tile_loadd(2, c + 16 * ldc, stride);
    _tile_loadd(3, c + 16 * ldc + 16, stride);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t k = 0; k < steps; ++k, a += 2 * kHalfA, b += 2 * kHalfA) {
    for (int64_t line = 0; line < ahead_lines; ++line, ahead += 64) _mm_prefetch(ahead, _MM_HINT_T1);
    _tile_loadd(6, b, 2 * kRowBytes);  // 16 pairs x the left 16 columns of the panel
    _tile_loadd(4, a, kRowBytes);
    _tile_loadd(7, b + kRowBytes, 2 * kRowBytes);
    _tile_loadd(5, a + kHalfA, kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, stride);
  _tile_stored(1, c + 16, stride);
  _tile_stored(2, c + 16 * ldc, stride);
  _tile_stored(3, c + 16 * ldc + 16, stride);
}

LLMC_AMX void multiply(int64_t depth,
                       const Panels& a,
                       const Panels& b,
                       float* c,
                       int64_t ldc,
                       bool accumulate) {
  const TileConfiguration configuration;
  _tile_loadconfig(&configuration);
  const int64_t steps = depth / kStep, ahead_lines = divide_up(32, a.count);
  for (int64_t j = 0; j < b.count; ++j) {
    const std::byte* panel = static_cast<const std::byte*>(b.first) + j * b.stride;
    // what follows in this panel: wanted in the next call
    const std::byte* ahead = panel + steps * 2 * kHalfA;
    for (int64_t i = 0; i < a.count; ++i, ahead += steps * ahead_lines * 64)
      multiply_tile(steps, static_cast<const std::byte*>(a.first) + i * a.stride, panel,
                    c + i * kWidth * ldc + j * kWidth, ldc, accumulate, ahead, ahead_lines);
  }
  _tile_release();
}

}  // namespace

const MicroKernel kAmxBf16Kernel{.element = DType::bf16,
                                 .a = {kWidth, kStep},
                                 .b = {kWidth, 2},
                                 .tile_rows = 256,
                                 .tile_columns = 128,
                                 .depth_block = 256,
                                 .depth_step = kStep,
                                 .pack = pack_bf16,
                                 .multiply = multiply};

}  // namespace llmc::cpu
#endif
