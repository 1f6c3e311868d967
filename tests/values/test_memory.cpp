#include <catch2/catch.hpp>

#include <optional>

#include "cpu/thread_pool.hpp"
#include "llmc/memory.hpp"
#include "llmc/tensor.hpp"

using namespace llmc;

TEST_CASE("tensors are charged to the account of the thread that makes them, and credited wherever they go") {
  const MemoryAccount account;
  Tensor nobodys(DType::u8, {1000});
  std::optional<Tensor> weight, value;
  {
    const MemoryScope scope(MemoryTag(account, MemoryPurpose::weights));
    weight.emplace(DType::f32, Shape{250});
    CHECK(account.used(MemoryPurpose::weights) == 1000 + 64);  // and the head of an allocation
    const MemoryScope inner(MemoryPurpose::activations);
    value.emplace(DType::u8, Shape{3 << 20});
    CHECK(account.used(MemoryPurpose::activations) == (3 << 20) + 64);
  }
  Tensor moved = std::move(*weight);
  weight.reset();
  CHECK(account.used(MemoryPurpose::weights) == 1064);
  moved = Tensor();
  CHECK(account.used() == (3 << 20) + 64);
  value.reset();
  CHECK(account.used() == 0);
}

TEST_CASE("what the threads of a pool make is charged to the account of the caller") {
  const MemoryAccount account;
  cpu::ThreadPool pool(4);
  std::vector<Tensor> made(16);
  {
    const MemoryScope scope(MemoryTag(account, MemoryPurpose::statistics));
    pool.run(16, [&](int64_t i, int) { made[static_cast<size_t>(i)] = Tensor(DType::u8, {100}); });
  }
  CHECK(account.used(MemoryPurpose::statistics) == 16 * 164);
  made.clear();
  CHECK(account.used() == 0);
}

TEST_CASE("an account outlives its owner as long as a tensor is charged to it") {
  Tensor last;
  {
    const MemoryAccount account;
    const MemoryScope scope(MemoryTag(account, MemoryPurpose::other));
    last = Tensor(DType::u8, {10});
  }
  last = Tensor();  // a use after free here shows under AddressSanitizer
  SUCCEED();
}
