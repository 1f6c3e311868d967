#include "core/inspection/matrix_comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/quantize/number_formats.hpp"
#include "core/quantize/rounding.hpp"

namespace llmc {
namespace {

constexpr int64_t kRowsPerSum = 128;  // of errors: another number changes the last bits of their total
// times that of the range: searched scales lie between 0.05 and 1
constexpr float kLargestScale = 2.0f, kSmallestScale = 1.0f / 32;

struct Allowance {
  double factor, slack;          // of the whole matrix's error: factor * rounding error + slack
  double row_factor, row_slack;  // of its worst row's
  double cosine;                 // at least, between the two: what tells a bad rounding from another matrix
};

// Measured on the recorded folders: rounding in bfloat16 adds 5 % to the error of int8; GPTQ makes up to 3
// times the rounding error.
constexpr Allowance allowance(Basis basis) {
  switch (basis) {
    case Basis::rounded:
      return {1.3, 0.002, 2.0, 0.01, 0.5};
    case Basis::tuned:
      return {4.0, 0.02, 8.0, 0.05, 0.3};
    case Basis::smoothed:
      return {1.5, 0.01, 3.0, 0.05, 0.3};
    case Basis::smoothed_and_tuned:
      return {4.0, 0.05, 8.0, 0.10, 0.3};
    case Basis::pruned:
      return {0.0, 0.95, 0.0, 1.3, 0.3};
  }
  return {};
}

bool takes_range(const QuantizationArgs& args) {
  return !args.observer || args.observer->ends_with("minmax");
}

class Comparison {
 public:
  Comparison(const std::string& module,
             const QuantizedMatrix& matrix,
             Tensor& source,
             Basis basis,
             const Rescaling& rescaling,
             const ParallelFor& parallel)
      : module_(module),
        matrix_(matrix),
        source_(source),
        basis_(basis),
        rescaling_(rescaling),
        parallel_(parallel),
        rows_(matrix.shape[0]),
        columns_(matrix.shape[1]) {}

  MatrixComparison run() {
    result_.absmax = absolute_maximum(source_);
    if (is_smoothed()) undo_smoothing();
    else if (basis_ == Basis::tuned) find_dead_columns();
    const QuantizationParameters expected = compute_qparams(source_, matrix_.args,
                                                            matrix_.parameters.global_scale);
    check_scales(expected);
    measure(expected);
    return std::move(result_);
  }

 private:
  bool is_smoothed() const { return basis_ == Basis::smoothed || basis_ == Basis::smoothed_and_tuned; }
  int64_t tiles() const { return (rows_ + kRowsPerSum - 1) / kRowsPerSum; }

  // body(tile, first row, rows): any thread
  template <class Body>
  void for_tiles(Body&& body) {
    const auto work = [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t)
        body(static_cast<size_t>(t), t * kRowsPerSum, std::min(kRowsPerSum, rows_ - t * kRowsPerSum));
    };
    parallel_(tiles(), 1, work);
  }

  std::vector<float> decoded(int64_t row, int64_t count) const {
    std::vector<float> values(static_cast<size_t>(count * columns_));
    dequantize_rows(matrix_.codes.view().row_range(row, row + count), row, matrix_.parameters, matrix_.args,
                    DType::f32, reinterpret_cast<std::byte*>(values.data()));
    return values;
  }
  std::vector<float> source_values(int64_t row, int64_t count) const {
    std::vector<float> values(static_cast<size_t>(count * columns_));
    to_float(source_.view().row_range(row, row + count), values.data());
    return values;
  }

  struct ColumnSums {
    std::vector<double> dd, dw, ww;  // [K]
  };
  ColumnSums column_sums() {
    std::vector<ColumnSums> parts(static_cast<size_t>(tiles()));
    for_tiles([&](size_t t, int64_t row, int64_t count) {
      const auto n = static_cast<size_t>(columns_);
      ColumnSums& sums = parts[t];
      sums.dd.assign(n, 0);
      sums.dw.assign(n, 0);
      sums.ww.assign(n, 0);
      const std::vector<float> d = decoded(row, count), w = source_values(row, count);
      for (size_t i = 0; i < d.size(); ++i) {
        const size_t k = i % n;
        const double x = d[i], y = w[i];
        sums.dd[k] += x * x;
        sums.dw[k] += x * y;
        sums.ww[k] += y * y;
      }
    });
    ColumnSums total = std::move(parts[0]);
    for (size_t t = 1; t < parts.size(); ++t)
      for (size_t k = 0; k < total.dd.size(); ++k) {
        total.dd[k] += parts[t].dd[k];
        total.dw[k] += parts[t].dw[k];
        total.ww[k] += parts[t].ww[k];
      }
    return total;
  }

  void find_dead_columns() {
    const ColumnSums sums = column_sums();
    dead_.assign(static_cast<size_t>(columns_), 0);
    for (size_t k = 0; k < dead_.size(); ++k) dead_[k] = sums.dd[k] == 0 && sums.ww[k] > 0 ? 1 : 0;
    result_.dead_columns = std::accumulate(dead_.begin(), dead_.end(), int64_t{0});
    // nothing left: that is no dead input but a lost matrix
    if (result_.dead_columns == columns_) {
      dead_.clear();
      result_.dead_columns = 0;
    }
  }

  // Brings the source to what was quantized: columns times what a norm gave away, or nothing, when that
  // explains them as well as factors fitted one by one do; those otherwise. Fitting hides what all scales
  // have in common, so it comes last, and its factors must be of ordinary size.
  void undo_smoothing() {
    const ColumnSums sums = column_sums();
    // 1 - cosine^2 of the decoded matrix and the source times `factors`
    const auto unexplained = [&](const std::vector<float>& factors) {
      double dw = 0, ww = 0, dd = 0;
      for (size_t k = 0; k < factors.size(); ++k) {
        const double f = factors[k];
        dw += f * sums.dw[k];
        ww += f * f * sums.ww[k];
        dd += sums.dd[k];
      }
      return ww > 0 && dd > 0 ? 1 - dw * dw / (ww * dd) : 1.0;
    };
    std::vector<float>& fitted = result_.channel_factors;
    for (size_t k = 0; k < sums.ww.size(); ++k) {
      const double factor = sums.ww[k] > 0 ? sums.dw[k] / sums.ww[k] : 1.0,
                   rest = std::max(0.0, sums.dd[k] - factor * sums.dw[k]);
      fitted.push_back(static_cast<float>(factor));
      result_.channel_errors.push_back(
          sums.ww[k] > 0 ? static_cast<float>(std::sqrt(rest / (static_cast<double>(rows_) * sums.ww[k])))
                         : 0.0f);
    }
    std::vector<float> best(fitted.size(), 1.0f);
    factors_are_exact_ = !rescaling_.linears;
    // a fit of few rows explains noise too
    double close = rescaling_.linears ? 1.1 + 3.0 / static_cast<double>(rows_) : 2.5;
    for (const std::vector<float>& norm : rescaling_.norms)
      if (norm.size() == best.size() && unexplained(norm) < unexplained(best)) {
        best = norm;
        factors_are_exact_ = !rescaling_.rows;
        close = 2.5;
      }
    if (unexplained(best) > close * unexplained(fitted) + 1e-5) {
      best = fitted;
      factors_are_exact_ = false;
      check_factors(best, "input channels");
    }
    std::vector<float> rows = rescaling_.rows ? fit_rows(best)
                                              : std::vector<float>(static_cast<size_t>(rows_), 1.0f);
    if (rescaling_.rows) check_factors(rows, "output channels");
    scale_source(rows, best);
  }

  void check_factors(std::vector<float> factors, std::string_view what) {
    // AWQ divides its factors by the root of the largest times the smallest; a single one may be anything
    constexpr float kMiddle = 16;
    std::nth_element(factors.begin(), factors.begin() + static_cast<std::ptrdiff_t>(factors.size() / 2),
                     factors.end());
    const float middle = factors[factors.size() / 2];
    if (!result_.fault && !(middle > 1 / kMiddle && middle < kMiddle))
      result_.fault = Fault{module_ + ".weight_scale",
                            fmt::format("{} that are {:.3g} times the source's in the middle", what, middle),
                            "factors that smoothing makes"};
  }

  std::vector<float> fit_rows(const std::vector<float>& columns) {
    std::vector<float> factors(static_cast<size_t>(rows_), 1.0f);
    for_tiles([&](size_t, int64_t row, int64_t count) {
      const std::vector<float> d = decoded(row, count), w = source_values(row, count);
      for (int64_t r = 0; r < count; ++r) {
        double dw = 0, ww = 0;
        for (int64_t k = 0; k < columns_; ++k) {
          const auto i = static_cast<size_t>(r * columns_ + k);
          const double x = static_cast<double>(w[i]) * static_cast<double>(columns[static_cast<size_t>(k)]);
          dw += static_cast<double>(d[i]) * x;
          ww += x * x;
        }
        if (ww > 0) factors[static_cast<size_t>(row + r)] = static_cast<float>(dw / ww);
      }
    });
    return factors;
  }

  void scale_source(const std::vector<float>& rows, const std::vector<float>& columns) {
    for_tiles([&](size_t, int64_t row, int64_t count) {
      std::vector<float> w = source_values(row, count);
      for (size_t i = 0; i < w.size(); ++i)
        w[i] *= columns[i % columns.size()] * rows[static_cast<size_t>(row) + i / columns.size()];
      from_float(w.data(), static_cast<int64_t>(w.size()), source_.dtype(),
                 source_.data() + row * columns_ * static_cast<int64_t>(item_size(source_.dtype())));
    });
  }

  // ---- scales ---------------------------------------------------------------------------------------------

  bool near(float got, float wanted) const {
    const QuantizationArgs& args = matrix_.args;
    // powers of two
    if (args.scale_dtype == DType::u8) return got == wanted || is_smoothed();
    // the next e4m3 number
    if (args.scale_dtype == DType::f8_e4m3)
      return std::fabs(got - wanted) <= (is_smoothed() ? 0.3f : 0.13f) * wanted;
    // smoothed: weights and norms were rounded to the model's dtype on the way
    return std::fabs(got - wanted) <= (is_smoothed() ? 0.04f : 0.01f) * wanted;
  }

  void check_scales(const QuantizationParameters& expected) {
    const Tensor got = scale_values(matrix_.parameters, matrix_.args),
                 wanted = scale_values(expected, matrix_.args);
    const float *g = got.as<float>(), *w = wanted.as<float>();
    int64_t unlike = 0, first = -1;
    for (int64_t i = 0; i < got.size(); ++i) {
      if (!(g[i] <= kLargestScale * w[i] && g[i] >= kSmallestScale * w[i]) && !result_.fault)
        result_.fault = scale_fault(i, g[i], w[i], " or a little less");
      if (!near(g[i], w[i]) && unlike++ == 0) first = i;
    }
    const bool comparable = takes_range(matrix_.args) && basis_ != Basis::pruned && factors_are_exact_;
    if (comparable && first >= 0)
      result_.scale_fault = scale_fault(first, g[first], w[first],
                                        fmt::format(" ({} of {} are others)", unlike, got.size()));
    if (matrix_.args.symmetric || !comparable || first >= 0) return;
    const int8_t *zero = matrix_.parameters.zero_points.as<int8_t>(),
                 *meant = expected.zero_points.as<int8_t>();
    for (int64_t i = 0; i < got.size(); ++i)
      if (std::abs(zero[i] - meant[i]) > 1) {
        result_.scale_fault = Fault{module_ + ".weight_zero_point", fmt::format("{} at index {}", zero[i], i),
                                    fmt::format("{}, from the source's values", meant[i])};
        return;
      }
  }

  Fault scale_fault(int64_t index, float got, float wanted, std::string_view more) const {
    return {module_ + ".weight_scale", fmt::format("{:.6g} at index {}", got, index),
            fmt::format("{:.6g}, from the source's values{}", wanted, more)};
  }

  // ---- errors ---------------------------------------------------------------------------------------------

  static double sum(const std::vector<double>& values) {
    return std::accumulate(values.begin(), values.end(), 0.0);
  }

  void measure(const QuantizationParameters& expected) {
    const auto n = static_cast<size_t>(rows_);
    std::vector<double> error(n), rounding(n), energy(n), product(n), decoded_energy(n);
    const auto codes_of = [&](int64_t row, int64_t count) {
      Tensor codes(matrix_.codes.dtype(), {count, columns_});
      quantize_rows(source_.view().row_range(row, row + count), row, expected, matrix_.args, Rounding::exact,
                    codes.data());
      return codes;
    };
    for_tiles([&](size_t, int64_t row, int64_t count) {
      const std::vector<float> d = decoded(row, count), w = source_values(row, count);
      std::vector<float> nearest(d.size());
      const Tensor codes = codes_of(row, count);
      dequantize_rows(codes, row, expected, matrix_.args, DType::f32,
                      reinterpret_cast<std::byte*>(nearest.data()));
      for (int64_t r = 0; r < count; ++r)
        for (int64_t k = 0; k < columns_; ++k) {
          if (!dead_.empty() && dead_[static_cast<size_t>(k)]) continue;
          const auto i = static_cast<size_t>(r * columns_ + k), at = static_cast<size_t>(row + r);
          const double x = d[i], y = w[i], z = nearest[i];
          error[at] += (x - y) * (x - y);
          rounding[at] += (z - y) * (z - y);
          energy[at] += y * y;
          product[at] += x * y;
          decoded_energy[at] += x * x;
        }
    });
    const double norms = std::sqrt(sum(energy) * sum(decoded_energy));
    result_.cosine = norms > 0 ? sum(product) / norms : 0;
    judge(error, rounding, energy);
  }

  void judge(const std::vector<double>& error,
             const std::vector<double>& rounding,
             const std::vector<double>& energy) {
    const double total = sum(energy);
    const Allowance allowed = allowance(basis_);
    if (total == 0) {
      if (sum(error) > 0 && !result_.fault)
        result_.fault = Fault{module_ + ".weight", "values other than zero", "zeros, as in the source"};
      return;
    }
    result_.relative_error = std::sqrt(sum(error) / total);
    result_.rounding_error = std::sqrt(sum(rounding) / total);
    result_.allowed_error = allowed.factor * result_.rounding_error + allowed.slack;
    if (result_.fault) return;
    if (result_.relative_error > result_.allowed_error) {
      result_.fault = Fault{
          module_ + ".weight", fmt::format("an error of {:.4f} to the source", result_.relative_error),
          fmt::format(
              "at most {:.4f} (rounding makes {:.4f}{})", result_.allowed_error, result_.rounding_error,
              basis_ == Basis::tuned ? "; GPTQ exceeds it when it saw a few different tokens only" : "")};
      return;
    }
    if (result_.cosine < allowed.cosine) {
      result_.fault = Fault{module_ + ".weight",
                            fmt::format("a cosine of {:.4f} with the source", result_.cosine),
                            fmt::format("at least {}", allowed.cosine)};
      return;
    }
    for (size_t row = 0; row < error.size(); ++row) {
      if (energy[row] == 0) continue;
      const double got = std::sqrt(error[row] / energy[row]),
                   rounded = std::sqrt(rounding[row] / energy[row]);
      const double most = allowed.row_factor * std::max(rounded, result_.rounding_error) + allowed.row_slack;
      if (got <= most) continue;
      result_.fault = Fault{module_ + ".weight",
                            fmt::format("an error of {:.4f} to the source in row {}", got, row),
                            fmt::format("at most {:.4f} (rounding makes {:.4f})", most, rounded)};
      return;
    }
  }

  const std::string& module_;
  const QuantizedMatrix& matrix_;
  Tensor& source_;
  Basis basis_;
  const Rescaling& rescaling_;
  const ParallelFor parallel_;
  int64_t rows_, columns_;
  std::vector<char> dead_;         // [K]; empty: none
  bool factors_are_exact_ = true;  // smoothing was undone by a norm's own ratio, or there was none
  MatrixComparison result_;
};

}  // namespace

MatrixComparison compare_matrix(const std::string& module,
                                const QuantizedMatrix& matrix,
                                Tensor& source,
                                Basis basis,
                                const Rescaling& rescaling,
                                const ParallelFor& parallel) {
  return Comparison(module, matrix, source, basis, rescaling, parallel).run();
}

void fit_channels(const TensorView& values, Tensor& source, bool fit_rows) {
  const int64_t rows = source.rows(), columns = source.columns();
  std::vector<float> v(static_cast<size_t>(rows * columns)), w(v.size()),
      column_factor(static_cast<size_t>(columns), 1.0f), row_factor(static_cast<size_t>(rows), 1.0f);
  to_float(values, v.data());
  to_float(source, w.data());
  std::vector<double> top(column_factor.size()), bottom(column_factor.size());
  // columns first: rows only take what columns cannot explain
  for (int round = 0; round < (fit_rows ? 3 : 1); ++round) {
    std::fill(top.begin(), top.end(), 0.0), std::fill(bottom.begin(), bottom.end(), 0.0);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t k = 0; k < columns; ++k) {
        const auto i = static_cast<size_t>(r * columns + k);
        const double x = static_cast<double>(w[i]) * static_cast<double>(row_factor[static_cast<size_t>(r)]);
        top[static_cast<size_t>(k)] += static_cast<double>(v[i]) * x, bottom[static_cast<size_t>(k)] += x * x;
      }
    for (size_t k = 0; k < top.size(); ++k)
      column_factor[k] = bottom[k] > 0 ? static_cast<float>(top[k] / bottom[k]) : 1.0f;
    for (int64_t r = 0; r < rows && fit_rows; ++r) {
      double up = 0, down = 0;
      for (int64_t k = 0; k < columns; ++k) {
        const auto i = static_cast<size_t>(r * columns + k);
        const double x = static_cast<double>(w[i]) *
            static_cast<double>(column_factor[static_cast<size_t>(k)]);
        up += static_cast<double>(v[i]) * x;
        down += x * x;
      }
      row_factor[static_cast<size_t>(r)] = down > 0 ? static_cast<float>(up / down) : 1.0f;
    }
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < columns; ++k)
      w[static_cast<size_t>(r * columns + k)] *= column_factor[static_cast<size_t>(k)] *
          row_factor[static_cast<size_t>(r)];
  from_float(w.data(), static_cast<int64_t>(w.size()), source.dtype(), source.data());
}

double relative_difference(const TensorView& values, const TensorView& source) {
  std::vector<float> v(static_cast<size_t>(values.size())), w(static_cast<size_t>(source.size()));
  to_float(values, v.data());
  to_float(source, w.data());
  double error = 0, energy = 0;
  for (size_t i = 0; i < v.size(); ++i) {
    const double x = v[i], y = w[i];
    error += (x - y) * (x - y);
    energy += y * y;
  }
  return energy > 0 ? std::sqrt(error / energy) : error > 0 ? 1.0 : 0.0;
}

}  // namespace llmc
