// Two levels of blocks. A block of 1024 columns gets what all columns before it add in one product of great depth; within it, each 128 columns get what the block's
// own add. Both write only the columns at hand: W - Q and R are read, nothing but the block is updated.
#include "cuda/gptq_solver.hpp"

#include <algorithm>

#include "core/quantize/gptq_problem.hpp"
#include "cuda/check.hpp"
#include "cuda/kernels.hpp"
#include "llmc/error.hpp"

namespace llmc::cuda {
namespace {

constexpr int64_t kOuter = 8 * kGptqBlock;

class Solver {
 public:
  Solver(Engine& engine, Factorization& factorization, const GptqProblem& problem, const float* gram)
      : engine_(engine), factorization_(factorization), problem_(problem), gram_(gram), rows_(problem.rows()), columns_(problem.columns()), order_(static_cast<size_t>(columns_)) {}

  GptqSolution run() {
    solution_ = start_gptq_solution(problem_);
    for (const TensorView& weight : problem_.weights) solution_.codes.push_back(engine_.heap.tensor(gptq_code_dtype(problem_.grid), weight.shape));
    if (rows_ == 0 || columns_ == 0) return std::move(solution_);
    read_diagonal();
    choose_order();
    factor_ = engine_.heap.tensor(DType::f32, {columns_, columns_});
    factor_with_rising_dampening();
    quantize();
    solution_.order = std::move(order_);
    return std::move(solution_);
  }

 private:
  void read_diagonal() {
    diagonal_given_ = engine_.heap.tensor(DType::f32, {columns_});
    const Tensor bad = engine_.heap.zeros(DType::i32, {1});
    read_gram_diagonal(gram_, columns_, diagonal_given_.as<float>(), const_cast<int*>(bad.as<int>()), engine_.stream);
    diagonal_ = engine_.heap.download<float>(diagonal_given_, static_cast<size_t>(columns_));
    if (engine_.heap.download<int>(bad, 1)[0]) throw Error(ErrorCode::numeric, "gptq: the gram matrix of " + std::to_string(columns_) + " columns holds NaN or Inf, wanted finite numbers");
  }

  void choose_order() {
    order_ = visiting_order(diagonal_, problem_.activation_order);
    mean_diagonal_ = revive_diagonal(diagonal_);
    order_there_ = engine_.heap.upload(order_, DType::i32);
    diagonal_there_ = engine_.heap.upload(diagonal_, DType::f32);
  }

  void gather(const Tensor& order, float frac) {
    gather_gram_reversed(gram_, columns_, order.as<int32_t>(), diagonal_there_.as<float>(), frac, problem_.relative_dampening ? 0.0f : mean_diagonal_, factor_.as<float>(), engine_.stream);
  }

  void factor_with_rising_dampening() {
    double frac = problem_.dampening_frac;
    for (solution_.attempts = 1;; ++solution_.attempts) {
      solution_.dampening_frac = frac;
      gather(order_there_, static_cast<float>(frac));
      if (factorization_.factor(factor_.as<float>(), columns_)) {
        reverse_factor(factor_.as<float>(), columns_, engine_.stream);
        const int64_t blocks = (columns_ + kGptqBlock - 1) / kGptqBlock;
        inverses_ = engine_.heap.tensor(DType::f32, {blocks, kGptqBlock, kGptqBlock});
        invert_factor_blocks(factor_.as<float>(), columns_, inverses_.as<float>(), engine_.stream);
        return;
      }
      const auto next = next_dampening(frac);
      if (!next) break;
      frac = *next;
    }
    solution_.rounded_to_nearest = true;
  }

  void quantize() {
    DeviceHeap& heap = engine_.heap;
    Tensor weights = heap.tensor(DType::f32, {rows_, columns_}), codes = heap.tensor(DType::u8, {rows_, columns_}), loss = heap.zeros(DType::f64, {rows_});
    int64_t first = 0;
    for (const TensorView& weight : problem_.weights) {
      Tensor holder;
      const TensorView given = heap.here(weight, holder);
      gather_weight_columns(given.data, given.dtype, given.rows(), columns_, order_there_.as<int32_t>(), diagonal_given_.as<float>(), weights.as<float>() + first * columns_, engine_.stream);
      first += given.rows();
    }
    std::vector<int32_t> scale_column(static_cast<size_t>(columns_));
    for (size_t i = 0; i < scale_column.size(); ++i) scale_column[i] = problem_.scale_column[static_cast<size_t>(order_[i])];
    const Tensor scales = heap.upload(problem_.scales), scale_columns = heap.upload(scale_column, DType::i32), zero_points = problem_.zero_points.data ? heap.upload(problem_.zero_points) : Tensor();
    Tensor sums = heap.tensor(DType::f32, {rows_, std::min(kOuter, columns_)}), update = heap.tensor(DType::f32, {rows_, kGptqBlock});

    for (int64_t outer = 0; outer < columns_; outer += kOuter) {
      const int64_t outer_end = std::min(columns_, outer + kOuter);
      if (outer > 0 && !solution_.rounded_to_nearest) add_differences(weights, 0, outer, outer, outer_end, sums.as<float>(), sums.columns(), false);
      for (int64_t begin = outer; begin < outer_end; begin += kGptqBlock) {
        const int64_t end = std::min(outer_end, begin + kGptqBlock);
        const float* const inverse = solution_.rounded_to_nearest ? nullptr : inverses_.as<float>() + begin * kGptqBlock;
        const bool updated = begin > 0 && inverse;
        if (updated) {
          float* const own = sums.as<float>() + (begin - outer);
          if (begin > outer) add_differences(weights, outer, begin, begin, end, own, sums.columns(), outer > 0);
          Product product;  // [rows, size] [size, size]
          product.rows = rows_;
          product.columns = product.depth = end - begin;
          product.a = own;
          product.a_stride = sums.columns();
          product.b = inverse;
          product.b_stride = product.c_stride = kGptqBlock;
          product.b_is_transposed = false;
          product.c = update.data();
          engine_.products.multiply(product);
        }
        ColumnProblem columns;
        columns.rows = rows_;
        columns.columns = static_cast<int>(end - begin);
        columns.weights = weights.as<float>() + begin;
        columns.update = updated ? update.as<float>() : nullptr;
        columns.stride = columns_;
        columns.inverse = inverse;
        columns.scales = scales.as<float>();
        columns.zero_points = zero_points.empty() ? nullptr : zero_points.as<int8_t>();
        columns.scale_columns = problem_.scales.columns();
        columns.scale_column = scale_columns.as<int32_t>() + begin;
        columns.order = order_there_.as<int32_t>() + begin;
        columns.codes = codes.as<uint8_t>();
        columns.loss = loss.as<double>();
        columns.product_dtype = problem_.product_dtype;
        quantize_column_block(columns, problem_.grid, engine_.stream);
      }
    }
    if (solution_.rounded_to_nearest) measure_rounding_loss(weights, loss);
    const std::byte* from = codes.data();
    for (Tensor& part : solution_.codes) {
      check(cudaMemcpyAsync(part.data(), from, static_cast<size_t>(part.bytes()), cudaMemcpyDeviceToDevice, engine_.stream), "copy of codes");
      from += part.bytes();
    }
    heap.download(loss.data(), solution_.row_loss.data(), solution_.row_loss.size() * sizeof(double));
  }

  // to[:, 0 : end - begin] (+)= (W - Q)[:, from : until] R[from : until, begin : end]
  void add_differences(const Tensor& weights, int64_t from, int64_t until, int64_t begin, int64_t end, float* to, int64_t stride, bool add) {
    Product product;
    product.rows = rows_;
    product.columns = end - begin;
    product.depth = until - from;
    product.a = weights.as<float>() + from;
    product.b = factor_.as<float>() + from * columns_ + begin;
    product.a_stride = product.b_stride = columns_;
    product.c = to;
    product.c_stride = stride;
    product.b_is_transposed = false;
    product.add = add;
    engine_.products.multiply(product);
  }

  // Without a factor: (w - q) H (w - q)^T row by row, with the last dampening tried.
  void measure_rounding_loss(const Tensor& differences, Tensor& loss) {
    std::vector<int32_t> backwards(order_.rbegin(), order_.rend());
    gather(engine_.heap.upload(backwards, DType::i32), static_cast<float>(solution_.dampening_frac));  // reversed twice: the lower triangle in visiting order
    const Tensor products = engine_.heap.tensor(DType::f32, differences.shape());
    Product product;
    product.rows = rows_;
    product.columns = product.depth = product.a_stride = product.b_stride = product.c_stride = columns_;
    product.a = differences.data();
    product.b = factor_.data();
    product.c = const_cast<std::byte*>(products.data());
    engine_.products.multiply(product);
    sum_quadratic_form(differences.as<float>(), products.as<float>(), factor_.as<float>(), rows_, columns_, loss.as<double>(), engine_.stream);
  }

  Engine& engine_;
  Factorization& factorization_;
  const GptqProblem& problem_;
  const float* const gram_;
  GptqSolution solution_;
  const int64_t rows_, columns_;
  std::vector<int32_t> order_;   // [columns]: which column is visited i-th
  std::vector<float> diagonal_;  // [columns] of the gram, by original column; ones where nothing was ever seen
  float mean_diagonal_ = 0;
  Tensor diagonal_given_, diagonal_there_, order_there_;
  Tensor factor_, inverses_;  // [columns, columns]; [blocks, 128, 128]
};

}  // namespace

double output_energy(Engine& engine, const TensorView& weight, int64_t step, const float* gram) {
  const int64_t n = weight.columns();
  Tensor holder, sample = engine.heap.tensor(DType::f32, {n, kEnergyRows}), energies = engine.heap.tensor(DType::f64, {n});
  const TensorView given = engine.heap.here(weight, holder);
  double total = 0;
  for (int64_t first = 0; first < weight.rows(); first += kEnergyRows * step) {
    gather_row_sample(given.data, given.dtype, given.rows(), n, first, step, sample.as<float>(), engine.stream);
    collect_output_energies(sample.as<float>(), gram, n, energies.as<double>(), engine.stream);
    for (const double energy : engine.heap.download<double>(energies, static_cast<size_t>(n))) total += energy;
  }
  return total;
}

GptqSolution solve_gptq(Engine& engine, Factorization& factorization, const GptqProblem& problem, const float* gram) {
  check_gptq_problem(problem, "cuda");
  return Solver(engine, factorization, problem, gram).run();
}

}  // namespace llmc::cuda
