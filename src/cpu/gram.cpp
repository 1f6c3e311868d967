// X^T X on the GEMM driver: both operands are X read channel by channel, and only tiles that touch the
// triangle are computed.
#include <algorithm>

#include "cpu/gemm.hpp"

namespace llmc::cpu {
namespace {

// one chain of float32 sums per element, then one addition into the gram
constexpr int64_t kTokensPerPass = 4096;

}  // namespace

void accumulate_gram(Engine& engine, const void* x, DType dtype, int64_t tokens, int64_t n, float* gram) {
  for (int64_t first = 0; first < tokens; first += kTokensPerPass) {
    Operand channels;
    channels.data = static_cast<const std::byte*>(x) + first * n * static_cast<int64_t>(item_size(dtype));
    channels.dtype = dtype;
    channels.rows = n;
    channels.depth = std::min(kTokensPerPass, tokens - first);
    channels.row_stride = 1;
    channels.depth_stride = n;
    multiply_tiles(engine, engine.kernel_for(dtype, dtype), channels, std::span(&channels, 1), Region::lower,
                   [&](const Tile& tile) {
                     for (int64_t i = 0; i < tile.rows; ++i) {
                       const int64_t columns = std::min(tile.columns, tile.row + i - tile.column + 1);
                       if (columns > 0)
                         engine.elements.add_row(tile.values + i * tile.stride, columns,
                                                 gram + (tile.row + i) * n + tile.column);
                     }
                   });
  }
}

}  // namespace llmc::cpu
