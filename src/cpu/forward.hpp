// Backend::execute on the CPU: runs nodes of the graph one after another.
#pragma once
#include <memory>

#include "cpu/gemm.hpp"
#include "llmc/backend.hpp"

namespace llmc::cpu {

// Rotation tables, kept between calls.
class RopeTables {
 public:
  struct Table {
    RopeSpec spec;
    int64_t length = 0;  // of the sequence it was made for (RopeKind::dynamic) or positions it covers
    std::vector<float> cosine, sine;  // [length, rotary_dim / 2]
  };
  // A table for a sequence of `length` tokens, at least that many positions.
  std::shared_ptr<const Table> find(const RopeSpec& spec, int64_t length);

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<const Table>> tables_;
};

void execute_nodes(Engine& engine, RopeTables& rope, std::span<const Node> segment, const WeightTable& weights, const TokenBatch& batch, const ForwardOptions& options, ValueTable& values,
                   const Backend::ActivationRounding* rounding);

}  // namespace llmc::cpu
