// Who uses how much host memory, and for what. Every tensor's bytes are charged to the account that was current
// on its thread when it was made, and credited to the same one when it goes, wherever that happens.
//   MemoryAccount account;                                        // a session's
//   const MemoryScope scope(account, MemoryPurpose::weights);     // this thread's tensors, from here on
//   account.used();                                               // bytes
// What is no tensor (names, token ids, a JSON text) is not counted.
#pragma once
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

namespace llmc {

enum class MemoryPurpose : uint8_t { other, weights, activations, statistics, output };
inline constexpr size_t kMemoryPurposes = 5;

// Any thread. Copies share one account, which lives as long as a tensor that is charged to it.
class MemoryAccount {
 public:
  MemoryAccount();
  MemoryAccount(const MemoryAccount& other) noexcept;
  MemoryAccount& operator=(const MemoryAccount&) = delete;
  ~MemoryAccount();

  int64_t used() const;
  int64_t used(MemoryPurpose purpose) const;
  std::string by_purpose() const;  // "weights 1024, activations 65536": those that use any

 private:
  friend class MemoryTag;
  struct Counters {
    std::atomic<int64_t> owners{1};
    std::array<std::atomic<int64_t>, kMemoryPurposes> bytes{};
  };
  Counters* counters_;
};

// An account and a purpose: what a thread charges to, and what a piece of memory was charged to. Borrowed; a
// charge keeps the account alive until its credit.
class MemoryTag {
 public:
  MemoryTag() = default;  // nobody's
  MemoryTag(const MemoryAccount& account, MemoryPurpose purpose)
      : counters_(account.counters_),
        purpose_(purpose) {}
  static MemoryTag current();  // of this thread

  MemoryTag as(MemoryPurpose purpose) const;
  void charge(int64_t bytes) const noexcept;
  void credit(int64_t bytes) const noexcept;

 private:
  friend class MemoryScope;
  MemoryAccount::Counters* counters_ = nullptr;
  MemoryPurpose purpose_ = MemoryPurpose::other;
};

// While it lives, tensors of this thread are charged to a tag. A thread that works for another takes its tag over.
class MemoryScope {
 public:
  explicit MemoryScope(const MemoryTag& tag);
  explicit MemoryScope(MemoryPurpose purpose);  // of the account that is current
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  MemoryTag before_;
};

}  // namespace llmc
