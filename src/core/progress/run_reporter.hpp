// Tells the caller how far a run is, looks for a cancellation and keeps the memory high-water mark.
#pragma once
#include <algorithm>
#include <string>
#include <utility>

#include "core/progress/run_clock.hpp"
#include "llmc/error.hpp"
#include "llmc/oneshot.hpp"

namespace llmc {

class RunReporter {
 public:
  RunReporter(const Callbacks& callbacks, Report& report) : callbacks_(callbacks), report_(report) {}

  void begin(int64_t steps) { progress_.steps = steps; }
  void enter(std::string stage, std::string layer) {
    progress_.stage = std::move(stage);
    progress_.layer = std::move(layer);
  }
  void leave_layer(size_t first_row) {
    double sum = 0;
    for (size_t i = first_row; i < report_.linears.size(); ++i) sum += report_.linears[i].relative_error;
    if (first_row < report_.linears.size())
      progress_.loss = sum / static_cast<double>(report_.linears.size() - first_row);
  }
  void poll() const {
    if (callbacks_.cancel && callbacks_.cancel->load(std::memory_order_relaxed))
      throw Error(ErrorCode::cancelled, "oneshot: cancelled");
    if (callbacks_.memory_limit == 0 || !callbacks_.memory) return;
    if (const int64_t used = callbacks_.memory->used(); used > callbacks_.memory_limit)
      throw Error(ErrorCode::out_of_memory,
                  "oneshot: " + std::to_string(used) + " bytes of memory in use at '" + progress_.layer +
                      "' (" + callbacks_.memory->by_purpose() + "); the session's limit is " +
                      std::to_string(callbacks_.memory_limit));
  }
  void step() {
    poll();
    report_.peak_memory = std::max(report_.peak_memory, anonymous_memory());
    ++progress_.step;
    if (callbacks_.progress) callbacks_.progress(progress_);
  }
  void note(const std::string& line) {
    report_.notes.push_back(line);
    if (callbacks_.log) callbacks_.log(2, line);
  }

 private:
  const Callbacks& callbacks_;
  Report& report_;
  Progress progress_;
};

}  // namespace llmc
