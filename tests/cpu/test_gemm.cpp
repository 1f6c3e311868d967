#include <catch2/catch.hpp>
#include <cstring>

#include "cpu_test_tools.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

struct Sizes {
  int64_t m, n, k;
};
const Sizes kSizes[] = {{1, 1, 1},       {7, 5, 3},        {33, 65, 31}, {6, 64, 256},
                        {200, 530, 300}, {257, 129, 1025}, {3, 700, 40}, {4100, 9, 17}};

// |error| of a float32 sum of k products of unit normals
float tolerance(int64_t k) { return 4e-6f * std::sqrt(static_cast<float>(k)) + 1e-6f; }

}  // namespace

TEST_CASE("every instruction set multiplies float32 and bf16 matrices of ragged shapes like a plain loop") {
  for (const std::string& isa : cpu::cpu_isa_names())
    for (const DType type : {DType::f32, DType::bf16})
      for (const Sizes& size : kSizes) {
        INFO(isa << " bf16=" << (type == DType::bf16) << " " << size.m << "x" << size.n << "x" << size.k);
        cpu::Engine engine(cpu::choose_isa(isa), 2);
        const Tensor a = tensor_of(type, {size.m, size.k},
                                   random_floats(static_cast<size_t>(size.m * size.k), 1));
        const Tensor b = tensor_of(type, {size.n, size.k},
                                   random_floats(static_cast<size_t>(size.n * size.k), 2));
        const std::vector<float> bias = random_floats(static_cast<size_t>(size.n), 3), x = floats_of(a),
                                 w = floats_of(b);
        std::vector<float> c(static_cast<size_t>(size.m * size.n));
        std::vector<uint16_t> rounded(c.size());
        cpu::gemm(engine, operand_of(a.data(), type, size.m, size.k),
                  operand_of(b.data(), type, size.n, size.k), bias.data(), {c.data(), DType::f32, size.n});
        cpu::gemm(engine, operand_of(a.data(), type, size.m, size.k),
                  operand_of(b.data(), type, size.n, size.k), bias.data(),
                  {rounded.data(), DType::bf16, size.n});
        float worst = 0;
        bool same_rounding = true;
        for (int64_t i = 0; i < size.m; i += 1 + size.m / 50)
          for (int64_t j = 0; j < size.n; ++j) {
            double sum = static_cast<double>(bias[static_cast<size_t>(j)]);
            for (int64_t k = 0; k < size.k; ++k)
              sum += static_cast<double>(x[static_cast<size_t>(i * size.k + k)]) *
                  static_cast<double>(w[static_cast<size_t>(j * size.k + k)]);
            const auto at = static_cast<size_t>(i * size.n + j);
            worst = std::max(worst, std::fabs(c[at] - static_cast<float>(sum)));
            same_rounding = same_rounding && rounded[at] == bf16_code(c[at]);
          }
        CHECK(worst <= tolerance(size.k));
        CHECK(same_rounding);
      }
}

TEST_CASE("products that share their left side give the bytes of one product after the other") {
  const int64_t m = 300, k = 200, widths[] = {130, 7, 256};
  for (const std::string& isa : cpu::cpu_isa_names()) {
    INFO(isa);
    cpu::Engine engine(cpu::choose_isa(isa), 2);
    const Tensor a = tensor_of(DType::bf16, {m, k}, random_floats(static_cast<size_t>(m * k), 1));
    std::vector<Tensor> b, together, alone;
    std::vector<cpu::Product> products;
    for (const int64_t n : widths) {
      b.push_back(tensor_of(DType::bf16, {n, k},
                            random_floats(static_cast<size_t>(n * k), static_cast<unsigned>(n))));
      together.emplace_back(DType::bf16, Shape{m, n});
      alone.emplace_back(DType::bf16, Shape{m, n});
      products.push_back({operand_of(b.back().data(), DType::bf16, n, k),
                          nullptr,
                          {together.back().data(), DType::bf16, n}});
      cpu::gemm(engine, operand_of(a.data(), DType::bf16, m, k), products.back().b, nullptr,
                {alone.back().data(), DType::bf16, n});
    }
    cpu::gemm(engine, operand_of(a.data(), DType::bf16, m, k), products);
    for (size_t i = 0; i < b.size(); ++i)
      CHECK(std::memcmp(together[i].data(), alone[i].data(), static_cast<size_t>(alone[i].bytes())) == 0);
  }
}

TEST_CASE("f16 and float32 weights meet bf16 values exactly as float32 does") {
  const int64_t m = 40, n = 70, k = 90;
  const Tensor a = tensor_of(DType::bf16, {m, k}, random_floats(static_cast<size_t>(m * k), 1));
  Tensor half(DType::f16, {n, k});
  std::vector<float> w(static_cast<size_t>(n * k));
  for (size_t i = 0; i < w.size(); ++i) {
    // |w| < 2, subnormals included
    const auto code = static_cast<uint16_t>((i * 2654435761u >> 7) % 0x4000u + (i % 2) * 0x8000u);
    half.as<uint16_t>()[i] = code;
    const int exponent = (code >> 10) & 31, fraction = code & 1023;
    const float magnitude = exponent ? std::ldexp(1024.0f + static_cast<float>(fraction), exponent - 25)
                                     : std::ldexp(static_cast<float>(fraction), -24);
    w[i] = code & 0x8000 ? -magnitude : magnitude;
  }
  cpu::Engine engine(cpu::choose_isa(""), 2);
  const std::vector<float> x = floats_of(a);
  std::vector<float> from_half(static_cast<size_t>(m * n)), from_float(from_half.size());
  cpu::gemm(engine, operand_of(a.data(), DType::bf16, m, k), operand_of(half.data(), DType::f16, n, k),
            nullptr, {from_half.data(), DType::f32, n});
  cpu::gemm(engine, operand_of(x.data(), DType::f32, m, k), operand_of(w.data(), DType::f32, n, k), nullptr,
            {from_float.data(), DType::f32, n});
  CHECK(from_half == from_float);
}

TEST_CASE(
    "the gram matrix is the lower triangle of x^T x, added to what was there, above it nothing changes") {
  for (const std::string& isa : cpu::cpu_isa_names())
    for (const DType type : {DType::f32, DType::bf16})
      for (const auto& [tokens, n] :
           {std::pair<int64_t, int64_t>{1, 1}, {5, 7}, {100, 70}, {33, 257}, {300, 530}, {4200, 33}}) {
        INFO(isa << " bf16=" << (type == DType::bf16) << " tokens " << tokens << " n " << n);
        const auto cpu = backend(isa);
        const Tensor x = tensor_of(type, {tokens, n}, random_floats(static_cast<size_t>(tokens * n), 5));
        Tensor gram = tensor_of(DType::f32, {n, n}, std::vector<float>(static_cast<size_t>(n * n), 1.0f));
        cpu->accumulate_gram(x, gram);
        const std::vector<float> values = floats_of(x);
        float worst = 0;
        bool untouched = true;
        for (int64_t i = 0; i < n; ++i)
          for (int64_t j = 0; j < n; ++j) {
            const float got = gram.as<float>()[i * n + j];
            if (j > i) {
              untouched = untouched && got == 1.0f;
              continue;
            }
            double sum = 1.0;
            for (int64_t t = 0; t < tokens; ++t)
              sum += static_cast<double>(values[static_cast<size_t>(t * n + i)]) *
                  static_cast<double>(values[static_cast<size_t>(t * n + j)]);
            worst = std::max(worst, std::fabs(got - static_cast<float>(sum)));
          }
        CHECK(worst <= 2e-6f * static_cast<float>(tokens) + 2e-5f);  // diagonal entries are near `tokens`
        CHECK(untouched);
      }
}

TEST_CASE("1, 2 and 5 threads give the same bytes") {
  const int64_t m = 700, n = 600, k = 520;
  for (const std::string& isa : cpu::cpu_isa_names())
    for (const DType type : {DType::f32, DType::bf16}) {
      const Tensor a = tensor_of(type, {m, k}, random_floats(static_cast<size_t>(m * k), 1)),
                   b = tensor_of(type, {n, k}, random_floats(static_cast<size_t>(n * k), 2));
      std::vector<std::vector<float>> products, grams;
      for (const int threads : {1, 2, 5}) {
        cpu::Engine engine(cpu::choose_isa(isa), threads);
        products.emplace_back(static_cast<size_t>(m * n));
        cpu::gemm(engine, operand_of(a.data(), type, m, k), operand_of(b.data(), type, n, k), nullptr,
                  {products.back().data(), DType::f32, n});
        grams.emplace_back(static_cast<size_t>(k * k), 0.0f);
        cpu::accumulate_gram(engine, a.data(), type, m, k, grams.back().data());
      }
      INFO(isa);
      CHECK(products[0] == products[1]);
      CHECK(products[0] == products[2]);
      CHECK(grams[0] == grams[1]);
      CHECK(grams[0] == grams[2]);
    }
}
