#include "emulation.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define FIBERS_TELL_SANITIZER 1
#else
#define FIBERS_TELL_SANITIZER 0
#endif

#if defined(__x86_64__)
// Saves what a function must preserve, swaps stacks, and returns on the other one.
asm(R"(
.text
.type llmc_emulation_switch, @function
llmc_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
extern "C" void llmc_emulation_switch(void** save, void* load) asm("llmc_emulation_switch");
#else
#include <ucontext.h>
#endif

namespace llmc::emulation {
namespace {

constexpr size_t kStackBytes = 64 << 10;  // reserved; touched only as far as a kernel needs
constexpr int kLanes = 32;

std::atomic<Order> order_of_threads{Order::forward};
std::atomic<uint32_t> order_seed{0};

[[noreturn]] void die(const char* kernel, const char* what) {
  std::fprintf(stderr, "cuda emulation: kernel %s: %s\n", kernel, what);
  std::abort();
}

struct Stack {
  std::byte* bytes;
  Stack()
      : bytes(static_cast<std::byte*>(mmap(nullptr,
                                           kStackBytes,
                                           PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                                           -1,
                                           0))) {
    if (bytes == MAP_FAILED) die("-", "no memory for stacks");
  }
  Stack(Stack&& other) noexcept : bytes(std::exchange(other.bytes, nullptr)) {}
  ~Stack() {
    if (bytes) munmap(bytes, kStackBytes);
  }
};

class Context {
 public:
  // Goes on in `to`; returns when somebody goes on here.
  void switch_to(Context& to) {
#if FIBERS_TELL_SANITIZER
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, to.bottom_, to.size_);
#endif
#if defined(__x86_64__)
    llmc_emulation_switch(&stack_pointer_, to.stack_pointer_);
#else
    swapcontext(&context_, &to.context_);
#endif
#if FIBERS_TELL_SANITIZER
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  void start(const Stack& stack, void (*entry)()) {
    bottom_ = stack.bytes;
    size_ = kStackBytes;
#if FIBERS_TELL_SANITIZER
    // what the fiber before, which never returned from its first function, left marked
    __asan_unpoison_memory_region(stack.bytes, kStackBytes);
#endif
#if defined(__x86_64__)
    auto** top = reinterpret_cast<void**>(stack.bytes + kStackBytes) - 2;
    *--top = nullptr;                         // where entry() would return to: never
    *--top = reinterpret_cast<void*>(entry);  // leaves the stack aligned as after a call
    for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
    stack_pointer_ = top;
#else
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack.bytes;
    context_.uc_stack.ss_size = kStackBytes;
    makecontext(&context_, entry, 0);
#endif
  }
  void entered() {
#if FIBERS_TELL_SANITIZER
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
  }
  void adopt_thread_stack() {  // the scheduler's own
#if FIBERS_TELL_SANITIZER
    pthread_attr_t attributes;
    void* address = nullptr;
    size_t size = 0;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &address, &size);
    pthread_attr_destroy(&attributes);
    bottom_ = address;
    size_ = size;
#endif
  }

 private:
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_{};
#endif
  [[maybe_unused]] const void* bottom_ = nullptr;
  [[maybe_unused]] size_t size_ = 0;
};

struct PendingCopy {
  void* to;
  const void* from;
  size_t bytes, zeros;
  int group;
};

enum class State : uint8_t { ready, waits_for_block, waits_for_warp, done };

struct Fiber {
  Context context;
  ThreadPosition position;
  State state = State::ready;
  int exchanges = 0;  // how many it has taken part in
  int copy_group = 0;
  std::vector<PendingCopy> copies;
};

struct Warp {
  int arrived = 0, generation = 0;
  alignas(64) std::byte slots[2][kLanes][64];  // of this exchange and the one before
};

struct Launch {
  const char* name;
  dim3 grid, block;
  size_t shared_bytes;
  const std::function<void()>* thread;
};

// One core's fibers; runs one block at a time.
class Worker {
 public:
  static Worker& of_this_thread() {
    thread_local Worker worker;
    return worker;
  }

  void run_block(const Launch& launch, uint64_t index) {
    launch_ = &launch;
    const size_t threads = size_t{launch.block.x} * launch.block.y * launch.block.z;
    if (threads == 0 || threads > 1024) die(launch.name, "wanted 1 to 1024 threads in a block");
    while (stacks_.size() < threads) stacks_.emplace_back();
    while (fibers_.size() < threads) fibers_.push_back(std::make_unique<Fiber>());
    warps_.resize((threads + kLanes - 1) / kLanes);
    for (Warp& warp : warps_) warp.arrived = warp.generation = 0;
    const auto shared = std::make_unique<std::byte[]>(launch.shared_bytes);
    // NaN, whatever the type: reading before writing shows
    std::memset(shared.get(), 0xFF, launch.shared_bytes);
    threads_ = threads;
    at_barrier_ = done_ = 0;
    for (size_t t = 0; t < threads; ++t) {
      Fiber& fiber = *fibers_[t];
      const auto linear = static_cast<unsigned>(t);
      fiber.position = {{linear % launch.block.x, linear / launch.block.x % launch.block.y,
                         linear / launch.block.x / launch.block.y},
                        {static_cast<unsigned>(index % launch.grid.x),
                         static_cast<unsigned>(index / launch.grid.x % launch.grid.y),
                         static_cast<unsigned>(index / launch.grid.x / launch.grid.y)},
                        launch.block,
                        launch.grid,
                        shared.get()};
      fiber.state = State::ready;
      fiber.exchanges = fiber.copy_group = 0;
      fiber.copies.clear();
      fiber.context.start(stacks_[t], &Worker::enter);
    }
    scheduler_.adopt_thread_stack();
    schedule(index);
  }

  Fiber& current() { return *current_; }

  void wait_for_block() {
    Fiber& fiber = *current_;
    if (++at_barrier_ == threads_) {
      at_barrier_ = 0;
      for (size_t t = 0; t < threads_; ++t) fibers_[t]->state = State::ready;
      return;
    }
    fiber.state = State::waits_for_block;
    fiber.context.switch_to(scheduler_);
  }

  const std::byte* exchange(const void* mine, size_t bytes) {
    if (bytes > 64) die(launch_->name, "an exchange of more than 64 bytes");
    Fiber& fiber = *current_;
    const size_t t = index_of(fiber);
    Warp& warp = warps_[t / kLanes];
    const int generation = fiber.exchanges++;
    if (generation != warp.generation) die(launch_->name, "lanes of a warp take part in different exchanges");
    auto& slots = warp.slots[generation & 1];
    std::memcpy(slots[t % kLanes], mine, bytes);
    const size_t first = t / kLanes * kLanes, lanes = std::min<size_t>(kLanes, threads_ - first);
    if (lanes != kLanes) die(launch_->name, "an exchange in an incomplete warp");
    if (++warp.arrived == kLanes) {
      warp.arrived = 0;
      ++warp.generation;
      for (size_t lane = 0; lane < lanes; ++lane) fibers_[first + lane]->state = State::ready;
    } else {
      fiber.state = State::waits_for_warp;
      fiber.context.switch_to(scheduler_);
    }
    return slots[0];
  }

 private:
  static size_t index_of(const Fiber& fiber) {
    const auto& [thread, block, size, grid, shared] = fiber.position;
    return thread.x + size_t{size.x} * (thread.y + size_t{size.y} * thread.z);
  }

  static void enter() {
    Worker& worker = of_this_thread();
    Fiber& fiber = *worker.current_;
    fiber.context.entered();
    (*worker.launch_->thread)();
    if (!fiber.copies.empty()) die(worker.launch_->name, "a thread ended with copies it never waited for");
    fiber.state = State::done;
    ++worker.done_;
    fiber.context.switch_to(worker.scheduler_);
    die(worker.launch_->name, "a finished thread went on");
  }

  void schedule(uint64_t block) {
    std::vector<uint32_t> turns(threads_);
    for (size_t t = 0; t < threads_; ++t) turns[t] = static_cast<uint32_t>(t);
    const Order order = order_of_threads;
    if (order == Order::backward) std::reverse(turns.begin(), turns.end());
    std::mt19937 random(static_cast<uint32_t>(order_seed + block * 2654435761u));
    while (done_ < threads_) {
      if (order == Order::shuffled) std::shuffle(turns.begin(), turns.end(), random);
      bool moved = false;
      for (const uint32_t t : turns) {
        if (fibers_[t]->state != State::ready) continue;
        moved = true;
        current_ = fibers_[t].get();
        scheduler_.switch_to(current_->context);
      }
      if (!moved)
        die(launch_->name,
            done_ > 0 ? "threads wait for others that have ended"
                      : "threads wait for each other in different places");
    }
    if (at_barrier_ != 0) die(launch_->name, "a thread ended while others wait at a barrier");
  }

  const Launch* launch_ = nullptr;
  Context scheduler_;
  Fiber* current_ = nullptr;
  std::vector<Stack> stacks_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Warp> warps_;
  size_t threads_ = 0, at_barrier_ = 0, done_ = 0;
};

// The cores. Lives as long as the process.
class Cores {
 public:
  static Cores& instance() {
    static Cores* const cores = new Cores();
    return *cores;
  }

  void run(const Launch& launch, uint64_t blocks) {
    const std::lock_guard one_launch(launches_);
    std::unique_lock lock(mutex_);
    launch_ = &launch;
    next_ = 0;
    blocks_ = blocks;
    running_ = static_cast<int>(threads_.size());
    ++ticket_;
    wake_.notify_all();
    finished_.wait(lock, [&] { return running_ == 0; });
  }

 private:
  Cores() {
    const unsigned count = std::max(1u, std::thread::hardware_concurrency());
    for (unsigned i = 0; i < count; ++i) {
      threads_.emplace_back([this] { work(); });
      threads_.back().detach();
    }
  }

  void work() {
    for (int seen = 0;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return ticket_ != seen; });
      seen = ticket_;
      const Launch& launch = *launch_;
      lock.unlock();
      // Blocks in a scattered order: one that relies on another's being done would show.
      for (uint64_t i; (i = next_.fetch_add(1)) < blocks_;)
        Worker::of_this_thread().run_block(launch, order_of_threads == Order::forward ? i : blocks_ - 1 - i);
      lock.lock();
      if (--running_ == 0) finished_.notify_all();
    }
  }

  std::mutex launches_, mutex_;
  std::condition_variable wake_, finished_;
  std::vector<std::thread> threads_;
  const Launch* launch_ = nullptr;
  std::atomic<uint64_t> next_{0};
  uint64_t blocks_ = 0;
  int running_ = 0, ticket_ = 0;
};

void finish_copies(Fiber& fiber, int up_to_group) {
  const auto due = std::stable_partition(fiber.copies.begin(), fiber.copies.end(),
                                         [&](const PendingCopy& copy) { return copy.group > up_to_group; });
  for (auto copy = due; copy != fiber.copies.end(); ++copy) {
    std::memcpy(copy->to, copy->from, copy->bytes);
    std::memset(static_cast<std::byte*>(copy->to) + copy->bytes, 0, copy->zeros);
  }
  fiber.copies.erase(due, fiber.copies.end());
}

}  // namespace

void set_order(Order order, uint32_t seed) {
  order_of_threads = order;
  order_seed = seed;
}

const ThreadPosition& position() { return Worker::of_this_thread().current().position; }
void wait_for_block() { Worker::of_this_thread().wait_for_block(); }
const std::byte* exchange_in_warp(const void* mine, size_t bytes) {
  return Worker::of_this_thread().exchange(mine, bytes);
}

void copy_later(void* to, const void* from, size_t bytes, size_t zeros) {
  Fiber& fiber = Worker::of_this_thread().current();
  fiber.copies.push_back({to, from, bytes, zeros, fiber.copy_group});
}
void commit_copies() { ++Worker::of_this_thread().current().copy_group; }
void wait_for_copies(int allowed_pending_groups) {
  Fiber& fiber = Worker::of_this_thread().current();
  finish_copies(fiber, fiber.copy_group - 1 - allowed_pending_groups);
}

void launch(const char* name,
            dim3 grid,
            dim3 block,
            size_t shared_bytes,
            const std::function<void()>& thread) {
  constexpr size_t kMostShared = 227 << 10;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535 || grid.x > 0x7FFFFFFFu)
    die(name, "the grid is empty or too large");
  if (shared_bytes > kMostShared) die(name, "more shared memory than a block can have");
  const DeviceAccess access;
  Cores::instance().run({name, grid, block, shared_bytes, &thread}, uint64_t{grid.x} * grid.y * grid.z);
}

}  // namespace llmc::emulation
