// Right-looking Cholesky of the reversed matrix; reversing the factor afterwards turns L into R. Blocks are
// cut so that they align in R:
// the ragged block comes first here and last there.
#include "cpu/cholesky.hpp"

#include <Eigen/Cholesky>
#include <algorithm>
#include <cmath>

namespace llmc::cpu {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Factors one diagonal block in place and writes the inverse of its factor ([size, size], lower).
bool factor_diagonal(float* corner, int64_t n, int64_t size, Matrix& inverse) {
  Eigen::Map<Matrix, 0, Eigen::OuterStride<>> block(corner, size, size, Eigen::OuterStride<>(n));
  Matrix lower = block.triangularView<Eigen::Lower>();
  Eigen::LLT<Eigen::Ref<Matrix>> factor(lower);
  if (factor.info() != Eigen::Success) return false;
  for (int64_t i = 0; i < size; ++i)
    if (!(lower(i, i) > 0.0f) || !std::isfinite(lower(i, i))) return false;
  block.triangularView<Eigen::Lower>() = lower.triangularView<Eigen::Lower>();
  inverse = Matrix::Identity(size, size);
  lower.triangularView<Eigen::Lower>().solveInPlace(inverse);
  return true;
}

Operand rows_of(const float* data, int64_t rows, int64_t depth, int64_t stride) {
  Operand operand;
  operand.data = data;
  operand.rows = rows;
  operand.depth = depth;
  operand.row_stride = stride;
  return operand;
}

}  // namespace

bool factor_reversed(Engine& engine, float* work, int64_t n, float* inverses) {
  const int64_t blocks = divide_up(n, kFactorBlock), ragged = n - (blocks - 1) * kFactorBlock;
  Matrix inverse;
  for (int64_t block = 0, begin = 0; block < blocks; ++block) {
    const int64_t size = block == 0 ? ragged : kFactorBlock, end = begin + size, rest = n - end;
    if (!factor_diagonal(work + begin * n + begin, n, size, inverse)) return false;

    float* upper = inverses + (blocks - 1 - block) * kFactorBlock * kFactorBlock;
    std::fill_n(upper, kFactorBlock * kFactorBlock, 0.0f);
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j <= i; ++j) upper[(size - 1 - i) * kFactorBlock + size - 1 - j] = inverse(i, j);

    if (rest > 0) {
      float* panel = work + end * n + begin;  // [rest, size]
      gemm(engine, rows_of(panel, rest, size, n), rows_of(inverse.data(), size, size, size), nullptr,
           {panel, DType::f32, n});
      float* trailing = work + end * n + end;  // [rest, rest], lower
      const Operand solved = rows_of(panel, rest, size, n);
      multiply_tiles(engine, engine.f32, solved, std::span(&solved, 1), Region::lower, [&](const Tile& tile) {
        for (int64_t i = 0; i < tile.rows; ++i) {
          const int64_t columns = std::min(tile.columns, tile.row + i - tile.column + 1);
          if (columns > 0)
            engine.elements.subtract_row(tile.values + i * tile.stride, columns,
                                         trailing + (tile.row + i) * n + tile.column);
        }
      });
    }
    begin = end;
  }
  // R[i][j] = L[n - 1 - i][n - 1 - j]: the whole array backwards.
  engine.pool.parallel_for((n + 1) / 2, 64, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      float *top = work + i * n, *bottom = work + (n - 1 - i) * n;
      std::fill(top + i + 1, top + n, 0.0f);
      if (top != bottom) std::fill(bottom + n - i, bottom + n, 0.0f);
      if (top == bottom) {
        std::reverse(top, top + n);
      } else {
        for (int64_t j = 0; j < n; ++j) std::swap(top[j], bottom[n - 1 - j]);
      }
    }
  });
  return true;
}

}  // namespace llmc::cpu
