#include "core/forward/operations/checks.hpp"

namespace llmc {

OperationCall check(ForwardPass& pass, const Node& node, const Linear&) {
  return check_linears(pass, std::span(&node, 1));
}

OperationCall check_linears(ForwardPass& pass, std::span<const Node> linears) {
  LinearCall call{pass.rounded_input(linears[0], 0, linears[0].name + ".input"), {}};
  for (const Node& node : linears) {
    const Linear& linear = *node.linear();
    check_width(pass, node, call.x, linear.in_features);
    const Tensor& matrix = pass.weight(node, WeightRole::weight);
    const Tensor* const bias = pass.find_weight(node, WeightRole::bias);
    call.products.push_back({matrix, bias, pass.output(node, linear.out_features)});
  }
  return call;
}

}  // namespace llmc
