#include "cpu/operations.hpp"
#include "cpu/operations/rows.hpp"

namespace llmc::cpu {
namespace {

Operand operand_of(const Tensor& tensor) {
  Operand operand;
  operand.data = tensor.data();
  operand.dtype = tensor.dtype();
  operand.rows = tensor.rows();
  operand.depth = operand.row_stride = tensor.columns();
  return operand;
}

}  // namespace

void run(Engine& engine, const LinearCall& call) {
  std::vector<std::vector<float>> biases;  // which the products point into
  std::vector<Product> products;
  for (const LinearCall::Product& product : call.products) {
    biases.push_back(product.bias ? floats(engine, *product.bias) : std::vector<float>());
    Tensor& out = product.out;
    products.push_back({operand_of(product.matrix),
                        product.bias ? biases.back().data() : nullptr,
                        {out.data(), out.dtype(), out.columns()}});
  }
  gemm(engine, operand_of(call.x), products);
}

}  // namespace llmc::cpu
