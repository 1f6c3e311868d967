#include "cpu/buffer_pool.hpp"

#include <algorithm>

namespace llmc::cpu {

BufferPool::Lease BufferPool::lease(size_t bytes) {
  constexpr size_t kSmall = size_t{2} << 20;  // any block will do
  {
    const std::lock_guard lock(mutex_);
    const auto fits = std::find_if(free_.begin(), free_.end(), [&](const Tensor& block) {
      return static_cast<size_t>(block.bytes()) >= bytes;
    });
    if (fits != free_.end() && static_cast<size_t>(fits->bytes()) / 4 <= bytes + kSmall) {
      Tensor block = std::move(*fits);
      free_.erase(fits);
      return Lease(*this, std::move(block));
    }
  }
  return Lease(*this, Tensor(DType::u8, {static_cast<int64_t>(bytes)}));
}

void BufferPool::give_back(Tensor block) noexcept {
  const std::lock_guard lock(mutex_);
  if (free_.size() == kKept) free_.erase(free_.begin());
  const auto place = std::find_if(free_.begin(), free_.end(),
                                  [&](const Tensor& other) { return other.bytes() >= block.bytes(); });
  free_.insert(place, std::move(block));
}

}  // namespace llmc::cpu
