// A fast 64-bit checksum against disks and bugs, not against forgers. Chunked use gives the same value as one
// call only for the same chunks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace llmc {

inline uint64_t checksum(const std::byte* bytes, int64_t count) {
  constexpr uint64_t kMultiply = 0x9E3779B97F4A7C15u;
  uint64_t lanes[4] = {1, 2, 3, 4};
  int64_t i = 0;
  for (; i + 32 <= count; i += 32)
    for (int lane = 0; lane < 4; ++lane) {
      uint64_t word;
      std::memcpy(&word, bytes + i + lane * 8, 8);
      lanes[lane] = (lanes[lane] ^ word) * kMultiply;
      lanes[lane] ^= lanes[lane] >> 29;
    }
  uint64_t sum = static_cast<uint64_t>(count);
  for (const uint64_t lane : lanes) sum = (sum ^ lane) * kMultiply + (sum >> 31);
  for (; i < count; ++i) sum = (sum ^ static_cast<uint64_t>(bytes[i])) * kMultiply + (sum >> 31);
  return sum;
}

}  // namespace llmc
