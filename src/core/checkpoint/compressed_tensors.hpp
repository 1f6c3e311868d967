// How one quantized module lies in a safetensors file: the tensors each format stores, written and read in row tiles.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/checkpoint/checkpoint_writer.hpp"
#include "core/checkpoint/quantization_config.hpp"
#include "core/quantize/qparams.hpp"
#include "llmc/scheme.hpp"

namespace llmc {

// The scheme's own format, or the inferred one. vllm: integer weights below 8 bits with quantized inputs are packed, where compressed-tensors
// would spend a byte on each and vLLM has no kernel for that.
Format choose_format(const Scheme& scheme, ConfigFlavor flavor);

// Everything the module stores for `weight_shape` [N, K] instead of its ".weight", static activation scales included.
std::vector<PlannedTensor> planned_tensors(const std::string& module, const Shape& weight_shape, const Scheme& scheme, Format format, DType model_dtype);

// Writes the weight's tensors (packed codes, scales, zero points, shape, global scale). `module`'s tensors must have been planned.
void write_quantized(CheckpointWriter& writer, const std::string& module, const QuantizedMatrix& matrix, Format format, const ParallelFor& parallel = {});

// The module's ".input_scale" (and ".input_zero_point"), or ".input_global_scale".
void write_input_scale(CheckpointWriter& writer, const std::string& module, const QuantizationParameters& parameters);
void write_input_global_scale(CheckpointWriter& writer, const std::string& module, float global_scale);

// The inverse. Error(bad_file) when a tensor is missing or has another dtype or shape than `args` and `format` ask for.
QuantizedMatrix read_quantized(const Checkpoint& from, const std::string& module, const QuantizationArgs& args, Format format);
// The shape [N, K] of a stored module's weight, from its headers alone (pack-quantized reads weight_shape).
Shape stored_weight_shape(const Checkpoint& from, const std::string& module, const QuantizationArgs& args, Format format);
// The weight as vLLM would see it, [N, K] `out`.
Tensor read_dequantized(const Checkpoint& from, const std::string& module, const QuantizationArgs& args, Format format, DType out);

}  // namespace llmc
