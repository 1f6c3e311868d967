#include "core/quantize/gptq_problem.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "llmc/error.hpp"

namespace llmc {

void check_gptq_problem(const GptqProblem& problem, std::string_view backend) {
  const auto bad = [&](const std::string& text) {
    throw Error(ErrorCode::internal, fmt::format("{}: gptq: {}", backend, text));
  };
  const int64_t columns = problem.columns();
  for (const TensorView& weight : problem.weights)
    if (weight.shape.size() != 2 || weight.columns() != columns || weight.dtype != problem.weights[0].dtype)
      bad("weight of shape " + to_string(weight.shape) + " " + std::string(dtype_name(weight.dtype)) +
          ", wanted [rows, " + std::to_string(columns) + "] " +
          std::string(dtype_name(problem.weights[0].dtype)));
  if (problem.gram.dtype != DType::f32 || problem.gram.shape != Shape{columns, columns})
    bad("gram of shape " + to_string(problem.gram.shape) + ", wanted F32 [columns, columns]");
  if (problem.scales.dtype != DType::f32 || problem.scales.rows() != problem.rows())
    bad("scales of shape " + to_string(problem.scales.shape) + ", wanted F32 [rows, scale columns]");
  if (static_cast<int64_t>(problem.scale_column.size()) != columns)
    bad("scale_column of " + std::to_string(problem.scale_column.size()) + " entries, wanted " +
        std::to_string(columns));
  for (const int32_t column : problem.scale_column)
    if (column < 0 || column >= problem.scales.columns())
      bad("scale_column " + std::to_string(column) + " of " + std::to_string(problem.scales.columns()));
}

DType gptq_code_dtype(const NumberGrid& grid) {
  return grid.type == NumberType::integer ? DType::i8 : grid.num_bits == 8 ? DType::f8_e4m3 : DType::u8;
}

GptqSolution start_gptq_solution(const GptqProblem& problem) {
  GptqSolution solution;
  solution.row_loss.assign(static_cast<size_t>(problem.rows()), 0.0);
  solution.dampening_frac = problem.dampening_frac;
  return solution;
}

std::vector<int32_t> visiting_order(const std::vector<float>& diagonal, bool by_diagonal) {
  std::vector<int32_t> order(diagonal.size());
  std::iota(order.begin(), order.end(), 0);
  if (by_diagonal)
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return diagonal[static_cast<size_t>(a)] > diagonal[static_cast<size_t>(b)];
    });
  return order;
}

float revive_diagonal(std::vector<float>& diagonal) {
  double sum = 0;
  for (float& value : diagonal) {
    if (value == 0.0f) value = 1.0f;
    sum += static_cast<double>(value);
  }
  return static_cast<float>(sum / static_cast<double>(diagonal.size()));
}

std::optional<double> next_dampening(double failed) {
  constexpr double kMost = 1.0 + 1e-9, kFirstAfterZero = 1e-3;
  const double next = failed > 0 ? 10 * failed : kFirstAfterZero;
  return next > kMost ? std::nullopt : std::optional(next);
}

}  // namespace llmc
