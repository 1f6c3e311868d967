// Scales of matrices that are quantized in one call.
#pragma once
#include <span>
#include <vector>

#include "core/quantize/qparams.hpp"
#include "llmc/modifier.hpp"

namespace llmc {

// One set of parameters per job. With tensor_group (NVFP4) all jobs share one global scale, from the largest weight of them all: vLLM fuses them.
std::vector<QuantizationParameters> joint_scales(std::span<const MatrixJob> jobs, const QuantizationArgs& args);

}  // namespace llmc
