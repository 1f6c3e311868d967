// What every backend does with a GPTQ problem before and between its factorizations.
#pragma once
#include <optional>
#include <string_view>
#include <vector>

#include "llmc/backend.hpp"

namespace llmc {

// Error(internal): shapes and indices that do not fit
void check_gptq_problem(const GptqProblem& problem, std::string_view backend);
GptqSolution start_gptq_solution(const GptqProblem& problem);  // losses zero, no codes yet
DType gptq_code_dtype(const NumberGrid& grid);
// falling diagonal, ties: lower index first
std::vector<int32_t> visiting_order(const std::vector<float>& diagonal, bool by_diagonal);
// A dead column's zero becomes a one, so that the factorization passes over it. Returns the mean of the
// result.
float revive_diagonal(std::vector<float>& diagonal);
std::optional<double> next_dampening(double failed);  // nothing: no dampening mends this gram

}  // namespace llmc
