// A thread packs some rows of A into its own cache and multiplies them with strip after strip of B, which all
// threads share, packed. How the work is cut follows the number of threads and the cache; the order of every
// sum does not.
#include "cpu/gemm.hpp"

#include <algorithm>
#include <vector>

namespace llmc::cpu {
namespace {

constexpr int64_t kBatchBytes = int64_t{32} << 20;  // of B that are packed at a time
constexpr int64_t kCacheBytes = int64_t{1} << 20;   // of A that one thread keeps packed, when rows are long
// of A: below, reading B would take longer than computing
constexpr int64_t kFewestRows = 128;
constexpr int64_t kStridePadding = 16;  // keeps a tile's rows off each other's cache sets
constexpr int64_t kTasksPerThread = 4;

const PanelLayout& layout_of(const MicroKernel& kernel, Side side) {
  return side == Side::a ? kernel.a : kernel.b;
}

// Columns [column, column + columns) of the product with one B.
struct Strip {
  size_t matrix;
  int64_t column, columns;
};

bool touches_lower(const Strip& strip, int64_t row, int64_t rows) { return strip.column < row + rows; }

}  // namespace

size_t packed_bytes(const MicroKernel& kernel, Side side, int64_t rows, int64_t depth) {
  return static_cast<size_t>(round_up(rows, layout_of(kernel, side).width) *
                             round_up(depth, kernel.depth_step)) *
      item_size(kernel.element);
}

PackedPanels pack_rows(const MicroKernel& kernel,
                       Side side,
                       const Operand& operand,
                       int64_t begin,
                       int64_t end,
                       std::byte* storage) {
  const PanelLayout& layout = layout_of(kernel, side);
  PackedPanels packed;
  packed.data = storage;
  packed.count = divide_up(end - begin, layout.width);
  packed.depth = round_up(operand.depth, kernel.depth_step);
  packed.row_bytes = layout.width * static_cast<int64_t>(item_size(kernel.element));
  // long runs of the source, whichever way it lies
  const int64_t slice = operand.depth_stride == 1 ? 512 : 32;
  for (int64_t k = 0; k < operand.depth; k += slice)
    for (int64_t panel = 0; panel < packed.count; ++panel)
      kernel.pack(operand, {begin + panel * layout.width, k, std::min(operand.depth, k + slice)}, layout,
                  kernel.depth_step, storage + (panel * packed.depth + k) * packed.row_bytes);
  return packed;
}

void multiply_panels(const MicroKernel& kernel,
                     const PackedPanels& a,
                     const PackedPanels& b,
                     float* c,
                     int64_t ldc,
                     bool accumulate) {
  for (int64_t k = 0; k < a.depth; k += kernel.depth_block)
    kernel.multiply(std::min(kernel.depth_block, a.depth - k), a.from(k), b.from(k), c, ldc,
                    accumulate || k > 0);
}

void multiply_tiles(Engine& engine,
                    const MicroKernel& kernel,
                    const Operand& a,
                    std::span<const Operand> b,
                    Region region,
                    const TileSink& finish) {
  std::vector<Strip> strips;
  for (size_t matrix = 0; matrix < b.size(); ++matrix)
    for (int64_t column = 0; column < b[matrix].rows; column += kernel.tile_columns)
      strips.push_back({matrix, column, std::min(kernel.tile_columns, b[matrix].rows - column)});
  const auto row_bytes = static_cast<int64_t>(packed_bytes(kernel, Side::a, 1, a.depth)) / kernel.a.width;
  const int64_t tile_rows = std::clamp(kCacheBytes / std::max<int64_t>(row_bytes, 1), kFewestRows,
                                       kernel.tile_rows) /
      kernel.a.width * kernel.a.width;
  const int64_t row_tiles = divide_up(a.rows, tile_rows), ldc = kernel.tile_columns + kStridePadding;
  if (row_tiles == 0 || strips.empty()) return;
  const size_t strip_bytes = packed_bytes(kernel, Side::b, kernel.tile_columns, a.depth),
               rows_bytes = packed_bytes(kernel, Side::a, tile_rows, a.depth);
  const int64_t total = static_cast<int64_t>(strips.size()),
                batch = std::min(
                    total,
                    std::max<int64_t>(1,
                                      kBatchBytes / static_cast<int64_t>(std::max<size_t>(strip_bytes, 1))));
  const auto packed_strips = engine.buffers.lease(static_cast<size_t>(batch) * strip_bytes);
  const auto packed_rows = engine.buffers.lease(rows_bytes * static_cast<size_t>(engine.pool.slots()));
  const auto tiles = engine.buffers.lease_of<float>(
      static_cast<size_t>(tile_rows * ldc * engine.pool.slots()));

  for (int64_t first = 0; first < total; first += batch) {
    const int64_t count = std::min(batch, total - first);
    std::vector<PackedPanels> packed(static_cast<size_t>(count));
    engine.pool.run(count, [&](int64_t index, int) {
      const Strip& strip = strips[static_cast<size_t>(first + index)];
      packed[static_cast<size_t>(index)] = pack_rows(
          kernel, Side::b, b[strip.matrix], strip.column, strip.column + strip.columns,
          packed_strips.data() + static_cast<size_t>(index) * strip_bytes);
    });
    const int64_t groups = std::clamp<int64_t>(divide_up(kTasksPerThread * engine.pool.threads(), row_tiles),
                                               1, count),
                  together = divide_up(count, groups);
    engine.pool.run(row_tiles * groups, [&](int64_t task, int slot) {
      // the longest rows of a triangle first
      const int64_t row = (row_tiles - 1 - task / groups) * tile_rows,
                    rows = std::min(tile_rows, a.rows - row);
      const int64_t begin = task % groups * together, end = std::min(count, begin + together);
      PackedPanels own;
      for (int64_t index = begin; index < end; ++index) {
        const Strip& strip = strips[static_cast<size_t>(first + index)];
        if (region == Region::lower && !touches_lower(strip, row, rows)) continue;
        if (!own.data)
          own = pack_rows(kernel, Side::a, a, row, row + rows,
                          packed_rows.data() + static_cast<size_t>(slot) * rows_bytes);
        float* tile = tiles.as<float>() + slot * tile_rows * ldc;
        multiply_panels(kernel, own, packed[static_cast<size_t>(index)], tile, ldc);
        finish({strip.matrix, row, strip.column, rows, strip.columns, tile, ldc});
      }
    });
  }
}

void gemm(Engine& engine, const Operand& a, std::span<const Product> products) {
  std::vector<Operand> b;
  DType b_dtype = DType::bf16;  // unless some b is wider
  for (const Product& product : products) {
    b.push_back(product.b);
    if (product.b.dtype != DType::bf16) b_dtype = product.b.dtype;
  }
  multiply_tiles(engine, engine.kernel_for(a.dtype, b_dtype), a, b, Region::all, [&](const Tile& tile) {
    const auto& [operand, bias, c] = products[tile.matrix];
    const int64_t item = static_cast<int64_t>(item_size(c.dtype));
    for (int64_t i = 0; i < tile.rows; ++i) {
      std::byte* to = static_cast<std::byte*>(c.data) + ((tile.row + i) * c.row_stride + tile.column) * item;
      engine.elements.store_row(tile.values + i * tile.stride, bias ? bias + tile.column : nullptr,
                                tile.columns, c.dtype, to);
    }
  });
}

void gemm(Engine& engine, const Operand& a, const Operand& b, const float* bias, const Output& c) {
  const Product product{b, bias, c};
  gemm(engine, a, std::span(&product, 1));
}

}  // namespace llmc::cpu
