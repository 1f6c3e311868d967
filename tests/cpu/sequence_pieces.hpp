// Sequences run in one piece and token group by token group, over a state that goes on: for the tests of every
// backend.
#pragma once
#include "cpu/cpu_test_tools.hpp"

namespace llmc::test {

// Two attentions, one after another: queries and keys of grouped heads, turned by their positions.
struct TinyModel {
  static constexpr int64_t kWidth = 32, kHeads = 4, kKvHeads = 2, kDim = 8;
  std::vector<Node> nodes;
  WeightTable weights;

  explicit TinyModel(int64_t window) {
    RopeSpec spec;
    spec.rotary_dim = kDim;
    ValueId x = 0;
    for (int layer = 0; layer < 2; ++layer) {
      const std::string name = "layers." + std::to_string(layer) + ".";
      const auto linear = [&](const std::string& leaf, int64_t in, int64_t out, ValueId from, ValueId to) {
        nodes.push_back(node_of(name + leaf, Linear{in, out, false}, {from}, to));
        std::vector<float> matrix = random_floats(static_cast<size_t>(in * out),
                                                  static_cast<unsigned>(weights.size() + 1));
        for (float& value : matrix) value /= std::sqrt(static_cast<float>(in));  // no score decides alone
        weights.emplace(name + leaf + ".weight", tensor_of(DType::bf16, {out, in}, matrix));
      };
      linear("q", kWidth, kHeads * kDim, x, x + 1);
      linear("k", kWidth, kKvHeads * kDim, x, x + 2);
      linear("v", kWidth, kKvHeads * kDim, x, x + 3);
      nodes.push_back(node_of("", Rope{spec, kHeads, kDim}, {x + 1}, x + 4));
      nodes.push_back(node_of("", Rope{spec, kKvHeads, kDim}, {x + 2}, x + 5));
      nodes.push_back(node_of("", Attention{kHeads, kKvHeads, kDim, 0.35, window, name + "attention"},
                              {x + 4, x + 5, x + 3}, x + 6));
      linear("o", kHeads * kDim, kWidth, x + 6, x + 7);
      x += 7;
    }
  }
};

// Tokens [from[s], to[s]) of every sequence s; the numbers of a token follow from its sequence and position.
struct Piece {
  std::vector<int64_t> from, to;
};

inline std::vector<float> run_piece(Backend& backend,
                                    const TinyModel& model,
                                    DType dtype,
                                    const Piece& piece,
                                    SequenceState* state) {
  TokenBatch batch{{}, {0}};
  std::vector<float> x;
  for (size_t s = 0; s < piece.from.size(); ++s) {
    for (int64_t t = piece.from[s]; t < piece.to[s]; ++t) {
      const auto token = random_floats(TinyModel::kWidth,
                                       static_cast<unsigned>(1000 * s + 7) + static_cast<unsigned>(t));
      x.insert(x.end(), token.begin(), token.end());
      batch.token_ids.push_back(0);
    }
    batch.sequence_starts.push_back(batch.tokens());
  }
  ValueTable values(15);
  values[0] = tensor_of(dtype, {batch.tokens(), TinyModel::kWidth}, x);
  backend.execute(model.nodes,
                  {.weights = backend.stage(model.nodes, model.weights),
                   .batch = batch,
                   .values = values,
                   .options = {dtype},
                   .state = state});
  if (state) state->advance(batch);
  return floats_of(backend.to_host(values[14]));
}

// Outputs of all tokens, sequence after sequence, of the whole and of the pieces put together.
struct WholeAndPieces {
  std::vector<float> whole, pieces;
};

inline WholeAndPieces run_both(Backend& backend, DType dtype, int64_t window) {
  const TinyModel model(window);
  // 3 and 150 tokens: prompts, then some, then one at a time of one sequence alone
  const std::vector<std::vector<int64_t>> ends{{2, 90}, {2, 131}, {3, 132}, {3, 150}};
  const std::vector<int64_t>& last = ends.back();
  WholeAndPieces result;
  result.whole = run_piece(backend, model, dtype, {std::vector<int64_t>(last.size()), last}, nullptr);
  std::vector<std::vector<float>> rows(last.size());
  std::vector<int64_t> from(last.size());
  SequenceState state;
  for (const std::vector<int64_t>& to : ends) {
    const auto out = run_piece(backend, model, dtype, {from, to}, &state);
    auto at = out.begin();
    for (size_t s = 0; s < to.size(); ++s) {
      const auto end = at + (to[s] - from[s]) * TinyModel::kWidth;
      rows[s].insert(rows[s].end(), at, end);
      at = end;
    }
    from = to;
  }
  for (const auto& row : rows) result.pieces.insert(result.pieces.end(), row.begin(), row.end());
  return result;
}

}  // namespace llmc::test
