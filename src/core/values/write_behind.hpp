// Writes on a thread of its own what has been computed, while the next is computed.
#pragma once
#include <cstdint>
#include <functional>
#include <utility>

#include "core/values/byte_queue.hpp"

namespace llmc {

class WriteBehind {
 public:
  explicit WriteBehind(int64_t most_bytes) : queue_(most_bytes) {}

  // As ByteQueue's; where no thread is to be had, the piece is written here.
  void add(int64_t bytes, std::function<void()> write) {
    if (!queue_.add(bytes, std::move(write)))
      write();  // NOLINT(bugprone-use-after-move): then it was not moved
  }
  void finish() { queue_.finish(); }

 private:
  ByteQueue queue_;
};

}  // namespace llmc
