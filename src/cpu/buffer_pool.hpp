// Scratch memory that is reused from call to call, so that a kernel never waits for fresh pages.
#pragma once
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace llmc::cpu {

class BufferPool {
  struct Free {
    void operator()(std::byte* bytes) const noexcept;
  };
  struct Block {
    std::unique_ptr<std::byte[], Free> bytes;
    size_t capacity = 0;
  };

 public:
  BufferPool() { free_.reserve(kKept); }

  // Uninitialized, 64-byte aligned memory; goes back to the pool with the lease.
  class Lease {
   public:
    Lease(BufferPool& pool, Block block) : pool_(&pool), block_(std::move(block)) {}
    Lease(Lease&&) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (block_.bytes) pool_->give_back(std::move(block_));
    }
    std::byte* data() const { return block_.bytes.get(); }
    template <class T>
    T* as() const {
      return reinterpret_cast<T*>(block_.bytes.get());
    }

   private:
    BufferPool* pool_;
    Block block_;
  };

  Lease lease(size_t bytes);  // throws Error(out_of_memory); any thread
  template <class T>
  Lease lease_of(size_t elements) {
    return lease(elements * sizeof(T));
  }

 private:
  void give_back(Block block) noexcept;

  static constexpr size_t kKept = 16;  // blocks that wait for reuse
  std::mutex mutex_;
  std::vector<Block> free_;  // by rising capacity
};

}  // namespace llmc::cpu
