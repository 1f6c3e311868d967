// Any bytes as config.json: JSON, the model's graph and, where its sizes are tiny, four tokens run through it; the
// quantization_config.
#include <cstdint>
#include <string>
#include <string_view>

#include "core/formats/quantization_config.hpp"
#include "core/families/decoder_spec.hpp"
#include "core/json/json_value.hpp"
#include "json_mutator.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/backend.hpp"
#include "llmc/error.hpp"

using namespace llmc;

namespace {

constexpr int64_t kMostWeights = 20'000;  // of a graph that is run
constexpr const char* kKeys[] = {"architectures",
                                 "model_type",
                                 "dtype",
                                 "torch_dtype",
                                 "vocab_size",
                                 "hidden_size",
                                 "intermediate_size",
                                 "num_hidden_layers",
                                 "num_attention_heads",
                                 "num_key_value_heads",
                                 "head_dim",
                                 "rms_norm_eps",
                                 "hidden_act",
                                 "rope_parameters",
                                 "rope_scaling",
                                 "rope_theta",
                                 "rope_type",
                                 "type",
                                 "factor",
                                 "partial_rotary_factor",
                                 "original_max_position_embeddings",
                                 "max_position_embeddings",
                                 "low_freq_factor",
                                 "high_freq_factor",
                                 "beta_fast",
                                 "beta_slow",
                                 "attention_factor",
                                 "mscale",
                                 "mscale_all_dim",
                                 "truncate",
                                 "sliding_window",
                                 "layer_types",
                                 "use_sliding_window",
                                 "max_window_layers",
                                 "attention_bias",
                                 "mlp_bias",
                                 "qkv_bias",
                                 "tie_word_embeddings",
                                 "quantization_config",
                                 "attention_multiplier",
                                 "is_causal"};

template <class Call>
void expect_error_only(Call call) {
  try {
    call();
  } catch (const Error&) {
  }
}

// Nothing: too large to run.
std::optional<WeightTable> weights_of(const Graph& graph) {
  WeightTable weights;
  int64_t total = 0;
  const auto add = [&](const std::string& name, Shape shape) {
    const auto count = element_count(shape);
    if (!count || *count > kMostWeights || (total += *count) > kMostWeights) return false;
    Tensor tensor(DType::f32, std::move(shape));
    for (int64_t i = 0; i < tensor.size(); ++i) tensor.as<float>()[i] = static_cast<float>(i % 7 - 3) * 0.25f;
    weights.insert_or_assign(name, std::move(tensor));
    return true;
  };
  for (const Block& block : graph.blocks)
    for (const Node& node : block.nodes) {
      for (const NodeWeight& weight : node.weights)
        if (!add(weight.name, weight_shape(node, weight.role))) return std::nullopt;
    }
  return weights;
}

void run_forward(const Graph& graph) {
  if (graph.values.size() > 400) return;
  const auto weights = weights_of(graph);
  if (!weights) return;
  static const auto backend = make_cpu_backend({.threads = 1, .cpu_isa = ""});
  const auto last = static_cast<int32_t>(graph.vocabulary - 1);
  const TokenBatch batch{{0, last, last / 2, last}, {0, 3, 4}};
  for (const DType dtype : {DType::f32, DType::bf16}) {
    ValueTable values(graph.values.size());
    for (const Block& block : graph.blocks)
      backend->execute(block.nodes,
                       {.weights = *weights, .batch = batch, .values = values, .options = {dtype}});
  }
}

}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  return fuzz::mutate(data, size, max_size, seed, 0, kKeys);
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const std::string text(reinterpret_cast<const char*>(bytes), size);
  expect_error_only([&] { dump_json_like_python(parse_json(text, "fuzz")); });
  expect_error_only([&] { run_forward(build_graph(text)); });
  expect_error_only([&] {
    // a folder without a head, with another prefix, with a head of classification
    for (const char* held : {"norm.weight", "model.norm.weight", "score.weight"})
      build_graph(text, [&](const std::string& name) { return name == held || name == "norm.weight"; });
  });
  expect_error_only([&] {
    if (const auto config = parse_quantization_config(text))
      GroupMatcher(*config).match("model.layers.0.mlp.up_proj");
  });
  return 0;
}
