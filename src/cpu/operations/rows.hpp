// What the operations share: values as rows, one per token, and weights as floats.
#pragma once
#include <vector>

#include "cpu/gemm.hpp"
#include "llmc/tensor.hpp"

namespace llmc::cpu {

constexpr int64_t kRowGrain = 64;  // tokens of one task

template <class Byte>
struct Rows {
  Byte* data;
  int64_t bytes;  // of one row
  Byte* operator[](int64_t t) const { return data + t * bytes; }
};
inline int64_t item_bytes(const Tensor& tensor) { return static_cast<int64_t>(item_size(tensor.dtype())); }
inline Rows<const std::byte> rows_of(const Tensor& tensor) {
  return {tensor.data(), tensor.columns() * item_bytes(tensor)};
}
inline Rows<std::byte> rows_of(Tensor& tensor) {
  return {tensor.data(), tensor.columns() * item_bytes(tensor)};
}

inline std::vector<float> floats(Engine& engine, const Tensor& tensor) {
  std::vector<float> result(static_cast<size_t>(tensor.size()));
  engine.elements.load_row(tensor.data(), tensor.dtype(), tensor.size(), result.data());
  return result;
}

// body(t, count): `count` elements from token t on; whole rows.
template <class Body>
void each_element(Engine& engine, const Tensor& x, const Body& body) {
  engine.pool.parallel_for(x.rows(), kRowGrain,
                           [&](int64_t begin, int64_t end) { body(begin, (end - begin) * x.columns()); });
}

}  // namespace llmc::cpu
