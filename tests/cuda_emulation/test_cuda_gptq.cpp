// GPTQ on the device: against llm-compressor's recordings as strictly as the CPU, and against the CPU backend
// on random problems.
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
    for (int64_t i = 1; i < n; ++i)
      x[static_cast<size_t>(t * n + i)] = 0.6f * x[static_cast<size_t>(t * n + i - 1)] +
          0.8f * x[static_cast<size_t>(t * n + i)];
  Tensor gram = Tensor::zeros(DType::f32, {n, n});
  const Tensor values = tensor_of(DType::f32, {tokens, n}, x);
  backend()->accumulate_gram(values, gram);
  return gram;
}

struct RandomProblem {
  Tensor weight, gram, scales, zeros;
  GptqProblem problem;

  RandomProblem(Dice& dice, const NumberGrid& grid) : RandomProblem(dice, grid, dice.between(3, 300)) {}
  RandomProblem(Dice& dice, const NumberGrid& grid, int64_t columns) {
    const int64_t rows = dice.between(1, 150), group = dice.one_of<int64_t>({columns, 16, 100}),
                  scale_columns = (columns + group - 1) / group;
    weight = tensor_of(
        DType::bf16, {rows, columns},
        random_floats(static_cast<size_t>(rows * columns), static_cast<unsigned>(dice.below(1000))));
    gram = correlated_gram(columns, 2 * columns, static_cast<unsigned>(dice.below(1000)));
    if (dice.below(2))  // a channel that never sees anything
      for (int64_t i = 0, dead = columns / 2; i < columns; ++i)
        gram.as<float>()[std::max(i, dead) * columns + std::min(i, dead)] = 0;
    const float top = grid.type == NumberType::floating ? (grid.num_bits == 4 ? 6.0f : 448.0f)
                                                        : static_cast<float>(1 << (grid.num_bits - 1));
    std::vector<float> scale(static_cast<size_t>(rows * scale_columns));
    for (float& value : scale) value = bf16_value((2.0f + static_cast<float>(dice.below(100)) / 50) / top);
    scales = tensor_of(DType::f32, {rows, scale_columns}, scale);
    zeros = Tensor(DType::i8, {rows, scale_columns});
    for (int64_t i = 0; i < zeros.size(); ++i)
      zeros.as<int8_t>()[i] = static_cast<int8_t>(dice.between(-2, 1));
    problem.weights = {weight};
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
  std::vector<uint8_t> all;
  for (const Tensor& codes : solution.codes)
    all.insert(all.end(), codes.as<uint8_t>(), codes.as<uint8_t>() + codes.bytes());
  return all;
}

// With the codes on the host: they outlive the device.
GptqSolution solve_on_device(const GptqProblem& problem) {
  const auto cuda = cuda_backend();
  GptqSolution solution = cuda->gptq(problem);
  for (Tensor& codes : solution.codes) codes = cuda->to_host(codes);
  return solution;
}

}  // namespace

TEST_CASE("device: GPTQ gives the recorded codes of llm-compressor on every recorded matrix") {
  for_each_recording([&](const std::string& name, const RecordedProblem& recorded) {
    const GptqSolution solution = solve_on_device(recorded.problem());
    INFO(name << " equal " << recorded.equal_share(solution) << " loss ratio "
              << recorded.loss_ratio(solution));
    CHECK(solution.attempts == 1);
    CHECK(recorded.equal_share(solution) >= 0.999);
    CHECK(recorded.loss_ratio(solution) == Approx(1.0).epsilon(0.001));
  });
}

TEST_CASE("device: GPTQ on random shapes and every grid agrees with the CPU") {
  Dice dice(1);
  std::vector<NumberGrid> grids = {{NumberType::floating, 8, true}, {NumberType::floating, 4, true}};
  for (int bits = 2; bits <= 8; ++bits) {
    grids.push_back({NumberType::integer, bits, true});
    grids.push_back({NumberType::integer, bits, false});
  }
  for (const NumberGrid& grid : grids) {
    const RandomProblem random(dice, grid);
    CAPTURE(grid.num_bits, grid.symmetric, random.weight.rows(), random.weight.columns());
    const GptqSolution want = backend()->gptq(random.problem), got = solve_on_device(random.problem);
    const auto a = codes_of(want), b = codes_of(got);
    REQUIRE(a.size() == b.size());
    size_t equal = 0;
    for (size_t i = 0; i < a.size(); ++i) equal += a[i] == b[i];
    // a near tie goes either way, and moves what comes after it in its row
    CHECK(static_cast<double>(equal) >= 0.995 * static_cast<double>(a.size()) - 2);
    CHECK(total(got.row_loss) == Approx(total(want.row_loss)).epsilon(0.003));
    CHECK(got.order == want.order);
    CHECK((got.attempts == want.attempts && got.dampening_frac == want.dampening_frac));
  }
}

TEST_CASE("device: GPTQ does not depend on the order of threads") {
  Dice dice(2);
  const RandomProblem random(dice, {NumberType::integer, 4, true});
  in_every_order([&] {
    const GptqSolution solution = solve_on_device(random.problem);
    return std::pair(codes_of(solution), solution.row_loss);
  });
}

TEST_CASE("device: a Hessian that no dampening mends is rounded to nearest, with the loss said") {
  const int64_t n = 40;
  const Tensor weight = tensor_of(DType::f32, {5, n}, random_floats(5 * n, 3)),
               scales = tensor_of(DType::f32, {5, 1}, std::vector<float>(5, 0.25f));
  Tensor gram = correlated_gram(n, 80, 4);
  for (int64_t i = 1; i < n; ++i) gram.as<float>()[i * n] = 1e6f;  // far from positive definite
  GptqProblem problem;
  problem.weights = {weight};
  problem.gram = gram;
  problem.scales = scales;
  problem.scale_column.assign(n, 0);
  problem.product_dtype = DType::f32;
  const GptqSolution want = backend()->gptq(problem), got = solve_on_device(problem);
  CHECK((got.rounded_to_nearest && want.rounded_to_nearest));
  CHECK(codes_of(got) == codes_of(want));
  for (size_t row = 0; row < 5; ++row) CHECK(got.row_loss[row] == Approx(want.row_loss[row]).epsilon(1e-4));
  gram.as<float>()[3 * n + 1] = std::nanf("");
  CHECK_THROWS_WITH(cuda_backend()->gptq(problem),
                    Catch::Contains("gram matrix of 40 columns holds NaN or Inf"));
}

TEST_CASE(
    "device: matrices that share a Hessian are solved as their stacked rows, on the host or on the device") {
  Dice dice(3);
  const RandomProblem stacked(dice, {NumberType::integer, 4, false});
  const int64_t rows = stacked.weight.rows(), cut = rows / 3;
  REQUIRE(cut > 0);
  const auto cuda = cuda_backend();
  const Tensor here = cuda->load_weight(
      DType::bf16, stacked.weight.view().row_range(cut, rows).shape,
      [&](int64_t offset, int64_t bytes, std::byte* to) {
        std::memcpy(to, stacked.weight.view().row_range(cut, rows).data + offset, static_cast<size_t>(bytes));
      });
  CHECK(here.device() == cuda->device());
  GptqProblem problem = stacked.problem;
  problem.weights = {stacked.weight.view().row_range(0, cut), here};
  GptqSolution got = cuda->gptq(problem);
  problem.weights[1] = stacked.weight.view().row_range(cut, rows);
  const GptqSolution want = solve_on_device(stacked.problem), on_host = backend()->gptq(problem),
                     reference = backend()->gptq(stacked.problem);
  REQUIRE(got.codes.size() == 2);
  for (Tensor& codes : got.codes) codes = cuda->to_host(codes);
  CHECK(got.codes[0].shape() == Shape{cut, stacked.weight.columns()});
  CHECK(codes_of(got) == codes_of(want));
  CHECK(codes_of(on_host) == codes_of(reference));
}

TEST_CASE("device: the energy of an output is the CPU's") {
  Dice dice(4);
  for (int round = 0; round < 12; ++round) {
    const int64_t rows = dice.between(1, 90), columns = dice.between(1, 200), step = dice.between(1, 5);
    const Tensor weight = tensor_of(
        dice.one_of({DType::bf16, DType::f16, DType::f32}), {rows, columns},
        random_floats(static_cast<size_t>(rows * columns), static_cast<unsigned>(round)));
    const Tensor gram = correlated_gram(columns, 2 * columns, static_cast<unsigned>(round));
    CAPTURE(rows, columns, step);
    double exact = 0;
    std::vector<float> values(static_cast<size_t>(weight.size()));
    to_float(weight, values.data());
    for (int64_t r = 0; r < rows; r += step)
      for (int64_t i = 0; i < columns; ++i)
        for (int64_t k = 0; k <= i; ++k)
          exact += (i == k ? 1.0 : 2.0) * static_cast<double>(values[static_cast<size_t>(r * columns + i)]) *
              static_cast<double>(values[static_cast<size_t>(r * columns + k)]) *
              static_cast<double>(gram.as<float>()[i * columns + k]);
    CHECK(backend()->output_energy(weight, step, gram) == Approx(exact).epsilon(1e-4));
    in_every_order([&] { return cuda_backend()->output_energy(weight, step, gram); });
    CHECK(cuda_backend()->output_energy(weight, step, gram) == Approx(exact).epsilon(1e-4));
  }
}

TEST_CASE("device: problems solved side by side have the bits of each solved alone") {
  Dice dice(6);
  const int64_t columns = 260;
  std::vector<RandomProblem> made;
  for (const NumberGrid& grid :
       {NumberGrid{NumberType::integer, 4, true}, NumberGrid{NumberType::integer, 4, false},
        NumberGrid{NumberType::integer, 4, true}, NumberGrid{NumberType::floating, 4, true},
        NumberGrid{NumberType::integer, 4, true}})
    made.emplace_back(dice, grid, columns);
  // far from positive definite: rounded plainly, between two that are not
  for (int64_t i = 1; i < columns; ++i) made[2].gram.as<float>()[i * columns] = 1e6f;
  std::vector<GptqProblem> problems;
  for (const RandomProblem& one : made) {
    problems.push_back(one.problem);
    problems.back().product_dtype = DType::bf16;
  }
  const RandomProblem narrow(dice, {NumberType::integer, 4, true});
  problems.push_back(narrow.problem);
  in_every_order([&] {
    const auto cuda = cuda_backend();
    std::vector<GptqSolution> together = cuda->gptq(problems);
    REQUIRE(together.size() == problems.size());
    CHECK(together[2].rounded_to_nearest);
    std::vector<std::vector<uint8_t>> codes;
    for (size_t i = 0; i < problems.size(); ++i) {
      CAPTURE(i);
      for (Tensor& part : together[i].codes) part = cuda->to_host(part);
      const GptqSolution alone = solve_on_device(problems[i]);
      codes.push_back(codes_of(together[i]));
      CHECK(codes.back() == codes_of(alone));
      CHECK(together[i].row_loss == alone.row_loss);
      CHECK(together[i].order == alone.order);
    }
    return codes;
  });
}
