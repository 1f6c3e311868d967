#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <thread>
#include <vector>

#include "core/values/write_behind.hpp"
#include "llmc/error.hpp"

using namespace llmc;

TEST_CASE("write behind: pieces are written in order, and finish waits for the last") {
  std::vector<int> written;
  WriteBehind behind(1000);
  for (int i = 0; i < 50; ++i) behind.add(10, [&written, i] { written.push_back(i); });
  behind.finish();
  REQUIRE(written.size() == 50);
  for (int i = 0; i < 50; ++i) CHECK(written[static_cast<size_t>(i)] == i);
  behind.add(5000, [&] { written.push_back(50); });  // more than may wait, but nothing does
  behind.finish();
  CHECK(written.back() == 50);
}

TEST_CASE("write behind: no more waits than the bound") {
  std::atomic<int> waiting = 0, most = 0;
  std::atomic<bool> go = false;
  WriteBehind behind(30);
  std::thread opener([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    go = true;
  });
  for (int i = 0; i < 10; ++i) {
    behind.add(10, [&] {
      while (!go) std::this_thread::yield();
      --waiting;
    });
    most = std::max(most.load(), ++waiting);
  }
  behind.finish();
  opener.join();
  CHECK(waiting == 0);
  CHECK(most <= 4);  // three that wait, and one whose count came late
}

TEST_CASE("write behind: what a piece throws comes out of the next call, and nothing is written after it") {
  bool later = false;
  WriteBehind behind(1000);
  behind.add(1, [] { throw Error(ErrorCode::io, "disk full"); });
  CHECK_THROWS_WITH([&] { behind.finish(); }(), "disk full");
  CHECK_THROWS_WITH(behind.add(1, [&] { later = true; }), "disk full");
  CHECK_THROWS_WITH(behind.finish(), "disk full");
  CHECK_FALSE(later);
}

TEST_CASE("write behind: pieces that have not begun are dropped with it") {
  std::atomic<bool> go = false, began = false;
  std::atomic<int> written = 0;
  std::thread opener;
  {
    WriteBehind behind(1000);
    behind.add(1, [&] {
      began = true;
      while (!go) std::this_thread::yield();
      ++written;
    });
    while (!began) std::this_thread::yield();
    for (int i = 0; i < 5; ++i) behind.add(1, [&] { ++written; });
    opener = std::thread([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      go = true;
    });
  }
  opener.join();
  CHECK(written == 1);
}
