// Scales from the observer, codes by rounding: what QuantizationModifier does, and GPTQ to weights without a
// Hessian.
#pragma once
#include <vector>

#include "llmc/modifier.hpp"

namespace llmc {

struct QuantizedMatrix;

// Appends one report row per job.
std::vector<QuantizedMatrix> round_to_nearest(const MatrixSet& set,
                                              Rounding rounding,
                                              Backend& backend,
                                              std::vector<LinearReport>& rows);

}  // namespace llmc
