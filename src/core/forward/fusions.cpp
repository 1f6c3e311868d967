#include "core/forward/fusions.hpp"

#include <algorithm>

#include "core/forward/operations/checks.hpp"

namespace llmc {
namespace {

// Each pattern: how many nodes from nodes[at] on are one, fewer than two when it does not begin there.

size_t linears_of_one_input(ForwardPass& pass, std::span<const Node> nodes, size_t at) {
  if (pass.rounds()) return 0;  // each may round its input in its own way
  size_t count = 0;
  while (at + count < nodes.size() && nodes[at + count].linear() &&
         nodes[at + count].inputs == nodes[at].inputs)
    ++count;
  return count;
}

size_t norm_of_a_sum(ForwardPass& pass, std::span<const Node> nodes, size_t at) {
  if (at + 1 == nodes.size() || !std::holds_alternative<Add>(nodes[at].operation)) return 0;
  const Node& next = nodes[at + 1];
  return next.norm() && !next.inputs.empty() && next.inputs[0] == nodes[at].output &&
          next.norm()->width == pass.input(nodes[at], 0).columns()  // one group per token
      ? 2
      : 0;
}

size_t product_of_an_activation(ForwardPass& pass, std::span<const Node> nodes, size_t at) {
  if (at + 1 == nodes.size() || !std::holds_alternative<Activation>(nodes[at].operation)) return 0;
  const Node& next = nodes[at + 1];
  const ValueId value = nodes[at].output;
  return std::holds_alternative<Multiply>(next.operation) && next.inputs.size() == 2 &&
          next.inputs[0] != next.inputs[1] && (next.inputs[0] == value || next.inputs[1] == value) &&
          pass.dies_at(at + 1, value)
      ? 2
      : 0;
}

struct Pattern {
  Fusion fusion;
  size_t (*match)(ForwardPass&, std::span<const Node>, size_t);
  OperationCall (*check)(ForwardPass&, std::span<const Node>);
  bool makes_inner_values;
};
constexpr Pattern kPatterns[] = {
    {Fusion::linears, linears_of_one_input, check_linears, true},
    {Fusion::add_norm, norm_of_a_sum, check_add_norm, true},
    {Fusion::activation_multiply, product_of_an_activation, check_activation_multiply, false},
};

}  // namespace

FusedNodes find_fusion(ForwardPass& pass,
                       std::span<const Fusion> allowed,
                       std::span<const Node> nodes,
                       size_t at) {
  for (const Pattern& pattern : kPatterns)
    if (std::find(allowed.begin(), allowed.end(), pattern.fusion) != allowed.end())
      if (const size_t count = pattern.match(pass, nodes, at); count > 1)
        return {count, pattern.check, pattern.makes_inner_values};
  return {};
}

}  // namespace llmc
