#include <catch2/catch.hpp>

#include "files/temporary_folder.hpp"
#include "cpu/usable_cores.hpp"

using llmc::cpu::usable_cores;

namespace {

// A system whose control groups say what a test wants them to.
struct System {
  TemporaryFolder root;
  void put(const std::string& name, const std::string& text) const { root.write(name, text); }
  int cores() const { return usable_cores(root.path.string() + "/"); }
};

}  // namespace

TEST_CASE("a container's share of the processors is a limit of threads") {
  const int all = usable_cores("/nowhere/");
  CHECK(all >= 1);
  const System system;
  system.put("proc/self/cgroup", "0::/pod/container\n");
  system.put("sys/fs/cgroup/pod/container/cpu.max", "max 100000\n");
  CHECK(system.cores() == all);
  system.put("sys/fs/cgroup/pod/container/cpu.max", "50000 100000\n");  // half a processor
  CHECK(system.cores() == 1);
  system.put("sys/fs/cgroup/pod/container/cpu.max", "150000 100000\n");
  CHECK(system.cores() == std::min(all, 2));
  system.put("sys/fs/cgroup/pod/cpu.max", "100000 100000\n");  // what holds the container has less
  CHECK(system.cores() == 1);
  system.put("sys/fs/cgroup/pod/cpu.max", "nonsense\n");
  CHECK(system.cores() == std::min(all, 2));
  system.put("proc/self/cgroup", "4:cpu,cpuacct:/docker/x\n3:memory:/docker/x\n0::/\n");
  CHECK(system.cores() == all);
  system.put("sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", "100000\n");
  system.put("sys/fs/cgroup/cpu/docker/x/cpu.cfs_period_us", "100000\n");
  CHECK(system.cores() == 1);
  system.put("sys/fs/cgroup/cpu/docker/x/cpu.cfs_quota_us", "-1\n");
  CHECK(system.cores() == all);
}
