// Looking at model folders: is one sound, what is in it, how do two differ; and compressed weights back to
// plain ones.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "llmc/backend.hpp"
#include "llmc/oneshot.hpp"

namespace llmc {

// ---- verify -----------------------------------------------------------------------------------------------

struct VerifyOptions {
  std::string model_dir, source_dir;  // source_dir: the unquantized model; may be empty
  const std::atomic<bool>* cancel = nullptr;
};

struct MatrixCheck {  // one quantized matrix beside its source
  std::string module, scheme;
  // "exactly", "as tuned codes", "up to channel scales", "loosely", "not (rotated)"
  std::string compared;
  double relative_error = 0;  // ||decoded - source|| / ||source||
  double rounding_error = 0;  // the same for the source rounded to nearest by the same scheme
  double allowed_error = 0;
  double cosine = 0;  // between decoded and source
};

struct VerifyReport {
  struct Fault {
    std::string tensor, got, wanted;
  };
  std::vector<Fault> faults;                      // empty: the folder is sound
  std::vector<std::string> notes;                 // what could not be compared, and why
  std::vector<MatrixCheck> matrices;              // with source_dir only
  int64_t tensors = 0, quantized = 0, bytes = 0;  // looked at
};
// Throws only when there is nothing to look at: no such folder, no safetensors in it. A broken file is a
// fault.
VerifyReport verify_model(const VerifyOptions& options, Backend& backend);
std::string to_json(const VerifyReport& report);

// ---- inspect ----------------------------------------------------------------------------------------------

struct InspectReport {
  // modules or tensors whose names differ in layer and expert numbers only, stored alike
  struct Row {
    std::string name;                 // "model.layers.*.mlp.up_proj"
    std::string part;                 // embedding, attention, mlp, experts, norm, head, other
    std::string scheme;               // "int4 group 128"; empty: not quantized
    std::string format;               // "pack-quantized"
    std::string inputs;               // what its inputs are quantized to: "fp8 token"; empty: nothing
    std::vector<std::string> dtypes;  // of the stored tensors, the weight's first
    std::string shape;                // "[256, 128]", or "[64, 128] .. [256, 128]"
    int64_t count = 0, parameters = 0, bytes = 0;  // bytes: scales and all
    double bits_per_weight() const {
      return parameters ? 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters) : 0;
    }
  };
  struct Part {
    std::string name;
    int64_t parameters = 0, bytes = 0;
  };
  // method: "compressed-tensors", "awq", ...; empty where there is none
  std::string model_type, architecture, method, format, kv_cache;
  std::vector<std::string> ignored;
  std::vector<Row> rows;
  std::vector<Part> parts;
  int64_t files = 0, tensors = 0, parameters = 0, bytes = 0, quantized_parameters = 0, quantized_bytes = 0;
};
// Reads headers and config.json, no tensor.
InspectReport inspect_model(const std::string& model_dir);
std::string to_json(const InspectReport& report);

// ---- diff -------------------------------------------------------------------------------------------------

struct DiffReport {
  struct Matrix {                            // quantized on at least one side, stored on both
    std::string module, scheme_a, scheme_b;  // "" : not quantized there
    // codes 0: schemes or shapes differ, so that codes cannot be compared
    int64_t codes = 0, equal_codes = 0;
    double scale_difference = 0;   // the largest |a - b| / max(|a|, |b|)
    double weight_difference = 0;  // ||a - b|| / ||b||, decoded
    bool equal = false;            // every tensor of it, byte for byte
  };
  struct ConfigDifference {
    std::string path, a, b;  // "quantization_config.ignore[0]", values as JSON; "" : not there
  };
  std::vector<Matrix> matrices;
  // tensors: unequal ones that no matrix row covers; on one side only
  std::vector<std::string> different, only_a, only_b;
  std::vector<ConfigDifference> config;
  int64_t equal_tensors = 0, codes = 0, equal_codes = 0;
  bool identical() const;
};
DiffReport diff_models(const std::string& a,
                       const std::string& b,
                       Backend& backend,
                       const std::atomic<bool>* cancel = nullptr);
std::string to_json(const DiffReport& report);

// ---- dequantize -------------------------------------------------------------------------------------------

struct DequantizeOptions {
  std::string model_dir, output_dir;
  bool overwrite = false;
  int64_t max_shard_bytes = 20'000'000'000;
};
struct DequantizeReport {
  int64_t matrices = 0, tensors = 0;  // decoded; written in all
  int64_t bytes_before = 0, bytes_after = 0;
};
// A compressed-tensors folder -> a plain one in the model's dtype: what the server would see. One matrix in
// memory at a time.
DequantizeReport dequantize_model(const DequantizeOptions& options,
                                  Backend& backend,
                                  const Callbacks& callbacks);
std::string to_json(const DequantizeReport& report);

}  // namespace llmc
