// Two levels of blocks. A block of 1024 columns gets what all columns before it add in one product of great
// depth; within it, each 128 columns get what the block's own add. Both write only the columns at hand: W - Q
// and R are read, nothing but the block is updated.
#include "cuda/gptq_solver.hpp"

#include <algorithm>
#include <memory>

#include "core/quantize/gptq_problem.hpp"
#include "cuda/check.hpp"
#include "cuda/kernels.hpp"
#include "llmc/error.hpp"

namespace llmc::cuda {
namespace {

constexpr int64_t kOuter = 8 * kGptqBlock;
constexpr int64_t kTogether = int64_t{2} << 30;  // bytes of problems that are solved side by side

// One problem while it is solved: prepare(), then update() and a launch for each 128 columns, then finish().
class Solver {
 public:
  Solver(Engine& engine, Factorization& factorization, const GptqProblem& problem)
      : engine_(engine),
        factorization_(factorization),
        problem_(problem),
        rows_(problem.rows()),
        columns_(problem.columns()) {}

  void prepare() {
    DeviceHeap& heap = engine_.heap;
    solution_ = start_gptq_solution(problem_);
    for (const TensorView& weight : problem_.weights)
      solution_.codes.push_back(heap.tensor(gptq_code_dtype(problem_.grid), weight.shape));
    if (is_empty()) return;
    gram_ = heap.here(problem_.gram, gram_holder_).as<float>();
    read_diagonal();
    choose_order();
    factor_ = heap.tensor(DType::f32, {columns_, columns_});
    factor_with_rising_dampening();
    gather_weights();
    std::vector<int32_t> scale_column(static_cast<size_t>(columns_));
    for (size_t i = 0; i < scale_column.size(); ++i)
      scale_column[i] = problem_.scale_column[static_cast<size_t>(order_[i])];
    scale_column_ = heap.upload(scale_column, DType::i32);
    scales_ = heap.upload(problem_.scales);
    if (problem_.zero_points.data) zero_points_ = heap.upload(problem_.zero_points);
    codes_ = heap.tensor(DType::u8, {rows_, columns_});
    loss_ = heap.zeros(DType::f64, {rows_});
    sums_ = heap.tensor(DType::f32, {rows_, std::min(kOuter, columns_)});
    update_ = heap.tensor(DType::f32, {rows_, kGptqBlock});
  }

  int64_t rows() const { return rows_; }
  bool is_empty() const { return rows_ == 0 || columns_ == 0; }
  bool is_rounded_plainly() const { return solution_.rounded_to_nearest; }

  ColumnProblem column_problem() {
    ColumnProblem columns;
    columns.rows = rows_;
    columns.columns = columns_;
    columns.weights = weights_.as<float>();
    columns.update = update_.as<float>();
    columns.inverses = inverses_.empty() ? nullptr : inverses_.as<float>();
    columns.scales = scales_.as<float>();
    columns.zero_points = zero_points_.empty() ? nullptr : zero_points_.as<int8_t>();
    columns.scale_columns = problem_.scales.columns();
    columns.scale_column = scale_column_.as<int32_t>();
    columns.order = order_there_.as<int32_t>();
    columns.codes = codes_.as<uint8_t>();
    columns.loss = loss_.as<double>();
    return columns;
  }

  // What the columns before `begin` add to the block that begins there.
  void update(int64_t begin) {
    const int64_t outer = begin / kOuter * kOuter, end = std::min(columns_, begin + kGptqBlock);
    if (begin == outer && outer > 0)
      add_differences(0, outer, outer, std::min(columns_, outer + kOuter), sums_.as<float>(), false);
    if (begin == 0) return;
    float* const own = sums_.as<float>() + (begin - outer);
    if (begin > outer) add_differences(outer, begin, begin, end, own, outer > 0);
    Product product;  // [rows, size] [size, size]
    product.rows = rows_;
    product.columns = product.depth = end - begin;
    product.a = own;
    product.a_stride = sums_.columns();
    product.b = inverses_.as<float>() + begin * kGptqBlock;
    product.b_stride = product.c_stride = kGptqBlock;
    product.b_is_transposed = false;
    product.c = update_.data();
    engine_.products.multiply(product);
  }

  GptqSolution finish() {
    if (is_empty()) return std::move(solution_);
    if (solution_.rounded_to_nearest) measure_rounding_loss();
    const std::byte* from = codes_.data();
    for (Tensor& part : solution_.codes) {
      check(cudaMemcpyAsync(part.data(), from, static_cast<size_t>(part.bytes()), cudaMemcpyDeviceToDevice,
                            engine_.stream),
            "copy of codes");
      from += part.bytes();
    }
    engine_.heap.download(loss_.data(), solution_.row_loss.data(),
                          solution_.row_loss.size() * sizeof(double));
    solution_.order = std::move(order_);
    return std::move(solution_);
  }

 private:
  void read_diagonal() {
    diagonal_given_ = engine_.heap.tensor(DType::f32, {columns_});
    const Tensor bad = engine_.heap.zeros(DType::i32, {1});
    read_gram_diagonal(gram_, columns_, diagonal_given_.as<float>(), const_cast<int*>(bad.as<int>()),
                       engine_.stream);
    diagonal_ = engine_.heap.download<float>(diagonal_given_, static_cast<size_t>(columns_));
    if (engine_.heap.download<int>(bad, 1)[0])
      throw Error(ErrorCode::numeric,
                  "gptq: the gram matrix of " + std::to_string(columns_) +
                      " columns holds NaN or Inf, wanted finite numbers");
  }

  void choose_order() {
    order_ = visiting_order(diagonal_, problem_.activation_order);
    mean_diagonal_ = revive_diagonal(diagonal_);
    order_there_ = engine_.heap.upload(order_, DType::i32);
    diagonal_there_ = engine_.heap.upload(diagonal_, DType::f32);
  }

  void gather(const Tensor& order, float frac) {
    gather_gram_reversed(gram_, columns_, order.as<int32_t>(), diagonal_there_.as<float>(), frac,
                         problem_.relative_dampening ? 0.0f : mean_diagonal_, factor_.as<float>(),
                         engine_.stream);
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

  void gather_weights() {
    weights_ = engine_.heap.tensor(DType::f32, {rows_, columns_});
    float* to = weights_.as<float>();
    for (const TensorView& weight : problem_.weights) {
      Tensor holder;
      const TensorView given = engine_.heap.here(weight, holder);
      gather_weight_columns(given.data, given.dtype, given.rows(), columns_, order_there_.as<int32_t>(),
                            diagonal_given_.as<float>(), to, engine_.stream);
      to += given.size();
    }
  }

  // to[:, 0 : end - begin] (+)= (W - Q)[:, from : until] R[from : until, begin : end]
  void add_differences(int64_t from, int64_t until, int64_t begin, int64_t end, float* to, bool add) {
    Product product;
    product.rows = rows_;
    product.columns = end - begin;
    product.depth = until - from;
    product.a = weights_.as<float>() + from;
    product.b = factor_.as<float>() + from * columns_ + begin;
    product.a_stride = product.b_stride = columns_;
    product.c = to;
    product.c_stride = sums_.columns();
    product.b_is_transposed = false;
    product.add = add;
    engine_.products.multiply(product);
  }

  // Without a factor: (w - q) H (w - q)^T row by row, with the last dampening tried.
  void measure_rounding_loss() {
    std::vector<int32_t> backwards(order_.rbegin(), order_.rend());
    // reversed twice: the lower triangle in visiting order
    gather(engine_.heap.upload(backwards, DType::i32), static_cast<float>(solution_.dampening_frac));
    Tensor products = engine_.heap.tensor(DType::f32, weights_.shape());
    Product product;
    product.rows = rows_;
    product.columns = product.depth = product.a_stride = product.b_stride = product.c_stride = columns_;
    product.a = weights_.data();
    product.b = factor_.data();
    product.c = products.data();
    engine_.products.multiply(product);
    sum_quadratic_form(weights_.as<float>(), products.as<float>(), factor_.as<float>(), rows_, columns_,
                       loss_.as<double>(), engine_.stream);
  }

  Engine& engine_;
  Factorization& factorization_;
  const GptqProblem& problem_;
  Tensor gram_holder_;
  const float* gram_ = nullptr;
  GptqSolution solution_;
  const int64_t rows_, columns_;
  std::vector<int32_t> order_;  // [columns]: which column is visited i-th
  // [columns] of the gram, by original column; ones where nothing was ever seen
  std::vector<float> diagonal_;
  float mean_diagonal_ = 0;
  Tensor diagonal_given_, diagonal_there_, order_there_;
  Tensor factor_, inverses_;       // [columns, columns]; [blocks, 128, 128]
  Tensor weights_, codes_, loss_;  // [rows, columns] in visiting order; by original column; [rows]
  Tensor scales_, zero_points_, scale_column_;
  Tensor sums_, update_;  // [rows, 1024]: what all columns before this one's 1024 add; [rows, 128]
};

// The 128-column blocks of problems with as many columns, one launch for all.
void quantize_columns(Engine& engine,
                      std::span<Solver* const> solvers,
                      int64_t columns,
                      bool plainly,
                      const GptqProblem& alike) {
  std::vector<ColumnProblem> problems;
  int64_t most_rows = 0;
  for (Solver* solver : solvers) {
    problems.push_back(solver->column_problem());
    most_rows = std::max(most_rows, solver->rows());
  }
  if (problems.empty()) return;
  const Tensor there = engine.heap.upload(problems, DType::u8);
  for (int64_t begin = 0; begin < columns; begin += kGptqBlock) {
    if (!plainly)
      for (Solver* solver : solvers) solver->update(begin);
    quantize_column_block(there.as<ColumnProblem>(), static_cast<int>(problems.size()), most_rows, begin,
                          plainly, alike.grid, alike.product_dtype, engine.stream);
  }
}

bool are_alike(const GptqProblem& a, const GptqProblem& b) {
  return a.columns() == b.columns() && a.product_dtype == b.product_dtype && a.grid.type == b.grid.type &&
      a.grid.num_bits == b.grid.num_bits;
}

int64_t bytes_of(const GptqProblem& problem) {
  return 4 * problem.columns() * (problem.columns() + 2 * problem.rows());
}

}  // namespace

std::vector<GptqSolution> solve_gptq(Engine& engine,
                                     Factorization& factorization,
                                     std::span<const GptqProblem> problems) {
  std::vector<GptqSolution> solutions;
  for (size_t first = 0; first < problems.size();) {
    std::vector<std::unique_ptr<Solver>> solvers;
    std::vector<Solver*> factored, plain;
    size_t last = first;
    for (int64_t bytes = 0; last < problems.size(); ++last) {
      check_gptq_problem(problems[last], "cuda");
      bytes += bytes_of(problems[last]);
      if (last > first && (!are_alike(problems[first], problems[last]) || bytes > kTogether)) break;
      solvers.push_back(std::make_unique<Solver>(engine, factorization, problems[last]));
      solvers.back()->prepare();
      if (!solvers.back()->is_empty())
        (solvers.back()->is_rounded_plainly() ? plain : factored).push_back(solvers.back().get());
    }
    quantize_columns(engine, factored, problems[first].columns(), false, problems[first]);
    quantize_columns(engine, plain, problems[first].columns(), true, problems[first]);
    for (const auto& solver : solvers) solutions.push_back(solver->finish());
    first = last;
  }
  return solutions;
}

double output_energy(Engine& engine, const TensorView& weight, int64_t step, const float* gram) {
  const int64_t n = weight.columns();
  Tensor holder, sample = engine.heap.tensor(DType::f32, {n, kEnergyRows}),
                 energies = engine.heap.tensor(DType::f64, {n});
  const TensorView given = engine.heap.here(weight, holder);
  double total = 0;
  for (int64_t first = 0; first < weight.rows(); first += kEnergyRows * step) {
    gather_row_sample(given.data, given.dtype, given.rows(), n, first, step, sample.as<float>(),
                      engine.stream);
    collect_output_energies(sample.as<float>(), gram, n, energies.as<double>(), engine.stream);
    for (const double energy : engine.heap.download<double>(energies, static_cast<size_t>(n)))
      total += energy;
  }
  return total;
}

}  // namespace llmc::cuda
