// Rotation tables, kept between calls. Every backend rotates by the same numbers.
#pragma once
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "llmc/graph.hpp"

namespace llmc {

class RopeTables {
 public:
  struct Table {
    RopeSpec spec;
    int64_t length = 0;  // of the sequence it was made for (RopeKind::dynamic) or positions it covers
    std::vector<float> cosine, sine;  // [length, rotary_dim / 2]
  };
  // A table for a sequence of `length` tokens, at least that many positions.
  std::shared_ptr<const Table> find(const RopeSpec& spec, int64_t length);
  // One for each sequence: its past tokens [sequences] and those between `starts` [sequences + 1]. Positions
  // alone decide the rotation, unless the frequencies follow the sequence's length.
  std::vector<std::shared_ptr<const Table>> of_sequences(const RopeSpec& spec,
                                                         std::span<const int64_t> starts,
                                                         std::span<const int64_t> past);

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<const Table>> tables_;
};

}  // namespace llmc
