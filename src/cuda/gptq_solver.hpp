// Backend::gptq and Backend::output_energy on a device.
#pragma once
#include "cuda/engine.hpp"
#include "cuda/factorization.hpp"
#include "llmc/backend.hpp"

namespace llmc::cuda {

// Neighbours with as many columns and one grid go side by side.
std::vector<GptqSolution> solve_gptq(Engine& engine,
                                     Factorization& factorization,
                                     std::span<const GptqProblem> problems);
// gram: on the device
double output_energy(Engine& engine, const TensorView& weight, int64_t step, const float* gram);

}  // namespace llmc::cuda
