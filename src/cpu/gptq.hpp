// Backend::gptq on the CPU.
#pragma once
#include "cpu/gemm.hpp"
#include "llmc/backend.hpp"

namespace llmc::cpu {

GptqSolution solve_gptq(Engine& engine, const GptqProblem& problem);

}  // namespace llmc::cpu
