#include "core/forward/operations/checks.hpp"

namespace llmc {

OperationCall check(ForwardPass& pass, const Node& node, const Attention& attention) {
  const Tensor &q = pass.rounded_input(node, 0, attention.module + ".q"),
               &k = pass.rounded_input(node, 1, attention.module + ".k"),
               &v = pass.rounded_input(node, 2, attention.module + ".v");
  const int64_t width = attention.heads * attention.head_dim,
                kv_width = attention.kv_heads * attention.head_dim;
  if (attention.kv_heads <= 0 || attention.heads % attention.kv_heads != 0 || q.columns() != width ||
      k.columns() != kv_width || v.columns() != kv_width)
    pass.fail(node,
              "queries of " + std::to_string(q.columns()) + " and keys of " + std::to_string(k.columns()) +
                  " channels, wanted " + std::to_string(width) + " and " + std::to_string(kv_width));
  const Tensor &keys = pass.with_past(node, k, &SequenceState::Kept::keys),
               &values = pass.with_past(node, v, &SequenceState::Kept::values);
  return AttentionCall{
      attention, q, keys, values, pass.output(node, width), pass.batch().sequence_starts, pass.key_starts()};
}

}  // namespace llmc
