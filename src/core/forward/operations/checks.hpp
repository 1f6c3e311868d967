// From nodes to calls: a file per operation, which checks what its node reads and finds its weights.
#pragma once
#include "core/forward/forward_pass.hpp"

namespace llmc {

OperationCall check(ForwardPass& pass, const Node& node, const Embedding& operation);
OperationCall check(ForwardPass& pass, const Node& node, const Norm& operation);
OperationCall check(ForwardPass& pass, const Node& node, const Linear& operation);
OperationCall check(ForwardPass& pass, const Node& node, const Rope& operation);
OperationCall check(ForwardPass& pass, const Node& node, const Attention& operation);
OperationCall check(ForwardPass& pass, const Node& node, const Activation& operation);
OperationCall check(ForwardPass& pass, const Node& node, const Multiply& operation);
OperationCall check(ForwardPass& pass, const Node& node, const Add& operation);
OperationCall check(ForwardPass& pass, const Node& node, const Slice& operation);

// Of the fusions.
OperationCall check_linears(ForwardPass& pass, std::span<const Node> linears);
OperationCall check_add_norm(ForwardPass& pass, std::span<const Node> nodes);
OperationCall check_activation_multiply(ForwardPass& pass, std::span<const Node> nodes);

// What several operations share.
void check_width(ForwardPass& pass, const Node& node, const Tensor& x, int64_t wanted);
void check_same_width(ForwardPass& pass, const Node& node, const Tensor& x, const Tensor& y);

}  // namespace llmc
