#include "cpu/gemm.hpp"

#include <algorithm>
#include <vector>

namespace llmc::cpu {
namespace {

constexpr int64_t kSuperRows = 4096, kSuperColumns = 4096;  // rows of A and B that are packed at a time
constexpr int64_t kStridePadding = 16;                      // keeps a tile's rows off each other's cache sets

const PanelLayout& layout_of(const MicroKernel& kernel, Side side) { return side == Side::a ? kernel.a : kernel.b; }

Operand row_range(Operand operand, int64_t begin, int64_t end) {
  operand.data = static_cast<const std::byte*>(operand.data) + begin * operand.row_stride * static_cast<int64_t>(item_size(operand.dtype));
  operand.rows = end - begin;
  return operand;
}

}  // namespace

size_t packed_bytes(const MicroKernel& kernel, Side side, int64_t rows, int64_t depth) {
  return static_cast<size_t>(round_up(rows, layout_of(kernel, side).width) * round_up(depth, kernel.depth_step)) * item_size(kernel.element);
}

PackedOperand pack_operand(Engine& engine, const MicroKernel& kernel, Side side, const Operand& operand, std::byte* storage) {
  const PanelLayout& layout = layout_of(kernel, side);
  PackedOperand packed;
  packed.data = storage;
  packed.panels = divide_up(operand.rows, layout.width);
  packed.depth = round_up(operand.depth, kernel.depth_step);
  packed.panel_row_bytes = layout.width * static_cast<int64_t>(item_size(kernel.element));
  packed.depth_block = kernel.depth_block;
  const int64_t together = std::max<int64_t>(1, 64 / layout.width);  // panels of one task
  const int64_t chunks = divide_up(packed.panels, together);
  engine.pool.run(packed.blocks() * chunks, [&](int64_t task, int) {
    const int64_t block = task / chunks, first = task % chunks * together, begin = block * packed.depth_block;
    for (int64_t panel = first; panel < std::min(packed.panels, first + together); ++panel) {
      const PanelRange range{panel * layout.width, begin, std::min(operand.depth, begin + packed.depth_block)};
      kernel.pack(operand, range, layout, kernel.depth_step, const_cast<std::byte*>(packed.at(block, panel)));
    }
  });
  return packed;
}

void multiply_panels(const MicroKernel& kernel, const PackedOperand& a, int64_t a_panel, int64_t a_panels, const PackedOperand& b, int64_t b_panel, int64_t b_panels, float* scratch,
                     int64_t ldc) {
  for (int64_t block = 0; block < a.blocks(); ++block)
    kernel.multiply(a.block_depth(block), a_panels, a.at(block, a_panel), b_panels, b.at(block, b_panel), scratch, ldc, block > 0);
}

void multiply_tiles(Engine& engine, const MicroKernel& kernel, const Operand& a, const Operand& b, const TileFilter& wanted, const TileSink& finish) {
  const int64_t super_rows = round_up(std::min(a.rows, kSuperRows), kernel.tile_rows), super_columns = round_up(std::min(b.rows, kSuperColumns), kernel.tile_columns);
  const auto a_storage = engine.buffers.lease(packed_bytes(kernel, Side::a, super_rows, a.depth));
  const auto b_storage = engine.buffers.lease(packed_bytes(kernel, Side::b, super_columns, b.depth));
  const int64_t ldc = kernel.tile_columns + kStridePadding, scratch_floats = kernel.tile_rows * ldc;
  const auto scratch = engine.buffers.lease_of<float>(static_cast<size_t>(scratch_floats * engine.pool.slots()));
  struct Corner {
    int64_t row, column;
  };
  for (int64_t column0 = 0; column0 < b.rows; column0 += super_columns) {
    const Operand b_part = row_range(b, column0, std::min(b.rows, column0 + super_columns));
    PackedOperand packed_b;
    for (int64_t row0 = 0; row0 < a.rows; row0 += super_rows) {
      const Operand a_part = row_range(a, row0, std::min(a.rows, row0 + super_rows));
      std::vector<Corner> corners;
      for (int64_t column = 0; column < b_part.rows; column += kernel.tile_columns)
        for (int64_t row = 0; row < a_part.rows; row += kernel.tile_rows)
          if (!wanted || wanted(row0 + row, column0 + column, std::min(kernel.tile_rows, a_part.rows - row), std::min(kernel.tile_columns, b_part.rows - column)))
            corners.push_back({row, column});
      if (corners.empty()) continue;
      if (!packed_b.data) packed_b = pack_operand(engine, kernel, Side::b, b_part, b_storage.data());
      const PackedOperand packed_a = pack_operand(engine, kernel, Side::a, a_part, a_storage.data());
      engine.pool.run(static_cast<int64_t>(corners.size()), [&](int64_t task, int slot) {
        const auto [row, column] = corners[static_cast<size_t>(task)];
        const int64_t rows = std::min(kernel.tile_rows, a_part.rows - row), columns = std::min(kernel.tile_columns, b_part.rows - column);
        float* tile = scratch.as<float>() + slot * scratch_floats;
        multiply_panels(kernel, packed_a, row / kernel.a.width, divide_up(rows, kernel.a.width), packed_b, column / kernel.b.width, divide_up(columns, kernel.b.width), tile, ldc);
        finish({row0 + row, column0 + column, rows, columns, tile, ldc});
      });
    }
  }
}

void gemm(Engine& engine, const Operand& a, const Operand& b, const float* bias, const Output& c) {
  const int64_t item = static_cast<int64_t>(item_size(c.dtype));
  multiply_tiles(engine, engine.kernel_for(a.dtype, b.dtype), a, b, nullptr, [&](const Tile& tile) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      std::byte* to = static_cast<std::byte*>(c.data) + ((tile.row + i) * c.row_stride + tile.column) * item;
      engine.elements.store_row(tile.values + i * tile.stride, bias ? bias + tile.column : nullptr, tile.columns, c.dtype, to);
    }
  });
}

}  // namespace llmc::cpu
