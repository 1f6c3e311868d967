#include <catch2/catch.hpp>

#include "core/formats/quantization_config.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using Catch::Matchers::Contains;

namespace {

QuantizationConfig config_of(const std::string& groups, const std::string& rest = "") {
  return *parse_quantization_config(R"({"quantization_config": {"quant_method": "compressed-tensors", )" +
                                    rest + R"("config_groups": )" + groups + "}}");
}

}  // namespace

TEST_CASE("minimal JSON takes compressed-tensors' defaults") {
  const QuantizationConfig config = config_of(
      R"({"g": {"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 64}}})");
  const Scheme& scheme = config.groups.at(0).scheme;
  CHECK(scheme.weights->strategy == Strategy::group);
  CHECK(scheme.weights->symmetric);
  CHECK(scheme.format == Format::pack_quantized);
  CHECK(parse_quantization_config("{}") == std::nullopt);
}

TEST_CASE("a group's format is its own, else the common one, else inferred") {
  const std::string group =
      R"({"targets": ["Linear"], "weights": {"num_bits": 4, "group_size": 64}, "input_activations": {"dynamic": true, "strategy": "token"}})";
  CHECK(config_of("{\"g\": " + group + "}").groups[0].scheme.format == Format::int_quantized);
  CHECK(config_of("{\"g\": " + group + "}", R"("format": "pack-quantized", )").groups[0].scheme.format ==
        Format::pack_quantized);
}

TEST_CASE("a preset's name stands for its scheme") {
  const QuantizationConfig config = config_of(R"({"FP8_DYNAMIC": ["Linear"]})");
  CHECK(config.groups.at(0).scheme.weights == preset_scheme("FP8_DYNAMIC").weights);
  CHECK(config.groups[0].scheme.targets == std::vector<std::string>{"Linear"});
}

TEST_CASE(
    "actorder is written as the user spelled it for the reference, and only where it matters for vLLM") {
  QuantizationConfig config;
  Scheme scheme = preset_scheme("W4A16");
  scheme.targets = {"Linear"};
  scheme.weights->actorder = ActOrder::weight;
  scheme.weights->actorder_text = "static";
  config.groups.push_back({"", scheme});
  CHECK_THAT(write_quantization_config(config, ConfigFlavor::reference),
             Contains("\"actorder\": \"static\""));
  CHECK_THAT(write_quantization_config(config, ConfigFlavor::vllm), !Contains("actorder"));
}

TEST_CASE("two formats make the whole mixed-precision") {
  QuantizationConfig config;
  for (const char* preset : {"W4A16", "FP8_DYNAMIC"}) config.groups.push_back({"", preset_scheme(preset)});
  CHECK_THAT(write_quantization_config(config, ConfigFlavor::vllm),
             Contains("\"format\": \"mixed-precision\"") && Contains("\"group_1\""));
}

TEST_CASE("what breaks the format's rules is refused with the place") {
  const std::pair<const char*, const char*> rows[] = {
      {R"({"g": {"weights": {"num_bits": "4"}}})",
       "config_groups.g.weights has a 'num_bits' that is not a whole number"},
      {R"({"g": {"weights": {"bits": 4}}})", "config_groups.g.weights has the unknown key 'bits'"},
      {R"({"g": {"wieghts": {}}})", "config_groups.g has the unknown key 'wieghts'"},
      {R"({"g": {"weights": {"strategy": "row"}}})", "has the strategy 'row', which is unknown"},
      {R"({"g": {"weights": {"strategy": "group"}}})",
       "config_groups.g.weights: strategy group needs a group_size above 0"},
      {R"({"g": {"format": "zip"}})", "has the format 'zip', which is unknown"},
      {R"({"g": {"weights": {"block_structure": "1by2", "strategy": "block"}}})",
       "has a 'block_structure' that is neither"},
      {R"([])", "has a 'config_groups' that is not a JSON object"},
  };
  for (const auto& [groups, reason] : rows) {
    INFO(groups);
    CHECK_THROWS_WITH(config_of(groups), Contains(reason));
  }
  CHECK_THROWS_WITH(parse_quantization_config(R"({"quantization_config": {"quant_method": "awq"}})"),
                    "config.json: quantization_config: quant_method is 'awq', wanted 'compressed-tensors'");
}

TEST_CASE("a module belongs to the group of its best target, and ignore wins") {
  const QuantizationConfig config = config_of(
      R"({"all": {"targets": ["Linear"]}, "mlp": {"targets": ["re:.*mlp.*"]}, "one": {"targets": ["model.layers.0.mlp.up_proj"]}})",
      R"("ignore": ["lm_head", "re:.*gate$"], )");
  const GroupMatcher matcher(config);
  CHECK(matcher.match("model.layers.0.self_attn.q_proj")->name == "all");
  CHECK(matcher.match("model.layers.0.mlp.down_proj")->name == "mlp");
  CHECK(matcher.match("model.layers.0.mlp.up_proj")->name == "one");
  CHECK(matcher.match("model.layers.0.mlp.gate") == nullptr);
  CHECK(matcher.match("lm_head") == nullptr);
  CHECK(matcher.match("model.embed_tokens", "Embedding") == nullptr);
  CHECK(matcher.ignored("lm_head"));
}

TEST_CASE("one switch of config.json can be changed without touching the rest") {
  CHECK(set_config_boolean(R"({"tie_word_embeddings": true, "eps": 1e-5})", "tie_word_embeddings", false) ==
        "{\n  \"eps\": 1e-05,\n  \"tie_word_embeddings\": false\n}");
}
