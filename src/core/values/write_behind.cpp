#include "core/values/write_behind.hpp"

#include "llmc/memory.hpp"

#include <system_error>
#include <utility>

namespace llmc {

WriteBehind::~WriteBehind() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void WriteBehind::add(int64_t bytes, std::function<void()> write) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || waiting_.empty() || waiting_bytes_ + bytes <= most_bytes_; });
  if (error_) std::rethrow_exception(error_);
  if (!thread_.joinable()) {
    try {
      thread_ = std::thread([this, memory = MemoryTag::current()] {
        const MemoryScope scope(memory);
        work();
      });
    } catch (const std::system_error&) {  // no thread to be had
      lock.unlock();
      return write();
    }
  }
  waiting_.push_back({bytes, std::move(write)});
  waiting_bytes_ += bytes;
  changed_.notify_all();
}

void WriteBehind::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ || waiting_.empty(); });
  if (error_) std::rethrow_exception(error_);
}

void WriteBehind::work() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    const Piece& piece = waiting_.front();  // stays where it is: others only push at the back
    lock.unlock();
    try {
      piece.write();
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
