// What llmc says about folders that vLLM would refuse, misread or run slowly.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "core/formats/compressed_tensors.hpp"
#include "core/run_tools.hpp"
#include "core/plan/vllm_lint.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using Catch::Contains;

namespace {

std::string groups(const std::string& yaml, const std::string& ignore = "lm_head") {
  return "q_stage: {q_modifiers: {QuantizationModifier: {ignore: [" + ignore + "], config_groups: {" + yaml +
      "}}}}";
}
const std::string kInt8 = "weights: {num_bits: 8, strategy: channel}",
                  kInt4 = "weights: {num_bits: 4, strategy: group, group_size: 64}";

struct Run {
  test::ScratchFolder scratch;
  OneshotOptions options = test::micro_llama(scratch / "out");
  explicit Run(const std::string& recipe, Compat compat = Compat::vllm) {
    options.recipe = recipe;
    options.compat = compat;
    options.calibration.reset();
  }
  Report report() {
    const auto backend = make_cpu_backend({});
    return oneshot(options, *backend, {});
  }
  std::string error() {
    try {
      report();
    } catch (const Error& problem) {
      return problem.what();
    }
    return "";
  }
  nlohmann::json config() {
    return nlohmann::json::parse(test::read_text(scratch / "out/config.json"))
        .value("quantization_config", nlohmann::json());
  }
};

std::vector<std::string> rules_for(const Scheme& scheme,
                                   int64_t rows = 256,
                                   int64_t columns = 256,
                                   bool last = true,
                                   const char* class_name = "Linear") {
  return broken_rules({&scheme, choose_format(scheme, ConfigFlavor::vllm), class_name, rows, columns, last});
}

}  // namespace

TEST_CASE(
    "parts of a fused layer with different schemes are an error that says what vLLM would do, and a note for "
    "the reference") {
  const std::string recipe = groups("a: {targets: ['re:.*q_proj'], " + kInt8 + "}, b: {targets: [Linear], " +
                                    kInt4 + "}");
  const std::string line =
      "model.layers.0.self_attn: q_proj is int8 channel, k_proj is int4 group 64, v_proj is int4 group 64; "
      "vLLM runs them as one layer and reads them all with the scheme of q_proj; wanted one group for them";
  CHECK(Run(recipe).error() == "recipe: " + line);
  const Report report = Run(recipe, Compat::reference).report();
  CHECK(std::count(report.notes.begin(), report.notes.end(), line) == 1);
}

TEST_CASE("ignoring one part of a fused layer is an error that quotes vLLM's") {
  const std::string recipe = groups("a: {targets: [Linear], " + kInt8 + "}",
                                    "lm_head, 're:.*layers.1.*up_proj'");
  CHECK_THAT(Run(recipe).error(),
             Contains("model.layers.1.mlp: gate_proj is int8 channel, up_proj is not quantized") &&
                 Contains("ValueError: Found different quantization schemes"));
}

TEST_CASE("fused parts in two groups of one scheme are fine") {
  Run run(groups("a: {targets: ['re:.*q_proj'], " + kInt4 +
                 "}, b: {targets: ['re:.*(k|v|o)_proj', 're:.*mlp.*'], weights: {num_bits: 4, strategy: "
                 "group, group_size: 64, observer: mse}}"));
  CHECK(run.report().notes.empty());
}

TEST_CASE("NVFP4 parts of a fused layer must stand in one group, because they share a global scale") {
  const std::string weights =
      "weights: {num_bits: 4, type: float, strategy: tensor_group, group_size: 16, scale_dtype: "
      "torch.float8_e4m3fn}";
  CHECK_THAT(Run(groups("a: {targets: ['re:.*q_proj'], " + weights + "}, b: {targets: ['re:.*(k|v)_proj'], " +
                        weights + "}"))
                 .error(),
             Contains("uses one global scale for all"));
  CHECK(Run(groups("a: {targets: ['re:.*q_proj', 're:.*(k|v)_proj'], " + weights +
                   "}, b: {targets: ['re:.*mlp.*'], " + weights + "}"))
            .error()
            .empty());
}

TEST_CASE("for vLLM integer weights with quantized inputs are packed unless they are plain int8") {
  struct Row {
    const char* preset;
    Format format;
    void (*change)(Scheme&);
  };
  const Row rows[] = {
      {"W8A8", Format::int_quantized, [](Scheme&) {}},
      {"W4AFP8", Format::pack_quantized, [](Scheme&) {}},
      {"W7A8", Format::pack_quantized, [](Scheme&) {}},
      {"W8A8", Format::pack_quantized,
       [](Scheme& s) {
         s.weights->strategy = Strategy::group;
         s.weights->group_size = 64;
       }},
      {"W8A8", Format::pack_quantized, [](Scheme& s) { s.weights->symmetric = false; }},
      {"W4A8", Format::int_quantized, [](Scheme& s) { s.format = Format::int_quantized; }},
  };
  for (const Row& row : rows) {
    Scheme scheme = preset_scheme(row.preset);
    row.change(scheme);
    CHECK(choose_format(scheme, ConfigFlavor::vllm) == row.format);
    CHECK(choose_format(scheme, ConfigFlavor::reference) == Format::int_quantized);
  }
}

TEST_CASE("UNQUANTIZED leaves the modules it targets alone and lists them as ignored") {
  Run run(groups("unquantized: ['re:.*self_attn.*'], w8a16: [Linear]"));
  CHECK(run.report().linears.size() == 6);
  const auto config = run.config();
  CHECK(config.at("config_groups").size() == 1);
  CHECK(config.at("ignore").size() == 9);
  CHECK(config.at("ignore")[0] == "model.layers.0.self_attn.q_proj");
  Run alone("q_stage: {q_modifiers: {QuantizationModifier: {scheme: unquantized, ignore: [lm_head]}}}");
  CHECK(alone.report().linears.empty());
  CHECK(alone.config().is_null());
}

TEST_CASE("a group with unknown keys, an unknown preset or no weights is an error with its line") {
  CHECK_THAT(Run(groups("a: {targets: [Linear], weights: {num_bits: 4, bits: 4}}")).error(),
             Contains("recipe line 1: QuantizationModifier.config_groups.a.weights: unknown key 'bits'"));
  CHECK_THAT(Run(groups("a: {targets: [Linear], scheme: W4A16}")).error(), Contains("unknown key 'scheme'"));
  CHECK_THAT(Run(groups("W9A16: [Linear]")).error(),
             Contains("recipe line 1: QuantizationModifier.config_groups: scheme 'W9A16' is unknown"));
  CHECK_THAT(
      Run(groups("a: {targets: [Linear], input_activations: {num_bits: 8, strategy: token, dynamic: true}}"))
          .error(),
      Contains("scheme without weights"));
  CHECK_THAT(Run(groups("a: {targets: [Linear], weights: {num_bits: 4, observer: mse, observer_kwargs: "
                        "{patience: soon}}}"))
                 .error(),
             Contains("recipe line 1") && Contains("patience is '\"soon\"'"));
}

TEST_CASE(
    "observers are read from the group, weight_observer or observer, and what is wrong with them has a "
    "line") {
  const auto with = [](const std::string& argument) {
    return "q_stage: {q_modifiers: {QuantizationModifier: {scheme: W8A16, ignore: [lm_head], " + argument +
        "}}}";
  };
  for (const char* argument : {"weight_observer: memoryless_mse", "observer: {weights: memoryless_mse}"}) {
    Run run(with(argument));
    run.report();
    CHECK(run.config().at("config_groups").at("group_0").at("weights").at("observer") == "memoryless_mse");
  }
  CHECK_THAT(Run(with("observer: mse")).error(),
             Contains("recipe line 1: QuantizationModifier.observer: wanted a mapping"));
  CHECK_THAT(Run(with("observer: {weight: mse}")).error(), Contains("unknown key 'weight'"));
  CHECK_THAT(Run(with("weight_observer: mean")).error(),
             Contains("recipe line 1: QuantizationModifier.weight_observer: observer 'mean' is unknown"));
  Run kwargs(
      groups("a: {targets: [Linear], weights: {num_bits: 4, group_size: 64, observer: mse, observer_kwargs: "
             "{norm: .5, grid: 100.0, patience: 3}}}"));
  kwargs.report();
  CHECK(kwargs.config().at("config_groups").at("group_0").at("weights").at("observer_kwargs").dump() ==
        R"({"grid":100.0,"norm":0.5,"patience":3})");
}

TEST_CASE("the presets that vLLM's usual kernels run break no rule") {
  for (const char* preset :
       {"W4A16", "W4A16_ASYM", "W8A16", "W8A8", "INT8", "FP8", "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4",
        "NVFP4A16", "MXFP4", "MXFP4A16", "MXFP8", "MXFP8A16", "W4A8", "W4A4", "W7A8"}) {
    CAPTURE(preset);
    CHECK(rules_for(preset_scheme(preset)).empty());
  }
  CHECK(rules_for(preset_scheme("W4AFP8")) ==
        std::vector<std::string>{"integer weights with float8 inputs run on Hopper (SM 9.0) only"});
  CHECK(rules_for(preset_scheme("W3A16")).size() == 1);
}

TEST_CASE("each scheme that vLLM refuses breaks the rule that says why") {
  struct Row {
    const char* says;
    const char* preset;
    void (*change)(Scheme&);
  };
  const Row rows[] = {
      {"asymmetric weights load with 4 or 8 bits only", "W6A8",
       [](Scheme& s) { s.weights->symmetric = false; }},
      {"strategy group or channel only", "W4A16", [](Scheme& s) { s.weights->strategy = Strategy::tensor; }},
      {"other sizes run on fallback", "W4A16", [](Scheme& s) { s.weights->group_size = 16; }},
      {"int-quantized weights without quantized inputs", "W8A16",
       [](Scheme& s) { s.format = Format::int_quantized; }},
      {"int-quantized weights load as symmetric int8", "W4A8",
       [](Scheme& s) { s.format = Format::int_quantized; }},
      {"packed weights with integer inputs", "W4A8",
       [](Scheme& s) { s.input_activations->symmetric = false; }},
      {"groups of 128", "W4AFP8", [](Scheme& s) { s.weights->group_size = 64; }},
      {"load per tensor, channel or block", "FP8_DYNAMIC",
       [](Scheme& s) {
         s.weights->strategy = Strategy::group;
         s.weights->group_size = 128;
       }},
      {"float4 weights load as NVFP4", "NVFP4A16", [](Scheme& s) { s.weights->group_size = 64; }},
      {"float8 weights need float8 inputs", "FP8_DYNAMIC",
       [](Scheme& s) { s.input_activations->type = NumberType::integer; }},
      {"blocks with static inputs", "FP8_BLOCK",
       [](Scheme& s) { s.input_activations = preset_scheme("FP8").input_activations; }},
      {"must be 128 x 128", "FP8_BLOCK",
       [](Scheme& s) {
         s.weights->block_structure = {64, 64};
       }},
      {"NVFP4 weights need NVFP4 inputs", "NVFP4A16",
       [](Scheme& s) { s.input_activations = preset_scheme("FP8_DYNAMIC").input_activations; }},
      {"output activations", "W8A8", [](Scheme& s) { s.output_activations = s.input_activations; }},
  };
  for (const Row& row : rows) {
    Scheme scheme = preset_scheme(row.preset);
    row.change(scheme);
    const auto broken = rules_for(scheme);
    CAPTURE(row.says, broken);
    CHECK(std::any_of(broken.begin(), broken.end(),
                      [&](const std::string& text) { return text.find(row.says) != std::string::npos; }));
  }
}

TEST_CASE("shapes count: ragged blocks, zero points that fill no word, embeddings") {
  CHECK(rules_for(preset_scheme("FP8_BLOCK"), 192, 256, true).empty());
  CHECK_THAT(rules_for(preset_scheme("FP8_BLOCK"), 192, 256, false).at(0),
             Contains("every part but the last"));
  CHECK_THAT(rules_for(preset_scheme("FP8_BLOCK"), 256, 200).at(0),
             Contains("columns that fill whole blocks"));
  CHECK_THAT(rules_for(preset_scheme("W4A16_ASYM"), 20, 256).at(0), Contains("rows * bits"));
  CHECK(rules_for(preset_scheme("W4A16"), 256, 256, true, "Embedding").empty());
  CHECK_THAT(rules_for(preset_scheme("FP8_DYNAMIC"), 256, 256, true, "Embedding").at(0),
             Contains("embeddings load as"));
}

TEST_CASE("a run for vLLM notes the rules its schemes break, one line each") {
  Run run(groups("a: {targets: [Linear], weights: {num_bits: 3, strategy: group, group_size: 16}}"));
  const auto notes = run.report().notes;
  REQUIRE(notes.size() == 2);
  CHECK_THAT(notes[0], Contains("vllm: model.layers.0.self_attn.q_proj and 13 more (int3 group 16): "));
  Run plain(groups("a: {targets: [Linear], weights: {num_bits: 3, strategy: group, group_size: 16}}"),
            Compat::reference);
  CHECK(plain.report().notes.empty());
}
