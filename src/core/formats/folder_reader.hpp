// Quantized modules of a folder that exists already, for every tool that reads one: eval, verify, diff, inspect,
// dequantize. Which format a folder has is told by its config.json's quant_method.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/checkpoint.hpp"
#include "core/formats/quantization_config.hpp"
#include "core/formats/verify.hpp"
#include "core/quantize/qparams.hpp"

namespace llmc {

class FolderReader {
 public:
  virtual ~FolderReader() = default;
  // Groups, ignored modules and the cache, whatever the format calls them. Stays where it is.
  virtual const QuantizationConfig& config() const = 0;
  // Null: not quantized. Without weights: an attention whose states are.
  virtual const Scheme* scheme_of(std::string_view module, std::string_view class_name) const = 0;
  // From headers alone: [N, K].
  virtual Shape weight_shape(const std::string& module, const Scheme& scheme) const = 0;
  // Error(bad_file): a tensor is missing or is not what the scheme asks for.
  virtual QuantizedMatrix read(const std::string& module, const Scheme& scheme) const = 0;
  // What is wrong with the folder, in module order: check_folder by the rules of the format.
  virtual std::vector<Fault> check(FolderCheck how) const = 0;
};

// Null: a plain folder. `folder` is borrowed. Error(unsupported): another method than those of the formats.
// `place` begins the errors; empty: the path of config.json.
std::unique_ptr<FolderReader> open_reader(const Checkpoint& folder, const std::string& place = {});

}  // namespace llmc
