#include <catch2/catch.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/thread_pool.hpp"

using llmc::cpu::ThreadPool;

TEST_CASE("after fork the child runs everything on its own thread and can let the pool go") {
  auto pool = std::make_unique<ThreadPool>(3);
  pool->parallel_for(10, 1, [](int64_t, int64_t) {});
  const pid_t child = fork();
  if (child == 0) {
    int64_t sum = 0;
    pool->parallel_for(10, 1, [&](int64_t begin, int64_t) { sum += begin; });
    pool.reset();
    _exit(sum == 45 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
