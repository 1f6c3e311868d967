#include <catch2/catch.hpp>
#include <cmath>

#include "core/families/decoder_spec.hpp"
#include "core/run_tools.hpp"
#include "llmc/error.hpp"
#include "llmc/modifier.hpp"

using namespace llmc;

namespace {

// norm -> two Linears with two channels.
Block small_block() {
  Block block;
  block.name = "layer";
  block.input = 0;
  block.output = 4;
  const auto own = [](const char* name) {
    return std::vector<NodeWeight>{{WeightRole::weight, name, {name}}};
  };
  block.nodes.push_back({"norm", Norm{NormKind::rms, 1e-6, 2}, {0}, 1, Part::mlp, own("norm.weight")});
  block.nodes.push_back({"gate", Linear{2, 1, false}, {1}, 2, Part::mlp, own("gate.weight")});
  block.nodes.push_back({"up", Linear{2, 1, false}, {1}, 3, Part::mlp, own("up.weight")});
  block.nodes.push_back({"", Multiply{}, {2, 3}, 4, Part::mlp});
  return block;
}

Tensor floats(Shape shape, std::initializer_list<float> values) {
  Tensor tensor(DType::f32, std::move(shape));
  std::copy(values.begin(), values.end(), tensor.as<float>());
  return tensor;
}

WeightTable small_weights() {
  WeightTable weights;
  weights.emplace("norm.weight", floats({2}, {1.0f, 2.0f}));
  weights.emplace("gate.weight", floats({1, 2}, {0.5f, -1.0f}));
  weights.emplace("up.weight", floats({1, 2}, {-2.0f, 0.25f}));
  return weights;
}

std::unique_ptr<Modifier> smoothquant(const std::string& arguments) {
  return make_modifier(
      parse_recipe("s_stage: {s_modifiers: {SmoothQuantModifier: {" + arguments + "}}}").modifiers.at(0), {});
}

Statistics ranges(float min0, float max0, float min1, float max1) {
  Statistics statistics;
  statistics.channels.tokens = 4;
  statistics.channels.min = {min0, min1};
  statistics.channels.max = {max0, max1};
  return statistics;
}

}  // namespace

TEST_CASE(
    "scale moves from the norm to its readers by range^a / (2 max|W|)^(1 - a), and the function stays") {
  const Block block = small_block();
  WeightTable weights = small_weights();
  const auto modifier = smoothquant("smoothing_strength: 0.5");
  const auto& transform = dynamic_cast<const Transform&>(*modifier);
  const auto pairs = transform.select({}, block);
  REQUIRE(pairs.size() == 1);
  transform.apply(block, pairs[0], ranges(-4, 12, -1, 1), weights, *make_cpu_backend({}));
  const float s0 = std::sqrt(16.0f) / std::sqrt(4.0f), s1 = std::sqrt(2.0f) / std::sqrt(2.0f);  // 2, 1
  CHECK(weights.at("norm.weight").as<float>()[0] == Approx(1.0f / s0));
  CHECK(weights.at("norm.weight").as<float>()[1] == Approx(2.0f / s1));
  CHECK(weights.at("gate.weight").as<float>()[0] == Approx(0.5f * s0));
  CHECK(weights.at("up.weight").as<float>()[0] == Approx(-2.0f * s0));
  const WeightTable before = small_weights();
  for (const char* name : {"gate.weight", "up.weight"})
    for (int j : {0, 1})
      CHECK(weights.at(name).as<float>()[j] * weights.at("norm.weight").as<float>()[j] ==
            Approx(before.at(name).as<float>()[j] * before.at("norm.weight").as<float>()[j]));
}

TEST_CASE("log_equalization divides each channel's range by its own logarithm") {
  const Block block = small_block();
  WeightTable weights = small_weights();
  const auto modifier = smoothquant("algorithm: log_equalization");
  const auto& transform = dynamic_cast<const Transform&>(*modifier);
  transform.apply(block, transform.select({}, block)[0], ranges(0, 14, -1, 1), weights,
                  *make_cpu_backend({}));
  CHECK(weights.at("norm.weight").as<float>()[0] == Approx(4.0f / 14.0f));  // 14 / log2(16)
}

TEST_CASE("a channel that never moves keeps a tiny scale instead of dividing by zero") {
  const Block block = small_block();
  WeightTable weights = small_weights();
  const auto modifier = smoothquant("");
  const auto& transform = dynamic_cast<const Transform&>(*modifier);
  transform.apply(block, transform.select({}, block)[0], ranges(0, 0, -1, 1), weights, *make_cpu_backend({}));
  CHECK(weights.at("norm.weight").as<float>()[0] == Approx(1e5f));
  CHECK(weights.at("gate.weight").as<float>()[0] == Approx(0.5e-5f));
}

TEST_CASE(
    "mappings choose pairs; one that leaves out a reader of the norm is refused, one whose layers are all "
    "ignored is skipped") {
  const Block block = small_block();
  const auto pairs = [&](const std::string& arguments) {
    const auto modifier = smoothquant(arguments);
    return dynamic_cast<const Transform&>(*modifier).select({}, block).size();
  };
  CHECK(pairs("mappings: [[['re:.*gate', 're:.*up'], 're:.*norm']]") == 1);
  CHECK(pairs("mappings: [[['re:.*q_proj'], 're:.*other_norm']]") == 0);
  CHECK(pairs("ignore: [gate, up]") == 0);
  CHECK(pairs("ignore: [gate]") == 1);
  CHECK_THROWS_WITH(pairs("mappings: [[['re:.*gate'], 're:.*norm']]"),
                    Catch::Contains("'norm' also feeds 'up'"));
}

TEST_CASE("an activation range that is not finite is an error, not a NaN in the file") {
  const Block block = small_block();
  WeightTable weights = small_weights();
  const auto modifier = smoothquant("");
  const auto& transform = dynamic_cast<const Transform&>(*modifier);
  CHECK_THROWS_WITH(transform.apply(block, transform.select({}, block)[0], ranges(-INFINITY, 1, -1, 1),
                                    weights, *make_cpu_backend({})),
                    Catch::Contains("not finite"));
}

TEST_CASE("SmoothQuant alone writes a model with the same function") {
  const test::ScratchFolder scratch;
  OneshotOptions options = test::micro_llama(scratch / "out");
  options.recipe = "s_stage: {s_modifiers: {SmoothQuantModifier: {smoothing_strength: 0.8}}}";
  const auto backend = make_cpu_backend({});
  oneshot(options, *backend, {});
  const Checkpoint smoothed(scratch / "out"), source(options.model_dir);
  CHECK_FALSE(smoothed.is_quantized());
  const Tensor a = source.read("model.layers.0.input_layernorm.weight"),
               b = smoothed.read("model.layers.0.input_layernorm.weight");
  CHECK_FALSE(std::equal(a.data(), a.data() + a.bytes(), b.data()));
  const Tensor c = source.read("model.layers.0.mlp.down_proj.weight"),
               d = smoothed.read("model.layers.0.mlp.down_proj.weight");
  CHECK(std::equal(c.data(), c.data() + c.bytes(), d.data()));
}
