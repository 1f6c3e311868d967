// Scales of matrices that are quantized in one call.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "core/quantize/qparams.hpp"
#include "llmc/modifier.hpp"

namespace llmc {

// One set of parameters per job. With tensor_group (NVFP4) all jobs share one global scale, from the largest
// range of them all: vLLM fuses them.
// `statistics`: of the jobs' input; null when there are none. `note`, when not null, receives the reason why an
// observer could not use them.
std::vector<QuantizationParameters> joint_scales(std::span<const MatrixJob> jobs,
                                                 const QuantizationArgs& args,
                                                 const Statistics* statistics,
                                                 Backend& backend,
                                                 std::string* note = nullptr);

// Whether the observer of a scheme's weights weighs errors by the squared activations of each channel.
bool weighs_channels(const Scheme& scheme);

}  // namespace llmc
