// Statistics on the device against the CPU backend.
#include <cstring>

#include "core/quantize/number_formats.hpp"
#include "cuda_test_tools.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

std::vector<float> gram_of(Backend& backend, const std::vector<Tensor>& parts, int64_t width) {
  Tensor gram = backend.zeros(DType::f32, {width, width});
  for (const Tensor& part : parts) backend.accumulate_gram(part, gram);
  return floats_of(backend.to_host(gram));
}

}  // namespace

TEST_CASE("device: grams of any width and number of tokens, added to in parts") {
  Dice dice(1);
  for (const DType dtype : {DType::bf16, DType::f32})
    for (const int64_t width : {int64_t{8}, int64_t{40}, int64_t{65}, int64_t{136}, int64_t{272}}) {
      CAPTURE(dtype_name(dtype), width);
      std::vector<Tensor> parts;
      for (int part = 0; part < 3; ++part) {
        const int64_t tokens = dice.between(1, 150);
        parts.push_back(
            tensor_of(dtype, {tokens, width},
                      random_floats(static_cast<size_t>(tokens * width), static_cast<unsigned>(part))));
      }
      const auto want = gram_of(*backend(), parts, width);
      const auto got = in_every_order([&] { return gram_of(*cuda_backend(), parts, width); });
      // products are exact, sums are float32 in another order
      CHECK(largest_difference(got, want) <= 1e-6);
    }
}

TEST_CASE("device: a gram in host memory is added to as well") {
  const Tensor x = tensor_of(DType::bf16, {20, 16}, random_floats(320, 1));
  Tensor gram = Tensor::zeros(DType::f32, {16, 16});
  const auto cuda = cuda_backend();
  cuda->accumulate_gram(x, gram);
  cuda->accumulate_gram(x, gram);
  CHECK(gram.as<float>()[0] ==
        Approx(2 *
               gram_of(
                   *cuda,
                   [&] {
                     std::vector<Tensor> one;
                     one.push_back(Tensor::copy_of(x));
                     return one;
                   }(),
                   16)[0]));
}

TEST_CASE("device: channel statistics") {
  Dice dice(2);
  for (const DType dtype : {DType::bf16, DType::f32}) {
    const int64_t width = dice.between(1, 200), tokens = dice.between(1, 300);
    const Tensor x = tensor_of(dtype, {tokens, width}, random_floats(static_cast<size_t>(tokens * width), 5));
    ChannelStatistics want;
    backend()->accumulate_channels(x, want);
    backend()->accumulate_channels(x, want);
    const auto got = in_every_order([&] {
      ChannelStatistics statistics;
      const auto cuda = cuda_backend();
      cuda->accumulate_channels(x, statistics);
      cuda->accumulate_channels(x, statistics);
      CHECK(statistics.tokens == 2 * tokens);
      CHECK(statistics.min == want.min);
      CHECK(statistics.max == want.max);
      return std::pair(statistics.sum_abs, statistics.sum_squares);
    });
    for (size_t i = 0; i < want.sum_abs.size(); ++i) {
      CHECK(got.first[i] == Approx(want.sum_abs[i]).epsilon(1e-6));
      CHECK(got.second[i] == Approx(want.sum_squares[i]).epsilon(1e-6));
    }
  }
}

TEST_CASE("device: the extent of values, and the first that is not finite") {
  Dice dice(3);
  for (const DType dtype : {DType::bf16, DType::f32, DType::f16})
    for (const int64_t count : {int64_t{1}, int64_t{255}, int64_t{30000}}) {
      std::vector<float> values = random_floats(static_cast<size_t>(count), 6);
      Tensor x(dtype, {count});
      const auto fill = [&] {
        for (int64_t i = 0; i < count; ++i)
          if (dtype == DType::f32) x.as<float>()[i] = values[static_cast<size_t>(i)];
          else
            x.as<uint16_t>()[i] = dtype == DType::bf16 ? bf16_from_float(values[static_cast<size_t>(i)])
                                                       : f16_from_float(values[static_cast<size_t>(i)]);
      };
      fill();
      const ValueExtent want = backend()->scan(x), got = cuda_backend()->scan(x);
      CHECK((got.min == want.min && got.max == want.max && !got.first_non_finite));
      const int64_t bad = dice.below(count);
      values[static_cast<size_t>(bad)] = dice.below(2) ? std::nanf("") : -HUGE_VALF;
      if (bad + 1 < count) values.back() = HUGE_VALF;
      fill();
      CHECK(in_every_order([&] { return cuda_backend()->scan(x).first_non_finite.value_or(-1); }) == bad);
    }
}

TEST_CASE("device: cross entropy, KL and equal arg max") {
  Dice dice(4);
  for (const DType dtype : {DType::bf16, DType::f32})
    for (const bool compared : {false, true}) {
      TokenBatch batch{{}, {0, 1, 9, 30}};
      const int64_t vocabulary = dice.between(40, 700);
      for (int i = 0; i < 30; ++i) batch.token_ids.push_back(static_cast<int32_t>(dice.below(vocabulary)));
      std::vector<float> values = random_floats(static_cast<size_t>(30 * vocabulary), 7);
      const Tensor logits = tensor_of(dtype, {30, vocabulary}, values);
      for (float& value : values) value += 0.1f * value * value;
      const Tensor reference = tensor_of(dtype, {30, vocabulary}, values);
      const TensorView view = reference.view();
      const auto want = backend()->cross_entropy(logits, compared ? &view : nullptr, batch);
      const auto got = in_every_order([&] {
        const auto loss = cuda_backend()->cross_entropy(logits, compared ? &view : nullptr, batch);
        return std::tuple(loss.negative_log_likelihood, loss.kl, loss.tokens, loss.top1);
      });
      CHECK(std::get<0>(got) == Approx(want.negative_log_likelihood).epsilon(1e-6));
      CHECK(std::get<1>(got) == Approx(want.kl).epsilon(1e-5));
      CHECK((std::get<2>(got) == want.tokens && std::get<3>(got) == want.top1));
    }
}
