#include <cstring>

#include "cpu/operations.hpp"
#include "cpu/operations/rows.hpp"

namespace llmc::cpu {

void run(Engine& engine, const SliceCall& call) {
  const auto from = rows_of(call.x);
  const auto to = rows_of(call.out);
  const int64_t skipped = call.operation.first * item_bytes(call.x);
  engine.pool.parallel_for(call.x.rows(), kRowGrain, [&](int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t)
      std::memcpy(to[t], from[t] + skipped, static_cast<size_t>(to.bytes));
  });
}

}  // namespace llmc::cpu
