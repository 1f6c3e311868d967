// Work for one thread in the background: in order, one piece at a time, within a budget of bytes.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace llmc {

class ByteQueue {
 public:
  static constexpr int64_t kNoBound = INT64_MAX;
  // add() waits while more than `most_bytes` would wait, unless nothing does. A piece is begun when more than
  // `lag` bytes wait, itself among them; with a lag of 0 at once.
  explicit ByteQueue(int64_t most_bytes, int64_t lag = 0) : most_bytes_(most_bytes), lag_(lag) {}
  ~ByteQueue();  // ends after the piece at hand; those that wait are dropped
  ByteQueue(const ByteQueue&) = delete;
  ByteQueue& operator=(const ByteQueue&) = delete;

  // Any thread. `work` keeps alive what it uses, `bytes` of it. False when the system has no thread for the
  // queue: `work` is as it was, and the caller's. Throws what an earlier piece threw; none is begun after that.
  bool add(int64_t bytes, std::function<void()>&& work);
  void finish();  // of a queue without lag: waits until all is done; throws likewise
  void stop();    // as the destructor, and throws what a piece threw, once

 private:
  struct Piece {
    int64_t bytes = 0;
    std::function<void()> work;
  };
  bool is_due() const { return !waiting_.empty() && (lag_ == 0 || waiting_bytes_ > lag_); }
  void work();  // the thread
  void join();

  const int64_t most_bytes_, lag_;
  std::mutex mutex_;  // guards what follows
  std::condition_variable changed_;
  std::deque<Piece> waiting_;  // the one at hand stays in front until it is done
  int64_t waiting_bytes_ = 0;
  bool stopping_ = false;
  std::exception_ptr error_;
  std::thread thread_;  // from the first piece that is due on
};

}  // namespace llmc
