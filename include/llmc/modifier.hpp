// The two kinds of recipe steps. A transform moves scale between weights before they are quantized; a
// quantizer turns weights into codes. A new one is a file in src/modifiers and a row in registry.cpp.
// Modifiers know graphs, schemes and the Backend interface, nothing of each other.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "llmc/backend.hpp"
#include "llmc/custom_quantizer.hpp"
#include "llmc/graph.hpp"
#include "llmc/recipe.hpp"
#include "llmc/report.hpp"
#include "llmc/scheme.hpp"

namespace llmc {

struct QuantizedMatrix;

enum class Compat { vllm, reference };

// What the run decided for every modifier.
struct RunPolicy {
  Compat compat = Compat::vllm;
  Rounding rounding = Rounding::exact;
  std::span<const CustomQuantizer> custom = {};  // the caller's own; they outlive the modifiers
};

// What was observed at the input of a set of Linears.
struct Statistics {
  int64_t samples = 0, tokens = 0;
  ChannelStatistics channels;  // filled when a transform or a quantizer asked for it
  // [width, width] f32, lower triangle of sum x x^T; empty unless a quantizer asked for it
  Tensor gram;
};

class Modifier {
 public:
  virtual ~Modifier() = default;
  virtual std::string_view type() const = 0;  // as in recipes: "GPTQModifier"
  // Entries of its ignore list that match none of the model's modules.
  virtual std::vector<std::string> unmatched_ignores(std::span<const Module>) const { return {}; }
  // What it does otherwise than the recipe says, one line each.
  virtual std::vector<std::string> notes() const { return {}; }
};

// What a transform must know of a pair's channels before it is applied.
struct TransformNeeds {
  bool channels = false;  // Statistics::channels
  bool gram = false;
};

// SmoothQuant: called once per smoothing pair, with statistics of the values between its two sides.
class Transform : public Modifier {
 public:
  virtual TransformNeeds needs() const = 0;
  // The pairs of `block` this transform wants to change, of those the graph allows.
  virtual std::vector<SmoothingPair> select(const Graph& graph, const Block& block) const = 0;
  // Mappings of the recipe that no pair of any block takes up, one line each with the reason.
  virtual std::vector<std::string> unused_mappings(const Graph&) const { return {}; }
  // Changes weights in place, on the host or on the backend's device: smooth node's and balance nodes'
  // weights of `pair`. Returns what each channel of the values between them is divided by from now on.
  virtual std::vector<float> apply(const Block& block,
                                   const SmoothingPair& pair,
                                   const Statistics& statistics,
                                   WeightTable& weights,
                                   Backend& backend) const = 0;
};

// One weight to quantize. `weight` is [out, in] in the model's dtype, borrowed, aligned to its elements, on
// the host or on the backend's device.
struct MatrixJob {
  std::string module;
  TensorView weight;
  // NVFP4: given from outside; otherwise found from all jobs of the call
  std::optional<float> global_scale = {};
};

// Matrices that share one input and one scheme.
struct MatrixSet {
  std::vector<MatrixJob> jobs;
  const Scheme* scheme = nullptr;
  // of their input; may be null when neither gram nor channels are needed
  const Statistics* statistics = nullptr;
};

// GPTQ, RTN.
class Quantizer : public Modifier {
 public:
  // The scheme of a module, or null when this quantizer leaves it alone. Stable pointers for the life of the
  // modifier. A Linear's or Embedding's scheme has weights; an attention module's has input activations alone
  // (its queries, keys and values).
  virtual const Scheme* scheme_for(const Module& module) const = 0;
  // Every target string, with whether it matched anything: for the error about targets that match nothing.
  virtual std::vector<std::string> unmatched_targets(std::span<const Module> modules) const = 0;
  virtual const std::vector<Scheme>& schemes() const = 0;  // in config order
  virtual bool needs_gram() const = 0;
  // Whether tokens must run through the model although no Hessian is needed: a scale of activations is fixed
  // ahead of time, or an observer weighs channels.
  virtual bool needs_calibration() const = 0;
  virtual const QuantizationArgs* kv_cache_scheme() const = 0;  // scales of keys and values; null: none
  // Whether weights of this scheme want Statistics::channels of their input (an observer that weighs errors
  // by E[x^2]).
  virtual bool needs_channels(const Scheme&) const { return false; }
  // One result per job, and as many report rows appended. Codes may lie on the backend's device.
  virtual std::vector<QuantizedMatrix> quantize(const MatrixSet& set,
                                                Backend& backend,
                                                std::vector<LinearReport>& rows) const = 0;
  // The same for sets that have nothing to do with each other.
  virtual std::vector<std::vector<QuantizedMatrix>> quantize_all(std::span<const MatrixSet> sets,
                                                                 Backend& backend,
                                                                 std::vector<LinearReport>& rows) const = 0;
};

// Builds the modifier a recipe entry names. Throws Error(invalid_argument) with the line for an unknown
// modifier or argument.
std::unique_ptr<Modifier> make_modifier(const ModifierSpec& spec, const RunPolicy& policy);
std::vector<std::string> modifier_names();

}  // namespace llmc
