#include <cstring>

#include "cpu/operations.hpp"
#include "cpu/operations/rows.hpp"

namespace llmc::cpu {

void run(Engine& engine, const EmbeddingCall& call) {
  const Tensor& table = call.table;
  const DType dtype = call.out.dtype();
  const int64_t width = table.columns(), source_bytes = width * item_bytes(table);
  const auto out = rows_of(call.out);
  engine.pool.parallel_for(call.out.rows(), kRowGrain, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(width));
    for (int64_t t = begin; t < end; ++t) {
      const std::byte* from = table.data() + call.token_ids[static_cast<size_t>(t)] * source_bytes;
      if (table.dtype() == dtype) {
        std::memcpy(out[t], from, static_cast<size_t>(source_bytes));
      } else {
        engine.elements.load_row(from, table.dtype(), width, row.data());
        engine.elements.store_row(row.data(), nullptr, width, dtype, out[t]);
      }
    }
  });
}

}  // namespace llmc::cpu
