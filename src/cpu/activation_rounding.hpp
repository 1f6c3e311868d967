// Fake quantization of activations as the served model does it at run time.
#pragma once
#include "cpu/gemm.hpp"
#include "llmc/backend.hpp"

namespace llmc::cpu {

// out = dequantize(quantize(x)). x, out: [tokens, width] of `dtype`; they may be the same.
void round_activation(Engine& engine,
                      const ActivationQuantization& how,
                      const void* x,
                      DType dtype,
                      int64_t tokens,
                      int64_t width,
                      void* out);

}  // namespace llmc::cpu
