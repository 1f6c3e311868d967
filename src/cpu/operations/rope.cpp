#include <algorithm>
#include <cstring>

#include "cpu/operations.hpp"
#include "cpu/operations/rows.hpp"

namespace llmc::cpu {

void run(Engine& engine, const RopeCall& call) {
  const Rope& rope = call.operation;
  const DType dtype = call.x.dtype();
  const int64_t half = rope.spec.rotary_dim / 2, item = item_bytes(call.x), head_bytes = rope.head_dim * item,
                rotated_bytes = rope.spec.rotary_dim * item;
  const std::span<const int64_t> starts = call.starts;
  const auto from_rows = rows_of(call.x);
  const auto to_rows = rows_of(call.out);
  engine.pool.parallel_for(call.x.rows(), kRowGrain, [&](int64_t begin, int64_t end) {
    auto s = static_cast<size_t>(std::upper_bound(starts.begin(), starts.end(), begin) - starts.begin()) - 1;
    for (int64_t t = begin; t < end; ++t) {
      while (t >= starts[s + 1]) ++s;
      const int64_t at = (call.past[s] + t - starts[s]) * half;
      const RopeTables::Table& table = *call.tables[s];
      for (int64_t h = 0; h < rope.heads; ++h) {
        const std::byte* from = from_rows[t] + h * head_bytes;
        std::byte* to = to_rows[t] + h * head_bytes;
        engine.elements.rotate_row(from, dtype, half, table.cosine.data() + at, table.sine.data() + at, to);
        if (head_bytes > rotated_bytes)
          std::memcpy(to + rotated_bytes, from + rotated_bytes,
                      static_cast<size_t>(head_bytes - rotated_bytes));
      }
    }
  });
}

}  // namespace llmc::cpu
