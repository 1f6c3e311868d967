// Sums X^T X into grams on the device. Values wait until there are enough of them: reading and writing a gram costs as much as a few thousand tokens' products.
#pragma once
#include <unordered_map>

#include "cuda/forward.hpp"

namespace llmc::cuda {

class GramAccumulator {
 public:
  explicit GramAccumulator(Engine& engine) : engine_(engine) {}

  void add(const TensorView& x, float* gram);  // both on the device
  void finish(const void* gram);               // everything given so far is in it
  void forget(const void* gram) { waiting_.erase(gram); }  // a new one lies where an old one lay

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
