// The weights of one block.
#pragma once
#include <vector>

#include "core/checkpoint/checkpoint.hpp"
#include "llmc/backend.hpp"

namespace llmc {

// Of blocks[b]; all finite. Those of the next block come into the page cache while this one computes.
WeightTable load_weights(const Checkpoint& checkpoint, const std::vector<Block>& blocks, size_t b);

}  // namespace llmc
