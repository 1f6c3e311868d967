// Writes on a thread of its own what a device has computed, while the device computes the next.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace llmc {

class WriteBehind {
 public:
  explicit WriteBehind(int64_t most_bytes) : most_bytes_(most_bytes) {}
  ~WriteBehind();  // after the piece at hand; those that wait are dropped
  WriteBehind(const WriteBehind&) = delete;
  WriteBehind& operator=(const WriteBehind&) = delete;

  // Pieces are written in order, one at a time; each keeps alive what it writes, `bytes` of it. Waits while
  // more than most_bytes wait, unless nothing does. Throws what an earlier piece threw; nothing is written
  // after that.
  void add(int64_t bytes, std::function<void()> write);
  void finish();  // waits until all is written; throws likewise

 private:
  struct Piece {
    int64_t bytes = 0;
    std::function<void()> write;
  };
  void work();

  const int64_t most_bytes_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Piece> waiting_;  // the one at hand stays in front until it is written
  int64_t waiting_bytes_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // from the first piece on
};

}  // namespace llmc
