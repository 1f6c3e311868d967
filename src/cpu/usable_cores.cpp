#include "cpu/usable_cores.hpp"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

namespace llmc::cpu {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

int affine_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// "200000 100000" is two processors' worth; "max 100000" is no limit.
double quota_v2(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return kNoLimit;
  const double value = std::atof(quota.c_str());
  return value > 0 ? value / period : kNoLimit;
}

double quota_v1(const std::string& folder) {
  double quota = -1, period = 0;
  std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
  std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  return quota > 0 && period > 0 ? quota / period : kNoLimit;
}

// A group's limit holds for all below it: the least from the group up to the root counts.
double least_quota(const std::string& mount, std::string group, double (*quota_of)(const std::string&)) {
  double least = kNoLimit;
  for (;; group.erase(group.find_last_of('/'))) {
    least = std::min(least, quota_of(mount + group));
    if (group.find('/') == std::string::npos) return least;
  }
}

// Source: cgroups(7). A line of /proc/self/cgroup is "hierarchy:controllers:group"; version 2's is "0::/group".
double cgroup_cores(const std::string& root) {
  double least = kNoLimit;
  std::ifstream file(root + "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    std::string group = line.substr(second + 1);
    if (group == "/") group.clear();
    if (controllers.empty()) {
      least = std::min(least, least_quota(root + "sys/fs/cgroup", group, quota_v2));
      continue;
    }
    std::istringstream list(controllers);
    for (std::string name; std::getline(list, name, ',');)
      if (name == "cpu") least = std::min(least, least_quota(root + "sys/fs/cgroup/cpu", group, quota_v1));
  }
  return least;
}

}  // namespace

int usable_cores(const std::string& root) {
  const int cores = affine_cores();
  const double share = std::ceil(cgroup_cores(root));
  return share < cores ? std::max(1, static_cast<int>(share)) : cores;
}

}  // namespace llmc::cpu
