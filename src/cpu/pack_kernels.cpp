// Codes of one byte to codes side by side.
#include "cpu/quantize_kernels.hpp"

#include <array>
#include <cstring>
#include <type_traits>

#include "cpu/vector_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/pack_kernels.cpp"
#include "hwy/foreach_target.h"
#include "cpu/vector_math-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {

// Which bytes of a block close up its two lanes.
template <int bits>
constexpr std::array<uint8_t, 16> side_by_side() {
  std::array<uint8_t, 16> bytes{};
  for (size_t i = 0; i < 2 * bits; ++i) bytes[i] = static_cast<uint8_t>(i < bits ? i : i + 8 - bits);
  return bytes;
}

// Eight codes in a 64-bit lane close up in three steps, pairs, fours and eights.
template <int bits>
HWY_INLINE auto close_up(hn::Vec<hn::ScalableTag<uint64_t>> eight) {
  const hn::ScalableTag<uint64_t> d;
  const auto step = [&](auto lanes, uint64_t low_mask, auto shift) HWY_ATTR {
    const auto low = hn::And(lanes, hn::Set(d, low_mask));
    return hn::Or(low, hn::ShiftRight<decltype(shift)::value>(hn::AndNot(hn::Set(d, low_mask), lanes)));
  };
  eight = step(eight, 0x00FF00FF00FF00FFu, std::integral_constant<int, 8 - bits>());
  eight = step(eight, 0x0000FFFF0000FFFFu, std::integral_constant<int, 16 - 2 * bits>());
  return step(eight, 0x00000000FFFFFFFFu, std::integral_constant<int, 32 - 4 * bits>());
}

// A block of 128 bits then holds two lanes of `bits` bytes; side by side they are stored with one whole
// block, and what is too much is written over by the next.
template <int bits>
void pack_bits(const uint8_t* codes, int64_t count, std::byte* packed, int64_t bytes) {
  const hn::ScalableTag<uint64_t> d;
  constexpr auto lanes = static_cast<int64_t>(hn::MaxLanes(d));
  int64_t at = 0;  // bytes done
  for (int64_t i = 0; i < count && at < bytes; i += 8 * lanes) {
    auto closed = close_up<bits>(hn::LoadU(d, reinterpret_cast<const uint64_t*>(codes + i)));
    if constexpr (bits == 4) {
      if (at + 4 * lanes <= bytes) {
        const hn::Rebind<uint32_t, decltype(d)> words;
        hn::StoreU(hn::TruncateTo(words, closed), words, reinterpret_cast<uint32_t*>(packed + at));
        at += 4 * lanes;
        continue;
      }
    }
    uint8_t parts[8 * lanes];
#if HWY_TARGET != HWY_SCALAR
    if (at + (lanes / 2 - 1) * 2 * bits + 16 <= bytes) {
      const hn::Repartition<uint8_t, decltype(d)> du8;
      alignas(16) static constexpr auto kSideBySide = side_by_side<bits>();
      hn::StoreU(hn::TableLookupBytes(hn::BitCast(du8, closed), hn::LoadDup128(du8, kSideBySide.data())), du8,
                 parts);
      for (int64_t block = 0; block < lanes / 2; ++block, at += 2 * bits)
        std::memcpy(packed + at, parts + 16 * block, 16);
      continue;
    }
#endif
    hn::StoreU(closed, d, reinterpret_cast<uint64_t*>(parts));
    for (int64_t lane = 0; lane < lanes && at < bytes; ++lane) {
      const int64_t part = bytes - at < bits ? bytes - at : bits;
      std::memcpy(packed + at, parts + 8 * lane, static_cast<size_t>(part));
      at += part;
    }
  }
  if (at < bytes) std::memset(packed + at, 0, static_cast<size_t>(bytes - at));
}

void pack(const uint8_t* codes, int64_t count, int num_bits, std::byte* packed, int64_t bytes) {
  switch (num_bits) {
    case 1:
      return pack_bits<1>(codes, count, packed, bytes);
    case 2:
      return pack_bits<2>(codes, count, packed, bytes);
    case 3:
      return pack_bits<3>(codes, count, packed, bytes);
    case 4:
      return pack_bits<4>(codes, count, packed, bytes);
    case 5:
      return pack_bits<5>(codes, count, packed, bytes);
    case 6:
      return pack_bits<6>(codes, count, packed, bytes);
    case 7:
      return pack_bits<7>(codes, count, packed, bytes);
    default:
      std::memcpy(packed, codes, static_cast<size_t>(count));
      std::memset(packed + count, 0, static_cast<size_t>(bytes - count));
      return;
  }
}

}  // namespace

constexpr PackKernel kPackKernel{pack};

}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmc::cpu {

const PackKernel& pack_kernels(VectorLevel level) { return LLMC_CPU_PICK(level, kPackKernel); }

}  // namespace llmc::cpu
#endif
