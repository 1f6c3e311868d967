// Sums X^T X into grams on the device. Values wait until there are enough of them: reading and writing a gram
// costs as much as a few thousand tokens' products.
#pragma once
#include <unordered_map>

#include "cuda/engine.hpp"

namespace llmc::cuda {

// It owns the memory of grams, so that it is told when one is freed: values that wait for a freed gram are dropped,
// or they would be added to whatever gets that memory next.
class GramAccumulator final : public DeviceMemory {
 public:
  explicit GramAccumulator(Engine& engine) : engine_(engine) {}

  // dies before the accumulator
  Tensor zeros(DType dtype, Shape shape) { return engine_.heap.zeros(dtype, std::move(shape), this); }
  void add(const TensorView& x, float* gram);  // both on the device
  void finish(const void* gram);               // everything given so far is in it

  Device device() const override { return engine_.heap.device(); }
  void release(std::byte* bytes) noexcept override;

 private:
  struct Waiting {
    Tensor values;  // [room for tokens, width]
    int64_t tokens = 0;
  };
  void flush(float* gram, Waiting& waiting);

  Engine& engine_;
  std::unordered_map<const void*, Waiting> waiting_;  // by gram
};

}  // namespace llmc::cuda
