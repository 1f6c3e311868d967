#include "cuda/gram_accumulator.hpp"

#include <algorithm>

#include "cuda/check.hpp"
#include "cuda/kernels.hpp"

namespace llmc::cuda {

namespace {
// of values that wait; the bits of a gram depend on the tokens
constexpr int64_t kMostTokens = 32768, kMostBytes = int64_t{512} << 20;
}  // namespace

void GramAccumulator::release(std::byte* bytes) noexcept {
  waiting_.erase(bytes);
  engine_.heap.release(bytes);
}

void GramAccumulator::add(const TensorView& x, float* gram) {
  const int64_t width = x.columns(), row_bytes = width * static_cast<int64_t>(item_size(x.dtype)),
                room = std::clamp(kMostBytes / row_bytes, int64_t{1024}, kMostTokens);
  Waiting& waiting = waiting_[gram];
  if (!waiting.values.empty() && (waiting.values.dtype() != x.dtype || waiting.values.columns() != width)) {
    flush(gram, waiting);
    waiting.values = Tensor();
  }
  for (int64_t first = 0; first < x.rows();) {
    if (waiting.tokens == 0 && x.rows() - first >= room) {  // a full batch by itself: no copy needed
      add_to_gram(x.data + first * row_bytes, x.dtype, room, width, gram, engine_.stream);
      first += room;
      continue;
    }
    if (waiting.values.empty()) waiting.values = engine_.heap.tensor(x.dtype, {room, width});
    const int64_t count = std::min(x.rows() - first, room - waiting.tokens);
    check(cudaMemcpyAsync(waiting.values.data() + waiting.tokens * row_bytes, x.data + first * row_bytes,
                          static_cast<size_t>(count * row_bytes), cudaMemcpyDeviceToDevice, engine_.stream),
          "copy of values");
    waiting.tokens += count;
    first += count;
    if (waiting.tokens == room) flush(gram, waiting);
  }
}

void GramAccumulator::flush(float* gram, Waiting& waiting) {
  if (waiting.tokens > 0)
    add_to_gram(waiting.values.data(), waiting.values.dtype(), waiting.tokens, waiting.values.columns(), gram,
                engine_.stream);
  waiting.tokens = 0;
}

void GramAccumulator::finish(const void* gram) {
  const auto found = waiting_.find(gram);
  if (found == waiting_.end()) return;
  flush(static_cast<float*>(const_cast<void*>(gram)), found->second);
  waiting_.erase(found);
}

}  // namespace llmc::cuda
