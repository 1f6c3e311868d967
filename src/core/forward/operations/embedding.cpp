#include "core/forward/operations/checks.hpp"
#include "llmc/error.hpp"

namespace llmc {

OperationCall check(ForwardPass& pass, const Node& node, const Embedding& embedding) {
  const std::vector<int32_t>& ids = pass.batch().token_ids;
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] < 0 || ids[i] >= embedding.vocabulary)
      throw Error(ErrorCode::invalid_argument,
                  "token id " + std::to_string(ids[i]) + " at position " + std::to_string(i) +
                      " is outside the vocabulary of " + std::to_string(embedding.vocabulary));
  const Tensor& table = pass.weight(node, WeightRole::weight);
  return EmbeddingCall{ids, table, pass.output(node, embedding.width)};
}

}  // namespace llmc
