// Looking at model folders: is one sound, what is in it, how do two differ; and compressed weights back to plain ones.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "llmc/backend.hpp"

namespace llmc {

// ---- verify --------------------------------------------------------------------------------------------------------

struct VerifyOptions {
  std::string model_dir, source_dir;  // source_dir: the unquantized model; may be empty
  const std::atomic<bool>* cancel = nullptr;
};

struct MatrixCheck {  // one quantized matrix beside its source
  std::string module, scheme;
  std::string compared;        // "exactly", "as tuned codes", "up to channel scales", "loosely", "not (rotated)"
  double relative_error = 0;   // ||decoded - source|| / ||source||
  double rounding_error = 0;   // the same for the source rounded to nearest by the same scheme
  double allowed_error = 0;
  double cosine = 0;           // between decoded and source
};

struct VerifyReport {
  struct Fault {
    std::string tensor, got, wanted;
  };
  std::vector<Fault> faults;        // empty: the folder is sound
  std::vector<std::string> notes;   // what could not be compared, and why
  std::vector<MatrixCheck> matrices;  // with source_dir only
  int64_t tensors = 0, quantized = 0, bytes = 0;  // looked at
};
// Throws only when there is nothing to look at: no such folder, no safetensors in it. A broken file is a fault.
VerifyReport verify_model(const VerifyOptions& options, Backend& backend);
std::string to_json(const VerifyReport& report);

}  // namespace llmc
