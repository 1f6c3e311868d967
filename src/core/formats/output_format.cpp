#include "core/formats/output_format.hpp"

#include <algorithm>

#include "core/quantize/rounding.hpp"

namespace llmc {
namespace {

class CompressedTensorsFormat final : public OutputFormat {
 public:
  bool keeps_codes() const override { return true; }
  std::vector<PlannedTensor> module_tensors(const PlannedModule& module) const override {
    return planned_tensors(module.name, module.shape, module.scheme, module.format, module.dtype);
  }
  std::vector<PlannedTensor> activation_tensors(const std::string& name,
                                                const std::optional<QuantizationArgs>& args,
                                                int64_t heads,
                                                DType model_dtype) const override {
    return planned_activation(name, args, heads, model_dtype);
  }
  std::string config(const std::string& source_config,
                     const QuantizationConfig& quantization,
                     ConfigFlavor flavor) const override {
    if (quantization.groups.empty() && !quantization.kv_cache_scheme) return source_config;
    return merge_quantization_config(source_config, write_quantization_config(quantization, flavor));
  }
  void write_module(CheckpointWriter& writer,
                    const PlannedModule& module,
                    const QuantizedMatrix& matrix,
                    const ParallelFor& parallel) const override {
    write_quantized(writer, module.name, matrix, module.format, parallel);
  }
  void write_activation(CheckpointWriter& writer,
                        const std::string& name,
                        const QuantizationParameters& parameters) const override {
    llmc::write_activation(writer, name, parameters);
  }
  std::optional<StoredLayout> layout(const std::string& module,
                                     const QuantizationArgs& args,
                                     Format format) const override {
    return stored_layout(module, args, format);
  }
};

class DenseFormat final : public OutputFormat {
 public:
  bool keeps_codes() const override { return false; }
  std::vector<PlannedTensor> module_tensors(const PlannedModule& module) const override {
    return {{module.name + ".weight", module.dtype, module.shape}};
  }
  std::vector<PlannedTensor> activation_tensors(const std::string&,
                                                const std::optional<QuantizationArgs>&,
                                                int64_t,
                                                DType) const override {
    return {};
  }
  std::string config(const std::string& source_config,
                     const QuantizationConfig&,
                     ConfigFlavor) const override {
    return source_config;
  }
  void write_module(CheckpointWriter& writer,
                    const PlannedModule& module,
                    const QuantizedMatrix& matrix,
                    const ParallelFor& parallel) const override {
    constexpr int64_t kRowsPerWrite = 256;  // 2 MiB of bfloat16 rows of 4096
    const int64_t rows = matrix.shape[0];
    parallel((rows + kRowsPerWrite - 1) / kRowsPerWrite, 1, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t row = t * kRowsPerWrite, last = std::min(rows, row + kRowsPerWrite);
        Tensor tile(module.dtype, {last - row, matrix.shape[1]});
        dequantize_rows(matrix.codes.view().row_range(row, last), row, matrix.parameters, matrix.args,
                        tile.dtype(), tile.data());
        writer.write_rows(module.name + ".weight", row, tile);
      }
    });
  }
  void write_activation(CheckpointWriter&, const std::string&, const QuantizationParameters&) const override {
  }
  std::optional<StoredLayout> layout(const std::string&, const QuantizationArgs&, Format) const override {
    return std::nullopt;
  }
};

}  // namespace

const OutputFormat& compressed_tensors_format() {
  static const CompressedTensorsFormat format;
  return format;
}
const OutputFormat& dense_format() {
  static const DenseFormat format;
  return format;
}

}  // namespace llmc
