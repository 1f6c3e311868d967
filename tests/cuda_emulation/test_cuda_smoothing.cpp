// SmoothQuant's passes over weights on the device, bit for bit their definition.
#include <cstring>

#include "core/quantize/smoothing.hpp"
#include "cuda_test_tools.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

std::vector<std::byte> bytes_of(const Tensor& tensor) {
  return {tensor.data(), tensor.data() + tensor.bytes()};
}

}  // namespace

TEST_CASE("device: column maxima and smoothed weights are the definition's, of any shape and dtype") {
  Dice dice(1);
  for (int round = 0; round < 40; ++round) {
    const DType dtype = dice.one_of({DType::bf16, DType::f16, DType::f32});
    const int64_t rows = dice.one_of<int64_t>({1, 127, 128, 129, dice.between(1, 400)}),
                  columns = dice.one_of<int64_t>({1, 255, 257, dice.between(1, 600)});
    const Tensor weight = random_weight(dice, dtype, rows, columns);
    const SmoothingUse use = dice.one_of(
        {SmoothingUse::multiply, SmoothingUse::divide, SmoothingUse::divide_plus_one});
    std::vector<float> scales = random_floats(static_cast<size_t>(columns), static_cast<unsigned>(round)),
                       earlier(static_cast<size_t>(columns));
    for (size_t j = 0; j < scales.size(); ++j) {
      scales[j] = std::fabs(scales[j]) + 1e-3f;
      earlier[j] = j % 3 == 0 ? 0.5f : 0.0f;
    }
    CAPTURE(round, dtype_name(dtype), rows, columns, static_cast<int>(use));
    std::vector<float> largest = earlier;
    raise_column_maxima(weight, largest);
    Tensor smoothed = Tensor::copy_of(weight);
    use_smoothing_scales(smoothed.data(), dtype, rows, scales, use);
    for (const auto& host : {backend("", 1), backend("", 3)}) {
      std::vector<float> got = earlier;
      host->raise_column_maxima(weight, got);
      CHECK(got == largest);
      Tensor changed = Tensor::copy_of(weight);
      host->use_smoothing_scales(changed, scales, use);
      CHECK(bytes_of(changed) == bytes_of(smoothed));
    }
    std::vector<float> of_rows(static_cast<size_t>(rows));
    for (size_t r = 0; r < of_rows.size(); ++r) of_rows[r] = 0.25f + static_cast<float>(r % 7);
    Tensor divided = Tensor::copy_of(weight);
    divide_rows(divided.data(), dtype, columns, of_rows);
    Tensor on_host = Tensor::copy_of(weight);
    backend("", 3)->divide_rows(on_host, of_rows);
    CHECK(bytes_of(on_host) == bytes_of(divided));
    in_every_order([&] {
      const auto cuda = cuda_backend();
      Tensor by_rows = on_device(*cuda, weight);
      cuda->divide_rows(by_rows, of_rows);
      CHECK(bytes_of(cuda->to_host(by_rows)) == bytes_of(divided));
      Tensor there = on_device(*cuda, weight);
      std::vector<float> got = earlier;
      cuda->raise_column_maxima(there, got);
      CHECK(got == largest);
      cuda->use_smoothing_scales(there, scales, use);
      const auto bytes = bytes_of(cuda->to_host(there));
      CHECK(bytes == bytes_of(smoothed));
      return bytes;
    });
  }
}
