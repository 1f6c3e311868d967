// GPTQ problems and who solves them.
#pragma once
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "llmc/backend/number_grid.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

// One GPTQ problem: the rows of every Linear that shares a Hessian and a scheme, concatenated.
struct GptqProblem {
  // each [its rows, columns], all f32, bf16 or f16; the problem's rows are theirs, one matrix after another
  std::vector<TensorView> weights;
  // [columns, columns] f32: the lower triangle of sum x x^T (accumulate_gram)
  TensorView gram;
  NumberGrid grid;
  TensorView scales;                  // [rows, scale_columns] f32, the values as stored on disk
  TensorView zero_points;             // [rows, scale_columns] i8; data null when symmetric
  std::vector<int32_t> scale_column;  // [columns]: which scale column each input channel uses
  DType product_dtype = DType::bf16;  // q * scale is rounded to it, as the reader of the file will do
  bool activation_order = true;       // visit channels by falling diagonal (ties: lower index first)
  bool relative_dampening = true;     // H_ii += frac * H_ii; otherwise H_ii += frac * mean(diag H)
  double dampening_frac = 0.01;
  int64_t block_size = 128;

  int64_t rows() const {
    int64_t all = 0;
    for (const TensorView& weight : weights) all += weight.rows();
    return all;
  }
  int64_t columns() const { return weights.empty() ? 0 : weights[0].columns(); }
};
struct GptqSolution {
  // of each weight, [its rows, columns] i8, or f8_e4m3 for an 8-bit float grid, or u8 fp4 codes; a device's
  // lie on it
  std::vector<Tensor> codes;
  // [rows]: (w - q) H (w - q)^T with the dampened gram of this problem, unnormalized
  std::vector<double> row_loss;
  double dampening_frac = 0;  // that worked; each failed factorization tries ten times more
  int attempts = 1;
  std::vector<int32_t> order;       // [columns]: which column was visited i-th
  bool rounded_to_nearest = false;  // every dampening up to 1.0 failed: codes are plain rounding
};

class GptqKernels {
 public:
  virtual ~GptqKernels() = default;

  // One solution per problem. The problems have nothing to do with each other, nor the bits of one solution
  // with the other problems: a device may solve them side by side.
  virtual std::vector<GptqSolution> gptq(std::span<const GptqProblem> problems) = 0;
  GptqSolution gptq(const GptqProblem& problem) { return std::move(gptq(std::span(&problem, 1)).front()); }
  // The sum over the rows w = 0, step, 2 step ... of `weight` of w H w^T. gram: the lower triangle of H.
  virtual double output_energy(const TensorView& weight, int64_t step, const TensorView& gram) = 0;
};

}  // namespace llmc
