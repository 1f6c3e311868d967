#include "llmc/memory.hpp"

namespace llmc {
namespace {

thread_local MemoryTag current_tag;

}  // namespace

MemoryAccount::MemoryAccount() : counters_(new Counters) {}
MemoryAccount::MemoryAccount(const MemoryAccount& other) noexcept : counters_(other.counters_) {
  counters_->owners.fetch_add(1);
}
MemoryAccount::~MemoryAccount() {
  if (counters_->owners.fetch_sub(1) == 1) delete counters_;
}

int64_t MemoryAccount::used() const {
  int64_t sum = 0;
  for (const auto& bytes : counters_->bytes) sum += bytes.load(std::memory_order_relaxed);
  return sum;
}

int64_t MemoryAccount::used(MemoryPurpose purpose) const {
  return counters_->bytes[static_cast<size_t>(purpose)].load(std::memory_order_relaxed);
}

std::string MemoryAccount::by_purpose() const {
  static constexpr const char* kNames[kMemoryPurposes] = {"other", "weights", "activations", "statistics",
                                                          "output"};
  std::string text;
  for (size_t purpose = 0; purpose < kMemoryPurposes; ++purpose)
    if (const int64_t bytes = used(static_cast<MemoryPurpose>(purpose)); bytes > 0)
      text += (text.empty() ? "" : ", ") + std::string(kNames[purpose]) + " " + std::to_string(bytes);
  return text;
}

MemoryTag MemoryTag::current() { return current_tag; }

MemoryTag MemoryTag::as(MemoryPurpose purpose) const {
  MemoryTag tag = *this;
  tag.purpose_ = purpose;
  return tag;
}

void MemoryTag::charge(int64_t bytes) const noexcept {
  if (!counters_) return;
  counters_->owners.fetch_add(1, std::memory_order_relaxed);
  counters_->bytes[static_cast<size_t>(purpose_)].fetch_add(bytes, std::memory_order_relaxed);
}

void MemoryTag::credit(int64_t bytes) const noexcept {
  if (!counters_) return;
  counters_->bytes[static_cast<size_t>(purpose_)].fetch_sub(bytes, std::memory_order_relaxed);
  if (counters_->owners.fetch_sub(1) == 1) delete counters_;
}

MemoryScope::MemoryScope(const MemoryTag& tag) : before_(current_tag) { current_tag = tag; }
MemoryScope::MemoryScope(MemoryPurpose purpose) : MemoryScope(current_tag.as(purpose)) {}
MemoryScope::~MemoryScope() { current_tag = before_; }

}  // namespace llmc
