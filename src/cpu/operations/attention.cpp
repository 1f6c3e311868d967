// Causal attention over packed sequences, with grouped heads and a sliding window.
// Everything is computed transposed: scores are [keys][queries], so that softmax runs with queries across
// lanes and the weights come out in the layout of the next product's B operand. One task is one head and one
// block of queries; it sees all its keys at once, so the softmax needs no rescaling.
#include <algorithm>
#include <cstring>
#include <vector>

#include "cpu/operations.hpp"

namespace llmc::cpu {
namespace {

constexpr int64_t kQueries = 64;    // of one task; a multiple of every kernel's b.width
constexpr int64_t kKeyBlock = 128;  // keys whose weights are packed at a time
constexpr int64_t kStride = kQueries + 16;

// One sequence and one key/value head, packed for all query heads that read it.
struct PackedHead {
  PackedPanels keys;    // A operand [keys, head_dim]
  PackedPanels values;  // A operand [head_dim, keys]
};

struct Task {
  int64_t sequence, head, query;  // `query` counts from the sequence's first key
};

class Attend {
 public:
  Attend(Engine& engine,
         const Attention& shape,
         DType dtype,
         std::span<const int64_t> starts,
         std::span<const int64_t> key_starts)
      : engine_(engine),
        shape_(shape),
        dtype_(dtype),
        kernel_(engine.kernel_for(dtype, dtype)),
        starts_(starts),
        key_starts_(key_starts),
        item_(static_cast<int64_t>(item_size(dtype))) {}

  void run(const void* q, const void* k, const void* v, void* out) {
    const int64_t sequences = static_cast<int64_t>(starts_.size()) - 1, kv_heads = shape_.kv_heads;
    int64_t longest = 0;
    size_t bytes = 0;
    std::vector<size_t> offsets;
    for (int64_t s = 0; s < sequences; ++s) {
      longest = std::max(longest, length(s));
      offsets.push_back(bytes);
      bytes += static_cast<size_t>(kv_heads) * (keys_bytes(s) + values_bytes(s));
    }
    const auto storage = engine_.buffers.lease(bytes);
    heads_.resize(static_cast<size_t>(sequences * kv_heads));
    engine_.pool.run(sequences * kv_heads, [&](int64_t index, int) {
      const int64_t s = index / kv_heads, head = index % kv_heads;
      std::byte* at = storage.data() + offsets[static_cast<size_t>(s)] +
          static_cast<size_t>(head) * (keys_bytes(s) + values_bytes(s));
      PackedHead& packed = heads_[static_cast<size_t>(index)];
      packed.keys = pack_rows(kernel_, Side::a, rows_of(k, key_starts_, s, head, kv_heads), 0, length(s), at);
      Operand transposed = rows_of(v, key_starts_, s, head, kv_heads);
      std::swap(transposed.rows, transposed.depth);
      std::swap(transposed.row_stride, transposed.depth_stride);
      packed.values = pack_rows(kernel_, Side::a, transposed, 0, shape_.head_dim, at + keys_bytes(s));
    });

    std::vector<Task> tasks;
    for (int64_t s = 0; s < sequences; ++s)
      for (int64_t head = 0; head < shape_.heads; ++head)
        for (int64_t query = past(s); query < length(s); query += kQueries) tasks.push_back({s, head, query});
    const int64_t padded_keys = round_up(longest, std::max(kKeyBlock, kernel_.a.width)) + kernel_.a.width,
                  padded_width = round_up(shape_.head_dim, kernel_.a.width);
    const auto scores = engine_.buffers.lease_of<float>(
        static_cast<size_t>(padded_keys * kStride * engine_.pool.slots()));
    const auto outputs = engine_.buffers.lease_of<float>(
        static_cast<size_t>((padded_width + shape_.head_dim) * kStride * engine_.pool.slots()));
    const size_t operand_bytes = kQueries *
        static_cast<size_t>(std::max(round_up(shape_.head_dim, kernel_.depth_step), kKeyBlock)) *
        item_size(kernel_.element);
    const auto operands = engine_.buffers.lease(operand_bytes * static_cast<size_t>(engine_.pool.slots()));
    engine_.pool.run(static_cast<int64_t>(tasks.size()), [&](int64_t index, int slot) {
      attend(tasks[static_cast<size_t>(index)], q, scores.as<float>() + slot * padded_keys * kStride,
             outputs.as<float>() + slot * (padded_width + shape_.head_dim) * kStride,
             operands.data() + static_cast<size_t>(slot) * operand_bytes, out);
    });
  }

 private:
  static int64_t rows_in(std::span<const int64_t> starts, int64_t s) {
    return starts[static_cast<size_t>(s + 1)] - starts[static_cast<size_t>(s)];
  }
  int64_t length(int64_t s) const { return rows_in(key_starts_, s); }
  int64_t past(int64_t s) const { return length(s) - rows_in(starts_, s); }  // keys before the first query
  size_t keys_bytes(int64_t s) const {
    return round_to_line(packed_bytes(kernel_, Side::a, length(s), shape_.head_dim));
  }
  size_t values_bytes(int64_t s) const {
    return round_to_line(packed_bytes(kernel_, Side::a, shape_.head_dim, length(s)));
  }
  static size_t round_to_line(size_t bytes) { return (bytes + 63) / 64 * 64; }

  // Rows of one sequence and head: [its rows, head_dim].
  Operand rows_of(const void* data,
                  std::span<const int64_t> starts,
                  int64_t s,
                  int64_t head,
                  int64_t heads) const {
    Operand operand;
    operand.row_stride = heads * shape_.head_dim;
    operand.data = static_cast<const std::byte*>(data) +
        (starts[static_cast<size_t>(s)] * operand.row_stride + head * shape_.head_dim) * item_;
    operand.dtype = dtype_;
    operand.rows = rows_in(starts, s);
    operand.depth = shape_.head_dim;
    return operand;
  }

  // scores [keys][kStride], output [head_dim, padded][kStride] and then rows, operand: scratch of this
  // thread.
  void attend(const Task& task, const void* q, float* scores, float* output, std::byte* operand, void* out)
      const {
    const int64_t total = length(task.sequence), count = std::min(kQueries, total - task.query),
                  panels = divide_up(count, kernel_.b.width), queries = panels * kernel_.b.width;
    const PackedHead& head = heads_[static_cast<size_t>(task.sequence * shape_.kv_heads +
                                                        task.head / (shape_.heads / shape_.kv_heads))];
    // keys after the block's last query are masked: they are not even multiplied
    const int64_t end = task.query + count;
    // a window as wide as the sequence masks nothing; a wider one may not fit the kernel's 32-bit lanes
    const int64_t window = shape_.sliding_window < total ? shape_.sliding_window : 0;
    const int64_t oldest = window > 0 ? std::max<int64_t>(0, task.query - window + 1) : 0;
    const int64_t first_block = oldest / kKeyBlock, last_block = divide_up(end, kKeyBlock);
    // Score rows start at a key that both operands can start at.
    const int64_t first_panel = first_block * kKeyBlock / kernel_.a.width,
                  first_key = first_panel * kernel_.a.width;
    const int64_t keys = end - first_key, key_panels = divide_up(end, kernel_.a.width) - first_panel;

    const Operand rows = rows_of(q, starts_, task.sequence, task.head, shape_.heads);
    const int64_t first_row = task.query - past(task.sequence);  // of the sequence's queries
    multiply_panels(kernel_, head.keys.part(first_panel, key_panels),
                    pack_rows(kernel_, Side::b, rows, first_row, first_row + count, operand), scores,
                    kStride);

    float inverse_sums[kQueries];
    engine_.elements.softmax_columns(scores, keys, kStride, queries, static_cast<float>(shape_.scale),
                                     {task.query, first_key, window}, inverse_sums);
    const int64_t known = std::min(last_block * kKeyBlock, total) - first_key;
    for (int64_t key = keys; key < known; ++key)
      std::memset(scores + key * kStride, 0, kQueries * sizeof(float));

    const bool twice = kernel_.element == DType::bf16;  // weights as the sum of two bf16 numbers
    for (int part = 0; part < (twice ? 2 : 1); ++part) {
      if (part == 1)
        for (int64_t key = 0; key < known; ++key)
          engine_.elements.keep_bf16_residue(scores + key * kStride, queries);
      Operand weights;
      weights.data = scores;
      weights.rows = queries;
      weights.depth = known;
      weights.row_stride = 1;
      weights.depth_stride = kStride;
      for (int64_t block = first_block; block < last_block; ++block) {
        Operand some = weights;
        some.data = scores + (block * kKeyBlock - first_key) * kStride;
        some.depth = std::min(kKeyBlock, total - block * kKeyBlock);
        const PackedPanels packed = pack_rows(kernel_, Side::b, some, 0, queries, operand);
        kernel_.multiply(packed.depth, head.values.from(block * kKeyBlock), packed.from(0), output, kStride,
                         part > 0 || block > first_block);
      }
    }

    float* row = output + round_up(shape_.head_dim, kernel_.a.width) * kStride;  // [head_dim]
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t c = 0; c < shape_.head_dim; ++c) row[c] = output[c * kStride + i] * inverse_sums[i];
      std::byte* to = static_cast<std::byte*>(out) +
          ((starts_[static_cast<size_t>(task.sequence)] + first_row + i) * shape_.heads + task.head) *
              shape_.head_dim * item_;
      engine_.elements.store_row(row, nullptr, shape_.head_dim, dtype_, to);
    }
  }

  Engine& engine_;
  const Attention& shape_;
  const DType dtype_;
  const MicroKernel& kernel_;
  const std::span<const int64_t> starts_, key_starts_;
  const int64_t item_;
  std::vector<PackedHead> heads_;  // [sequences * kv_heads]
};

}  // namespace

void run(Engine& engine, const AttentionCall& call) {
  Attend(engine, call.operation, call.q.dtype(), call.starts, call.key_starts)
      .run(call.q.data(), call.k.data(), call.v.data(), call.out.data());
}

}  // namespace llmc::cpu
