#include "core/forward/operations/checks.hpp"

namespace llmc {

OperationCall check(ForwardPass& pass, const Node& node, const Rope& rope) {
  const Tensor& x = pass.input(node, 0);
  check_width(pass, node, x, rope.heads * rope.head_dim);
  if (rope.spec.rotary_dim < 0 || rope.spec.rotary_dim > rope.head_dim || rope.spec.rotary_dim % 2)
    pass.fail(node,
              "rotates " + std::to_string(rope.spec.rotary_dim) +
                  " channels, wanted an even number of at most " + std::to_string(rope.head_dim));
  const std::vector<int64_t>& starts = pass.batch().sequence_starts;
  return RopeCall{rope,   x,           pass.output(node, x.columns()),
                  starts, pass.past(), pass.rope().of_sequences(rope.spec, starts, pass.past())};
}

}  // namespace llmc
