// What Backend::execute runs on: tokens, weights, values, and how to round them on the way.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "llmc/backend/number_grid.hpp"
#include "llmc/graph.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

// Whole sequences packed one after another, no padding. Attention never crosses a sequence boundary.
struct TokenBatch {
  std::vector<int32_t> token_ids;        // [tokens]
  std::vector<int64_t> sequence_starts;  // [sequences + 1], first 0, last = tokens
  int64_t tokens() const { return static_cast<int64_t>(token_ids.size()); }
};

using WeightTable = std::unordered_map<std::string, Tensor>;  // by tensor name
// by ValueId, each [tokens, width]; empty when not alive
using ValueTable = std::vector<Tensor>;

struct ForwardOptions {
  DType value_dtype = DType::bf16;  // of the values between nodes; arithmetic accumulates in float32
};

// Rounding of a value as the served model does it: the input or output of a Linear, or what an attention
// reads.
struct ActivationQuantization {
  NumberGrid grid;
  int64_t group_size = 0;     // channels that share a scale; 0: all of a token's
  bool power_of_two = false;  // scales of the MX formats
  float global_scale = 0;     // NVFP4: group scales are e4m3 numbers over it; 0: none
  // found at calibration time: one, or one per group (an attention's heads); empty: from each token
  std::vector<float> fixed_scales;
  std::vector<int8_t> fixed_zero_points;  // as many; empty: symmetric
};
// By "<node>.input", "<node>.output" of a Linear and "<module>.q", ".k", ".v" of an attention.
using ActivationRounding = std::unordered_map<std::string, ActivationQuantization>;

// How long the values of a segment live, for a backend that runs several nodes as one: such values are never
// made.
struct ValueLifetimes {
  // [nodes of the segment]: what nobody reads after node i
  std::span<const std::vector<ValueId>> last_uses;
  // before the output of a node is made: the moment to lend it memory
  std::function<void(const Node&)> starting;
  // node i of the segment is done: what it was the last to read may go
  std::function<void(size_t)> finished;
};

// What sequences keep for tokens to come: the keys and values of every attention, 2 * tokens * its width of
// them. A call with a batch of the next tokens of the same sequences, in the same order, runs as if all tokens
// of each had come at once. (RopeKind::dynamic excepted: it turned earlier keys by the length they had then.)
struct SequenceState {
  struct Kept {
    Tensor keys, values;  // [tokens of all sequences, packed as in a batch; width], as attention read them
  };
  std::vector<int64_t> past;                    // [sequences]: tokens of each that went before; empty: none
  std::unordered_map<ValueId, Kept> attention;  // by the output of its node

  // After all blocks ran over `batch`, and before the next batch.
  void advance(const TokenBatch& batch) {
    past.resize(batch.sequence_starts.size() - 1);
    for (size_t s = 0; s < past.size(); ++s)
      past[s] += batch.sequence_starts[s + 1] - batch.sequence_starts[s];
  }
};

// One call of Backend::execute over the nodes of a segment.
struct Execution {
  const WeightTable& weights;  // f32, bf16 or f16
  const TokenBatch& batch;     // Embedding reads its ids, Rope and Attention where its sequences start
  // read at node.inputs, written at node.output: [tokens, width] of options.value_dtype. An output that is
  // there already with the right shape is written over: memory that the caller reuses.
  ValueTable& values;
  ForwardOptions options = {};
  const ActivationRounding* rounding = nullptr;  // what to round on the way; null: nothing
  const ValueLifetimes* lifetimes = nullptr;     // null: every value is made, and stays
  SequenceState* state = nullptr;                // null: every sequence begins and ends with this batch
};

// A block's weights in the memory a backend computes in. Owns the table that was copied there; otherwise it refers
// to the caller's table, which must outlive it.
class StagedWeights {
 public:
  explicit StagedWeights(const WeightTable* borrowed) : table_(borrowed) {}
  explicit StagedWeights(WeightTable moved)
      : own_(std::make_unique<WeightTable>(std::move(moved))),
        table_(own_.get()) {}
  operator const WeightTable&() const { return *table_; }  // NOLINT(google-explicit-constructor): it is one

 private:
  std::unique_ptr<WeightTable> own_;
  const WeightTable* table_;
};

}  // namespace llmc
