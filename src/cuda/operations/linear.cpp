#include "cuda/kernels.hpp"
#include "cuda/operations.hpp"

namespace llmc::cuda {
namespace {

const Tensor& widened(Engine& engine, const Tensor& x, Tensor& holder) {
  if (x.dtype() == DType::f32) return x;
  holder = engine.heap.tensor(DType::f32, x.shape());
  convert(x.data(), x.dtype(), holder.data(), DType::f32, x.size(), engine.stream);
  return holder;
}

// out = x matrix^T. Tensor cores take bf16 by bf16; anything else is multiplied in float32.
void multiply(Engine& engine, const Tensor& x, const Tensor& matrix, Tensor& out) {
  Product product;
  product.rows = x.rows();
  product.columns = matrix.rows();
  product.depth = product.a_stride = product.b_stride = x.columns();
  product.c_stride = matrix.rows();
  product.result_dtype = out.dtype();
  if (x.dtype() == DType::bf16 && matrix.dtype() == DType::bf16) {
    product.operand_dtype = DType::bf16;
    product.a = x.data();
    product.b = matrix.data();
    product.c = out.data();
    engine.products.multiply(product);
    return;
  }
  Tensor left, right, wide;
  product.operand_dtype = product.result_dtype = DType::f32;
  product.a = widened(engine, x, left).data();
  product.b = widened(engine, matrix, right).data();
  if (out.dtype() != DType::f32) wide = engine.heap.tensor(DType::f32, out.shape());
  product.c = wide.empty() ? out.data() : wide.data();
  engine.products.multiply(product);
  if (!wide.empty()) convert(wide.data(), DType::f32, out.data(), out.dtype(), out.size(), engine.stream);
}

}  // namespace

void run(Engine& engine, const LinearCall& call) {
  for (const LinearCall::Product& product : call.products) {
    Tensor& out = product.out;
    multiply(engine, call.x, product.matrix, out);
    if (product.bias)
      add_bias_to_rows(out.data(), out.dtype(), product.bias->as<float>(), out.rows(), out.columns(),
                       engine.stream);
  }
}

}  // namespace llmc::cuda
