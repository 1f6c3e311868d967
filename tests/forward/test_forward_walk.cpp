// The walk over nodes with a device that computes nothing: what it is asked for, in which order, and what of it
// is made.
#include <catch2/catch.hpp>

#include "core/forward/forward_pass.hpp"
#include "cpu/cpu_test_tools.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using test::node_of;

namespace {

constexpr const char* kCalls[] = {"embedding",  "norm",     "linear", "rope",  "attention",
                                  "activation", "multiply", "add",    "slice", "rounding"};

class Recorder final : public ForwardDevice {
 public:
  explicit Recorder(std::vector<Fusion> fusions) : fusions_(std::move(fusions)) {}

  std::string_view name() const override { return "recorder"; }
  Device device() const override { return {}; }
  std::span<const Fusion> fusions() const override { return fusions_; }
  Tensor make(DType dtype, Shape shape) override { return Tensor::zeros(dtype, std::move(shape)); }
  Tensor bring_value(const Tensor& elsewhere) override { return Tensor::copy_of(elsewhere); }
  Tensor bring_weight(const Tensor& elsewhere) override { return Tensor::copy_of(elsewhere); }
  void copy_rows(const Tensor&, int64_t, int64_t, Tensor&, int64_t) override { calls.push_back("copy"); }
  void run(const OperationCall& call) override {
    std::string said = kCalls[call.index()];
    if (const auto* linear = std::get_if<LinearCall>(&call))
      said += " of " + std::to_string(linear->products.size());
    if (const auto* norm = std::get_if<NormCall>(&call); norm && norm->residual) said += " of a sum";
    if (const auto* act = std::get_if<ActivationCall>(&call); act && act->factor) said += " of a product";
    calls.push_back(said);
  }

  std::vector<std::string> calls;

 private:
  const std::vector<Fusion> fusions_;
};

using Texts = std::vector<std::string>;

// x + x, a norm of it, two Linears that read that, the activation of one times the other
struct Layer {
  std::vector<Node> nodes{node_of("", Add{}, {0, 0}, 1),
                          node_of("n", Norm{NormKind::rms, 1e-6, 4}, {1}, 2),
                          node_of("gate", Linear{4, 6, false}, {2}, 3),
                          node_of("up", Linear{4, 6, false}, {2}, 4),
                          node_of("", Activation{}, {3}, 5),
                          node_of("", Multiply{}, {5, 4}, 6)};
  std::vector<std::vector<ValueId>> dying{{}, {}, {}, {2}, {3}, {5, 4}};
  WeightTable weights;
  TokenBatch batch{{0, 0}, {0, 2}};
  ValueTable values = ValueTable(7);

  Layer() {
    weights.emplace("n.weight", Tensor::zeros(DType::bf16, {4}));
    for (const char* name : {"gate.weight", "up.weight"})
      weights.emplace(name, Tensor::zeros(DType::bf16, {6, 4}));
    values[0] = Tensor::zeros(DType::bf16, {2, 4});
  }
  Texts run(std::vector<Fusion> fusions,
            const ActivationRounding* rounding = nullptr,
            Texts* events = nullptr) {
    Recorder recorder(std::move(fusions));
    RopeTables rope;
    const ValueLifetimes lifetimes{dying,
                                   [&](const Node& node) {
                                     if (events) events->push_back("+" + std::to_string(node.output));
                                   },
                                   [&](size_t node) {
                                     if (events) events->push_back("-" + std::to_string(node));
                                   }};
    const Execution execution{
        .weights = weights, .batch = batch, .values = values, .rounding = rounding, .lifetimes = &lifetimes};
    ForwardPass(recorder, rope, execution).run(nodes);
    return recorder.calls;
  }
};

std::string message_of(Layer& layer) {
  try {
    layer.run({});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("forward walk: every node is a call of its own on a device that fuses nothing") {
  CHECK(Layer().run({}) == Texts{"add", "norm", "linear of 1", "linear of 1", "activation", "multiply"});
}

TEST_CASE("forward walk: neighbours that the device can fuse are one call") {
  Layer layer;
  Texts events;
  CHECK(layer.run({Fusion::linears, Fusion::add_norm, Fusion::activation_multiply}, nullptr, &events) ==
        Texts{"norm of a sum", "linear of 2", "activation of a product"});
  CHECK(events == Texts{"+1", "+2", "-0", "-1", "+3", "+4", "-2", "-3", "+6", "-4", "-5"});
  CHECK(layer.values[5].empty());  // nobody but the product reads the activation
  CHECK(!layer.values[1].empty());
  CHECK(Layer().run({Fusion::add_norm}) ==
        Texts{"norm of a sum", "linear of 1", "linear of 1", "activation", "multiply"});
}

TEST_CASE("forward walk: what somebody else needs is not fused away") {
  Layer read_later;
  read_later.dying[5] = {4};
  CHECK(read_later.run({Fusion::activation_multiply}).back() == "multiply");
  CHECK(!read_later.values[5].empty());

  Layer per_head;  // two groups per token: not the norm of a whole sum
  std::get<Norm>(per_head.nodes[1].operation).width = 2;
  per_head.weights.insert_or_assign("n.weight", Tensor::zeros(DType::bf16, {2}));
  CHECK(per_head.run({Fusion::add_norm})[0] == "add");

  ActivationRounding rounding;  // the two Linears could round what they read differently
  rounding["gate.input"];
  rounding["up.output"];
  CHECK(Layer().run({Fusion::linears}, &rounding) ==
        Texts{"add", "norm", "rounding", "linear of 1", "linear of 1", "rounding", "activation", "multiply"});
}

TEST_CASE("forward walk: what does not fit is told with the device's name and the node's") {
  Layer layer;
  std::get<Linear>(layer.nodes[2].operation).in_features = 5;
  CHECK(message_of(layer) == "recorder: node 'gate': input of 4 channels, wanted 5");
  layer = Layer();
  layer.weights.erase("up.weight");
  CHECK(message_of(layer) == "recorder: node 'up': weight 'up.weight' is missing");
  layer = Layer();
  layer.weights.insert_or_assign("n.weight", Tensor::zeros(DType::i8, {4}));
  CHECK(message_of(layer) == "recorder: node 'n': weight 'n.weight' is I8, wanted F32, BF16 or F16");
  layer = Layer();
  layer.values[0] = Tensor();
  CHECK(message_of(layer) == "recorder: node '': input value 0 is not alive");
  layer = Layer();
  layer.nodes[5].inputs = {5};
  CHECK(message_of(layer) == "recorder: node '': has 1 inputs, wanted more than 1");
}
