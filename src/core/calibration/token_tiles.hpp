// Cuts calibration sequences into tiles: what is run through the model at once. The cut depends on the data
// and the backend's tile_tokens() alone.
#pragma once
#include <vector>

#include "llmc/backend.hpp"

namespace llmc {

// Whole sequences in order, as many as fit into tile_tokens; a longer sequence gets a tile of its own.
// Throws Error(invalid_argument) when the batch is empty, inconsistent, or a token id lies outside [0,
// vocabulary).
std::vector<TokenBatch> cut_tiles(const TokenBatch& sequences, int64_t vocabulary, int64_t tile_tokens);

}  // namespace llmc
