#include "core/calibration/token_tiles.hpp"

#include <fmt/format.h>

#include "llmc/error.hpp"

namespace llmc {

namespace {

void check(const TokenBatch& all, int64_t vocabulary) {
  const auto& starts = all.sequence_starts;
  if (all.token_ids.empty() || starts.size() < 2)
    throw Error(ErrorCode::invalid_argument,
                "calibration: no tokens; this recipe needs calibration data (--dataset)");
  if (starts.front() != 0 || starts.back() != all.tokens())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("calibration: sequence starts span {} to {}, wanted 0 to {}", starts.front(),
                            starts.back(), all.tokens()));
  for (size_t s = 1; s < starts.size(); ++s)
    if (starts[s] <= starts[s - 1])
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("calibration: sequence {} starts at {} and ends at {}: empty or reversed",
                              s - 1, starts[s - 1], starts[s]));
  for (size_t i = 0; i < all.token_ids.size(); ++i)
    if (all.token_ids[i] < 0 || all.token_ids[i] >= vocabulary)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("calibration: token id {} at position {} is outside the vocabulary of {}",
                              all.token_ids[i], i, vocabulary));
}

}  // namespace

std::vector<TokenBatch> cut_tiles(const TokenBatch& all, int64_t vocabulary, int64_t tile_tokens) {
  check(all, vocabulary);
  std::vector<TokenBatch> tiles;
  for (size_t s = 0; s + 1 < all.sequence_starts.size(); ++s) {
    const int64_t begin = all.sequence_starts[s], end = all.sequence_starts[s + 1];
    if (tiles.empty() || tiles.back().tokens() + (end - begin) > tile_tokens) {
      tiles.emplace_back();
      tiles.back().sequence_starts.push_back(0);
    }
    TokenBatch& tile = tiles.back();
    tile.token_ids.insert(tile.token_ids.end(), all.token_ids.begin() + begin, all.token_ids.begin() + end);
    tile.sequence_starts.push_back(tile.tokens());
  }
  return tiles;
}

}  // namespace llmc
