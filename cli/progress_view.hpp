// Progress on standard error: a bar with layer, error and time left on a terminal; one plain line per layer
// otherwise; nothing when quiet.
#pragma once
#include <chrono>
#include <string>

#include "llmc.h"

namespace cli {

class ProgressView {
 public:
  explicit ProgressView(bool quiet);
  ~ProgressView();
  void show(const llmc_progress& progress);
  void log(int32_t level, const char* line);
  void finish() { clear_bar(); }  // before something is printed below it

  static void on_progress(const llmc_progress* progress, void* view) {
    static_cast<ProgressView*>(view)->show(*progress);
  }
  static void on_log(int32_t level, const char* line, void* view) {
    static_cast<ProgressView*>(view)->log(level, line);
  }

 private:
  void draw_bar(const llmc_progress& progress);
  void clear_bar();

  bool quiet_, terminal_, bar_shown_ = false;
  std::string layer_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), drawn_{};
};

}  // namespace cli
