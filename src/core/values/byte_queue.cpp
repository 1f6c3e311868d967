#include "core/values/byte_queue.hpp"

#include <system_error>
#include <utility>

#include "llmc/memory.hpp"

namespace llmc {

ByteQueue::~ByteQueue() { join(); }

void ByteQueue::join() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool ByteQueue::add(int64_t bytes, std::function<void()>&& work_of_piece) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || waiting_.empty() || waiting_bytes_ + bytes <= most_bytes_; });
  if (error_) std::rethrow_exception(error_);
  if (!thread_.joinable() && !stopping_ && (lag_ == 0 || waiting_bytes_ + bytes > lag_)) {
    try {
      thread_ = std::thread([this, memory = MemoryTag::current()] {
        const MemoryScope scope(memory);
        work();
      });
    } catch (const std::system_error&) {  // no thread to be had
      return false;
    }
  }
  waiting_.push_back({bytes, std::move(work_of_piece)});
  waiting_bytes_ += bytes;
  changed_.notify_all();
  return true;
}

void ByteQueue::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || waiting_.empty(); });
  if (error_) std::rethrow_exception(error_);
}

void ByteQueue::stop() {
  join();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ByteQueue::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || is_due(); });
    if (stopping_) return;
    const Piece& piece = waiting_.front();  // stays where it is: others only push at the back
    lock.unlock();
    try {
      piece.work();
    } catch (...) {
      lock.lock();
      error_ = std::current_exception();
      changed_.notify_all();
      return;
    }
    lock.lock();
    waiting_bytes_ -= piece.bytes;
    waiting_.pop_front();
    changed_.notify_all();
  }
}

}  // namespace llmc
