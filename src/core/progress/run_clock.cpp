#include "core/progress/run_clock.hpp"

#include <cstdio>
#include <memory>

namespace llmc {

int64_t anonymous_memory() {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> status(std::fopen("/proc/self/status", "re"),
                                                               std::fclose);
  char line[256];
  long long kilobytes = 0;
  while (status && std::fgets(line, sizeof line, status.get()))
    if (std::sscanf(line, "RssAnon: %lld kB", &kilobytes) == 1) return kilobytes * 1024;
  return 0;
}

}  // namespace llmc
