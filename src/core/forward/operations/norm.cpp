#include "core/forward/operations/checks.hpp"

namespace llmc {
namespace {

OperationCall norm_call(ForwardPass& pass,
                        const Node& node,
                        const Norm& norm,
                        const Tensor& x,
                        const Tensor* residual,
                        Tensor* total) {
  if (norm.width <= 0 || x.columns() % norm.width != 0)
    pass.fail(node,
              "norm over " + std::to_string(norm.width) + " of " + std::to_string(x.columns()) + " channels");
  const Tensor& scale = pass.weight(node, WeightRole::weight);
  const Tensor* const bias = pass.find_weight(node, WeightRole::bias);
  return NormCall{norm, x, residual, total, scale, bias, pass.output(node, x.columns())};
}

}  // namespace

OperationCall check(ForwardPass& pass, const Node& node, const Norm& norm) {
  return norm_call(pass, node, norm, pass.input(node, 0), nullptr, nullptr);
}

OperationCall check_add_norm(ForwardPass& pass, std::span<const Node> nodes) {
  const Tensor &x = pass.input(nodes[0], 0), &y = pass.input(nodes[0], 1);
  check_same_width(pass, nodes[0], x, y);
  return norm_call(pass, nodes[1], *nodes[1].norm(), x, &y, &pass.output(nodes[0], x.columns()));
}

}  // namespace llmc
