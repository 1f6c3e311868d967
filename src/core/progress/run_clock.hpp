// Seconds and memory of a run, read from the system.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstdint>

namespace llmc {

class Stopwatch {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Adds the life of this object to `total`.
class Timed {
 public:
  explicit Timed(double& total) : total_(total) {}
  ~Timed() { total_ += watch_.seconds(); }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  double& total_;
  Stopwatch watch_;
};

int64_t anonymous_memory();  // bytes of RssAnon of this process; 0 when the system does not say

}  // namespace llmc
