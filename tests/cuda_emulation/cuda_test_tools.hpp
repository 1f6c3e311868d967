// What the tests of the CUDA module share: its backend, over the emulator or (LLMC_TESTS_ON_DEVICE) a GPU,
// and results that must not depend on the order of threads.
#pragma once
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "cpu/cpu_test_tools.hpp"
#include "core/quantize/number_formats.hpp"
#include "cuda/module.hpp"
#if !defined(LLMC_TESTS_ON_DEVICE)
#include "emulation.hpp"
#endif
#include "llmc/error.hpp"

extern "C" void llmc_cuda_open(const llmc::cuda::ModuleRequest* request, llmc::cuda::ModuleAnswer* answer);

namespace llmc::test {

inline std::unique_ptr<Backend> cuda_backend(int64_t memory_limit = 0) {
  std::unique_ptr<Backend> host = backend("", 2);
  cuda::ModuleRequest request;
  request.build_id = cuda::build_id();
  request.memory_limit = memory_limit;
  request.host = &host;
  cuda::ModuleAnswer answer;
  llmc_cuda_open(&request, &answer);
  if (!answer.backend) throw Error(answer.code, answer.text);
  return std::move(answer.backend);
}

// make() with threads run forward, backward and shuffled (on a GPU: a few times): the results are one. A
// missing barrier makes them differ.
template <class Make>
auto in_every_order(const Make& make) {
  const auto first = make();
#if defined(LLMC_TESTS_ON_DEVICE)
  for (int again = 0; again < 3; ++again) CHECK(make() == first);
#elif !defined(__SANITIZE_ADDRESS__)  // there one order is slow enough, and finds what is out of bounds
  for (const auto& [order, seed] :
       {std::pair(emulation::Order::backward, 0u), std::pair(emulation::Order::shuffled, 1u),
        std::pair(emulation::Order::shuffled, 2u)}) {
    emulation::set_order(order, seed);
    const auto again = make();
    emulation::set_order(emulation::Order::forward);
    CHECK(again == first);
  }
#endif
  return first;
}

// The largest difference, as a share of the largest value wanted.
inline double largest_difference(const std::vector<float>& got, const std::vector<float>& want) {
  REQUIRE(got.size() == want.size());
  double difference = 0, size = 1e-30;
  for (size_t i = 0; i < want.size(); ++i) {
    if (!std::isfinite(got[i])) return HUGE_VAL;
    difference = std::max(difference, std::fabs(static_cast<double>(got[i]) - static_cast<double>(want[i])));
    size = std::max(size, std::fabs(static_cast<double>(want[i])));
  }
  return difference / size;
}

struct Dice {
  std::mt19937 engine;
  explicit Dice(unsigned seed) : engine(seed) {}
  int64_t below(int64_t count) { return static_cast<int64_t>(engine() % static_cast<unsigned>(count)); }
  int64_t between(int64_t low, int64_t high) { return low + below(high - low + 1); }
  template <class T>
  T one_of(std::initializer_list<T> choices) {
    return choices.begin()[below(static_cast<int64_t>(choices.size()))];
  }
};

// Of ordinary, tiny or huge values, some of them ties of coarse grids, some half of zeros with a sign.
inline Tensor random_weight(Dice& dice, DType dtype, int64_t rows, int64_t columns) {
  std::vector<float> values = random_floats(static_cast<size_t>(rows * columns),
                                            static_cast<unsigned>(dice.below(10000)));
  const float magnitude = dice.one_of({1.0f, 0.02f, 1e-40f, dtype == DType::f16 ? 1e4f : 3e37f});
  const bool ties = dice.below(4) == 0, zeros = dice.below(4) == 0;
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = zeros && i < values.size() / 2
        ? -0.0f
        : (ties ? std::nearbyint(values[i] * 4) / 4 : values[i]) * magnitude;
  Tensor weight(dtype, {rows, columns});
  from_float(values.data(), weight.size(), dtype, weight.data());
  return weight;
}

// A copy of a matrix in the device's memory.
inline Tensor on_device(Backend& cuda, const TensorView& matrix) {
  Tensor there = cuda.zeros(matrix.dtype, matrix.shape);
  cuda.copy_to_device(matrix, there);
  return there;
}

}  // namespace llmc::test
