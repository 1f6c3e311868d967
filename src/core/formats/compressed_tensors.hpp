// How one quantized module lies in a safetensors file: the tensors each format stores, written and read in
// row tiles.
#pragma once
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/files/checkpoint_writer.hpp"
#include "core/formats/quantization_config.hpp"
#include "core/quantize/qparams.hpp"
#include "llmc/backend/rows.hpp"
#include "llmc/backend.hpp"
#include "llmc/scheme.hpp"

namespace llmc {

// The scheme's own format, or the inferred one. vllm: integer weights with quantized inputs are packed unless
// they are symmetric int8 per channel or tensor:
// compressed-tensors would spend a byte on each, and vLLM has no scheme for that.
Format choose_format(const Scheme& scheme, ConfigFlavor flavor);

// Everything the module stores for `weight_shape` [N, K] instead of its ".weight", static activation scales
// included.
std::vector<PlannedTensor> planned_tensors(const std::string& module,
                                           const Shape& weight_shape,
                                           const Scheme& scheme,
                                           Format format,
                                           DType model_dtype);

// Writes the weight's tensors (packed codes, scales, zero points, shape, global scale). `module`'s tensors
// must have been planned.
void write_quantized(CheckpointWriter& writer,
                     const std::string& module,
                     const QuantizedMatrix& matrix,
                     Format format,
                     const ParallelFor& parallel = {});

// What a fixed activation scale stores: "<name>_scale" ([1], or [heads, 1, 1] with attn_head),
// "<name>_zero_point" when asymmetric, or "<name>_global_scale" alone when the scales of its groups are found
// at run time. `name`: "model.layers.0.mlp.up_proj.input", "model.layers.0.self_attn.k".
std::vector<PlannedTensor> planned_activation(const std::string& name,
                                              const std::optional<QuantizationArgs>& args,
                                              int64_t heads,
                                              DType model_dtype);
void write_activation(CheckpointWriter& writer,
                      const std::string& name,
                      const QuantizationParameters& parameters);
// Where row tiles of a weight belong, for writers that make the file's bytes themselves
// (RowKernels::quantize_rows).
struct StoredLayout {
  std::string codes, scales, zero_points;  // tensor names; zero_points empty when symmetric
  CodeLayout code_layout = CodeLayout::bytes;
  bool zero_points_packed = false;  // along the rows: tiles of 32 rows end on whole words
};
StoredLayout stored_layout(const std::string& module, const QuantizationArgs& args, Format format);
// All of a weight but its codes.
void write_parameters(CheckpointWriter& writer,
                      const std::string& module,
                      const QuantizationArgs& args,
                      Format format,
                      const Shape& shape,
                      const QuantizationParameters& parameters);
// What a module stores once, beside its tiles: the shape, the global scale.
void write_matrix_facts(CheckpointWriter& writer,
                        const std::string& module,
                        const QuantizationArgs& args,
                        Format format,
                        const Shape& shape,
                        std::optional<float> global_scale);

// The same tensors in memory: (name, tensor) in planned order, without activation scales. `parallel`: over
// rows of the codes.
std::vector<std::pair<std::string, Tensor>> stored_tensors(const std::string& module,
                                                           const QuantizedMatrix& matrix,
                                                           Format format,
                                                           const ParallelFor& parallel = {});

// Where stored tensors come from: a folder, or memory.
class StoredTensors {
 public:
  virtual ~StoredTensors() = default;
  virtual std::string place() const = 0;  // for errors
  virtual bool contains(const std::string& name) const = 0;
  virtual TensorInfo info(const std::string& name) const = 0;
  virtual Tensor read(const std::string& name) const = 0;
};
QuantizedMatrix read_quantized(const StoredTensors& from,
                               const std::string& module,
                               const QuantizationArgs& args,
                               Format format,
                               const ParallelFor& parallel = {});

// The inverse. Error(bad_file) when a tensor is missing or has another dtype or shape than `args` and
// `format` ask for.
QuantizedMatrix read_quantized(const Checkpoint& from,
                               const std::string& module,
                               const QuantizationArgs& args,
                               Format format,
                               const ParallelFor& parallel = {});
// The shape [N, K] of a stored module's weight, from its headers alone (pack-quantized reads weight_shape).
Shape stored_weight_shape(const Checkpoint& from,
                          const std::string& module,
                          const QuantizationArgs& args,
                          Format format);
// The weight as vLLM would see it, [N, K] `out`.
Tensor read_dequantized(const Checkpoint& from,
                        const std::string& module,
                        const QuantizationArgs& args,
                        Format format,
                        DType out);

}  // namespace llmc
