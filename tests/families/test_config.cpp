// config.json is a file that anybody may have written: its numbers have ranges, and what changes the model's
// function is applied or refused by name.
#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "core/families/decoder_spec.hpp"
#include "core/run_tools.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using Catch::Contains;

namespace {

nlohmann::json tiny(const std::string& family = "llama", const std::string& prefix = "Llama") {
  return {{"architectures", {prefix + "ForCausalLM"}},
          {"model_type", family},
          {"vocab_size", 8},
          {"hidden_size", 8},
          {"intermediate_size", 8},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 2},
          {"num_key_value_heads", 1},
          {"head_dim", 4},
          {"max_position_embeddings", 64},
          {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 100.0}}}};
}

Graph graph_with(nlohmann::json config, const nlohmann::json& changes) {
  if (!changes.is_null()) config.merge_patch(changes);
  return build_graph(config.dump());
}

std::string refusal(const nlohmann::json& changes) {
  try {
    graph_with(tiny(), changes);
  } catch (const Error& problem) {
    return problem.what();
  }
  return "nothing";
}

RopeSpec rope_of(const Graph& graph) {
  for (const Node& node : graph.blocks[1].nodes)
    if (const auto* rope = std::get_if<Rope>(&node.operation)) return rope->spec;
  return {};
}

std::vector<int64_t> windows_of(const Graph& graph) {
  std::vector<int64_t> windows;
  for (const Block& block : graph.blocks)
    for (const Node& node : block.nodes)
      if (const auto* attention = std::get_if<Attention>(&node.operation))
        windows.push_back(attention->sliding_window);
  return windows;
}

nlohmann::json rope(const std::string& type, nlohmann::json more) {
  more["rope_type"] = type;
  return {{"rope_parameters", more}};
}

}  // namespace

TEST_CASE("a rotation never leaves its head") {
  CHECK_THAT(refusal({{"partial_rotary_factor", 2.0}}),
             Contains("'partial_rotary_factor' is 2.0, wanted a number from 0 to 1"));
  CHECK_THAT(refusal(rope("default", {{"partial_rotary_factor", 1e30}})),
             Contains("'partial_rotary_factor'"));
  CHECK_THAT(refusal({{"partial_rotary_factor", 0.0}}), Contains("rotary dimension 0"));
  CHECK_THAT(refusal({{"partial_rotary_factor", 0.25}}),
             Contains("rotary dimension 1, wanted an even number from 2 to head_dim 4"));
  CHECK(rope_of(graph_with(tiny(), {{"partial_rotary_factor", 0.5}})).rotary_dim == 2);
  CHECK(rope_of(graph_with(tiny(), {{"partial_rotary_factor", 1.0}})).rotary_dim == 4);
}

TEST_CASE("every number of the rope settings has a range") {
  const nlohmann::json llama3{{"factor", 8.0}, {"low_freq_factor", 4.0}, {"high_freq_factor", 4.0}};
  CHECK_THAT(refusal(rope("llama3", llama3)),
             Contains("low_freq_factor 4, wanted less than high_freq_factor 4"));
  for (const char* type : {"linear", "dynamic", "yarn", "llama3"})
    for (const nlohmann::json& factor : {nlohmann::json(0), nlohmann::json(-2.0), nlohmann::json("4")})
      CHECK_THAT(refusal(rope(type, {{"factor", factor}})), Contains("'factor' is"));
  for (const char* type : {"linear", "dynamic", "llama3"})
    CHECK_THAT(refusal(rope(type, nlohmann::json::object())), Contains("'factor' is missing"));
  for (const int64_t position : {int64_t{0}, int64_t{-1}, INT64_MAX}) {
    CHECK_THAT(refusal({{"max_position_embeddings", position}}), Contains("'max_position_embeddings' is"));
    CHECK_THAT(refusal(rope("yarn", {{"factor", 2.0}, {"original_max_position_embeddings", position}})),
               Contains("'original_max_position_embeddings' is"));
  }
  CHECK_THAT(refusal(rope("default", {{"rope_theta", 1.0}})), Contains("rope_theta 1, wanted more than 1"));
  CHECK_THAT(refusal(rope("yarn", {{"factor", 2.0}, {"beta_slow", -1}})), Contains("'beta_slow' is -1"));
  CHECK_THAT(refusal({{"rms_norm_eps", -1e-6}}), Contains("'rms_norm_eps'"));
}

TEST_CASE("numbers that Python alone writes are in no range") {
  std::string text = tiny().dump();
  text.insert(1, R"("rms_norm_eps": NaN, )");
  CHECK_THROWS_WITH(build_graph(text), Contains("'rms_norm_eps' is NaN"));
  text = graph_with(tiny(), {}).model_type.empty() ? "" : tiny().dump();
  text.insert(1, R"("rope_scaling": {"rope_type": "linear", "factor": Infinity}, )");
  CHECK_THROWS_WITH(build_graph(text), Contains("'factor' is Infinity"));
  text = tiny().dump();
  text.insert(1, R"("time_step_limit": [0.0, Infinity], )");
  CHECK(build_graph(text).vocabulary == 8);
}

TEST_CASE("sizes are bounded, and so is their product") {
  for (const char* key : {"hidden_size", "intermediate_size", "num_attention_heads", "head_dim", "vocab_size",
                          "num_hidden_layers", "num_key_value_heads"})
    for (const int64_t size : {int64_t{0}, int64_t{-4}, (int64_t{1} << 31) + 1, INT64_MAX}) {
      CAPTURE(key, size);
      CHECK_THAT(refusal({{key, size}}), Contains(fmt::format("'{}' is {}", key, size)));
    }
  CHECK_THAT(refusal({{"num_attention_heads", 1 << 20}, {"head_dim", 1 << 20}}),
             Contains("1048576 heads of 1048576 channels"));
  CHECK_THAT(refusal({{"num_attention_heads", 16}, {"num_key_value_heads", 16}, {"head_dim", nullptr}}),
             Contains("16 heads of 0 channels"));
}

TEST_CASE("a rotation of two channels has one frequency, however long the sequence") {
  RopeSpec spec;
  spec.kind = RopeKind::dynamic;
  spec.rotary_dim = 2;
  spec.factor = 2.0;
  spec.max_position = 8;
  CHECK(rope_frequencies(spec, 1000).inverse == std::vector<float>{1.0f});
}

TEST_CASE("rope_scaling takes the place of rope_parameters") {
  const Graph graph = graph_with(tiny(), {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}}});
  CHECK(rope_of(graph).kind == RopeKind::yarn);
  CHECK(rope_of(graph).theta == 10000.0);  // the family's own, as for vLLM and transformers
  REQUIRE(graph.notes.size() == 1);
  CHECK_THAT(graph.notes[0], Contains("'rope_theta' 100.0 is not read"));
  CHECK(rope_of(graph_with(tiny(), {{"rope_scaling", nlohmann::json::object()}})).theta == 100.0);
  const Graph with_theta = graph_with(
      tiny(), {{"rope_theta", 50.0}, {"rope_scaling", {{"type", "linear"}, {"factor", 2}}}});
  CHECK(rope_of(with_theta).theta == 50.0);
  CHECK(with_theta.notes.empty());
}

TEST_CASE("the context before the extension is the one at the top, where both are given") {
  nlohmann::json changes = rope("yarn", {{"factor", 2.0}, {"original_max_position_embeddings", 16}});
  CHECK(rope_of(graph_with(tiny(), changes)).original_max_position == 16);
  changes["original_max_position_embeddings"] = 32;
  CHECK(rope_of(graph_with(tiny(), changes)).original_max_position == 32);
}

TEST_CASE("rope settings that only one reader follows, or for each type of layer, are refused") {
  CHECK_THAT(refusal(rope("yarn", {{"factor", 2.0}, {"attn_factor", 2.0}})), Contains("'attn_factor'"));
  CHECK_THAT(refusal(rope("dynamic", {{"factor", 2.0}, {"alpha", 1000}})), Contains("'alpha'"));
  CHECK_THAT(refusal({{"rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}}}),
             Contains("settings of its own for 'full_attention'"));
  CHECK(refusal(rope("yarn", {{"factor", 2.0}, {"attn_factor", 1.0}, {"extrapolation_factor", 1}})) ==
        "nothing");
}

TEST_CASE("layers slide as layer_types says, else all of them") {
  const nlohmann::json types{{"sliding_window", 4}, {"layer_types", {"sliding_attention", "full_attention"}}};
  const nlohmann::json mistral = tiny("mistral", "Mistral"), qwen = tiny("qwen2", "Qwen2");
  CHECK(windows_of(graph_with(mistral, types)) == std::vector<int64_t>{4, 0});
  CHECK(windows_of(graph_with(tiny(), types)) == std::vector<int64_t>{4, 0});
  CHECK(windows_of(graph_with(mistral, {{"sliding_window", 4}})) == std::vector<int64_t>{4, 4});
  CHECK(windows_of(graph_with(mistral, {})) == std::vector<int64_t>{4096, 4096});  // the class's default
  CHECK(windows_of(graph_with(mistral, {{"sliding_window", 0}})) == std::vector<int64_t>{0, 0});
  CHECK(windows_of(graph_with(tiny(), {})) == std::vector<int64_t>{0, 0});
  const Graph windowed = graph_with(tiny(), {{"sliding_window", 4}});
  CHECK(windows_of(windowed) == std::vector<int64_t>{0, 0});
  CHECK(windowed.notes.size() == 1);
  nlohmann::json null_window = mistral;
  null_window["sliding_window"] = nullptr;
  CHECK(windows_of(build_graph(null_window.dump())) == std::vector<int64_t>{0, 0});

  CHECK(windows_of(graph_with(qwen, types)) == std::vector<int64_t>{0, 0});  // not unless use_sliding_window
  nlohmann::json used = types;
  used["use_sliding_window"] = true;
  CHECK(windows_of(graph_with(qwen, used)) == std::vector<int64_t>{4, 0});
  used.erase("layer_types");
  used["max_window_layers"] = 1;
  CHECK(windows_of(graph_with(qwen, used)) == std::vector<int64_t>{0, 4});
}

TEST_CASE("layer_types has a type for each layer, and a window to slide") {
  const nlohmann::json mistral = tiny("mistral", "Mistral");
  CHECK_THAT(refusal({{"layer_types", {"full_attention"}}}), Contains("'layer_types' has 1 entries"));
  CHECK_THAT(refusal({{"layer_types", "full_attention"}}), Contains("'layer_types' has 0 entries"));
  CHECK_THAT(refusal({{"layer_types", {"full_attention", "chunked_attention"}}}),
             Contains("layer_types[1] is 'chunked_attention'"));
  CHECK_THAT(refusal({{"layer_types", {"full_attention", "sliding_attention"}}}),
             Contains("'sliding_window'"));
  CHECK_THROWS_WITH(graph_with(mistral, {{"sliding_window", -2}}), Contains("'sliding_window' is -2"));
}

TEST_CASE("a key that changes a server's function is named in a note, unless its value changes nothing") {
  const nlohmann::json named{{"attention_multiplier", 0.25},      {"logits_scaling", 8},
                             {"attn_logit_softcapping", 50.0},    {"query_pre_attn_scalar", 256},
                             {"attn_temperature_tuning", true},   {"no_rope_layers", {1, 0}},
                             {"position_embedding_type", "nope"}, {"embedding_multiplier", "1"}};
  for (const auto& [key, value] : named.items())
    CHECK(graph_with(tiny(), {{key, value}}).notes ==
          std::vector<std::string>{
              fmt::format("config.json: '{}' is not applied: calibration runs without it", key)});
  const nlohmann::json harmless{
      {"attention_multiplier", 0.5},       {"logits_scaling", 1},      {"query_pre_attn_scalar", 4},
      {"attn_temperature_tuning", false},  {"no_rope_layers", {1, 1}}, {"is_causal", true},
      {"position_embedding_type", "rope"}, {"pretraining_tp", 2},      {"a_key_that_nobody_knows", 3}};
  CHECK(graph_with(tiny(), harmless).notes.empty());
  CHECK_THAT(refusal({{"is_causal", false}}), Contains("'is_causal'"));
}

TEST_CASE("what config.json leaves out is what the family's class in transformers has") {
  const auto heads = [](const Graph& graph) {
    for (const Node& node : graph.blocks[1].nodes)
      if (const auto* attention = std::get_if<Attention>(&node.operation))
        return std::pair(attention->kv_heads, attention->head_dim);
    return std::pair<int64_t, int64_t>();
  };
  const auto without = [](nlohmann::json config, const char* key) {
    config.erase(key);
    config["num_attention_heads"] = 64;
    config["hidden_size"] = 256;
    return build_graph(config.dump());
  };
  CHECK(heads(without(tiny(), "num_key_value_heads")).first == 64);
  CHECK(heads(without(tiny("mistral", "Mistral"), "num_key_value_heads")).first == 8);
  CHECK(heads(without(tiny("qwen3", "Qwen3"), "num_key_value_heads")).first == 32);
  CHECK(heads(without(tiny("qwen3", "Qwen3"), "head_dim")).second == 128);
  CHECK(heads(without(tiny("qwen2", "Qwen2"), "head_dim")).second == 4);
}

TEST_CASE("vLLM's spellings of Llama's biases are followed") {
  const auto biases = [](const nlohmann::json& changes) {
    std::string found;
    const Graph graph = graph_with(tiny(), changes);
    for (const Node& node : graph.blocks[1].nodes)
      if (node.linear() && node.linear()->bias) found += node.name.substr(node.name.rfind('.') + 1, 1);
    return found;
  };
  CHECK(biases({}).empty());
  CHECK(biases({{"attention_bias", true}}) == "qkvo");
  CHECK(biases({{"bias", true}}) == "qkvo");
  CHECK(biases({{"qkv_bias", true}}) == "qkv");
  CHECK(biases({{"mlp_bias", true}}) == "gud");
}

TEST_CASE("a dtype that no forward pass has is the model's fact, not a backend's") {
  for (const char* dtype : {"float64", "float8_e4m3fn", "int8"})
    CHECK_THAT(refusal({{"torch_dtype", dtype}}),
               Contains(fmt::format("a model in '{}'; wanted bfloat16", dtype)));
  CHECK(graph_with(tiny(), {{"dtype", "float16"}}).dtype == DType::f16);
  CHECK(graph_with(tiny(), {{"dtype", "auto"}}).dtype == DType::bf16);
}
