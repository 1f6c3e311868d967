// Scales from the observer, codes by rounding: what QuantizationModifier does, and GPTQ to weights without a Hessian.
#pragma once
#include <span>
#include <vector>

#include "llmc/modifier.hpp"

namespace llmc {

struct QuantizedMatrix;

// `statistics` may be null. Appends one report row per job.
std::vector<QuantizedMatrix> round_to_nearest(std::span<const MatrixJob> jobs, const QuantizationArgs& args, const Statistics* statistics, Rounding rounding, Backend& backend,
                                              std::vector<LinearReport>& rows);

}  // namespace llmc
