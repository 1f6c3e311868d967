// Matrix products on packed panels: C = A B^T with a choice of what happens to each finished tile.
#pragma once
#include <functional>
#include <span>

#include "cpu/buffer_pool.hpp"
#include "cpu/element_kernels.hpp"
#include "cpu/micro_kernel.hpp"
#include "cpu/thread_pool.hpp"

namespace llmc::cpu {

// What every routine of the backend works with.
struct Engine {
  explicit Engine(const IsaLevel& level, int threads)
      : isa(level),
        pool(threads),
        f32(f32_kernel(level.vectors)),
        bf16(bf16_kernel(level.bf16)),
        elements(element_kernels(level.vectors)) {}

  const IsaLevel& isa;
  ThreadPool pool;
  BufferPool buffers;
  const MicroKernel& f32;
  const MicroKernel* bf16;  // null: bf16 products run on the float32 kernel
  const ElementKernels& elements;

  // The fastest kernel that multiplies these exactly: bf16 x bf16 needs no float32 operands.
  const MicroKernel& kernel_for(DType a, DType b) const {
    return bf16 && a == DType::bf16 && b == DType::bf16 ? *bf16 : f32;
  }
};

// Consecutive panels of an operand, packed for a kernel over the whole depth.
struct PackedPanels {
  const std::byte* data = nullptr;
  int64_t count = 0, depth = 0;  // depth as padded to the kernel's step
  int64_t row_bytes = 0;         // bytes of one panel per unit of depth

  PackedPanels part(int64_t first, int64_t panels) const {
    return {data + first * depth * row_bytes, panels, depth, row_bytes};
  }
  Panels from(int64_t k) const { return {data + k * row_bytes, count, depth * row_bytes}; }
};

enum class Side { a, b };
size_t packed_bytes(const MicroKernel& kernel, Side side, int64_t rows, int64_t depth);

// Packs rows [begin, end) of `operand` on this thread; `begin` starts a panel. `storage` holds packed_bytes()
// and outlives the result.
PackedPanels pack_rows(const MicroKernel& kernel,
                       Side side,
                       const Operand& operand,
                       int64_t begin,
                       int64_t end,
                       std::byte* storage);

// c [rows of the panels][ldc] (+)= A B^T over the whole depth, on this thread.
void multiply_panels(const MicroKernel& kernel,
                     const PackedPanels& a,
                     const PackedPanels& b,
                     float* c,
                     int64_t ldc,
                     bool accumulate = false);

// One finished tile of C = A B^T: values row i, column j is C[row + i][column + j]. It ends where its matrix
// ends.
struct Tile {
  size_t matrix;  // index of B
  int64_t row, column, rows, columns;
  const float* values;
  int64_t stride;
};

// Computes A B^T for every B tile by tile and hands each tile to `finish`, on all threads. lower: only tiles
// that touch the lower triangle.
enum class Region { all, lower };
using TileSink = std::function<void(const Tile& tile)>;
void multiply_tiles(Engine& engine,
                    const MicroKernel& kernel,
                    const Operand& a,
                    std::span<const Operand> b,
                    Region region,
                    const TileSink& finish);

// c[M, N] = a[M, K] b[N, K]^T + bias[N]; c is f32 or bf16, rounded once; bias (may be null) is float32.
struct Output {
  void* data;
  DType dtype;
  int64_t row_stride;
};
struct Product {
  Operand b;
  const float* bias;
  Output c;
};
void gemm(Engine& engine, const Operand& a, const Operand& b, const float* bias, const Output& c);
void gemm(Engine& engine, const Operand& a, std::span<const Product> products);  // a is packed once

// gram[i][j] += sum over tokens of x[t][i] x[t][j] for j <= i. x: [tokens, n] f32 or bf16; gram: [n, n].
void accumulate_gram(Engine& engine, const void* x, DType dtype, int64_t tokens, int64_t n, float* gram);

}  // namespace llmc::cpu
