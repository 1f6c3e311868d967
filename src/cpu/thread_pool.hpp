// A small pool of threads owned by one backend.
//
// Fork rule: threads do not survive fork(). In the child the pool notices the new process id and runs
// everything on the calling thread; destroying it there joins nothing. Fork while no call is running.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace llmc::cpu {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);  // 0: the cores this process may use
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Runs task(index, slot) for every index in [0, count), handed out in order, each once. `slot` < slots():
  // which participant runs it, to pick a scratch buffer. A nested call runs on its own thread with slot 0.
  // The first exception stops the handing out and is rethrown here.
  void run(int64_t count, const std::function<void(int64_t index, int slot)>& task);
  // From now on run() looks at *cancel before each task and ends with Error(cancelled) when it is true. Null:
  // never. Not during a run().
  void watch(const std::atomic<bool>* cancel) { cancel_ = cancel; }
  int slots() const;  // participants that a call to run() from here may have

  // body(begin, end) over chunks of `grain` that cover [0, count).
  void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body);

 private:
  struct State;
  bool runs_inline() const;
  void look() const;

  const std::atomic<bool>* cancel_ = nullptr;
  int threads_ = 1;
  std::unique_ptr<State> state_;  // null with one thread
};

}  // namespace llmc::cpu
