// Which neighbours run as one call.
#pragma once
#include <span>

#include "core/forward/forward_pass.hpp"

namespace llmc {

struct FusedNodes {
  size_t count = 1;
  OperationCall (*check)(ForwardPass& pass,
                         std::span<const Node> nodes) = nullptr;  // null: one node, its own
  bool makes_inner_values = true;  // the outputs of all nodes, and not only of the last
};

// The longest pattern of `allowed` that begins at nodes[at]; one node when there is none.
FusedNodes find_fusion(ForwardPass& pass,
                       std::span<const Fusion> allowed,
                       std::span<const Node> nodes,
                       size_t at);

}  // namespace llmc
