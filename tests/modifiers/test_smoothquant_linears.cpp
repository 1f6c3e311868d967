// Scale that moves from a Linear's outputs to the next one's inputs, through an attention or a product.
#include <catch2/catch.hpp>
#include <numeric>

#include "core/files/weight_reader.hpp"
#include "core/folder_tools.hpp"
#include "core/model/model_outline.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/inspection.hpp"
#include "llmc/model.hpp"
#include "llmc/modifier.hpp"

using namespace llmc;
using Catch::Contains;

namespace {

const std::string kMappings =
    "SmoothQuantModifier: {smoothing_strength: 0.7, mappings: [[['re:.*o_proj'], 're:.*(v_proj|qkv_proj)'], "
    "[['re:.*down_proj'], 're:.*(up_proj|gate_up_proj)']]}";

// A decoder layer of a recorded model in float32, on hidden states made by its own embedding.
struct Layer {
  Checkpoint checkpoint;
  Graph graph = graph_of(checkpoint);
  std::unique_ptr<Backend> backend = make_cpu_backend({});
  TokenBatch batch{{5, 9, 2, 77, 31, 8, 64}, {0, 4, 7}};
  WeightTable weights, embedding;

  explicit Layer(const std::string& arch) : checkpoint(test::golden("archs/" + arch)) {
    for (const auto& [b, table] : {std::pair{0, &embedding}, std::pair{1, &weights}})
      for (const Node& node : graph.blocks[static_cast<size_t>(b)].nodes)
        for (const NodeWeight& weight : node.weights) {
          const Tensor stored = WeightReader(checkpoint, weight.source).read_all();
          table->emplace(weight.name, converted(stored, DType::f32));
        }
  }
  const Block& block() const { return graph.blocks[1]; }
  ValueTable run() {
    ValueTable values(graph.values.size());
    backend->execute(graph.blocks[0].nodes, {embedding, batch, values, {DType::f32}});
    backend->execute(block().nodes, {weights, batch, values, {DType::f32}});
    return values;
  }
};

}  // namespace

TEST_CASE("scale that moves from v to o and from up to down leaves what the layer computes") {
  for (const char* arch : {"llama", "phi3", "llama_bias_tied"}) {
    CAPTURE(arch);
    Layer layer(arch);
    const auto modifier = make_modifier(
        parse_recipe("s_stage: {s_modifiers: {" + kMappings + "}}").modifiers.at(0), {});
    const auto& transform = dynamic_cast<const Transform&>(*modifier);
    const auto pairs = transform.select(layer.graph, layer.block());
    REQUIRE(pairs.size() == 2);
    const ValueTable before = layer.run();
    for (const SmoothingPair& pair : pairs) {
      Statistics statistics;
      layer.backend->accumulate_channels(before[static_cast<size_t>(pair.value)], statistics.channels);
      const std::vector<float> scales = transform.apply(layer.block(), pair, statistics, layer.weights,
                                                        *layer.backend);
      CHECK(std::any_of(scales.begin(), scales.end(), [](float s) { return s < 0.9f || s > 1.1f; }));
      // what lies between is divided, channel by channel
      const ValueTable after = layer.run();
      const Tensor &x = before[static_cast<size_t>(pair.value)], &y = after[static_cast<size_t>(pair.value)];
      REQUIRE(static_cast<int64_t>(scales.size()) == x.columns());
      for (int64_t i = 0; i < x.size(); ++i)
        CHECK(y.as<float>()[i] * scales[static_cast<size_t>(i % x.columns())] ==
              Approx(x.as<float>()[i]).epsilon(1e-4).margin(1e-6));
    }
    const ValueTable after = layer.run();
    const Tensor &x = before[static_cast<size_t>(layer.block().output)],
                 &y = after[static_cast<size_t>(layer.block().output)];
    for (int64_t i = 0; i < x.size(); ++i)
      CHECK(y.as<float>()[i] == Approx(x.as<float>()[i]).epsilon(1e-4).margin(1e-5));
  }
}

TEST_CASE("a run moves scale between Linears before it quantizes them, the same for every thread count") {
  const std::string propagation = GENERATE("sublayer", "layer");
  CAPTURE(propagation);
  const test::ScratchFolder scratch;
  OneshotOptions options;
  options.model_dir = test::golden("archs/llama");
  options.recipe = "s_stage:\n  s_modifiers:\n    " + kMappings +
      "\n    GPTQModifier: {targets: [Linear], ignore: [lm_head], scheme: W8A8}\n";
  options.propagation = propagation == "layer" ? Propagation::layer : Propagation::sublayer;
  TokenBatch batch;
  batch.token_ids.resize(64 * 8);
  std::iota(batch.token_ids.begin(), batch.token_ids.end(), 0);
  for (int32_t& id : batch.token_ids) id = id * 37 % 160;
  for (int64_t start = 0; start <= 64 * 8; start += 64) batch.sequence_starts.push_back(start);
  options.calibration = batch;
  for (const int threads : {1, 3}) {
    options.output_dir = scratch / ("out" + std::to_string(threads));
    const auto backend = make_cpu_backend({threads, ""});
    const Report report = oneshot(options, *backend, {});
    for (const LinearReport& row : report.linears) CHECK(row.relative_error < 0.05);
  }
  const Checkpoint one(scratch / "out1"), three(scratch / "out3");
  for (const std::string& name : one.names()) {
    const Tensor a = one.read(name), b = three.read(name);
    CHECK(std::equal(a.data(), a.data() + a.bytes(), b.data()));
  }
  // norms are no part of these mappings
  const Checkpoint source(options.model_dir);
  const std::string norm = "model.layers.0.input_layernorm.weight";
  const Tensor a = one.read(norm), b = source.read(norm);
  CHECK(std::equal(a.data(), a.data() + a.bytes(), b.data()));

  // verify compares it with its source, channel by channel
  const auto backend = make_cpu_backend({});
  const VerifyReport verified = verify_model({.model_dir = scratch / "out1", .source_dir = options.model_dir},
                                             *backend);
  for (const auto& fault : verified.faults) WARN(fault.tensor + ": " + fault.got + ", " + fault.wanted);
  CHECK(verified.faults.empty());
}

TEST_CASE("statistics of a model do not tell what Linears put out: such mappings want data") {
  const test::ScratchFolder scratch;
  const auto backend = make_cpu_backend({});
  Model model(test::golden("archs/llama"));
  const TokenBatch batch{{1, 2, 3, 4, 5, 6, 7, 8}, {0, 8}};
  model.save_statistics(&batch, {}, scratch / "statistics", *backend, {});
  OneshotOptions options;
  options.output_dir = scratch / "out";
  options.statistics = {scratch / "statistics"};
  options.recipe = "s_stage:\n  s_modifiers:\n    " + kMappings +
      "\n    GPTQModifier: {targets: [Linear], ignore: [lm_head], scheme: W8A8}\n";
  CHECK_THROWS_WITH(model.quantize(options, *backend, {}),
                    Contains("moves scale out of 'model.layers.0.self_attn.v_proj'") &&
                        Contains("wanted calibration data"));
}
