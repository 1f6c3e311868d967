#include "core/files/read_back.hpp"

#include <system_error>
#include <utility>

#include "core/files/checksum.hpp"

namespace llmc {

void read_back(const WrittenPiece& piece,
               std::vector<std::byte>& memory,
               const std::function<void(const WrittenPiece&)>& differs) {
  if (memory.size() < static_cast<size_t>(piece.bytes)) memory.resize(static_cast<size_t>(piece.bytes));
  piece.file->read_at(piece.offset, memory.data(), piece.bytes);
  if (checksum(memory.data(), piece.bytes) != piece.sum) differs(piece);
}

BackgroundReadBack::BackgroundReadBack(int64_t lag, bool from_disk, Callback differs, Callback done)
    : lag_(lag),
      from_disk_(from_disk),
      differs_(std::move(differs)),
      done_(std::move(done)) {}

BackgroundReadBack::~BackgroundReadBack() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  more_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void BackgroundReadBack::add(const WrittenPiece& piece) {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
  waiting_.push_back(piece);
  waiting_bytes_ += piece.bytes;
  if (!started_ && waiting_bytes_ > lag_) {
    started_ = true;
    try {
      thread_ = std::thread([this] { work(); });
    } catch (const std::system_error&) {
      // No thread to be had: everything is left to the caller.
    }
  }
  more_.notify_one();
}

void BackgroundReadBack::work() {
  std::vector<std::byte> memory;
  std::unique_lock lock(mutex_);
  while (true) {
    more_.wait(lock, [&] { return stopping_ || waiting_bytes_ > lag_; });
    if (stopping_) return;
    const WrittenPiece piece = waiting_.front();
    waiting_.pop_front();
    waiting_bytes_ -= piece.bytes;
    lock.unlock();
    try {
      if (from_disk_) {
        piece.file->flush(piece.offset, piece.bytes);
        piece.file->drop_cache(piece.offset, piece.bytes);
      }
      read_back(piece, memory, differs_);
      done_(piece);
    } catch (...) {
      lock.lock();
      error_ = std::current_exception();
      return;
    }
    lock.lock();
  }
}

void BackgroundReadBack::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  more_.notify_all();
  if (thread_.joinable()) thread_.join();
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace llmc
