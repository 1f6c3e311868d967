// Runs CUDA kernels on the CPU. Each thread of a block is a fiber; a fiber runs until it waits for others (a
// barrier, a warp's exchange), then the next one runs. The order in which fibers run can be forward, backward
// or shuffled: a result that depends on it is a missing barrier. Blocks run in parallel on the cores.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace llmc::emulation {

enum class Order { forward, backward, shuffled };
void set_order(Order order, uint32_t seed = 0);  // of the launches to come; for tests

// What a thread of a kernel can ask.
struct ThreadPosition {
  uint3 thread{}, block{};
  dim3 block_size, grid_size;
  std::byte* shared = nullptr;  // of its block, exactly as many bytes as the launch asked for
};
const ThreadPosition& position();

void wait_for_block();
// Every lane of the warp gives `bytes` (at most 64) and sees those of all 32 lanes, 64 bytes apart, until it
// exchanges again.
const std::byte* exchange_in_warp(const void* mine, size_t bytes);

// A copy that is allowed to arrive late, and does: at the wait, not before.
void copy_later(void* to, const void* from, size_t bytes, size_t zeros);
void commit_copies();
void wait_for_copies(int allowed_pending_groups);

void launch(const char* name,
            dim3 grid,
            dim3 block,
            size_t shared_bytes,
            const std::function<void()>& thread);

template <class... Parameters, class... Arguments>
void launch_kernel(const char* name,
                   void (*kernel)(Parameters...),
                   dim3 grid,
                   dim3 block,
                   size_t shared_bytes,
                   Arguments&&... arguments) {
  const std::tuple<std::decay_t<Parameters>...> values(std::forward<Arguments>(arguments)...);
  launch(name, grid, block, shared_bytes, [&] { std::apply(kernel, values); });
}

template <class T>
T from_lane(const T& mine, int lane) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 64);
  T value;
  __builtin_memcpy(&value, exchange_in_warp(&mine, sizeof(T)) + 64 * (lane & 31), sizeof(T));
  return value;
}

// Device memory: unreadable for the host except while a kernel or a copy runs. Gaps between allocations are
// poisoned under AddressSanitizer.
void* allocate_on_device(size_t bytes);  // null when there is no room
void free_on_device(void* memory);
size_t device_bytes_free();
void set_device_bytes(size_t total);  // for tests of too little memory
class DeviceAccess {                  // open while alive
 public:
  DeviceAccess();
  ~DeviceAccess();
};

}  // namespace llmc::emulation
