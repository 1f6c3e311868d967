// Which family and which head config.json and the folder's tensors mean, and whole runs over such folders.
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/formats/quantization_config.hpp"
#include "core/families/decoder_spec.hpp"
#include "inspection/folder_editor.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/evaluate.hpp"
#include "llmc/inspection.hpp"

using namespace llmc;
using Catch::Contains;

namespace {

// micro-llama, changed
class Folder : public test::FolderEditor {
 public:
  Folder() : test::FolderEditor(test::golden("micro-llama")) {}

  void say(const std::vector<std::string>& architectures) {
    std::vector<JsonValue> names;
    for (const std::string& name : architectures) names.push_back(JsonValue::from_string(name));
    config.set("architectures", JsonValue::array(std::move(names)));
  }
  void rename(const std::string& from, const std::string& to) {
    std::map<std::string, Tensor> renamed;
    for (auto& [name, tensor] : tensors)
      renamed.emplace(name.starts_with(from) ? to + name.substr(from.size()) : name, std::move(tensor));
    tensors = std::move(renamed);
  }
  Graph graph() const {
    return build_graph(dump_json_like_python(config),
                       [&](const std::string& name) { return tensors.count(name) > 0; });
  }
  std::string refusal() const {
    try {
      graph();
    } catch (const Error& problem) {
      return problem.what();
    }
    return "nothing";
  }
};

// Compresses the folder with GPTQ W4A16 and checks the result; returns its `ignore`.
std::vector<std::string> compressed(Folder& folder, const std::string& model, const std::string& output) {
  folder.save(model);
  OneshotOptions options = test::micro_llama(output);
  options.model_dir = model;
  options.recipe =
      "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";
  const auto backend = make_cpu_backend({});
  CHECK(oneshot(options, *backend, {}).linears.size() == 14);
  CHECK(verify_model({output, model}, *backend).faults.empty());
  return parse_quantization_config(Checkpoint(output).config())->ignore;
}

}  // namespace

TEST_CASE("an architecture is its family by any case, as one of a list, or by an alias") {
  Folder folder;
  for (const std::vector<std::string>& names :
       std::vector<std::vector<std::string>>{{"LLaMAForCausalLM"},
                                             {"llamaforcausallm"},
                                             {"AquilaForCausalLM"},
                                             {"TinyLlamaForCausalLM"},
                                             {"InternLM9ForCausalLM", "LlamaForCausalLM"}}) {
    folder.say(names);
    CAPTURE(names[0]);
    CHECK(folder.refusal() == "nothing");
    CHECK(folder.graph().has_head);
  }
  for (const char* other :
       {"LlamaForConditionalGeneration", "HyenaForCausalLM", "EagleLlamaForCausalLM",
        "LlamaForCausalLMEagle3", "LlamaBidirectionalModel", "Llama4ForCausalLM", "Model"}) {
    folder.say({other});
    CHECK_THAT(folder.refusal(), Contains(other));
  }
  folder.say({"TinyLlamaForCausalLM"});
  folder.config.set("auto_map", JsonValue::object({{"AutoModelForCausalLM", JsonValue::from_string("x.Y")}}));
  CHECK_THAT(folder.refusal(), Contains("TinyLlamaForCausalLM"));  // code of its own
}

TEST_CASE("without architectures the model_type and the tensors decide, and a note says so") {
  Folder folder;
  folder.config.erase("architectures");
  CHECK(folder.graph().has_head);
  REQUIRE(folder.graph().notes.size() == 1);
  CHECK_THAT(folder.graph().notes[0], Contains("llama by its model_type"));
  folder.tensors.erase("lm_head.weight");
  CHECK_FALSE(folder.graph().has_head);
  folder.config.set("tie_word_embeddings", JsonValue::from_bool(true));
  CHECK(folder.graph().has_head);
  folder.config.set("model_type", JsonValue::from_string("hyena"));
  CHECK_THAT(folder.refusal(), Contains("hyena"));
}

TEST_CASE("the decoder's names are those of the file") {
  Folder folder;
  CHECK(folder.graph().blocks[1].name == "model.layers.0");
  folder.rename("model.", "");
  CHECK(folder.graph().blocks[1].name == "layers.0");
  folder.rename("embed_tokens.", "transformer.embed_tokens.");
  folder.rename("layers.", "transformer.layers.");
  folder.rename("norm.", "transformer.norm.");
  CHECK(folder.graph().blocks[1].name == "transformer.layers.0");
  folder.rename("transformer.", "thing.");
  CHECK_THAT(folder.refusal(), Contains("none of the tensors 'model.norm.weight', 'norm.weight'"));
}

TEST_CASE("a model without a head calibrates, has no logits, and names modules as its file does") {
  const test::ScratchFolder scratch;
  Folder folder;
  folder.say({"LlamaModel"});
  folder.rename("model.", "");
  folder.tensors.erase("lm_head.weight");
  CHECK(compressed(folder, scratch / "model", scratch / "out").empty());
  CHECK(Checkpoint(scratch / "out").contains("layers.1.mlp.down_proj.weight_packed"));

  const auto backend = make_cpu_backend({});
  EvaluateOptions options;
  options.model_dir = scratch / "out";
  options.token_ids.assign(64, 1);
  options.window = 32;
  CHECK_THROWS_WITH(evaluate(options, *backend), Contains("/out'") && Contains("no language model head"));
  forward_file(scratch / "out", test::golden("micro-llama/calibration.safetensors"),
               scratch / "h.safetensors", DType::f32, *backend);
  CHECK(SafetensorsFile(scratch / "h.safetensors").entries().size() == 3);  // hidden.0 to hidden.2
}

TEST_CASE("the codes of a decoder do not depend on its names or its head") {
  const test::ScratchFolder scratch;
  Folder plain, bare;
  compressed(plain, scratch / "plain", scratch / "plain-out");
  bare.say({"LlamaModel"});
  bare.rename("model.", "");
  bare.tensors.erase("lm_head.weight");
  compressed(bare, scratch / "bare", scratch / "bare-out");
  const Tensor left = Checkpoint(scratch / "plain-out").read("model.layers.1.mlp.down_proj.weight_packed"),
               right = Checkpoint(scratch / "bare-out").read("layers.1.mlp.down_proj.weight_packed");
  REQUIRE(left.bytes() == right.bytes());
  CHECK(std::memcmp(left.data(), right.data(), static_cast<size_t>(left.bytes())) == 0);
}

TEST_CASE("heads of classification are copied and ignored") {
  const test::ScratchFolder scratch;
  const char* architecture = GENERATE("LlamaForSequenceClassification", "LlamaForTokenClassification",
                                      "LlamaForQuestionAnswering");
  Folder folder;
  folder.say({architecture});
  folder.rename("lm_head.", "score.");
  folder.tensors.emplace("score.bias", Tensor::zeros(DType::bf16, {256}));
  CHECK(compressed(folder, scratch / "model", scratch / "out") == std::vector<std::string>{"score"});
  CHECK(Checkpoint(scratch / "out").contains("score.weight"));
  CHECK(Checkpoint(scratch / "out").contains("score.bias"));
}

TEST_CASE("a language model whose names lack 'model.' calibrates and evaluates, tied or not") {
  const test::ScratchFolder scratch;
  const bool tied = GENERATE(false, true);
  Folder folder;
  folder.rename("model.", "");
  if (tied) folder.tensors.erase("lm_head.weight");
  folder.config.set("tie_word_embeddings", JsonValue::from_bool(tied));
  CHECK(compressed(folder, scratch / "model", scratch / "out") == std::vector<std::string>{"lm_head"});
  EvaluateOptions options;
  options.model_dir = scratch / "out";
  options.token_ids.assign(64, 1);
  options.window = 32;
  CHECK(evaluate(options, *make_cpu_backend({})).tokens == 62);
}

TEST_CASE("a tied head that gets a scheme of its own is untied under the file's names") {
  const test::ScratchFolder scratch;
  Folder folder;
  folder.rename("model.", "");
  folder.tensors.erase("lm_head.weight");
  folder.config.set("tie_word_embeddings", JsonValue::from_bool(true));
  folder.save(scratch / "model");
  OneshotOptions options = test::micro_llama(scratch / "out");
  options.model_dir = scratch / "model";
  options.recipe =
      "q_stage: {q_modifiers: {QuantizationModifier: {scheme: W8A16, targets: [Embedding], ignore: []}}}";
  const auto backend = make_cpu_backend({});
  oneshot(options, *backend, {});
  const Checkpoint out(scratch / "out");
  CHECK(out.contains("lm_head.weight"));
  CHECK_FALSE(out.contains("embed_tokens.weight"));
}
