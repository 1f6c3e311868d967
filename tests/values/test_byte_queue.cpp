#include <atomic>
#include <catch2/catch.hpp>
#include <thread>
#include <vector>

#include "core/values/byte_queue.hpp"
#include "llmc/error.hpp"

using namespace llmc;

TEST_CASE("byte queue: a piece waits until more than the lag came, and stop leaves the rest undone") {
  std::vector<int> done;
  std::atomic<int> count = 0;
  ByteQueue queue(ByteQueue::kNoBound, 25);
  for (int i = 0; i < 5; ++i)
    CHECK(queue.add(10, [&, i] {
      done.push_back(i);
      ++count;
    }));
  while (count < 3) std::this_thread::yield();  // 50 bytes: three pieces leave 20, which is within the lag
  queue.stop();
  CHECK(done == std::vector<int>{0, 1, 2});
}

TEST_CASE("byte queue: pieces of no bytes are done, too") {
  std::atomic<int> count = 0;
  ByteQueue queue(10);
  for (int i = 0; i < 4; ++i) queue.add(0, [&] { ++count; });
  queue.finish();
  CHECK(count == 4);
}

TEST_CASE("byte queue: stop throws what a piece threw, once") {
  std::atomic<bool> began = false;
  ByteQueue queue(ByteQueue::kNoBound);
  queue.add(1, [&] {
    began = true;
    throw Error(ErrorCode::io, "read back differs");
  });
  while (!began) std::this_thread::yield();
  CHECK_THROWS_WITH(queue.stop(), "read back differs");
  CHECK_NOTHROW(queue.stop());
}
