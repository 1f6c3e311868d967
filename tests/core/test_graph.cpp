#include <catch2/catch.hpp>

#include "core/families/decoder_spec.hpp"
#include "core/run_tools.hpp"
#include "llmc/error.hpp"

using namespace llmc;

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
  const auto pairs = smoothing_pairs(layer);
  REQUIRE(pairs.size() == 2);
  CHECK(layer.nodes[pairs[0].smooth].name == "model.layers.0.input_layernorm");
  CHECK(names(layer, pairs[0].balance) ==
        std::vector<std::string>{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"});
  CHECK(layer.nodes[pairs[1].smooth].name == "model.layers.0.post_attention_layernorm");
  CHECK(names(layer, pairs[1].balance) == std::vector<std::string>{"mlp.gate_proj", "mlp.up_proj"});
  CHECK(smoothing_pairs(graph.blocks.back()).empty());
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
               Catch::Contains("MambaForCausalLM") && Catch::Contains("llama, mistral, qwen2, qwen3") &&
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
