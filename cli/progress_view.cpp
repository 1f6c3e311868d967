#include "progress_view.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace cli {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kBarWidth = 24;
constexpr auto kRedraw = std::chrono::milliseconds(100);

std::string clock_text(double seconds) {
  const int64_t s = std::lround(seconds);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

std::string details(const llmc_progress& progress, double elapsed) {
  const double share = static_cast<double>(progress.step) / static_cast<double>(progress.steps);
  std::string text = fmt::format("{:3.0f} %  {}", 100.0 * share, progress.layer);
  if (progress.relative_error > 0) text += fmt::format("  error {:.4f}", progress.relative_error);
  if (share > 0) text += fmt::format("  left {}", clock_text(elapsed * (1.0 - share) / share));
  return text;
}

}  // namespace

ProgressView::ProgressView(bool quiet) : quiet_(quiet), terminal_(isatty(STDERR_FILENO) == 1) {}
ProgressView::~ProgressView() { clear_bar(); }

void ProgressView::clear_bar() {
  if (bar_shown_) std::fputs("\r\033[K", stderr);
  bar_shown_ = false;
}

void ProgressView::draw_bar(const llmc_progress& progress) {
  const auto now = Clock::now();
  if (now - drawn_ < kRedraw && progress.step < progress.steps) return;
  drawn_ = now;
  const int filled = static_cast<int>(kBarWidth * progress.step / progress.steps);
  const std::string line = fmt::format(
      "\r\033[K[{}{}] {}", std::string(static_cast<size_t>(filled), '#'),
      std::string(static_cast<size_t>(kBarWidth - filled), '.'),
      details(progress, std::chrono::duration<double>(now - start_).count()));
  std::fputs(line.c_str(), stderr);
  std::fflush(stderr);
  bar_shown_ = true;
}

void ProgressView::show(const llmc_progress& progress) {
  if (quiet_ || progress.steps < 1) return;
  if (terminal_) return draw_bar(progress);
  if (layer_ == progress.layer) return;
  layer_ = progress.layer;
  const std::string line = fmt::format(
      "{} {}\n", progress.stage,
      details(progress, std::chrono::duration<double>(Clock::now() - start_).count()));
  std::fputs(line.c_str(), stderr);
}

void ProgressView::log(int32_t level, const char* line) {
  if (quiet_ && level != LLMC_LOG_WARNING) return;
  clear_bar();
  std::fprintf(stderr, "%s: %s\n", level == LLMC_LOG_WARNING ? "warning" : "note", line);
}

}  // namespace cli
