// How quantized modules lie in the folder that a run writes. The plan asks which tensors and which config.json
// there will be; the run hands over what it has made. A new format is a file beside these and a row in
// output_format.cpp; what is read back goes through folder_reader.hpp.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/formats/compressed_tensors.hpp"

namespace llmc {

// One quantized module, as the plan knows it.
struct PlannedModule {
  const std::string& name;
  const Shape& shape;  // [out, in]
  DType dtype;         // of the model
  const Scheme& scheme;
  Format format;  // of the codes, where the output keeps codes
};

class OutputFormat {
 public:
  virtual ~OutputFormat() = default;
  // False: weights are stored as their decoded values, and config.json says nothing of a quantization.
  virtual bool keeps_codes() const = 0;

  // ---- for the plan
  virtual std::vector<PlannedTensor> module_tensors(const PlannedModule& module) const = 0;
  // Of a fixed scale of a value: planned_activation's names.
  virtual std::vector<PlannedTensor> activation_tensors(const std::string& name,
                                                        const std::optional<QuantizationArgs>& args,
                                                        int64_t heads,
                                                        DType model_dtype) const = 0;
  // The output's config.json, from the source's.
  virtual std::string config(const std::string& source_config,
                             const QuantizationConfig& quantization,
                             ConfigFlavor flavor) const = 0;

  // ---- for the run; tensors must have been planned
  virtual void write_module(CheckpointWriter& writer,
                            const PlannedModule& module,
                            const QuantizedMatrix& matrix,  // on the host
                            const ParallelFor& parallel) const = 0;
  virtual void write_activation(CheckpointWriter& writer,
                                const std::string& name,
                                const QuantizationParameters& parameters) const = 0;
  // Where row tiles of codes and scales belong. Nothing: the decoded rows belong into "<module>.weight".
  virtual std::optional<StoredLayout> layout(const std::string& module,
                                             const QuantizationArgs& args,
                                             Format format) const = 0;
};

const OutputFormat& compressed_tensors_format();
const OutputFormat& dense_format();  // the model's own dtype, as if nothing had been quantized

}  // namespace llmc
