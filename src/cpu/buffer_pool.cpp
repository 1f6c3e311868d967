#include "cpu/buffer_pool.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "llmc/error.hpp"

namespace llmc::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

}  // namespace

void BufferPool::Free::operator()(std::byte* bytes) const noexcept { std::free(bytes); }

BufferPool::Lease BufferPool::lease(size_t bytes) {
  {
    const std::lock_guard lock(mutex_);
    const auto fits = std::find_if(free_.begin(), free_.end(), [&](const Block& block) { return block.capacity >= bytes; });
    if (fits != free_.end() && fits->capacity / 4 <= bytes + kHugePage) {
      Block block = std::move(*fits);
      free_.erase(fits);
      return Lease(*this, std::move(block));
    }
  }
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const size_t capacity = (std::max<size_t>(bytes, 1) + alignment - 1) / alignment * alignment;
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(alignment, capacity));
  if (!memory) throw Error(ErrorCode::out_of_memory, "cpu: no memory for " + std::to_string(capacity) + " bytes of scratch");
#if defined(MADV_HUGEPAGE)
  if (alignment == kHugePage) madvise(memory, capacity, MADV_HUGEPAGE);
#endif
  Block block;
  block.bytes.reset(memory);
  block.capacity = capacity;
  return Lease(*this, std::move(block));
}

void BufferPool::give_back(Block block) noexcept {
  const std::lock_guard lock(mutex_);
  if (free_.size() == kKept) free_.erase(free_.begin());
  const auto place = std::find_if(free_.begin(), free_.end(), [&](const Block& other) { return other.capacity >= block.capacity; });
  free_.insert(place, std::move(block));
}

}  // namespace llmc::cpu
