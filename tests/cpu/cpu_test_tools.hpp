// What the CPU backend's tests share: random matrices, roundings written out plainly, and engines for every
// level of this machine.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/quantize/number_formats.hpp"
#include "cpu/gemm.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/backend.hpp"

namespace llmc::test {

inline float bf16_value(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u);
}
inline uint16_t bf16_code(float value) {
  return static_cast<uint16_t>(std::bit_cast<uint32_t>(bf16_value(value)) >> 16);
}
inline float from_bf16(uint16_t code) { return std::bit_cast<float>(static_cast<uint32_t>(code) << 16); }

inline std::vector<float> random_floats(size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(engine);
  return values;
}

inline std::vector<uint16_t> to_bf16(const std::vector<float>& values) {
  std::vector<uint16_t> codes(values.size());
  for (size_t i = 0; i < values.size(); ++i) codes[i] = bf16_code(values[i]);
  return codes;
}

inline Tensor tensor_of(DType dtype, Shape shape, const std::vector<float>& values) {
  Tensor tensor(dtype, std::move(shape));
  from_float(values.data(), static_cast<int64_t>(values.size()), dtype, tensor.data());
  return tensor;
}

inline std::vector<float> floats_of(const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.size()));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = tensor.dtype() == DType::bf16 ? from_bf16(tensor.as<uint16_t>()[i]) : tensor.as<float>()[i];
  return values;
}

inline std::unique_ptr<Backend> backend(const std::string& isa = "", int threads = 2) {
  BackendOptions options;
  options.cpu_isa = isa;
  options.threads = threads;
  return make_cpu_backend(options);
}

// With weights of its own: "<name>.weight", and "<name>.bias" of a Linear that has one and of a layer norm.
inline Node node_of(std::string name, Operation operation, std::vector<ValueId> inputs, ValueId output) {
  Node node;
  const auto* linear = std::get_if<Linear>(&operation);
  const auto* norm = std::get_if<Norm>(&operation);
  if (linear || norm || std::holds_alternative<Embedding>(operation))
    node.weights.push_back({WeightRole::weight, name + ".weight", {name + ".weight"}});
  if ((linear && linear->bias) || (norm && norm->kind == NormKind::layer))
    node.weights.push_back({WeightRole::bias, name + ".bias", {name + ".bias"}});
  node.name = std::move(name);
  node.operation = std::move(operation);
  node.inputs = std::move(inputs);
  node.output = output;
  return node;
}

inline cpu::Operand operand_of(const void* data, DType dtype, int64_t rows, int64_t depth) {
  cpu::Operand operand;
  operand.data = data;
  operand.dtype = dtype;
  operand.rows = rows;
  operand.depth = operand.row_stride = depth;
  return operand;
}

}  // namespace llmc::test
