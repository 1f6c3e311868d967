// What does not fit is refused in the same words on every backend, but for its name.
#include "cuda_test_tools.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

std::string message(Backend& backend, const Node& node, const WeightTable& weights, DType dtype) {
  ValueTable values(3);
  values[0] = Tensor::zeros(DType::f32, {2, 8});
  values[1] = Tensor::zeros(DType::f32, {2, 6});
  const TokenBatch batch{{0, 1}, {0, 2}};
  try {
    backend.execute(std::span(&node, 1),
                    {.weights = weights, .batch = batch, .values = values, .options = {dtype}});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// The one text after both names.
std::string message_of_both(const Node& node, const WeightTable& weights = {}, DType dtype = DType::f32) {
  const std::string cpu = message(*backend(), node, weights, dtype),
                    cuda = message(*cuda_backend(), node, weights, dtype);
  REQUIRE(cpu.starts_with("cpu: "));
  CHECK(cuda == "cuda: " + cpu.substr(5));
  return cpu.substr(5);
}

RopeSpec rotating(int64_t channels) {
  RopeSpec spec;
  spec.rotary_dim = channels;
  return spec;
}

}  // namespace

TEST_CASE("device: a node that does not fit is refused as the CPU refuses it") {
  WeightTable weights;
  weights.emplace("l.weight", Tensor::zeros(DType::f32, {4, 7}));
  weights.emplace("n.weight", Tensor::zeros(DType::f32, {8}));
  weights.emplace("n.bias", Tensor::zeros(DType::f32, {5}));
  CHECK(message_of_both(node_of("l", Linear{7, 4, false}, {0}, 2), weights) ==
        "node 'l': input of 8 channels, wanted 7");
  CHECK(message_of_both(node_of("l", Linear{8, 4, false}, {0}, 2), weights) ==
        "node 'l': weight 'l.weight' has shape [4, 7], wanted [4, 8]");
  CHECK(message_of_both(node_of("m", Linear{8, 4, false}, {0}, 2)) ==
        "node 'm': weight 'm.weight' is missing");
  CHECK(message_of_both(node_of("n", Norm{NormKind::rms, 1e-6, 3}, {0}, 2)) ==
        "node 'n': norm over 3 of 8 channels");
  CHECK(message_of_both(node_of("n", Norm{NormKind::layer, 1e-6, 8}, {0}, 2), weights) ==
        "node 'n': weight 'n.bias' has shape [5], wanted [8]");
  CHECK(message_of_both(node_of("r", Rope{rotating(4), 2, 5}, {0}, 2)) ==
        "node 'r': input of 8 channels, wanted 10");
  CHECK(message_of_both(node_of("r", Rope{rotating(10), 1, 8}, {0}, 2)) ==
        "node 'r': rotates 10 channels, wanted an even number of at most 8");
  CHECK(message_of_both(node_of("a", Attention{2, 1, 4, 1.0, 0, "a"}, {0, 1, 1}, 2)) ==
        "node 'a': queries of 8 and keys of 6 channels, wanted 8 and 4");
  CHECK(message_of_both(node_of("s", Add{}, {0, 1}, 2)) == "node 's': inputs of 8 and 6 channels");
  CHECK(message_of_both(node_of("s", Multiply{}, {0}, 2)) == "node 's': has 1 inputs, wanted more than 1");
  CHECK(message_of_both(node_of("s", Activation{}, {2}, 2)) == "node 's': input value 2 is not alive");
  CHECK(message_of_both(node_of("s", Activation{}, {0}, 7)) ==
        "node 's': output value 7 is outside the table of 3");
  CHECK(message_of_both(node_of("s", Activation{}, {0}, 2), {}, DType::bf16) ==
        "node 's': input value 0 is F32 [2, 8], wanted BF16 of 2 tokens");
  CHECK(message_of_both(node_of("s", Activation{}, {0}, 2), {}, DType::f16) ==
        "values of dtype F16, wanted F32 or BF16");
}
