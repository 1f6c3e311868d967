#include "core/forward/operations/checks.hpp"

namespace llmc {

OperationCall check(ForwardPass& pass, const Node& node, const Slice& slice) {
  const Tensor& x = pass.input(node, 0);
  if (slice.first < 0 || slice.width < 1 || slice.first > x.columns() - slice.width)
    pass.fail(node,
              "channels from " + std::to_string(slice.first) + " on, " + std::to_string(slice.width) +
                  " of them, of an input of " + std::to_string(x.columns()) + " channels");
  return SliceCall{slice, x, pass.output(node, slice.width)};
}

}  // namespace llmc
