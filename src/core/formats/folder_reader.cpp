#include "core/formats/folder_reader.hpp"

#include "core/formats/compressed_tensors.hpp"

namespace llmc {
namespace {

class CompressedTensorsReader final : public FolderReader {
 public:
  CompressedTensorsReader(const Checkpoint& folder, QuantizationConfig config)
      : folder_(folder),
        config_(std::move(config)),
        groups_(config_) {}

  const QuantizationConfig& config() const override { return config_; }
  const Scheme* scheme_of(std::string_view module, std::string_view class_name) const override {
    const auto* group = groups_.match(module, class_name);
    return group ? &group->scheme : nullptr;
  }
  Shape weight_shape(const std::string& module, const Scheme& scheme) const override {
    return stored_weight_shape(folder_, module, scheme.weights.value(), format_of(scheme));
  }
  QuantizedMatrix read(const std::string& module, const Scheme& scheme) const override {
    return read_quantized(folder_, module, scheme.weights.value(), format_of(scheme));
  }
  std::vector<Fault> check(FolderCheck how) const override {
    how.config = &config_;
    return check_folder(how);
  }

 private:
  static Format format_of(const Scheme& scheme) { return scheme.format.value_or(infer_format(scheme)); }

  const Checkpoint& folder_;
  const QuantizationConfig config_;
  const GroupMatcher groups_;
};

}  // namespace

std::unique_ptr<FolderReader> open_reader(const Checkpoint& folder, const std::string& place) {
  auto config = parse_quantization_config(folder.config(),
                                          place.empty() ? folder.directory() + "/config.json" : place);
  if (!config) return nullptr;
  return std::make_unique<CompressedTensorsReader>(folder, std::move(*config));
}

}  // namespace llmc
