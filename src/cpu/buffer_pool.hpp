// Scratch memory that is reused from call to call, so that a kernel never waits for fresh pages.
#pragma once
#include <cstddef>
#include <mutex>
#include <vector>

#include "llmc/tensor.hpp"

namespace llmc::cpu {

class BufferPool {
 public:
  BufferPool() { free_.reserve(kKept); }

  // Uninitialized, 64-byte aligned memory; goes back to the pool with the lease.
  class Lease {
   public:
    Lease(BufferPool& pool, Tensor block) : pool_(&pool), block_(std::move(block)) {}
    Lease(Lease&&) noexcept = default;
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (!block_.empty()) pool_->give_back(std::move(block_));
    }
    std::byte* data() const { return const_cast<std::byte*>(block_.data()); }
    template <class T>
    T* as() const {
      return reinterpret_cast<T*>(data());
    }

   private:
    BufferPool* pool_;
    Tensor block_;
  };

  Lease lease(size_t bytes);  // throws Error(out_of_memory); any thread
  template <class T>
  Lease lease_of(size_t elements) {
    return lease(elements * sizeof(T));
  }

 private:
  void give_back(Tensor block) noexcept;

  static constexpr size_t kKept = 16;  // blocks that wait for reuse
  std::mutex mutex_;
  std::vector<Tensor> free_;  // by rising size
};

}  // namespace llmc::cpu
