// Everything decided before the first byte of weights is read: who quantizes what, and what the output folder
// will hold.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/files/checkpoint_writer.hpp"
#include "core/formats/output_format.hpp"
#include "core/model/model_outline.hpp"
#include "core/plan/modifier_list.hpp"
#include "llmc/modifier.hpp"
#include "llmc/oneshot.hpp"

namespace llmc {

struct ModuleDecision {
  const Quantizer* quantizer = nullptr;
  const Scheme* scheme = nullptr;
  Format format = Format::dense;
  WeightModule weight;

  PlannedModule planned() const { return {weight.module.name, weight.shape, weight.dtype, *scheme, format}; }
};

// Fixed scales of what an attention reads.
struct AttentionScales {
  std::optional<QuantizationArgs> args;
  bool queries = false;            // and of the queries; otherwise keys and values alone, the KV cache
  const Scheme* scheme = nullptr;  // the group that asks for them; null: kv_cache_scheme

  struct State {
    size_t input;      // of the Attention node
    std::string name;  // "model.layers.3.self_attn.k"
    int64_t heads;
  };
  std::vector<State> states(const Attention& attention) const;
};

struct TensorCopy {
  WeightRef from;  // in the source
  std::string to;  // in the output
};

struct RunPlan {
  const OutputFormat* output = nullptr;
  std::unordered_map<std::string, ModuleDecision> decisions;    // by module name
  std::unordered_map<std::string, AttentionScales> attentions;  // by module name
  std::vector<std::string> order;                               // assigned modules in model order
  // the same, together where they must be quantized together (a shared global scale)
  std::vector<std::vector<std::string>> scale_partners;
  std::vector<PlannedTensor> tensors;  // the output's, in file order
  // what goes over unchanged (a transform may still rewrite it)
  std::vector<TensorCopy> copied;
  // a tied head whose tensors are those of the quantized embedding
  bool head_is_embedding = false;
  // lm_head gets tensors of its own; config.json says so
  bool untie = false;
  QuantizationConfig config;
  std::vector<std::string> notes;  // what a reader of the folder may stumble over

  const ModuleDecision* find(const std::string& module) const;
  // weights, the cache or both: config.json then has a quantization_config
  bool quantizes() const { return !config.groups.empty() || config.kv_cache_scheme; }
};

// Throws Error(invalid_argument): a target that matches nothing, columns not divisible by the group, nothing
// to quantize, a source that holds parts of quantized weights, a folder that verify would refuse; and unless
// --compat reference: fused parts with different schemes, mappings that cannot be applied.
RunPlan make_plan(const Checkpoint& checkpoint,
                  const ModelOutline& model,
                  const ModifierList& modifiers,
                  const OneshotOptions& options);

// The output's config.json.
std::string planned_config(const RunPlan& plan, const Checkpoint& source, const OneshotOptions& options);

}  // namespace llmc
