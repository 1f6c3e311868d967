#include <algorithm>

#include "cuda/kernels.hpp"
#include "cuda/operations.hpp"
#include "llmc/error.hpp"

namespace llmc::cuda {

void run(Engine& engine, const AttentionCall& call) {
  const Attention& attention = call.operation;
  if (attention.head_dim > attention_most_channels())
    throw Error(ErrorCode::unsupported,
                "cuda: attention heads of " + std::to_string(attention.head_dim) +
                    " channels; there is a kernel for at most " + std::to_string(attention_most_channels()));
  std::vector<AttentionTile> tiles;
  for (size_t s = 0; s + 1 < call.starts.size(); ++s) {
    const int64_t shift = call.key_starts[s + 1] - call.starts[s + 1];  // from a query's row to its key's
    for (int64_t query = call.starts[s]; query < call.starts[s + 1]; query += attention_queries_per_tile())
      tiles.push_back({query, call.key_starts[s] - shift, call.starts[s + 1], shift});
  }
  const Tensor tile_table = engine.heap.upload(tiles, DType::u8);
  AttentionProblem problem;
  problem.queries = call.q.data();
  problem.keys = call.k.data();
  problem.values = call.v.data();
  problem.out = call.out.data();
  problem.tiles = tile_table.as<AttentionTile>();
  problem.tile_count = static_cast<int64_t>(tiles.size());
  problem.heads = static_cast<int>(attention.heads);
  problem.kv_heads = static_cast<int>(attention.kv_heads);
  problem.head_dim = static_cast<int>(attention.head_dim);
  problem.scale = static_cast<float>(attention.scale);
  // one as wide as all keys hides nothing
  problem.window = attention.sliding_window < call.k.rows() ? std::max<int64_t>(0, attention.sliding_window)
                                                            : 0;
  attend(problem, call.q.dtype(), engine.stream);
}

}  // namespace llmc::cuda
