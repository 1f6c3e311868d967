// Read, compute, write, overlapped: two threads of its own read ahead, the calling thread computes (and
// spreads that over the backend's threads), another thread writes behind. Steps are computed in their order.
// Memory is bounded by what may be under way, whatever the size of the model.
#pragma once
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/files/checkpoint_writer.hpp"
#include "core/values/write_behind.hpp"
#include "llmc/memory.hpp"

namespace llmc {

inline constexpr int64_t kTileBytes = int64_t{8} << 20;  // of a step's input, about
// bytes read and not yet computed, unless a single step needs more
inline constexpr int64_t kReadAhead = 3 * kTileBytes;
inline constexpr int64_t kWriteBehind = 3 * kTileBytes;  // bytes computed and not yet written, likewise

// Memory that goes from step to step, so that no page is asked of the system twice.
class TileBuffer {
 public:
  TileBuffer() = default;
  TileBuffer(TileBuffer&& other) noexcept
      : memory_(std::exchange(other.memory_, nullptr)),
        capacity_(std::exchange(other.capacity_, 0)),
        charged_(other.charged_) {}
  TileBuffer& operator=(TileBuffer&& other) noexcept {
    std::swap(memory_, other.memory_);
    std::swap(capacity_, other.capacity_);
    std::swap(charged_, other.charged_);
    return *this;
  }
  ~TileBuffer();
  std::byte* data() const { return memory_; }
  int64_t capacity() const { return capacity_; }

 private:
  friend class TileBufferPool;
  // pages of its own: what threads hand to each other would pile up in malloc's arenas
  std::byte* memory_ = nullptr;
  int64_t capacity_ = 0;
  MemoryTag charged_;
};

class TileBufferPool {
 public:
  TileBuffer take(int64_t bytes);  // uninitialized; Error(out_of_memory). Any thread, as give_back.
  void give_back(TileBuffer block) noexcept;

 private:
  static constexpr int64_t kKept = 4 * kTileBytes;  // bytes that wait for reuse
  std::mutex mutex_;
  std::vector<TileBuffer> free_;  // longest unused first
  int64_t free_bytes_ = 0;
};

struct TileRead {
  const std::string* tensor = nullptr;  // of the source
  int64_t offset = 0, bytes = 0;        // in the tensor; 0 bytes: nothing to read
};

class TilePipeline {
 public:
  TilePipeline(const Checkpoint& source, CheckpointWriter& writer) : source_(source), writer_(writer) {}
  ~TilePipeline() { stop(); }
  TilePipeline(const TilePipeline&) = delete;
  TilePipeline& operator=(const TilePipeline&) = delete;

  // compute(step, input) for each step in order, here. Returns when everything is written; the first error of
  // any thread ends it and is thrown.
  void run(size_t steps,
           const std::function<TileRead(size_t)>& read_of,
           const std::function<void(size_t, TileBuffer&)>& compute);

  // Within compute: memory for results, and their way to the file. `input` itself may be handed on.
  TileBuffer allocate(int64_t bytes) {
    const MemoryScope scope(MemoryPurpose::output);
    return blocks_.take(bytes);
  }
  void write(const std::string& tensor, int64_t offset, TileBuffer block, int64_t bytes);

 private:
  struct Input {
    TileBuffer block;
    int64_t bytes;
  };
  static constexpr int kReaders = 2;
  void read_ahead(size_t steps, const std::function<TileRead(size_t)>& read_of);
  bool is_stopping();
  void fail() noexcept;    // keeps the current exception, wakes everybody
  void throw_if_failed();  // with the lock held
  void stop() noexcept;    // ends and joins the threads

  const Checkpoint& source_;
  CheckpointWriter& writer_;
  TileBufferPool blocks_;

  std::mutex mutex_;
  std::condition_variable changed_;
  size_t next_read_ = 0;
  std::map<size_t, Input> inputs_;  // by step
  int64_t reading_bytes_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
  std::thread readers_[kReaders];
  WriteBehind behind_{kWriteBehind};  // the last member: its thread uses the others
};

}  // namespace llmc
