// Loops over rows, tiles or pieces on the threads of a backend, for code that need not know the backend.
#pragma once
#include <concepts>
#include <cstdint>
#include <functional>
#include <type_traits>

namespace llmc {

// Rows that one task of such a loop takes. A multiple of 32, so that no word of packed zero points is shared
// by two tasks; enough to outweigh the start of a task, few enough to spread a matrix of 1024 rows over 16
// threads. Sums of errors are made per task and added in order: another number changes their last bits.
inline constexpr int64_t kRowsPerTask = 64;

// Refers to a backend, or to anything with such a parallel_for, or to a callable, and must not outlive it.
// Made of nothing it runs the whole loop on the calling thread.
class ParallelFor {
 public:
  using Body = std::function<void(int64_t begin, int64_t end)>;

  ParallelFor() = default;
  // A name, not a temporary: what is referred to must stay.
  template <class Runner>
    requires(!std::same_as<std::remove_const_t<Runner>, ParallelFor>)
  ParallelFor(Runner& runner)  // NOLINT(google-explicit-constructor): a backend is one
      : runner_(const_cast<void*>(static_cast<const void*>(&runner))),
        run_([](void* to, int64_t count, int64_t grain, const Body& body) {
          Runner& runs = *static_cast<Runner*>(to);
          if constexpr (requires { runs.parallel_for(count, grain, body); })
            runs.parallel_for(count, grain, body);
          else runs(count, grain, body);
        }) {}

  // body(begin, end) for ranges of [0, count) that begin at multiples of `grain`
  void operator()(int64_t count, int64_t grain, const Body& body) const {
    if (run_) run_(runner_, count, grain, body);
    else body(0, count);
  }
  explicit operator bool() const { return run_ != nullptr; }

 private:
  void* runner_ = nullptr;
  void (*run_)(void*, int64_t, int64_t, const Body&) = nullptr;
};

}  // namespace llmc
