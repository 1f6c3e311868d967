// A caller with a forward pass of its own gets the bytes of a whole run.
#include <catch2/catch.hpp>

#include <filesystem>
#include <set>

#include "capi/tensor_tools.hpp"
#include "core/calibration/token_tiles.hpp"
#include "core/files/checkpoint.hpp"
#include "core/model/model_outline.hpp"
#include "core/run_tools.hpp"
#include "llmc/backend.hpp"

namespace test = llmc::test;
using namespace llmc;

namespace {

// Walks micro-llama block by block as a training stack would: its own forward, llmc for statistics, codes and
// the folder. `fused`: partners share NVFP4's scale.
class OwnRun {
 public:
  OwnRun(const llmc_scheme_options& options, const std::string& output)
      : session_(test::new_session()),
        scheme_(test::new_scheme(options)),
        gptq_(options.method == LLMC_METHOD_GPTQ),
        source_(test::golden("micro-llama")),
        model_(outline_model(source_, true)),
        backend_(make_cpu_backend({1, {}})) {
    const std::string config = source_.config();
    llmc_writer_options writer_options{};
    writer_options.struct_size = sizeof writer_options;
    writer_options.output_dir = output.c_str();
    writer_options.config_json = config.c_str();
    writer_options.compat = options.compat;
    llmc_writer* writer = nullptr;
    test::must(llmc_writer_create, &writer_options, &writer);
    writer_.reset(writer);
  }

  void run() {
    plan();
    TokenBatch tokens = test::tokens_from(test::golden("micro-llama/calibration.safetensors"));
    tiles_ = cut_tiles(tokens, model_.graph->vocabulary, 4096);
    for (size_t t = 0; t < tiles_.size(); ++t) values_.emplace_back(model_.graph->values.size());
    for (const Block& block : model_.graph->blocks) compress(block);
    for (const std::string& name : source_.names()) {
      if (done_.count(name)) continue;
      Tensor tensor = source_.read(name);
      const llmc_tensor view = test::tensor_of(tensor);
      test::must(llmc_writer_add_tensor, session_.get(), writer_.get(), name.c_str(), &view);
    }
    test::must(llmc_writer_finish, session_.get(), writer_.get());
  }

 private:
  static bool is_quantized(const std::string& tensor) { return tensor.ends_with("_proj.weight"); }
  static std::string module_of(const std::string& tensor) {
    return tensor.substr(0, tensor.size() - std::strlen(".weight"));
  }

  void plan() {
    for (const std::string& name : source_.names()) {
      const TensorInfo info = source_.info(name);
      if (is_quantized(name))
        test::must(llmc_writer_plan_matrix, writer_.get(), module_of(name).c_str(), scheme_.get(),
                   LLMC_DTYPE_BFLOAT16, info.shape[0], info.shape[1]);
      else
        test::must(llmc_writer_plan_tensor, writer_.get(), name.c_str(), LLMC_DTYPE_BFLOAT16,
                   info.shape.data(), static_cast<int32_t>(info.shape.size()));
    }
  }

  void forward(const Block& block, const WeightTable& weights) {
    for (size_t t = 0; t < tiles_.size(); ++t)
      backend_->execute(
          block.nodes,
          {.weights = weights, .batch = tiles_[t], .values = values_[t], .options = {model_.graph->dtype}});
  }

  void compress(const Block& block) {
    WeightTable weights;
    for (const Node& node : block.nodes)
      for (const NodeWeight& weight : node.weights)
        weights.emplace(weight.name, source_.read(weight.source.tensor));
    forward(block, weights);
    for (const SharedInput& shared : shared_inputs(block)) {
      std::vector<std::string> names;
      for (const size_t node : shared.nodes)
        if (const std::string& name = block.nodes[node].weight(WeightRole::weight)->name; is_quantized(name))
          names.push_back(name);
      if (names.empty()) continue;
      test::OwnedGram gram = test::new_gram(model_.graph->values[static_cast<size_t>(shared.value)].width);
      for (ValueTable& values : values_)
        test::add(session_.get(), gram.get(), test::tensor_of(values[static_cast<size_t>(shared.value)]));
      for (const std::string& name : names) {
        const test::OwnedMatrix matrix = test::quantize(
            session_.get(), scheme_.get(), test::tensor_of(weights.at(name)), gptq_ ? gram.get() : nullptr);
        test::must(llmc_writer_add_matrix, session_.get(), writer_.get(), module_of(name).c_str(),
                   matrix.get());
        llmc_tensor out = test::tensor_of(weights.at(name));
        test::must(llmc_matrix_dequantize, session_.get(), matrix.get(), &out);
        done_.insert(name);
      }
    }
    forward(block, weights);
  }

  test::OwnedSession session_;
  test::OwnedScheme scheme_;
  test::OwnedWriter writer_;
  bool gptq_;
  Checkpoint source_;
  ModelOutline model_;
  std::unique_ptr<Backend> backend_;
  std::vector<TokenBatch> tiles_;
  std::vector<ValueTable> values_;  // by tile
  std::set<std::string> done_;
};

void whole_run(const std::string& recipe, Compat compat, const std::string& output) {
  OneshotOptions options = test::micro_llama(output);
  options.recipe = recipe;
  options.compat = compat;
  options.propagation = Propagation::layer;
  const auto backend = make_cpu_backend({1, {}});
  oneshot(options, *backend, {});
}

void check_equal(const std::string& a, const std::string& b) {
  for (const char* file : {"model.safetensors", "config.json"}) {
    CAPTURE(file);
    CHECK(test::read_text(a + "/" + file) == test::read_text(b + "/" + file));
  }
}

void compare(llmc_scheme_options options, const std::string& recipe) {
  const test::ScratchFolder scratch;
  OwnRun(options, scratch / "own").run();
  whole_run(recipe, options.compat == LLMC_COMPAT_REFERENCE ? Compat::reference : Compat::vllm,
            scratch / "whole");
  check_equal(scratch / "own", scratch / "whole");
}

}  // namespace

TEST_CASE("GPTQ matrix by matrix from a forward pass of the caller's own gives the folder of a whole run") {
  compare(test::scheme_options("W4A16", LLMC_METHOD_GPTQ),
          "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}");
}

TEST_CASE(
    "asymmetric groups of 32 without activation order and with mean dampening come out as in a whole run") {
  llmc_scheme_options options = test::scheme_options(
      R"({"num_bits": 4, "group_size": 32, "strategy": "group", "symmetric": false})", LLMC_METHOD_GPTQ);
  options.activation_order = LLMC_OFF;
  options.dampening = LLMC_DAMPENING_MEAN;
  options.dampening_frac = 0.02;
  compare(options,
          "q_stage: {q_modifiers: {GPTQModifier: {actorder: null, dampening: mean, dampening_frac: 0.02, "
          "ignore: [lm_head], config_groups: "
          "{group_0: {targets: [Linear], weights: {num_bits: 4, group_size: 32, strategy: group, symmetric: "
          "false}}}}}}");
}

TEST_CASE("the reference's arithmetic is the same matrix by matrix") {
  llmc_scheme_options options = test::scheme_options("W8A8", LLMC_METHOD_GPTQ);
  options.compat = LLMC_COMPAT_REFERENCE;
  compare(options,
          "q_stage: {q_modifiers: {GPTQModifier: {scheme: W8A8, targets: [Linear], ignore: [lm_head]}}}");
}

TEST_CASE("rounding to nearest matrix by matrix gives the folder of a run without data") {
  for (const char* scheme :
       {"W4A16", "W4A16_ASYM", "W8A8", "FP8_DYNAMIC", "FP8_BLOCK", "MXFP4A16", "MXFP8A16", "W3A16"}) {
    CAPTURE(scheme);
    const test::ScratchFolder scratch;
    OwnRun(test::scheme_options(scheme), scratch / "own").run();
    OneshotOptions options = test::micro_llama(scratch / "whole");
    options.scheme = scheme;
    options.calibration.reset();
    const auto backend = make_cpu_backend({1, {}});
    oneshot(options, *backend, {});
    check_equal(scratch / "own", scratch / "whole");
  }
}

TEST_CASE("fused NVFP4 weights get the global scale and the codes that a whole run gives them") {
  const test::ScratchFolder scratch;
  OneshotOptions options = test::micro_llama(scratch / "whole");
  options.scheme = "NVFP4A16";
  options.calibration.reset();
  const auto backend = make_cpu_backend({1, {}});
  oneshot(options, *backend, {});
  const Checkpoint source(test::golden("micro-llama")), whole(scratch / "whole");

  const auto session = test::new_session();
  const auto scheme = test::new_scheme("NVFP4A16");
  const std::string prefix = "model.layers.0.self_attn.";
  std::vector<Tensor> weights;
  std::vector<llmc_tensor> views;
  for (const char* name : {"q_proj", "k_proj", "v_proj"})
    weights.push_back(source.read(prefix + name + ".weight"));
  for (Tensor& weight : weights) views.push_back(test::tensor_of(weight));
  float shared = 0;
  test::must(llmc_global_scale, session.get(), scheme.get(), views.data(), 3, nullptr, &shared);
  int index = 0;
  for (const char* name : {"q_proj", "k_proj", "v_proj"}) {
    const auto matrix = test::quantize(session.get(), scheme.get(), views[static_cast<size_t>(index++)],
                                       nullptr, &shared);
    const auto packed = test::pack(session.get(), matrix.get());
    REQUIRE(llmc_packed_count(packed.get()) == 3);
    for (int32_t i = 0; i < 3; ++i) {
      const char* part = nullptr;
      llmc_tensor tensor = test::empty_tensor();
      test::must(llmc_packed_tensor, packed.get(), i, &part, &tensor);
      const Tensor stored = whole.read(prefix + name + "." + part);
      CAPTURE(name, part);
      CHECK(test::bytes_of(tensor) ==
            std::string(reinterpret_cast<const char*>(stored.data()), static_cast<size_t>(stored.bytes())));
    }
  }
}
