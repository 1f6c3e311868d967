#include "core/forward/operations/checks.hpp"

namespace llmc {

OperationCall check(ForwardPass& pass, const Node& node, const Activation& activation) {
  const Tensor& x = pass.input(node, 0);
  return ActivationCall{activation, x, nullptr, pass.output(node, x.columns())};
}

OperationCall check_activation_multiply(ForwardPass& pass, std::span<const Node> nodes) {
  const Node &activated = nodes[0], &product = nodes[1];
  const Tensor &x = pass.input(activated, 0),
               &factor = pass.input(product, product.inputs[0] == activated.output ? 1 : 0);
  check_same_width(pass, product, x, factor);
  return ActivationCall{std::get<Activation>(activated.operation), x, &factor,
                        pass.output(product, x.columns())};
}

}  // namespace llmc
