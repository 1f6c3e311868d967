// GPTQ on the device: against llm-compressor's recordings as strictly as the CPU, and against the CPU backend on random problems.
#include <cstring>

#include "cpu/gptq_recording.hpp"
#include "cuda_test_tools.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

// X^T X of `tokens` random rows with correlated channels, the lower triangle.
Tensor correlated_gram(int64_t n, int64_t tokens, unsigned seed) {
  std::vector<float> x = random_floats(static_cast<size_t>(tokens * n), seed);
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t i = 1; i < n; ++i) x[static_cast<size_t>(t * n + i)] = 0.6f * x[static_cast<size_t>(t * n + i - 1)] + 0.8f * x[static_cast<size_t>(t * n + i)];
  Tensor gram = Tensor::zeros(DType::f32, {n, n});
  const Tensor values = tensor_of(DType::f32, {tokens, n}, x);
  backend()->accumulate_gram(values, gram);
  return gram;
}

struct RandomProblem {
  Tensor weight, gram, scales, zeros;
  GptqProblem problem;

  RandomProblem(Dice& dice, const NumberGrid& grid) {
    const int64_t rows = dice.between(1, 150), columns = dice.between(3, 300), group = dice.one_of<int64_t>({columns, 16, 100}), scale_columns = (columns + group - 1) / group;
    weight = tensor_of(DType::bf16, {rows, columns}, random_floats(static_cast<size_t>(rows * columns), static_cast<unsigned>(dice.below(1000))));
    gram = correlated_gram(columns, 2 * columns, static_cast<unsigned>(dice.below(1000)));
    if (dice.below(2))  // a channel that never sees anything
      for (int64_t i = 0, dead = columns / 2; i < columns; ++i) gram.as<float>()[std::max(i, dead) * columns + std::min(i, dead)] = 0;
    const float top = grid.type == NumberType::floating ? (grid.num_bits == 4 ? 6.0f : 448.0f) : static_cast<float>(1 << (grid.num_bits - 1));
    std::vector<float> scale(static_cast<size_t>(rows * scale_columns));
    for (float& value : scale) value = bf16_value((2.0f + static_cast<float>(dice.below(100)) / 50) / top);
    scales = tensor_of(DType::f32, {rows, scale_columns}, scale);
    zeros = Tensor(DType::i8, {rows, scale_columns});
    for (int64_t i = 0; i < zeros.size(); ++i) zeros.as<int8_t>()[i] = static_cast<int8_t>(dice.between(-2, 1));
    problem.weight = weight;
    problem.gram = gram;
    problem.scales = scales;
    if (!grid.symmetric) problem.zero_points = zeros;
    problem.grid = grid;
    for (int64_t j = 0; j < columns; ++j) problem.scale_column.push_back(static_cast<int32_t>(j / group));
    problem.activation_order = dice.below(2);
    problem.relative_dampening = dice.below(2);
    problem.product_dtype = dice.one_of({DType::bf16, DType::f32, DType::f16});
  }
};

std::vector<uint8_t> codes_of(const GptqSolution& solution) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(solution.codes.data());
  return {bytes, bytes + solution.codes.bytes()};
}

}  // namespace

TEST_CASE("device: GPTQ gives the recorded codes of llm-compressor on every recorded matrix") {
  const auto cuda = cuda_backend();
  for_each_recording([&](const std::string& name, const RecordedProblem& recorded) {
    const GptqSolution solution = cuda->gptq(recorded.problem());
    INFO(name << " equal " << recorded.equal_share(solution) << " loss ratio " << recorded.loss_ratio(solution));
    CHECK(solution.attempts == 1);
    CHECK(recorded.equal_share(solution) >= 0.999);
    CHECK(recorded.loss_ratio(solution) == Approx(1.0).epsilon(0.001));
  });
}

TEST_CASE("device: GPTQ on random shapes and every grid agrees with the CPU") {
  Dice dice(1);
  std::vector<NumberGrid> grids = {{NumberType::floating, 8, true}, {NumberType::floating, 4, true}};
  for (int bits = 2; bits <= 8; ++bits) grids.push_back({NumberType::integer, bits, true}), grids.push_back({NumberType::integer, bits, false});
  for (const NumberGrid& grid : grids) {
    const RandomProblem random(dice, grid);
    CAPTURE(grid.num_bits, grid.symmetric, random.weight.rows(), random.weight.columns());
    const GptqSolution want = backend()->gptq(random.problem), got = cuda_backend()->gptq(random.problem);
    const auto a = codes_of(want), b = codes_of(got);
    REQUIRE(a.size() == b.size());
    size_t equal = 0;
    for (size_t i = 0; i < a.size(); ++i) equal += a[i] == b[i];
    CHECK(static_cast<double>(equal) >= 0.995 * static_cast<double>(a.size()) - 2);  // a near tie goes either way, and moves what comes after it in its row
    CHECK(total(got.row_loss) == Approx(total(want.row_loss)).epsilon(0.003));
    CHECK(got.order == want.order);
    CHECK((got.attempts == want.attempts && got.dampening_frac == want.dampening_frac));
  }
}

TEST_CASE("device: GPTQ does not depend on the order of threads") {
  Dice dice(2);
  const RandomProblem random(dice, {NumberType::integer, 4, true});
  in_every_order([&] {
    const GptqSolution solution = cuda_backend()->gptq(random.problem);
    return std::pair(codes_of(solution), solution.row_loss);
  });
}

TEST_CASE("device: a Hessian that no dampening mends is rounded to nearest, with the loss said") {
  const int64_t n = 40;
  const Tensor weight = tensor_of(DType::f32, {5, n}, random_floats(5 * n, 3)), scales = tensor_of(DType::f32, {5, 1}, std::vector<float>(5, 0.25f));
  Tensor gram = correlated_gram(n, 80, 4);
  for (int64_t i = 1; i < n; ++i) gram.as<float>()[i * n] = 1e6f;  // far from positive definite
  GptqProblem problem;
  problem.weight = weight;
  problem.gram = gram;
  problem.scales = scales;
  problem.scale_column.assign(n, 0);
  problem.product_dtype = DType::f32;
  const GptqSolution want = backend()->gptq(problem), got = cuda_backend()->gptq(problem);
  CHECK((got.rounded_to_nearest && want.rounded_to_nearest));
  CHECK(codes_of(got) == codes_of(want));
  for (size_t row = 0; row < 5; ++row) CHECK(got.row_loss[row] == Approx(want.row_loss[row]).epsilon(1e-4));
  gram.as<float>()[3 * n + 1] = std::nanf("");
  CHECK_THROWS_WITH(cuda_backend()->gptq(problem), Catch::Contains("gram matrix of 40 columns holds NaN or Inf"));
}
