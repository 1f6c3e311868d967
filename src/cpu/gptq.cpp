// GPTQ from one triangular factor. With H = R R^T (R upper) and D = W - Q of the columns done so far, the
// conditional optimum of the columns B is W[:, B] + D[:, 0:b] R[0:b, B] inv(R_BB): no inverse of H, no update
// of W. Rows lie across SIMD lanes throughout: W, D and the codes are kept in the float32 kernel's B panels,
// [panel][column][row].
#include "cpu/gptq.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "core/quantize/gptq_problem.hpp"
#include "cpu/cholesky.hpp"
#include "cpu/gptq_kernel.hpp"
#include "llmc/error.hpp"

namespace llmc::cpu {
namespace {

// One problem while it is solved. `order[i]` is the original column that is visited i-th.
class Solver {
 public:
  Solver(Engine& engine, const GptqProblem& problem)
      : engine_(engine),
        problem_(problem),
        rows_(problem.rows()),
        columns_(problem.columns()),
        width_(engine.f32.b.width),
        panels_(divide_up(rows_, width_)),
        blocks_(divide_up(columns_, kFactorBlock)),
        order_(static_cast<size_t>(columns_)),
        dead_(static_cast<size_t>(columns_), 0),
        diagonal_(static_cast<size_t>(columns_)) {}

  GptqSolution run() {
    solution_ = start_gptq_solution(problem_);
    for (const TensorView& weight : problem_.weights) {
      solution_.codes.emplace_back(gptq_code_dtype(problem_.grid), weight.shape);
      for (int64_t row = 0; row < weight.rows(); ++row) {
        weight_rows_.push_back(weight.data + row * columns_ * static_cast<int64_t>(item_size(weight.dtype)));
        code_rows_.push_back(solution_.codes.back().as<uint8_t>() + row * columns_);
      }
    }
    if (rows_ == 0 || columns_ == 0) return std::move(solution_);
    const auto work = engine_.buffers.lease_of<float>(static_cast<size_t>(columns_ * columns_));
    const auto inverses = engine_.buffers.lease_of<float>(
        static_cast<size_t>(blocks_ * kFactorBlock * kFactorBlock));
    factor_ = work.as<float>();
    inverses_ = inverses.as<float>();
    read_diagonal();
    choose_order();
    factor_with_rising_dampening();
    quantize();
    solution_.order = std::move(order_);
    return std::move(solution_);
  }

 private:
  // H[i][j] of the lower triangle that is given; ones stand on the diagonal of dead columns.
  float gram_at(int64_t i, int64_t j) const {
    return i == j ? diagonal_[static_cast<size_t>(i)]
                  : problem_.gram.as<float>()[i > j ? i * columns_ + j : j * columns_ + i];
  }

  void read_diagonal() {
    const float* gram = problem_.gram.as<float>();
    std::vector<uint8_t> finite(static_cast<size_t>(columns_), 1);  // by row
    engine_.pool.parallel_for(columns_, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        diagonal_[static_cast<size_t>(i)] = gram[i * columns_ + i];
        float zero = 0;  // sum of 0 * x: NaN when some x is not finite
        for (int64_t j = 0; j <= i; ++j) zero += gram[i * columns_ + j] * 0.0f;
        finite[static_cast<size_t>(i)] = zero == 0.0f;
      }
    });
    if (std::count(finite.begin(), finite.end(), 0) > 0)
      throw Error(ErrorCode::numeric,
                  "gptq: the gram matrix of " + std::to_string(columns_) +
                      " columns holds NaN or Inf, wanted finite numbers");
  }

  void choose_order() {
    order_ = visiting_order(diagonal_, problem_.activation_order);
    for (size_t i = 0; i < diagonal_.size(); ++i) dead_[i] = diagonal_[i] == 0.0f;
    mean_diagonal_ = revive_diagonal(diagonal_);
  }

  void factor_with_rising_dampening() {
    double frac = problem_.dampening_frac;
    for (solution_.attempts = 1;; ++solution_.attempts) {
      solution_.dampening_frac = frac;
      gather_reversed(static_cast<float>(frac));
      if (factor_reversed(engine_, factor_, columns_, inverses_)) return;
      const auto next = next_dampening(frac);
      if (!next) break;
      frac = *next;
    }
    solution_.rounded_to_nearest = true;
  }

  // factor_'s lower triangle: the dampened gram in visiting order, reversed.
  void gather_reversed(float frac) {
    engine_.pool.parallel_for(columns_, 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t original = order_[static_cast<size_t>(columns_ - 1 - i)];
        float* to = factor_ + i * columns_;
        for (int64_t j = 0; j <= i; ++j)
          to[j] = gram_at(original, order_[static_cast<size_t>(columns_ - 1 - j)]);
        to[i] += frac * (problem_.relative_dampening ? to[i] : mean_diagonal_);
      }
    });
  }

  void quantize() {
    const auto panel_floats = static_cast<size_t>(panels_ * width_ * columns_);
    const auto weights = engine_.buffers.lease_of<float>(panel_floats),
               differences = engine_.buffers.lease_of<float>(panel_floats);
    const int64_t scale_columns = problem_.scales.columns();
    const auto scales = engine_.buffers.lease_of<float>(
                   static_cast<size_t>(panels_ * width_ * scale_columns)),
               zeros = engine_.buffers.lease_of<float>(static_cast<size_t>(panels_ * width_ * scale_columns));
    weights_ = weights.as<float>();
    differences_ = differences.as<float>();
    scales_ = scales.as<float>();
    zeros_ = problem_.zero_points.data ? zeros.as<float>() : nullptr;
    engine_.pool.run(panels_, [&](int64_t panel, int) { load_panel(panel); });
    loss_.assign(static_cast<size_t>(panels_ * width_), 0.0);

    const int64_t padded = round_up(kFactorBlock, engine_.f32.a.width),
                  scratch_floats = (padded + kFactorBlock) * width_;
    const auto scratch = engine_.buffers.lease_of<float>(
        static_cast<size_t>(scratch_floats * engine_.pool.slots()));
    const auto updates = engine_.buffers.lease_of<float>(static_cast<size_t>(kFactorBlock * columns_));
    const auto packed_updates = engine_.buffers.lease(
        packed_bytes(engine_.f32, Side::a, kFactorBlock, columns_));
    const ColumnKernel kernel = column_kernel(engine_.isa.vectors);
    std::vector<float> transposed(static_cast<size_t>(kFactorBlock * kFactorBlock));  // U_B^T
    std::vector<int32_t> scale_column(static_cast<size_t>(columns_));
    for (size_t i = 0; i < scale_column.size(); ++i)
      scale_column[i] = problem_.scale_column[static_cast<size_t>(order_[i])];

    for (int64_t block = 0; block < blocks_; ++block) {
      const int64_t begin = block * kFactorBlock, size = std::min(kFactorBlock, columns_ - begin);
      const float* inverse = inverses_ + block * kFactorBlock * kFactorBlock;
      for (int64_t i = 0; i < kFactorBlock; ++i)
        for (int64_t j = 0; j < kFactorBlock; ++j)
          transposed[static_cast<size_t>(j * kFactorBlock + i)] = inverse[i * kFactorBlock + j];
      const bool updated = begin > 0 && !solution_.rounded_to_nearest;
      PackedPanels update;
      if (updated)
        update = pack_update(begin, size, transposed.data(), updates.as<float>(), packed_updates.data());
      engine_.pool.run(panels_, [&](int64_t panel, int slot) {
        float* current = scratch.as<float>() + slot * scratch_floats;  // [padded columns][width]
        auto* codes = reinterpret_cast<uint8_t*>(current + padded * width_);
        const float* original = weights_ + (panel * columns_ + begin) * width_;
        std::memcpy(current, original, static_cast<size_t>(size * width_) * sizeof(float));
        if (updated) {
          const PackedPanels done{
              reinterpret_cast<const std::byte*>(differences_ + panel * columns_ * width_), 1, begin,
              width_ * static_cast<int64_t>(sizeof(float))};
          multiply_panels(engine_.f32, update, done, current, width_, true);
        }
        ColumnBlock columns;
        columns.columns = size;
        columns.width = width_;
        columns.factor = solution_.rounded_to_nearest ? nullptr : transposed.data();
        columns.factor_stride = kFactorBlock;
        columns.current = current;
        columns.original = original;
        columns.difference = differences_ + (panel * columns_ + begin) * width_;
        columns.scales = scales_ + panel * width_ * scale_columns;
        columns.zero_points = zeros_ ? zeros_ + panel * width_ * scale_columns : nullptr;
        columns.scale_column = scale_column.data() + begin;
        columns.codes = codes;
        columns.loss = loss_.data() + panel * width_;
        columns.grid = problem_.grid;
        columns.product_dtype = problem_.product_dtype;
        kernel(columns);
        store_codes(panel, begin, size, codes);
      });
    }
    std::copy_n(loss_.begin(), rows_, solution_.row_loss.begin());
    if (solution_.rounded_to_nearest) measure_rounding_loss();
  }

  // weights_, scales_, zeros_ of one panel: rows across lanes, columns in visiting order; zero weights and
  // unit scales beyond the last row.
  void load_panel(int64_t panel) {
    const int64_t first = panel * width_, count = std::min(width_, rows_ - first),
                  scale_columns = problem_.scales.columns();
    float* weights = weights_ + panel * columns_ * width_;
    std::memset(weights, 0, static_cast<size_t>(columns_ * width_) * sizeof(float));
    std::vector<float> row(static_cast<size_t>(columns_));
    for (int64_t r = 0; r < count; ++r) {
      engine_.elements.load_row(weight_rows_[static_cast<size_t>(first + r)], problem_.weights[0].dtype,
                                columns_, row.data());
      for (int64_t i = 0; i < columns_; ++i) {
        const auto original = static_cast<size_t>(order_[static_cast<size_t>(i)]);
        weights[i * width_ + r] = dead_[original] ? 0.0f : row[original];
      }
    }
    float* scales = scales_ + panel * width_ * scale_columns;
    std::fill_n(scales, width_ * scale_columns, 1.0f);
    if (zeros_) std::fill_n(zeros_ + panel * width_ * scale_columns, width_ * scale_columns, 0.0f);
    for (int64_t r = 0; r < count; ++r)
      for (int64_t s = 0; s < scale_columns; ++s) {
        scales[s * width_ + r] = problem_.scales.as<float>()[(first + r) * scale_columns + s];
        if (zeros_)
          zeros_[(panel * scale_columns + s) * width_ + r] = static_cast<float>(
              problem_.zero_points.as<int8_t>()[(first + r) * scale_columns + s]);
      }
  }

  // (R[0:b, B] inv(R_BB))^T as packed panels of A: [size, b], depth being the columns done.
  PackedPanels pack_update(int64_t begin,
                           int64_t size,
                           const float* transposed,
                           float* updates,
                           std::byte* storage) {
    Operand inverse, rows;
    inverse.data = transposed;
    inverse.rows = inverse.depth = size;
    inverse.row_stride = kFactorBlock;
    rows.data = factor_ + begin;
    rows.rows = begin;
    rows.depth = size;
    rows.row_stride = columns_;
    gemm(engine_, inverse, rows, nullptr, {updates, DType::f32, begin});
    Operand update;
    update.data = updates;
    update.rows = size;
    update.depth = begin;
    update.row_stride = begin;
    return pack_rows(engine_.f32, Side::a, update, 0, size, storage);
  }

  void store_codes(int64_t panel, int64_t begin, int64_t size, const uint8_t* codes) {
    for (int64_t r = 0; r < std::min(width_, rows_ - panel * width_); ++r)
      for (int64_t i = 0; i < size; ++i)
        code_rows_[static_cast<size_t>(panel * width_ + r)][order_[static_cast<size_t>(begin + i)]] =
            codes[i * width_ + r];
  }

  // Without a factor: (w - q) H (w - q)^T row by row, with the last dampening tried.
  void measure_rounding_loss() {
    const auto frac = static_cast<float>(solution_.dampening_frac);
    engine_.pool.run(panels_, [&](int64_t panel, int) {
      const float* difference = differences_ + panel * columns_ * width_;
      std::vector<float> product(static_cast<size_t>(width_));
      std::vector<double> loss(static_cast<size_t>(width_), 0.0);
      for (int64_t i = 0; i < columns_; ++i) {
        const int64_t original = order_[static_cast<size_t>(i)];
        const float own = gram_at(original, original),
                    damped = own + frac * (problem_.relative_dampening ? own : mean_diagonal_);
        const float* d = difference + i * width_;
        for (int64_t r = 0; r < width_; ++r) product[static_cast<size_t>(r)] = 0.5f * damped * d[r];
        for (int64_t j = 0; j < i; ++j) {
          const float h = gram_at(original, order_[static_cast<size_t>(j)]);
          for (int64_t r = 0; r < width_; ++r)
            product[static_cast<size_t>(r)] += h * difference[j * width_ + r];
        }
        for (int64_t r = 0; r < width_; ++r)
          loss[static_cast<size_t>(r)] += 2.0 * static_cast<double>(d[r]) *
              static_cast<double>(product[static_cast<size_t>(r)]);
      }
      for (int64_t r = 0; r < std::min(width_, rows_ - panel * width_); ++r)
        solution_.row_loss[static_cast<size_t>(panel * width_ + r)] = loss[static_cast<size_t>(r)];
    });
  }

  Engine& engine_;
  const GptqProblem& problem_;
  GptqSolution solution_;
  const int64_t rows_, columns_, width_, panels_, blocks_;
  std::vector<const std::byte*> weight_rows_;  // [rows]
  std::vector<uint8_t*> code_rows_;            // [rows]
  std::vector<int32_t> order_;                 // [columns]
  std::vector<uint8_t> dead_;                  // [columns], by original column
  std::vector<float> diagonal_;                // [columns] of the gram, by original column
  float mean_diagonal_ = 0;
  float* factor_ = nullptr;                            // [columns, columns]
  float* inverses_ = nullptr;                          // [blocks][128, 128]
  float *weights_ = nullptr, *differences_ = nullptr;  // [panels][columns][width]
  float *scales_ = nullptr, *zeros_ = nullptr;         // [panels][scale columns][width]
  std::vector<double> loss_;                           // [panels * width]
};

}  // namespace

// The rows lie side by side, so that each number of H is read once.
double output_energy(Engine& engine, const TensorView& weight, int64_t step, const TensorView& gram) {
  constexpr int64_t kRows = 32, kTile = 64;
  const int64_t rows = weight.rows(), n = weight.columns(), sampled = divide_up(rows, step),
                tiles = divide_up(n, kTile), item = static_cast<int64_t>(item_size(weight.dtype));
  // one sum per tile: the total does not depend on threads
  std::vector<double> energy(static_cast<size_t>(tiles), 0.0);
  // w: [n][rows at a time], zeros beyond the last
  std::vector<float> w(static_cast<size_t>(n * kRows)), row(static_cast<size_t>(n));
  for (int64_t first = 0; first < sampled; first += kRows) {
    std::fill(w.begin(), w.end(), 0.0f);
    for (int64_t i = first; i < std::min(sampled, first + kRows); ++i) {
      engine.elements.load_row(weight.data + i * step * n * item, weight.dtype, n, row.data());
      for (int64_t k = 0; k < n; ++k)
        w[static_cast<size_t>(k * kRows + i - first)] = row[static_cast<size_t>(k)];
    }
    engine.pool.run(tiles, [&](int64_t tile, int) {
      for (int64_t i = tile * kTile; i < std::min(n, (tile + 1) * kTile); ++i) {
        const float* h = gram.as<float>() + i * n;  // lower triangle
        const float* own = w.data() + i * kRows;
        float below[kRows] = {};
        for (int64_t k = 0; k < i; ++k)
          for (int64_t r = 0; r < kRows; ++r) below[r] += h[k] * w[static_cast<size_t>(k * kRows + r)];
        for (int64_t r = 0; r < kRows; ++r)
          energy[static_cast<size_t>(tile)] += static_cast<double>(own[r]) *
              (2.0 * static_cast<double>(below[r]) + static_cast<double>(h[i] * own[r]));
      }
    });
  }
  return std::accumulate(energy.begin(), energy.end(), 0.0);
}

GptqSolution solve_gptq(Engine& engine, const GptqProblem& problem) {
  check_gptq_problem(problem, "cpu");
  return Solver(engine, problem).run();
}

}  // namespace llmc::cpu
