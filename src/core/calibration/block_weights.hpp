// The weights of blocks, one block at a time.
#pragma once
#include <atomic>
#include <future>
#include <vector>

#include "core/files/checkpoint.hpp"
#include "llmc/backend.hpp"

namespace llmc {

// Reads the weights of block after block; NaN and Inf are errors. While a block is worked on, the next is prefetched:
// a thread of the loader copies it to the device, or the page cache is asked to read it ahead for the host.
class BlockLoader {
 public:
  BlockLoader(const Checkpoint& checkpoint, const std::vector<Block>& blocks, Backend& backend, size_t end)
      : checkpoint_(checkpoint),
        blocks_(blocks),
        backend_(backend),
        end_(end) {}
  ~BlockLoader();
  BlockLoader(const BlockLoader&) = delete;
  BlockLoader& operator=(const BlockLoader&) = delete;

  // matrices where the backend computes, vectors on the host. In order: what comes next is b + 1, up to `end`
  WeightTable take(size_t b);

 private:
  WeightTable load(const Block& block) const;
  void start(size_t b);

  const Checkpoint& checkpoint_;
  const std::vector<Block>& blocks_;
  Backend& backend_;
  const size_t end_;
  std::atomic<bool> stop_ = false;
  size_t coming_ = 0;  // the block of next_
  std::future<WeightTable> next_;
};

}  // namespace llmc
