#include <catch2/catch.hpp>

#include "core/families/decoder_spec.hpp"
#include "core/run_tools.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using Catch::Matchers::Contains;

namespace {

Graph graph_of(const std::string& arch) {
  return build_graph(test::read_text(test::golden("archs/" + arch + "/config.json")));
}

std::vector<std::string> names(const Block& block, const std::vector<size_t>& nodes) {
  std::vector<std::string> out;
  for (size_t node : nodes) out.push_back(block.nodes[node].name.substr(block.name.size() + 1));
  return out;
}

}  // namespace

TEST_CASE("Linears that read one value share one Hessian, in execution order") {
  const Graph graph = graph_of("llama");
  const Block& layer = graph.blocks[1];
  const auto groups = shared_inputs(layer);
  REQUIRE(groups.size() == 4);
  CHECK(names(layer, groups[0].nodes) ==
        std::vector<std::string>{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
  CHECK(names(layer, groups[1].nodes) == std::vector<std::string>{"self_attn.o_proj"});
  CHECK(names(layer, groups[2].nodes) == std::vector<std::string>{"mlp.gate_proj", "mlp.up_proj"});
  CHECK(names(layer, groups[3].nodes) == std::vector<std::string>{"mlp.down_proj"});
}

TEST_CASE("fused layers are found through ropes, head norms and activations") {
  for (const char* arch : {"llama", "qwen2", "qwen3", "mistral"}) {
    const Graph graph = graph_of(arch);
    const Block& layer = graph.blocks[1];
    const auto fused = fused_linears(layer);
    REQUIRE(fused.size() == 2);
    CHECK(names(layer, fused[0]) ==
          std::vector<std::string>{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
    CHECK(names(layer, fused[1]) == std::vector<std::string>{"mlp.gate_proj", "mlp.up_proj"});
  }
}

TEST_CASE(
    "scale can move from a norm to the Linears that read it, not out of the head's norm or a head norm") {
  const Graph graph = graph_of("qwen3");
  const Block& layer = graph.blocks[1];
  auto pairs = smoothing_pairs(layer);
  std::erase_if(pairs, [](const SmoothingPair& pair) { return !pair.out_of_norm(); });
  REQUIRE(pairs.size() == 2);
  CHECK(layer.nodes[pairs[0].smooth].name == "model.layers.0.input_layernorm");
  CHECK(names(layer, pairs[0].balance) ==
        std::vector<std::string>{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
  CHECK(layer.nodes[pairs[1].smooth].name == "model.layers.0.post_attention_layernorm");
  CHECK(names(layer, pairs[1].balance) == std::vector<std::string>{"mlp.gate_proj", "mlp.up_proj"});
  CHECK(smoothing_pairs(graph.blocks.back()).empty());
}

TEST_CASE("scale can move from v to o through an attention, and from up to down through a product") {
  struct Row {
    const char* arch;
    const char *values, *product;
    int64_t first_value_row, first_up_row;
  };
  // heads of 16 channels, 4 of queries and 2 of keys and values; an MLP of 96
  for (const Row& row : {Row{"llama", "self_attn.v_proj", "mlp.up_proj", 0, 0},
                         Row{"phi3", "self_attn.qkv_proj", "mlp.gate_up_proj", 96, 96}}) {
    CAPTURE(row.arch);
    const Graph graph = graph_of(row.arch);
    const Block& layer = graph.blocks[1];
    auto pairs = smoothing_pairs(layer);
    std::erase_if(pairs, [](const SmoothingPair& pair) { return pair.out_of_norm(); });
    REQUIRE(pairs.size() == 2);
    CHECK(layer.nodes[pairs[0].smooth].name.ends_with(row.values));
    CHECK(pairs[0].first_row == row.first_value_row);
    CHECK(names(layer, pairs[0].balance) == std::vector<std::string>{"self_attn.o_proj"});
    REQUIRE(pairs[0].channel_of.size() == 64);  // query heads 0, 1 read value head 0; 2, 3 read 1
    CHECK(pairs[0].channel_of[0] == 0);
    CHECK(pairs[0].channel_of[17] == 1);
    CHECK(pairs[0].channel_of[63] == 31);
    CHECK(layer.nodes[pairs[1].smooth].name.ends_with(row.product));
    CHECK(pairs[1].first_row == row.first_up_row);
    CHECK(names(layer, pairs[1].balance) == std::vector<std::string>{"mlp.down_proj"});
    CHECK(pairs[1].channel_of.empty());
  }
}

TEST_CASE("every value of a block dies at its last reader, the output never") {
  const Graph graph = graph_of("llama");
  const Block& layer = graph.blocks[2];
  const auto dying = last_uses(layer);
  std::vector<ValueId> dead;
  for (size_t i = 0; i < dying.size(); ++i)
    for (ValueId value : dying[i]) {
      CHECK(std::find(dead.begin(), dead.end(), value) == dead.end());
      dead.push_back(value);
      for (size_t later = i + 1; later < layer.nodes.size(); ++later) {
        const auto& inputs = layer.nodes[later].inputs;
        CHECK(std::find(inputs.begin(), inputs.end(), value) == inputs.end());
      }
    }
  CHECK(dead.size() == layer.nodes.size());  // every node's output but the last, and the block's input
  CHECK(std::find(dead.begin(), dead.end(), layer.output) == dead.end());
}

TEST_CASE("an unknown architecture is named, with the families that work and the way out") {
  try {
    build_graph(R"({"architectures": ["MambaForCausalLM"], "model_type": "mamba"})");
    FAIL("no error");
  } catch (const Error& problem) {
    CHECK(problem.code() == ErrorCode::unsupported);
    CHECK_THAT(problem.what(),
               Catch::Contains("MambaForCausalLM") && Catch::Contains("llama, mistral, phi3, qwen2, qwen3") &&
                   Catch::Contains("data-free"));
  }
}

TEST_CASE("a config that lies about heads or misses a size is refused by key") {
  CHECK_THROWS_WITH(build_graph(R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 8})"),
                    Catch::Contains("'hidden_size' is missing"));
  CHECK_THROWS_WITH(build_graph(R"({"architectures": ["LlamaForCausalLM"], "vocab_size": -8})"),
                    Catch::Contains("'vocab_size' is -8"));
  CHECK_THROWS_WITH(
      build_graph(
          R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
               "num_attention_heads": 4, "num_key_value_heads": 3})"),
      Catch::Contains("4 attention heads cannot share 3"));
}

TEST_CASE(
    "an architecture is known by its family's name in any case, and classes without a language head too") {
  const std::string sizes =
      R"("vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 4)";
  const auto graph_of_class = [&](const std::string& name) {
    return build_graph(R"({"architectures": [")" + name + R"("], "model_type": "llama", )" + sizes + "}");
  };
  CHECK(graph_of_class("LLaMAForCausalLM").blocks.back().name == "lm_head");
  for (const char* name : {"LlamaModel", "LlamaForSequenceClassification", "LlamaForTokenClassification"}) {
    INFO(name);
    const Graph graph = graph_of_class(name);
    CHECK_FALSE(graph.has_head);
    CHECK(graph.blocks.back().name == "model.norm");
    CHECK(graph.blocks[1].name == "model.layers.0");
  }
  CHECK_THROWS_WITH(graph_of_class("LlamaForConditionalGeneration"), Contains("cannot be run forward"));
  CHECK_THROWS_WITH(graph_of_class("Llama4ForCausalLM"), Contains("cannot be run forward"));
  const Graph bare = build_graph(R"({"architectures": ["LlamaModel"], )" + sizes + "}",
                                 [](const std::string& name) { return name == "norm.weight"; });
  CHECK(bare.blocks[0].name == "embed_tokens");
  CHECK(bare.blocks[1].nodes[1].name == "layers.0.self_attn.q_proj");
}

TEST_CASE("layer_types says which layers slide, in Mistral's configs too") {
  const auto windows = [](const std::string& more) {
    const Graph graph = build_graph(
        R"({"architectures": ["MistralForCausalLM"], "vocab_size": 8, "hidden_size": 8, "intermediate_size": 8,
            "num_hidden_layers": 2, "num_attention_heads": 4, "sliding_window": 4)" +
        more + "}");
    std::vector<int64_t> found;
    for (const Block& block : graph.blocks)
      for (const Node& node : block.nodes)
        if (const auto* attention = std::get_if<Attention>(&node.operation))
          found.push_back(attention->sliding_window);
    return found;
  };
  CHECK(windows("") == std::vector<int64_t>{4, 4});
  CHECK(windows(R"(, "layer_types": ["sliding_attention", "full_attention"])") == std::vector<int64_t>{4, 0});
  CHECK_THROWS_WITH(windows(R"(, "layer_types": ["sliding_attention"])"), Contains("has 1 entries"));
  CHECK_THROWS_WITH(windows(R"(, "layer_types": ["full_attention", "linear_attention"])"),
                    Contains("layer_types[1] is 'linear_attention'"));
}

TEST_CASE("no number of config.json is taken without a range") {
  const auto build = [](const std::string& more) {
    build_graph(
        R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 8, "hidden_size": 16, "intermediate_size": 8,
                    "num_hidden_layers": 1, "num_attention_heads": 2, )" +
        more + "}");
  };
  const std::pair<const char*, const char*> rows[] = {
      {R"("partial_rotary_factor": 2.0)", "'partial_rotary_factor' is 2.0, wanted a number from 0 to 1"},
      {R"("partial_rotary_factor": 1e30)", "wanted a number from 0 to 1"},
      {R"("partial_rotary_factor": NaN)", "'partial_rotary_factor' is NaN"},
      {R"("partial_rotary_factor": 0.1)", "rotary dimension 0, wanted an even number from 2 to head_dim 8"},
      {R"("rope_theta": Infinity)", "'rope_theta' is Infinity"},
      {R"("rope_theta": 1.0)", "rope_theta 1, wanted more than 1"},
      {R"("rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1})",
       "low_freq_factor 4, wanted less than high_freq_factor 1"},
      {R"("rope_scaling": {"rope_type": "llama3", "factor": 8, "original_max_position_embeddings": 0})",
       "'original_max_position_embeddings' is 0, wanted an integer from 1 to"},
      {R"("rope_scaling": {"rope_type": "dynamic", "factor": 2}, "max_position_embeddings": 0)",
       "'max_position_embeddings' is 0"},
      {R"("rope_scaling": {"rope_type": "dynamic", "factor": 2}, "partial_rotary_factor": 0.25)",
       "rotary dimension 2, wanted an even number from 4"},
      {R"("rope_scaling": {"rope_type": "linear", "factor": 0})", "'factor' is 0, wanted a number from 1 to"},
      {R"("rope_parameters": {"full_attention": {"rope_theta": 5}})",
       "has settings of its own for 'full_attention'"},
      {R"("head_dim": 2147483648)", "2 heads of 2147483648 channels"},
      {R"("rms_norm_eps": -1)", "'rms_norm_eps' is -1, wanted a number from 0 to 1"},
      {R"("dtype": "float64")", "a model in 'float64'; wanted bfloat16, float16 or float32"},
      {R"("num_key_value_heads": 0)", "'num_key_value_heads' is 0"},
  };
  for (const auto& [text, reason] : rows) {
    INFO(text);
    CHECK_THROWS_WITH(build(text), Contains(reason));
  }
  CHECK_NOTHROW(build(R"("sliding_window": 4294967297, "layer_types": ["sliding_attention"])"));
}

TEST_CASE("rope_scaling takes the place of rope_parameters where both are there") {
  const auto rope_of = [](const std::string& more) {
    const Graph graph = build_graph(
        R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 8, "hidden_size": 16, "intermediate_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": 2, )" +
        more + "}");
    for (const Node& node : graph.blocks[1].nodes)
      if (const auto* rope = std::get_if<Rope>(&node.operation)) return rope->spec;
    throw std::runtime_error("no rope");
  };
  const std::string parameters = R"("rope_parameters": {"rope_type": "default", "rope_theta": 500.0})";
  const std::string yarn = R"({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64})";
  CHECK(rope_of(parameters).theta == 500.0);
  const RopeSpec both = rope_of(parameters + R"(, "rope_scaling": )" + yarn);
  CHECK(both.kind == RopeKind::yarn);
  CHECK(both.theta == 10000.0);  // nothing of the other section counts
  CHECK(rope_of(parameters + R"(, "rope_theta": 70.0, "rope_scaling": )" + yarn).theta == 70.0);
  CHECK(rope_of(parameters + R"(, "rope_scaling": null)").theta == 500.0);
  CHECK(rope_of(parameters + R"(, "rope_scaling": {})").theta == 500.0);
}
