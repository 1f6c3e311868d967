// Device memory of the emulator: one reserved range of addresses that only kernels and copies may touch.
#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>

#include "emulation.hpp"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, size) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(address, size) static_cast<void>(0)
#endif

namespace llmc::emulation {
namespace {

constexpr size_t kReserved = size_t{16} << 30, kAlignment = 256, kGap = 256;

class Arena {
 public:
  static Arena& instance() {
    static Arena* const arena = new Arena();
    return *arena;
  }

  void* allocate(size_t bytes) {
    const std::lock_guard lock(mutex_);
    const size_t taken = (bytes + kAlignment - 1) / kAlignment * kAlignment + kGap;
    if (used_ + taken > total_) return nullptr;
    for (auto hole = holes_.begin(); hole != holes_.end(); ++hole)
      if (hole->second >= taken) {
        const size_t at = hole->first, left = hole->second - taken;
        holes_.erase(hole);
        if (left > 0) holes_[at + taken] = left;
        return take(at, bytes, taken);
      }
    if (end_ + taken > kReserved) return nullptr;
    const size_t at = end_;
    end_ += taken;
    if (open_ > 0) protect(PROT_READ | PROT_WRITE);
    return take(at, bytes, taken);
  }

  void release(void* memory) {
    if (!memory) return;
    const std::lock_guard lock(mutex_);
    const auto at = static_cast<size_t>(static_cast<std::byte*>(memory) - base_);
    const auto found = allocations_.find(at);
    if (found == allocations_.end()) {
      std::fprintf(stderr, "cuda emulation: cudaFree of memory that is not allocated\n");
      std::abort();
    }
    size_t begin = at, size = found->second;
    used_ -= size;
    ASAN_POISON_MEMORY_REGION(base_ + begin, size);
    allocations_.erase(found);
    if (const auto next = holes_.find(begin + size); next != holes_.end()) {
      size += next->second;
      holes_.erase(next);
    }
    if (auto before = holes_.lower_bound(begin);
        before != holes_.begin() && (--before)->first + before->second == begin) {
      begin = before->first;
      size += before->second;
      holes_.erase(before);
    }
    holes_[begin] = size;
  }

  size_t free_bytes() {
    const std::lock_guard lock(mutex_);
    return total_ - used_;
  }
  void set_total(size_t bytes) {
    const std::lock_guard lock(mutex_);
    total_ = bytes < kReserved ? bytes : kReserved;
  }
  void open() {
    const std::lock_guard lock(mutex_);
    if (open_++ == 0) protect(PROT_READ | PROT_WRITE);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) protect(PROT_NONE);
  }

 private:
  Arena()
      : base_(static_cast<std::byte*>(
            mmap(nullptr, kReserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))) {
    if (base_ == MAP_FAILED) std::abort();
  }

  void* take(size_t at, [[maybe_unused]] size_t bytes, size_t taken) {
    allocations_[at] = taken;
    used_ += taken;
    ASAN_POISON_MEMORY_REGION(base_ + at, taken);
    ASAN_UNPOISON_MEMORY_REGION(base_ + at, bytes);
    return base_ + at;
  }
  void protect(int how) {
    if (end_ > 0) mprotect(base_, (end_ + 4095) / 4096 * 4096, how);
  }

  std::mutex mutex_;
  std::byte* const base_;
  std::map<size_t, size_t> allocations_, holes_;  // offset -> bytes
  size_t end_ = 0, used_ = 0, total_ = kReserved;
  int open_ = 0;
};

}  // namespace

void* allocate_on_device(size_t bytes) { return Arena::instance().allocate(bytes); }
void free_on_device(void* memory) { Arena::instance().release(memory); }
size_t device_bytes_free() { return Arena::instance().free_bytes(); }
void set_device_bytes(size_t total) { Arena::instance().set_total(total); }
DeviceAccess::DeviceAccess() { Arena::instance().open(); }
DeviceAccess::~DeviceAccess() { Arena::instance().close(); }

}  // namespace llmc::emulation
