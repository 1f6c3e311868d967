// Backend::gptq on a device.
#pragma once
#include "cuda/forward.hpp"
#include "cuda/factorization.hpp"
#include "llmc/backend.hpp"

namespace llmc::cuda {

// gram: the problem's, on the device.
GptqSolution solve_gptq(Engine& engine, Factorization& factorization, const GptqProblem& problem, const float* gram);

}  // namespace llmc::cuda
