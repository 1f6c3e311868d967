// What a model folder holds, as far as a recipe is concerned: its modules, and the 2-D weights that can be
// quantized.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/files/checkpoint.hpp"
#include "llmc/graph.hpp"

namespace llmc {

struct WeightModule {
  Module module;
  std::string weight;  // its name in a WeightTable; a tied lm_head's is the embedding's
  WeightRef source;    // where the checkpoint keeps it
  Shape shape;         // [out, in]
  DType dtype = DType::bf16;
};

struct ModelOutline {
  std::optional<Graph> graph;         // when the family is known
  std::vector<Module> modules;        // in the reference's order
  std::vector<WeightModule> weights;  // one per Linear and Embedding, in that order
  // modules that vLLM runs as one layer: they share NVFP4's global scale
  std::vector<std::vector<std::string>> fused;
  struct Skipped {
    std::string name, reason;  // "model.layers.0.mlp.gate", "router"
  };
  // no graph: matrices and stacks of matrices that are neither Linears nor embeddings
  std::vector<Skipped> skipped;
  std::string model_type;
  bool tied_embeddings = false;

  const WeightModule* find(const std::string& module) const;
};

// The forward pass of a folder of a known family; Error(unsupported) otherwise.
Graph graph_of(const Checkpoint& checkpoint);
// need_graph: an unknown architecture is an error instead of an outline made from tensor names.
ModelOutline outline_model(const Checkpoint& checkpoint, bool need_graph);

// Without a graph, the guesses made from tensor names and shapes, for the user to check before the work begins.
// `quantized`: the modules
// that will be.
std::vector<std::string> outline_notes(const ModelOutline& outline,
                                       const std::vector<std::string>& quantized);

}  // namespace llmc
