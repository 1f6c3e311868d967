// Reads a matrix or vector as a graph knows it, wherever the checkpoint keeps it.
#pragma once
#include "core/files/checkpoint.hpp"
#include "llmc/graph.hpp"

namespace llmc {

class WeightReader {
 public:
  // Both are borrowed. Error(not_found): no such tensor; Error(bad_file): it has no such part.
  WeightReader(const Checkpoint& checkpoint, const WeightRef& ref);

  const TensorInfo& info() const { return info_; }  // of the part: shape, and bytes of it
  // Where the part begins in its tensor, if it lies there byte for byte as it is read: not when it is transposed.
  int64_t first_byte() const { return first_byte_; }

  // Bytes [offset, offset + bytes) of the part. One thread at a time: a transposed matrix is read once and kept.
  void read(int64_t offset, int64_t bytes, std::byte* to);
  Tensor read_all(const ParallelFor& parallel = {});

 private:
  const Checkpoint& checkpoint_;
  const WeightRef& ref_;
  TensorInfo info_;
  Shape stored_;  // [in, out] when transposed
  int64_t first_byte_ = 0;
  Tensor turned_;
};

}  // namespace llmc
