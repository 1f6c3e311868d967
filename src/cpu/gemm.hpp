// Matrix products on packed panels: C = A B^T with a choice of what happens to each finished tile.
#pragma once
#include <functional>

#include "cpu/buffer_pool.hpp"
#include "cpu/element_kernels.hpp"
#include "cpu/micro_kernel.hpp"
#include "cpu/thread_pool.hpp"

namespace llmc::cpu {

// What every routine of the backend works with.
struct Engine {
  explicit Engine(const IsaLevel& level, int threads) : isa(level), pool(threads), f32(f32_kernel(level.vectors)), bf16(bf16_kernel(level.bf16)), elements(element_kernels(level.vectors)) {}

  const IsaLevel& isa;
  ThreadPool pool;
  BufferPool buffers;
  const MicroKernel& f32;
  const MicroKernel* bf16;  // null: bf16 products run on the float32 kernel
  const ElementKernels& elements;

  // The fastest kernel that multiplies these exactly: bf16 x bf16 needs no float32 operands.
  const MicroKernel& kernel_for(DType a, DType b) const { return bf16 && a == DType::bf16 && b == DType::bf16 ? *bf16 : f32; }
};

// A whole operand in a kernel's layout: [depth blocks][panels][panel]. All blocks but the last hold `depth_block` elements.
struct PackedOperand {
  const std::byte* data = nullptr;
  int64_t panels = 0, depth = 0;        // depth as padded to the kernel's step
  int64_t panel_row_bytes = 0;          // bytes of one panel per unit of depth
  int64_t depth_block = 0;

  int64_t blocks() const { return divide_up(depth, depth_block); }
  int64_t block_depth(int64_t block) const { return std::min(depth_block, depth - block * depth_block); }
  const std::byte* at(int64_t block, int64_t panel) const { return data + (block * depth_block * panels + panel * block_depth(block)) * panel_row_bytes; }
};

// Packs rows of `operand` on all threads; `storage` holds packed_bytes() and outlives the result.
enum class Side { a, b };
size_t packed_bytes(const MicroKernel& kernel, Side side, int64_t rows, int64_t depth);
PackedOperand pack_operand(Engine& engine, const MicroKernel& kernel, Side side, const Operand& operand, std::byte* storage);

// scratch[rows of the panels][ldc] = A B^T over the whole depth, on this thread.
void multiply_panels(const MicroKernel& kernel, const PackedOperand& a, int64_t a_panel, int64_t a_panels, const PackedOperand& b, int64_t b_panel, int64_t b_panels, float* scratch,
                     int64_t ldc);

// One finished tile of C: scratch row i, column j is C[row + i][column + j].
struct Tile {
  int64_t row, column, rows, columns;
  const float* values;
  int64_t stride;
};

// Computes C = A B^T tile by tile and hands each tile to `finish`, on all threads. `wanted` may skip tiles (row, column, rows, columns).
using TileFilter = std::function<bool(int64_t row, int64_t column, int64_t rows, int64_t columns)>;
using TileSink = std::function<void(const Tile& tile)>;
void multiply_tiles(Engine& engine, const MicroKernel& kernel, const Operand& a, const Operand& b, const TileFilter& wanted, const TileSink& finish);

// c[M, N] = a[M, K] b[N, K]^T + bias[N]; c is f32 or bf16, rounded once; bias (may be null) is float32.
struct Output {
  void* data;
  DType dtype;
  int64_t row_stride;
};
void gemm(Engine& engine, const Operand& a, const Operand& b, const float* bias, const Output& c);

// gram[i][j] += sum over tokens of x[t][i] x[t][j] for j <= i. x: [tokens, n] f32 or bf16; gram: [n, n].
void accumulate_gram(Engine& engine, const void* x, DType dtype, int64_t tokens, int64_t n, float* gram);

}  // namespace llmc::cpu
