// Multiply and Add.
#include "core/forward/operations/checks.hpp"

namespace llmc {

void check_width(ForwardPass& pass, const Node& node, const Tensor& x, int64_t wanted) {
  if (x.columns() != wanted)
    pass.fail(node,
              "input of " + std::to_string(x.columns()) + " channels, wanted " + std::to_string(wanted));
}

void check_same_width(ForwardPass& pass, const Node& node, const Tensor& x, const Tensor& y) {
  if (x.columns() != y.columns())
    pass.fail(
        node,
        "inputs of " + std::to_string(x.columns()) + " and " + std::to_string(y.columns()) + " channels");
}

namespace {

template <class Call>
OperationCall combine(ForwardPass& pass, const Node& node) {
  const Tensor &x = pass.input(node, 0), &y = pass.input(node, 1);
  check_same_width(pass, node, x, y);
  return Call{x, y, pass.output(node, x.columns())};
}

}  // namespace

OperationCall check(ForwardPass& pass, const Node& node, const Multiply&) {
  return combine<MultiplyCall>(pass, node);
}
OperationCall check(ForwardPass& pass, const Node& node, const Add&) { return combine<AddCall>(pass, node); }

}  // namespace llmc
