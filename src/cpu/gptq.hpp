// Backend::gptq and Backend::output_energy on the CPU.
#pragma once
#include "cpu/gemm.hpp"
#include "llmc/backend.hpp"

namespace llmc::cpu {

GptqSolution solve_gptq(Engine& engine, const GptqProblem& problem);
double output_energy(Engine& engine, const TensorView& weight, int64_t step, const TensorView& gram);

}  // namespace llmc::cpu
