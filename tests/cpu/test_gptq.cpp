#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "cpu/cholesky.hpp"
#include "cpu_test_tools.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using namespace llmc::test;
using nlohmann::json;

namespace {

// A recorded call of llm-compressor's inner routine: every tensor as float.
struct Recording {
  std::map<std::string, std::vector<float>> tensors;
  std::map<std::string, Shape> shapes;
  json args;
  double dampening = 0;
};

float e4m3_value(uint8_t code) {
  const int exponent = (code >> 3) & 15, fraction = code & 7;
  const float magnitude = exponent ? std::ldexp(8.0f + static_cast<float>(fraction), exponent - 10) : std::ldexp(static_cast<float>(fraction), -9);
  return code & 0x80 ? -magnitude : magnitude;
}

Recording read_recording(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof length);
  std::string text(length, ' ');
  file.read(text.data(), static_cast<std::streamsize>(length));
  std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(file)), {});
  Recording recording;
  const json header = json::parse(text);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      recording.args = json::parse(entry["args"].get<std::string>());
      recording.dampening = std::stod(entry["dampening_frac"].get<std::string>());
      continue;
    }
    const size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    const std::string dtype = entry["dtype"];
    std::vector<float>& values = recording.tensors[name];
    recording.shapes[name] = entry["shape"].get<Shape>();
    const size_t item = dtype == "F32" ? 4 : dtype == "BF16" ? 2 : 1;
    for (size_t at = begin; at < end; at += item) {
      uint32_t bits = 0;
      std::memcpy(&bits, bytes.data() + at, item);
      values.push_back(dtype == "F32"    ? std::bit_cast<float>(bits)
                       : dtype == "BF16" ? from_bf16(static_cast<uint16_t>(bits))
                       : dtype == "I8"   ? static_cast<float>(static_cast<int8_t>(bits))
                                         : e4m3_value(static_cast<uint8_t>(bits)));
    }
  }
  return recording;
}

float code_value(const Tensor& codes, int64_t i) {
  constexpr float kFp4[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  if (codes.dtype() == DType::i8) return codes.as<int8_t>()[i];
  if (codes.dtype() == DType::f8_e4m3) return e4m3_value(codes.as<uint8_t>()[i]);
  const uint8_t code = codes.as<uint8_t>()[i];
  return code & 8 ? -kFp4[code & 7] : kFp4[code & 7];
}

double total(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

// A small problem whose tensors live as long as it does.
struct SmallProblem {
  Tensor weight, gram, scales;
  GptqProblem problem;

  SmallProblem(int64_t rows, int64_t columns, std::vector<float> gram_values, unsigned seed = 7)
      : weight(tensor_of(DType::f32, {rows, columns}, random_floats(static_cast<size_t>(rows * columns), seed))), gram(tensor_of(DType::f32, {columns, columns}, gram_values)),
        scales(tensor_of(DType::f32, {rows, 1}, std::vector<float>(static_cast<size_t>(rows), 0.25f))) {
    problem.weight = weight;
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
      for (int64_t j = 0; j < n; ++j) gram[static_cast<size_t>(i * n + j)] += x[static_cast<size_t>(t * n + i)] * x[static_cast<size_t>(t * n + j)];
  return gram;
}

}  // namespace

TEST_CASE("GPTQ gives the recorded codes of llm-compressor on every recorded matrix") {
  for (const auto& entry : std::filesystem::directory_iterator(std::string(LLMC_SOURCE_DIR) + "/tests/golden/gptq_matrix")) {
    Recording recording = read_recording(entry.path());
    const Shape shape = recording.shapes["weight"], scale_shape = recording.shapes["scale"];
    std::vector<float> scale = recording.tensors["scale"];
    const bool tensor_group = recording.tensors.count("global_scale") > 0, symmetric = recording.args["symmetric"];
    if (tensor_group)
      for (float& value : scale) value /= recording.tensors["global_scale"][0];
    const Tensor weight = tensor_of(DType::f32, shape, recording.tensors["weight"]), gram = tensor_of(DType::f32, {shape[1], shape[1]}, recording.tensors["hessian"]),
                 scales = tensor_of(DType::f32, scale_shape, scale);
    Tensor zeros(DType::i8, scale_shape);
    for (int64_t i = 0; i < zeros.size(); ++i) zeros.as<int8_t>()[i] = static_cast<int8_t>(recording.tensors["zero_point"][static_cast<size_t>(i)]);
    GptqProblem problem;
    problem.weight = weight;
    problem.gram = gram;
    problem.scales = scales;
    if (!symmetric) problem.zero_points = zeros;
    problem.grid = {recording.args["type"] == "int" ? NumberType::integer : NumberType::floating, recording.args["num_bits"], symmetric};
    for (int64_t j = 0; j < shape[1]; ++j) problem.scale_column.push_back(static_cast<int32_t>(j * scale_shape[1] / shape[1]));
    problem.product_dtype = tensor_group ? DType::f32 : DType::bf16;
    problem.activation_order = !recording.args["actorder"].is_null();
    problem.relative_dampening = false;
    problem.dampening_frac = recording.dampening;

    for (const std::string& isa : cpu::cpu_isa_names()) {
      const GptqSolution solution = backend(isa)->gptq(problem);
      int64_t equal = 0;
      for (int64_t i = 0; i < weight.size(); ++i) {
        const auto at = static_cast<size_t>(i / shape[1] * scale_shape[1] + problem.scale_column[static_cast<size_t>(i % shape[1])]);
        const float zero = symmetric ? 0.0f : static_cast<float>(zeros.as<int8_t>()[at]), product = (code_value(solution.codes, i) - zero) * scale[at];
        equal += (tensor_group ? product : bf16_value(product)) == recording.tensors["dequantized"][static_cast<size_t>(i)];
      }
      const double share = static_cast<double>(equal) / static_cast<double>(weight.size()), loss = total(solution.row_loss) / 2 / static_cast<double>(recording.tensors["loss"][0]);
      INFO(entry.path().filename() << " " << isa << " equal " << share << " loss ratio " << loss);
      CHECK(solution.attempts == 1);
      CHECK(share >= 0.999);
      CHECK(loss == Approx(1.0).epsilon(0.001));
    }
  }
}

TEST_CASE("1, 2 and 5 threads give the same GPTQ codes and losses") {
  const SmallProblem small(200, 300, random_gram(300, 500, 1));
  for (const std::string& isa : cpu::cpu_isa_names()) {
    const GptqSolution one = backend(isa, 1)->gptq(small.problem);
    for (const int threads : {2, 5}) {
      const GptqSolution more = backend(isa, threads)->gptq(small.problem);
      CHECK(std::memcmp(one.codes.data(), more.codes.data(), static_cast<size_t>(one.codes.bytes())) == 0);
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
    for (int64_t j = 0; j < n; ++j) d[static_cast<size_t>(j)] = static_cast<double>(small.weight.as<float>()[r * n + j] - 0.25f * code_value(solution.codes, r * n + j));
    double loss = 0;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) loss += d[static_cast<size_t>(i)] * d[static_cast<size_t>(j)] * static_cast<double>(gram[static_cast<size_t>(i * n + j)]) * (i == j ? 1.01 : 1.0);
    CHECK(solution.row_loss[static_cast<size_t>(r)] == Approx(loss).epsilon(1e-3));
  }
}

TEST_CASE("a channel that never fires gets code zero and leaves the others alone") {
  const int64_t n = 20;
  std::vector<float> gram = random_gram(n, 100, 3);
  for (int64_t i = 0; i < n; ++i) gram[static_cast<size_t>(5 * n + i)] = gram[static_cast<size_t>(i * n + 5)] = 0.0f;
  const SmallProblem small(3, n, gram);
  const GptqSolution solution = backend()->gptq(small.problem);
  CHECK(solution.attempts == 1);
  for (int64_t r = 0; r < 3; ++r) CHECK(solution.codes.as<int8_t>()[r * n + 5] == 0);
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
  CHECK(solution.codes.as<int8_t>()[0] == 1);
  CHECK(solution.codes.as<int8_t>()[1] == -8);
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
      std::vector<float> r(gram.rbegin(), gram.rend()), inverses(static_cast<size_t>((n + 127) / 128 * 128 * 128));
      REQUIRE(cpu::factor_reversed(engine, r.data(), n, inverses.data()));
      float worst = 0, worst_inverse = 0;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double sum = 0;
          for (int64_t k = 0; k < n; ++k) sum += static_cast<double>(r[static_cast<size_t>(i * n + k)]) * static_cast<double>(r[static_cast<size_t>(j * n + k)]);
          worst = std::max(worst, std::fabs(static_cast<float>(sum) - gram[static_cast<size_t>(i * n + j)]));
          if (i / 128 != j / 128) continue;
          const int64_t begin = i / 128 * 128;
          double identity = i == j ? -1.0 : 0.0;
          for (int64_t k = begin; k < std::min(n, begin + 128); ++k)
            identity += static_cast<double>(r[static_cast<size_t>(i * n + k)]) * static_cast<double>(inverses[static_cast<size_t>(begin * 128 + (k - begin) * 128 + j - begin)]);
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
