// Fake quantization of a Linear's input as the served model does it at run time.
#pragma once
#include "cpu/gemm.hpp"
#include "llmc/backend.hpp"

namespace llmc::cpu {

// out = dequantize(quantize(x)) with one scale per token (group_size 0) or per group of channels. x, out: [tokens, width] of `dtype`.
void quantize_input(Engine& engine, const ActivationQuantization& how, const void* x, DType dtype, int64_t tokens, int64_t width, void* out);

}  // namespace llmc::cpu
