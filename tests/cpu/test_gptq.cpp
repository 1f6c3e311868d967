#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <limits>

#include "cpu/cholesky.hpp"
#include "cpu_test_tools.hpp"
#include "gptq_recording.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

// A small problem whose tensors live as long as it does.
struct SmallProblem {
  Tensor weight, gram, scales;
  GptqProblem problem;

  SmallProblem(int64_t rows, int64_t columns, std::vector<float> gram_values, unsigned seed = 7)
      : weight(
            tensor_of(DType::f32, {rows, columns}, random_floats(static_cast<size_t>(rows * columns), seed))),
        gram(tensor_of(DType::f32, {columns, columns}, gram_values)),
        scales(tensor_of(DType::f32, {rows, 1}, std::vector<float>(static_cast<size_t>(rows), 0.25f))) {
    problem.weights = {weight};
    problem.gram = gram;
    problem.scales = scales;
    problem.scale_column.assign(static_cast<size_t>(columns), 0);
    problem.product_dtype = DType::f32;
  }
};

// X^T X of `tokens` random rows, full.
std::vector<float> random_gram(int64_t n, int64_t tokens, unsigned seed) {
  const std::vector<float> x = random_floats(static_cast<size_t>(tokens * n), seed);
  std::vector<float> gram(static_cast<size_t>(n * n), 0.0f);
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        gram[static_cast<size_t>(i * n + j)] += x[static_cast<size_t>(t * n + i)] *
            x[static_cast<size_t>(t * n + j)];
  return gram;
}

}  // namespace

TEST_CASE("GPTQ gives the recorded codes of llm-compressor on every recorded matrix") {
  for_each_recording([](const std::string& name, const RecordedProblem& recorded) {
    for (const std::string& isa : cpu::cpu_isa_names()) {
      const GptqSolution solution = backend(isa)->gptq(recorded.problem());
      INFO(name << " " << isa << " equal " << recorded.equal_share(solution) << " loss ratio "
                << recorded.loss_ratio(solution));
      CHECK(solution.attempts == 1);
      CHECK(recorded.equal_share(solution) >= 0.999);
      CHECK(recorded.loss_ratio(solution) == Approx(1.0).epsilon(0.001));
    }
  });
}

TEST_CASE("1, 2 and 5 threads give the same GPTQ codes and losses") {
  const SmallProblem small(200, 300, random_gram(300, 500, 1));
  for (const std::string& isa : cpu::cpu_isa_names()) {
    const GptqSolution one = backend(isa, 1)->gptq(small.problem);
    for (const int threads : {2, 5}) {
      const GptqSolution more = backend(isa, threads)->gptq(small.problem);
      CHECK(std::memcmp(one.codes[0].data(), more.codes[0].data(),
                        static_cast<size_t>(one.codes[0].bytes())) == 0);
      CHECK(one.row_loss == more.row_loss);
    }
  }
}

TEST_CASE("the row loss is (w - q) H (w - q)^T with the dampened gram") {
  const int64_t n = 200, rows = 5;
  const std::vector<float> gram = random_gram(n, 400, 2);
  const SmallProblem small(rows, n, gram);
  const GptqSolution solution = backend()->gptq(small.problem);
  for (int64_t r = 0; r < rows; ++r) {
    std::vector<double> d(static_cast<size_t>(n));
    for (int64_t j = 0; j < n; ++j)
      d[static_cast<size_t>(j)] = static_cast<double>(small.weight.as<float>()[r * n + j] -
                                                      0.25f * code_value(solution.codes[0], r * n + j));
    double loss = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        loss += d[static_cast<size_t>(i)] * d[static_cast<size_t>(j)] *
            static_cast<double>(gram[static_cast<size_t>(i * n + j)]) * (i == j ? 1.01 : 1.0);
    CHECK(solution.row_loss[static_cast<size_t>(r)] == Approx(loss).epsilon(1e-3));
  }
}

TEST_CASE("a channel that never fires gets code zero and leaves the others alone") {
  const int64_t n = 20;
  std::vector<float> gram = random_gram(n, 100, 3);
  for (int64_t i = 0; i < n; ++i)
    gram[static_cast<size_t>(5 * n + i)] = gram[static_cast<size_t>(i * n + 5)] = 0.0f;
  const SmallProblem small(3, n, gram);
  const GptqSolution solution = backend()->gptq(small.problem);
  CHECK(solution.attempts == 1);
  for (int64_t r = 0; r < 3; ++r) CHECK(solution.codes[0].as<int8_t>()[r * n + 5] == 0);
}

TEST_CASE("a gram that is not positive definite is dampened ten times more until it factors") {
  // [[1, 1.05], [1.05, 1]]: relative dampening 0.01 leaves a determinant below zero, 0.1 does not.
  SmallProblem small(1, 2, {1.0f, 1.05f, 1.05f, 1.0f});
  const GptqSolution solution = backend()->gptq(small.problem);
  CHECK(solution.attempts == 2);
  CHECK(solution.dampening_frac == Approx(0.1));
  CHECK_FALSE(solution.rounded_to_nearest);
}

TEST_CASE("when every dampening fails the codes are plain rounding") {
  SmallProblem small(1, 2, {1.0f, 5.0f, 5.0f, 1.0f});
  small.weight.as<float>()[0] = 0.3f;
  small.weight.as<float>()[1] = -5.0f;
  const GptqSolution solution = backend()->gptq(small.problem);
  CHECK(solution.rounded_to_nearest);
  CHECK(solution.attempts == 3);
  CHECK(solution.codes[0].as<int8_t>()[0] == 1);
  CHECK(solution.codes[0].as<int8_t>()[1] == -8);
}

TEST_CASE("a gram with NaN is a numeric error") {
  const SmallProblem small(1, 2, {1.0f, 0.0f, std::numeric_limits<float>::quiet_NaN(), 1.0f});
  try {
    backend()->gptq(small.problem);
    FAIL("expected an error");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::numeric);
  }
}

TEST_CASE("the factor's product is the matrix, and each inverse is that of its diagonal block") {
  for (const std::string& isa : cpu::cpu_isa_names())
    for (const int64_t n : {1, 5, 128, 129, 300}) {
      INFO(isa << " n " << n);
      cpu::Engine engine(cpu::choose_isa(isa), 2);
      const std::vector<float> gram = random_gram(n, 2 * n + 8, 4);
      std::vector<float> r(gram.rbegin(), gram.rend()),
          inverses(static_cast<size_t>((n + 127) / 128 * 128 * 128));
      REQUIRE(cpu::factor_reversed(engine, r.data(), n, inverses.data()));
      float worst = 0, worst_inverse = 0;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (int64_t k = 0; k < n; ++k)
            sum += static_cast<double>(r[static_cast<size_t>(i * n + k)]) *
                static_cast<double>(r[static_cast<size_t>(j * n + k)]);
          worst = std::max(worst, std::fabs(static_cast<float>(sum) - gram[static_cast<size_t>(i * n + j)]));
          if (i / 128 != j / 128) continue;
          const int64_t begin = i / 128 * 128;
          double identity = i == j ? -1.0 : 0.0;
          for (int64_t k = begin; k < std::min(n, begin + 128); ++k)
            identity += static_cast<double>(r[static_cast<size_t>(i * n + k)]) *
                static_cast<double>(
                            inverses[static_cast<size_t>(begin * 128 + (k - begin) * 128 + j - begin)]);
          worst_inverse = std::max(worst_inverse, std::fabs(static_cast<float>(identity)));
        }
      CHECK(worst <= 1e-6f * static_cast<float>(2 * n + 8) + 1e-5f);
      CHECK(worst_inverse <= 2e-4f);
    }
}

TEST_CASE("a matrix with a negative pivot does not factor") {
  cpu::Engine engine(cpu::choose_isa(""), 1);
  std::vector<float> work{1.0f, 0.0f, 2.0f, 1.0f}, inverses(128 * 128);
  CHECK_FALSE(cpu::factor_reversed(engine, work.data(), 2, inverses.data()));
}
