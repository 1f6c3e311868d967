// Cuts calibration sequences into tiles of a fixed token count. The cut depends on the data alone, never on memory, threads or device.
#pragma once
#include <vector>

#include "llmc/backend.hpp"

namespace llmc {

constexpr int64_t kTileTokens = 4096;

// Whole sequences in order, as many as fit into kTileTokens; a longer sequence gets a tile of its own.
// Throws Error(invalid_argument) when the batch is empty, inconsistent, or a token id lies outside [0, vocabulary).
std::vector<TokenBatch> cut_tiles(const TokenBatch& sequences, int64_t vocabulary);

}  // namespace llmc
