#include <catch2/catch.hpp>

#include "core/calibration/token_tiles.hpp"

using namespace llmc;

namespace {

TokenBatch sequences_of(const std::vector<int64_t>& lengths) {
  TokenBatch batch;
  batch.sequence_starts.push_back(0);
  for (int64_t length : lengths) {
    batch.token_ids.insert(batch.token_ids.end(), static_cast<size_t>(length), 3);
    batch.sequence_starts.push_back(batch.tokens());
  }
  return batch;
}

}  // namespace

TEST_CASE("tiles hold whole sequences in order, as many as fit") {
  const auto tiles = cut_tiles(sequences_of({4000, 90, 7, 4096, 1}), 10, 4096);
  REQUIRE(tiles.size() == 4);
  CHECK(tiles[0].sequence_starts == std::vector<int64_t>{0, 4000, 4090});
  CHECK(tiles[1].sequence_starts == std::vector<int64_t>{0, 7});
  CHECK(tiles[2].sequence_starts == std::vector<int64_t>{0, 4096});
  CHECK(tiles[3].sequence_starts == std::vector<int64_t>{0, 1});
}

TEST_CASE("a sequence longer than a tile gets one of its own") {
  const auto tiles = cut_tiles(sequences_of({10, 9000, 10}), 10, 4096);
  REQUIRE(tiles.size() == 3);
  CHECK(tiles[1].tokens() == 9000);
}

TEST_CASE("broken batches are refused") {
  CHECK_THROWS_WITH(cut_tiles({}, 10, 4096), Catch::Contains("no tokens"));
  CHECK_THROWS_WITH(cut_tiles({{1, 2}, {0, 1}}, 10, 4096), Catch::Contains("wanted 0 to 2"));
  CHECK_THROWS_WITH(cut_tiles({{1, 2}, {0, 2, 2}}, 10, 4096), Catch::Contains("sequence 1"));
  CHECK_THROWS_WITH(cut_tiles({{1, -2}, {0, 2}}, 10, 4096), Catch::Contains("token id -2 at position 1"));
  CHECK_THROWS_WITH(cut_tiles({{1, 10}, {0, 2}}, 10, 4096), Catch::Contains("vocabulary of 10"));
}
