#include "core/data_free/tile_pipeline.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <memory>

#include "llmc/error.hpp"
#include "llmc/memory.hpp"

namespace llmc {

TileBuffer::~TileBuffer() {
  if (!memory_) return;
  charged_.credit(capacity_);
  ::munmap(memory_, static_cast<size_t>(capacity_));
}

TileBuffer TileBufferPool::take(int64_t bytes) {
  constexpr int64_t kSmallest = 64 << 10;
  const int64_t wanted = std::max(kSmallest, (bytes + 4095) / 4096 * 4096);
  {
    const std::lock_guard lock(mutex_);
    auto best = free_.end();
    for (auto block = free_.begin(); block != free_.end(); ++block)
      if (block->capacity() >= wanted && (best == free_.end() || block->capacity() < best->capacity()))
        best = block;
    // a small result must not occupy a large buffer
    if (best != free_.end() && best->capacity() <= 2 * wanted) {
      TileBuffer block = std::move(*best);
      free_.erase(best);
      free_bytes_ -= block.capacity();
      block.charged_.credit(block.capacity_);  // it serves another purpose now
      block.charged_ = MemoryTag::current();
      block.charged_.charge(block.capacity_);
      return block;
    }
  }
  void* const memory = ::mmap(nullptr, static_cast<size_t>(wanted), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw Error(ErrorCode::out_of_memory, fmt::format("tiles: no memory for {} bytes", bytes));
  TileBuffer block;
  block.capacity_ = wanted;
  block.memory_ = static_cast<std::byte*>(memory);
  block.charged_ = MemoryTag::current();
  block.charged_.charge(wanted);
  return block;
}

void TileBufferPool::give_back(TileBuffer block) noexcept {
  if (!block.data()) return;
  const std::lock_guard lock(mutex_);
  try {
    free_bytes_ += block.capacity();
    free_.push_back(std::move(block));
  } catch (...) {  // no memory to remember it: it is freed
    free_bytes_ -= block.capacity();
  }
  while (free_bytes_ > kKept) {
    free_bytes_ -= free_.front().capacity();
    free_.erase(free_.begin());
  }
}

void TilePipeline::fail() noexcept {
  const std::lock_guard lock(mutex_);
  if (!error_) error_ = std::current_exception();
  stopping_ = true;
  changed_.notify_all();
}

void TilePipeline::throw_if_failed() {
  if (error_) std::rethrow_exception(error_);
}

void TilePipeline::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (std::thread& reader : readers_)
    if (reader.joinable()) reader.join();
}

void TilePipeline::read_ahead(size_t steps, const std::function<TileRead(size_t)>& read_of) {
  try {
    while (true) {
      size_t step;
      TileRead read;
      {
        // A step is claimed in order, together with its bytes of memory. So a reader that waits for memory waits
        // for earlier steps alone, which are being computed: no deadlock.
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] {
          return stopping_ || next_read_ == steps || reading_bytes_ == 0 ||
              reading_bytes_ + read_of(next_read_).bytes <= kReadAhead;
        });
        if (stopping_ || next_read_ == steps) return;
        step = next_read_++;
        read = read_of(step);
        reading_bytes_ += read.bytes;
        changed_.notify_all();
      }
      Input input{{}, read.bytes};
      if (read.bytes > 0) {
        input.block = blocks_.take(read.bytes);
        source_.read_bytes(*read.tensor, read.offset, read.bytes, input.block.data());
      }
      const std::lock_guard lock(mutex_);
      inputs_.emplace(step, std::move(input));
      changed_.notify_all();
    }
  } catch (...) {
    fail();
  }
}

bool TilePipeline::is_stopping() {
  const std::lock_guard lock(mutex_);
  return stopping_;
}

void TilePipeline::write(const std::string& tensor, int64_t offset, TileBuffer block, int64_t bytes) {
  const auto shared = std::make_shared<TileBuffer>(std::move(block));
  behind_.add(bytes, [this, tensor, offset, shared, bytes] {
    if (is_stopping()) return;
    try {
      writer_.write_bytes(tensor, offset, shared->data(), bytes);
    } catch (...) {
      fail();  // at once, not when the next tile is written
      throw;
    }
    blocks_.give_back(std::move(*shared));
  });
}

void TilePipeline::run(size_t steps,
                       const std::function<TileRead(size_t)>& read_of,
                       const std::function<void(size_t, TileBuffer&)>& compute) {
  stopping_ = false;
  next_read_ = 0;
  try {
    for (std::thread& reader : readers_)
      reader = std::thread([&, memory = MemoryTag::current().as(MemoryPurpose::weights)] {
        const MemoryScope scope(memory);
        read_ahead(steps, read_of);
      });
    for (size_t step = 0; step < steps; ++step) {
      Input input;
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stopping_ || inputs_.count(step); });
        throw_if_failed();
        input = std::move(inputs_.extract(step).mapped());
      }
      compute(step, input.block);
      blocks_.give_back(std::move(input.block));
      const std::lock_guard lock(mutex_);
      reading_bytes_ -= input.bytes;
      changed_.notify_all();
    }
    behind_.finish();
  } catch (...) {
    fail();
  }
  stop();
  throw_if_failed();
}

}  // namespace llmc
