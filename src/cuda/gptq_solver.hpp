// Backend::gptq and Backend::output_energy on a device.
#pragma once
#include "cuda/forward.hpp"
#include "cuda/factorization.hpp"
#include "llmc/backend.hpp"

namespace llmc::cuda {

// gram: the problem's, on the device.
GptqSolution solve_gptq(Engine& engine, Factorization& factorization, const GptqProblem& problem, const float* gram);
double output_energy(Engine& engine, const TensorView& weight, int64_t step, const float* gram);  // gram: as above

}  // namespace llmc::cuda
