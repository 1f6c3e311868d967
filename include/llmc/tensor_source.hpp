// A model whose tensors are in no folder: in the memory of a trainer, behind a network.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "llmc/tensor.hpp"

namespace llmc {

class TensorSource {
 public:
  struct Entry {
    std::string name;
    DType dtype = DType::f32;
    Shape shape;
  };
  virtual ~TensorSource() = default;
  virtual const std::string& config() const = 0;  // the text of config.json
  // each name once; the output keeps their order
  virtual const std::vector<Entry>& tensors() const = 0;
  // Bytes [offset, offset + bytes) of a tensor, row-major, little-endian. From any thread of the run, one
  // call at a time; the same bytes every time.
  virtual void read(size_t tensor, int64_t offset, int64_t bytes, std::byte* to) const = 0;
};

}  // namespace llmc
