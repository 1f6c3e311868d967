// What a run decides before it reads the first weight: refusals with names, notes, and what comes into ignore.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "core/folder_tools.hpp"
#include "core/formats/verify.hpp"
#include "inspection/folder_editor.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/error.hpp"
#include "llmc/evaluate.hpp"
#include "llmc/inspection.hpp"
#include "llmc/model.hpp"

using namespace llmc;
using namespace llmc::test;
using Catch::Matchers::Contains;

namespace {

const std::string kGptq =
    "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: "
    "[lm_head]}}}";

struct Outcome {
  std::string error, notes;
  Report report;
};

// micro-llama after `change`, compressed by `recipe` to scratch / "out".
struct Plant {
  ScratchFolder scratch;
  FolderEditor model{golden("micro-llama")};
  OneshotOptions options = micro_llama(scratch / "out");

  Outcome run(const std::string& recipe) {
    std::filesystem::remove_all(scratch / "model");
    std::filesystem::remove_all(scratch / "out");
    model.save(scratch / "model");
    options.model_dir = scratch / "model";
    options.recipe = recipe;
    Outcome outcome;
    Callbacks callbacks;
    callbacks.log = [&](int, const std::string& line) { outcome.notes += line + "\n"; };
    const auto backend = make_cpu_backend({2, ""});
    try {
      outcome.report = oneshot(options, *backend, callbacks);
    } catch (const Error& error) {
      outcome.error = error.what();
      CHECK_FALSE(std::filesystem::exists(scratch / "out"));
    }
    CHECK(outcome.error.find('\n') == std::string::npos);
    return outcome;
  }
  nlohmann::json config() const {
    return nlohmann::json::parse(read_text(scratch / "out/config.json")).at("quantization_config");
  }
  bool is_sound() const {
    const auto backend = make_cpu_backend({2, ""});
    return verify_model({scratch / "out", ""}, *backend).faults.empty();
  }
};

double perplexity(const std::string& folder) {
  EvaluateOptions options{folder, "", {}, 16, DType::f32, nullptr};
  for (int32_t i = 0; i < 64; ++i) options.token_ids.push_back(i * 7 % 160);
  const auto backend = make_cpu_backend({2, ""});
  return evaluate(options, *backend).perplexity;
}

}  // namespace

TEST_CASE("a recipe that quantizes the cache alone writes its scheme, and readers follow it") {
  for (const Compat compat : {Compat::vllm, Compat::reference}) {
    Plant plant;
    plant.options.compat = compat;
    const Outcome outcome = plant.run(
        "a_stage: {b_modifiers: {QuantizationModifier: {kv_cache_scheme: {num_bits: 8, type: float, "
        "strategy: "
        "tensor, dynamic: false, symmetric: true}}}}");
    CHECK(outcome.error == "");
    CHECK(plant.config().at("kv_cache_scheme").at("num_bits") == 8);
    CHECK(plant.config().at("config_groups") == nlohmann::json::object());
    CHECK(plant.config().at("format") == "dense");
    CHECK(plant.is_sound());
    CHECK(perplexity(plant.scratch / "out") != perplexity(plant.scratch / "model"));
  }
}

TEST_CASE("matrices that config.json does not describe are copied and named in ignore, with a note") {
  for (const std::string& recipe :
       {kGptq,
        std::string("q_stage: {q_modifiers: {QuantizationModifier: {scheme: FP8_DYNAMIC, targets: "
                    "[Linear], ignore: [lm_head]}}}")}) {
    Plant head;
    head.model.tensors["v_head.summary.weight"] = Tensor::zeros(DType::bf16, {1, 128});
    const Outcome with_head = head.run(recipe);
    CHECK(with_head.error == "");
    CHECK_THAT(with_head.notes, Contains("v_head.summary"));
    CHECK(head.config().at("ignore") == nlohmann::json({"lm_head", "v_head.summary"}));
    CHECK(head.is_sound());

    Plant cut;  // the second layer lies beyond num_hidden_layers
    cut.model.config.set("num_hidden_layers", JsonValue::from_int(1));
    const Outcome with_layer = cut.run(recipe);
    CHECK(with_layer.error == "");
    CHECK_THAT(with_layer.notes, Contains("7 matrices") && Contains("model.layers.1.mlp.down_proj"));
    CHECK(cut.config().at("ignore").size() == 8);
    CHECK(cut.is_sound());
  }
}

TEST_CASE("a source that holds parts of quantized weights is refused with tensor and module") {
  Plant plant;
  plant.model.tensors["model.layers.0.mlp.up_proj.weight_scale"] = Tensor::zeros(DType::bf16, {256, 1});
  CHECK_THAT(plant.run(kGptq).error,
             Contains("'model.layers.0.mlp.up_proj.weight_scale'") &&
                 Contains("a part of 'model.layers.0.mlp.up_proj'") &&
                 Contains("wanted an unquantized model"));
  plant.model.tensors.erase("model.layers.0.mlp.up_proj.weight_scale");
  plant.model.tensors["x.weight"] = Tensor::zeros(DType::f8_e4m3, {4, 4});
  CHECK_THAT(plant.run(kGptq).error, Contains("'x.weight' (F8_E4M3)"));
}

TEST_CASE("columns that no group divides are listed with the group size of each layer") {
  Plant plant;
  CHECK_THAT(
      plant
          .run(
              "q_stage: {q_modifiers: {GPTQModifier: {config_groups: {a: {targets: ['re:.*q_proj'], weights: "
              "{num_bits: 4, group_size: 96}}, b: {targets: ['re:.*down_proj'], weights: {num_bits: 4, "
              "group_size: 100}}}}}}")
          .error,
      Contains("model.layers.0.self_attn.q_proj (128 columns, group size 96)") &&
          Contains("model.layers.0.mlp.down_proj (256 columns, group size 100)"));
}

TEST_CASE("Linears of one input with different dtypes are named") {
  Plant plant;
  const Tensor wide = Tensor::zeros(DType::f32, {64, 128});
  plant.model.tensors["model.layers.0.self_attn.k_proj.weight"] = Tensor::copy_of(wide);
  CHECK_THAT(plant.run(kGptq).error,
             Contains("'model.layers.0.self_attn.q_proj' is BF16") &&
                 Contains("'model.layers.0.self_attn.k_proj' is F32"));
}

TEST_CASE("names of a recipe that match nothing are told, with the nearest that would") {
  Plant plant;
  CHECK_THAT(
      plant
          .run("q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: "
               "[lm_hed, 're:.*vision.*']}}}")
          .notes,
      Contains("GPTQModifier: ignore entries that match no module of this model: 'lm_hed', did you mean "
               "'lm_head'?, 're:.*vision.*'"));
  CHECK_THAT(
      plant.run("q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: ['re:.*q_prj$']}}}").error,
      Contains("'re:.*q_prj$', did you mean 'q_proj'?"));
  const auto mapped = [&](const std::string& mapping) {
    return plant.run("q_stage:\n  q_modifiers:\n    SmoothQuantModifier:\n      mappings:\n        - " +
                     mapping + "\n    QuantizationModifier: {scheme: W8A8, ignore: [lm_head]}\n");
  };
  CHECK_THAT(mapped("[['re:.*q_proj'], 're:.*inputt_layernorm']").error,
             Contains("recipe line 5") && Contains("did you mean 'input_layernorm'?"));
  CHECK_THAT(mapped("[['re:.*down_proj'], 're:.*gate_proj']").error,
             Contains("'model.layers.0.mlp.gate_proj', a Linear; wanted a norm"));
  plant.options.compat = Compat::reference;
  const Outcome noted = mapped("[['re:.*down_proj'], 're:.*gate_proj']");
  CHECK(noted.error == "");
  CHECK_THAT(noted.notes, Contains("a Linear; wanted a norm"));
}

TEST_CASE("a matrix whose inputs are zero in all of the data is rounded to nearest, and the report says so") {
  Plant plant;
  plant.model.zero("model.layers.0.mlp.up_proj.weight");
  const Outcome outcome = plant.run(kGptq);
  CHECK(outcome.error == "");
  for (const LinearReport& row : outcome.report.linears) {
    INFO(row.name);
    CHECK((row.method == "RTN") == (row.name == "model.layers.0.mlp.down_proj"));
    if (row.method == "RTN") CHECK_THAT(row.note, Contains("inputs are zero in all of the calibration data"));
  }
  CHECK(plant.is_sound());
  plant.options.compat = Compat::reference;
  CHECK_THAT(plant.run(kGptq).error,
             Contains("'model.layers.0.mlp.down_proj': its inputs are zero") && Contains("--compat vllm"));
}

TEST_CASE("a norm of zeros leaves q, k and v, and gate and up, rounded to nearest") {
  Plant plant;
  plant.model.zero("model.layers.0.input_layernorm.weight");
  plant.model.zero("model.layers.1.post_attention_layernorm.weight");
  const Outcome outcome = plant.run(kGptq);
  CHECK(outcome.error == "");
  int rounded = 0;
  for (const LinearReport& row : outcome.report.linears) rounded += row.method == "RTN";
  // q, k, v and o of the first layer, whose attention mixes zeros; all of the second one's MLP
  CHECK(rounded == 4 + 3);
  CHECK(plant.is_sound());
}

TEST_CASE("a GPTQModifier without a scheme takes that of the QuantizationModifier before it") {
  Plant plant;
  const Outcome outcome = plant.run(
      "t_stage:\n  q_modifiers:\n    QuantizationModifier:\n      ignore: [lm_head, "
      "model.layers.0.mlp.down_proj]\n      config_groups: {g: {targets: [Linear], weights: {num_bits: 4, "
      "symmetric: false, strategy: group, group_size: 128}}}\n    GPTQModifier:\n      block_size: 128\n");
  CHECK(outcome.error == "");
  CHECK_THAT(outcome.notes, Contains("GPTQModifier has no scheme and takes that of QuantizationModifier"));
  CHECK(outcome.report.linears.size() == 13);
  for (const LinearReport& row : outcome.report.linears) CHECK(row.method == "GPTQ");
  CHECK_THAT(
      plant
          .run("t_stage: {q_modifiers: {QuantizationModifier: {scheme: W4A16}, GPTQModifier: {ignore: "
               "[lm_head]}}}")
          .error,
      Contains("GPTQModifier has no scheme and takes that of QuantizationModifier (line 1), but has other"));
}

TEST_CASE("actorder group is taken as static, with a note; the reference refuses it") {
  for (const char* recipe : {"q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, actorder: group}}}",
                             "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, actorder: true}}}",
                             "q_stage: {q_modifiers: {GPTQModifier: {config_groups: {g: {targets: [Linear], "
                             "weights: {num_bits: 4, "
                             "group_size: 64, actorder: dynamic}}}}}}"}) {
    INFO(recipe);
    Plant plant;
    const Outcome outcome = plant.run(recipe);
    CHECK(outcome.error == "");
    CHECK_THAT(outcome.notes, Contains("GPTQModifier.actorder: 'group' is taken as 'static'"));
    CHECK_FALSE(Checkpoint(plant.scratch / "out").contains("model.layers.0.mlp.up_proj.weight_g_idx"));
    plant.options.compat = Compat::reference;
    CHECK_THAT(plant.run(recipe).error, Contains("GPTQModifier.actorder: 'group'") && Contains("'static'"));
  }
}

TEST_CASE("Conv1D models are refused by their model_type, and by the shape of c_attn") {
  for (const char* type : {"gpt2", "thing"}) {
    Plant plant;
    plant.model.tensors.clear();
    plant.model.tensors["h.0.attn.c_attn.weight"] = Tensor::zeros(DType::bf16, {128, 384});
    plant.model.tensors["h.0.attn.c_proj.weight"] = Tensor::zeros(DType::bf16, {128, 128});
    plant.model.config = JsonValue::object({{"model_type", JsonValue::from_string(type)}});
    CHECK_THAT(plant.run("q_stage: {q_modifiers: {QuantizationModifier: {scheme: FP8_DYNAMIC}}}").error,
               Contains("Conv1D") && Contains("c_attn") &&
                   Contains(std::string(type) == "gpt2" ? "model_type 'gpt2'" : "[128, 384]"));
  }
}

TEST_CASE("a folder that older tools quantized is refused as such, whichever file says so") {
  struct Row {
    const char *tensor, *file, *text, *method;
  };
  const std::string module = "model.layers.0.self_attn.q_proj";
  for (const Row& row :
       {Row{".qweight", "quantize_config.json", R"({"bits": 4, "desc_act": true})", "'gptq'"},
        Row{".qweight", "quant_config.json", R"({"w_bit": 4, "q_group_size": 128})", "'awq'"},
        Row{".weight_scale", "hf_quant_config.json",
            R"({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}})", "'modelopt'"},
        Row{".qweight", "", "", "'GPTQ or AWQ, as tensor 'model.layers.0.self_attn.q_proj.qweight'"}}) {
    CAPTURE(row.file, row.tensor);
    const test::ScratchFolder scratch;
    test::write_folder(scratch / "in",
                       {{"model.safetensors", module + row.tensor, DType::f32, {4, 4}},
                        {"model.safetensors", module + ".weight", DType::bf16, {128, 128}}});
    if (*row.file) std::ofstream(scratch / "in" + "/" + row.file) << row.text;
    CHECK_THROWS_WITH(Model(scratch / "in"), Contains("already quantized, by " + std::string(row.method)));
  }
  // the file alone is left over from another folder
  const test::ScratchFolder scratch;
  test::write_folder(scratch / "in", {{"model.safetensors", module + ".weight", DType::bf16, {128, 128}}});
  std::ofstream(scratch / "in" + "/quantize_config.json") << "{}";
  CHECK_NOTHROW(Model(scratch / "in"));
}

TEST_CASE(
    "a plan by itself reads no weight and writes nothing, refuses what a run would, and can be run twice") {
  const test::ScratchFolder scratch;
  OneshotOptions options = test::micro_llama(scratch / "out");
  options.recipe = kGptq;
  const auto backend = make_cpu_backend({});
  Model model(options.model_dir);
  const auto planned = model.plan(options);
  CHECK(std::filesystem::is_empty(scratch.path()));
  OneshotOptions wrong = options;
  wrong.recipe = "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A17}}}";
  CHECK_THROWS_WITH(model.plan(wrong), Contains("W4A17"));
  model.quantize(planned, *backend, {});
  model.quantize(planned, *backend, {});  // in place of the first
  CHECK(model.save().linears.size() == 14);
}
