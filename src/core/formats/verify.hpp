// Is a folder what its config.json says, so that vLLM loads and means the same numbers?
#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/files/checkpoint.hpp"
#include "core/formats/quantization_config.hpp"
#include "core/quantize/qparams.hpp"

namespace llmc {

struct Fault {
  std::string tensor, got, wanted;  // `wanted` may be empty where `got` says it all
};
std::string to_line(const Fault& fault);  // "model.norm.weight: got NaN at 3, wanted finite numbers"

// What is known of the model besides its tensors' names. Modules that are not listed have the class that
// their name suggests.
struct KnownModules {
  std::map<std::string, std::string> class_of;  // "lm_head" -> "Linear"
  // of every module that must have a weight, quantized or not
  std::map<std::string, Shape> weight_shape;
  struct Heads {
    int64_t queries = 0, keys = 0;
  };
  std::map<std::string, Heads> heads;  // of every attention module
};

struct FolderCheck {
  const Checkpoint& folder;
  const QuantizationConfig* config = nullptr;  // null: nothing is quantized
  KnownModules known = {};
  bool decoded_only = false;   // look at what a reader decodes alone: quantized modules and the cache
  bool read_plain = true;      // also look for NaN and Inf in tensors that are not quantized
  bool read_quantized = true;  // false: only headers and config.json
  ParallelFor parallel = {};
  // Sees every quantized matrix that has all its tensors, so that a caller can go on without reading it
  // again.
  std::function<void(const std::string& module, const QuantizedMatrix& matrix, std::vector<Fault>& faults)>
      visit = {};
};

// Faults in module order; empty when all is well. One module in memory at a time.
std::vector<Fault> check_folder(const FolderCheck& check);

// What the writer asks of a folder it has just made, compressed or plain: check_folder without tensors that
// were checked when they were copied; values false: nor any others, for a folder whose values were checked
// while they were written. One line per fault.
std::vector<std::string> verify_folder(const Checkpoint& compressed, bool values = true);

// "a.b.weight_scale": does a module's quantized weight or activation own this last component?
bool is_quantization_part(std::string_view part);
// k_scale, v_scale, q_scale and their zero points, on the attention module
bool is_cache_part(std::string_view part);
// Without a graph the class of a module can only be told from its name: Linear, Embedding or Norm.
std::string class_by_name(std::string_view module);

}  // namespace llmc
