#include "cpu/thread_pool.hpp"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "cpu/usable_cores.hpp"
#include "llmc/error.hpp"
#include "llmc/memory.hpp"

namespace llmc::cpu {
namespace {

// The pool whose task this thread is running: a nested call on any pool runs inline.
thread_local int running_tasks = 0;

struct RunningTask {
  RunningTask() { ++running_tasks; }
  ~RunningTask() { --running_tasks; }
};

}  // namespace

struct ThreadPool::State {
  pid_t owner = getpid();
  std::vector<std::thread> workers;
  std::mutex calls;  // one region at a time

  std::mutex mutex;
  std::condition_variable start, done;
  uint64_t generation = 0;  // of the region; guarded by mutex
  int busy = 0;             // workers inside the region; guarded by mutex
  bool stop = false;

  const std::function<void(int64_t, int)>* task = nullptr;
  int64_t count = 0;
  std::atomic<int64_t> next{0};
  std::exception_ptr error;  // guarded by mutex
  MemoryTag memory;          // of the thread that called: tasks charge to it

  void take_part(int slot, const ThreadPool& pool) {
    const RunningTask running;
    const MemoryScope scope(memory);
    for (int64_t index; (index = next.fetch_add(1)) < count;) {
      try {
        pool.look();
        (*task)(index, slot);
      } catch (...) {
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
        next.store(count);
      }
    }
  }

  void end_workers() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    start.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void work(int slot, const ThreadPool& pool) {
    uint64_t seen = 0;
    std::unique_lock lock(mutex);
    while (true) {
      start.wait(lock, [&] { return stop || generation != seen; });
      if (stop) return;
      seen = generation;
      lock.unlock();
      take_part(slot, pool);
      lock.lock();
      if (--busy == 0) done.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads > 0 ? threads : usable_cores()) {
  if (threads_ == 1) return;
  state_ = std::make_unique<State>();
  try {
    state_->workers.reserve(static_cast<size_t>(threads_) - 1);
    for (int slot = 1; slot < threads_; ++slot)
      state_->workers.emplace_back([this, state = state_.get(), slot] { state->work(slot, *this); });
  } catch (const std::system_error&) {  // a process limit: go on with the threads there are
    threads_ = 1 + static_cast<int>(state_->workers.size());
  } catch (...) {  // no memory for a thread: those that run must end before what they wait on goes
    state_->end_workers();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  if (!state_) return;
  // a forked child: the threads, and what they waited on, are not ours to end
  if (state_->owner != getpid()) {
    static_cast<void>(state_.release());
    return;
  }
  state_->end_workers();
}

void ThreadPool::look() const {
  if (cancel_ && cancel_->load(std::memory_order_relaxed)) throw Error(ErrorCode::cancelled, "cancelled");
}

bool ThreadPool::runs_inline() const { return !state_ || running_tasks > 0 || state_->owner != getpid(); }

int ThreadPool::slots() const { return runs_inline() ? 1 : threads_; }

void ThreadPool::run(int64_t count, const std::function<void(int64_t, int)>& task) {
  if (count <= 0) return;
  if (count == 1 || runs_inline()) {
    for (int64_t index = 0; index < count; ++index) {
      look();
      task(index, 0);
    }
    return;
  }
  State& state = *state_;
  const std::lock_guard one_region(state.calls);
  {
    const std::lock_guard lock(state.mutex);
    state.task = &task;
    state.count = count;
    state.memory = MemoryTag::current();
    state.next.store(0);
    state.error = nullptr;
    state.busy = static_cast<int>(state.workers.size());
    ++state.generation;
  }
  state.start.notify_all();
  state.take_part(0, *this);
  std::unique_lock lock(state.mutex);
  state.done.wait(lock, [&] { return state.busy == 0; });
  if (state.error) std::rethrow_exception(std::exchange(state.error, nullptr));
}

void ThreadPool::parallel_for(int64_t count,
                              int64_t grain,
                              const std::function<void(int64_t, int64_t)>& body) {
  grain = std::max<int64_t>(grain, 1);
  run((count + grain - 1) / grain,
      [&](int64_t chunk, int) { body(chunk * grain, std::min(count, (chunk + 1) * grain)); });
}

}  // namespace llmc::cpu
