// Numbers to the codes of small formats, shared by the kernels of scales and of codes; included once per
// target, inside their target loop. Every operation rounds exactly as the scalar definition does: the
// roundings are those of number_formats.hpp written for vectors.
#if defined(LLMC_CPU_QUANTIZE_FORMATS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMC_CPU_QUANTIZE_FORMATS_INL
#undef LLMC_CPU_QUANTIZE_FORMATS_INL
#else
#define LLMC_CPU_QUANTIZE_FORMATS_INL
#endif

#include "cpu/vector_math-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {

using W = hn::Vec<U32>;

// To bf16, of what is never NaN.
HWY_INLINE V number_to_bf16(V value) {
  const F32 d;
  const U32 du;
  const W bits = hn::BitCast(du, value);
  const W rounded = hn::Add(
      bits, hn::Add(hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u)), hn::Set(du, 0x7FFFu)));
  return hn::BitCast(d, hn::And(rounded, hn::Set(du, 0xFFFF0000u)));
}

// A float of `mantissa` stored bits whose smallest normal is 2^smallest and largest value is `largest`:
// adding 2^(23 - mantissa) times its own power of two to a magnitude rounds it, to nearest even, to a whole
// number of units in its last place; subnormals share the power of two of the smallest normal.
template <int mantissa, int smallest>
struct SmallFloat {
  float largest;

  // Code (sign included) of a number in the low byte of each lane, whatever is above it, and in `decoded` the
  // value it stands for.
  HWY_INLINE W operator()(V value, V& decoded) const {
    const F32 d;
    const U32 du;
    const W bits = hn::BitCast(du, value), sign = hn::And(bits, hn::Set(du, 0x80000000u));
    const V magnitude = hn::Min(hn::BitCast(d, hn::Xor(bits, sign)), hn::Set(d, largest));
    const W power = hn::And(hn::BitCast(du, hn::Max(magnitude, hn::Set(d, kSmallestNormal))),
                            hn::Set(du, 0x7F800000u));
    const V align = hn::BitCast(
        d, hn::Add(power, hn::Set(du, (static_cast<uint32_t>(23 - mantissa) << 23) + kFirstBinade)));
    const V sum = hn::Add(magnitude, align);
    decoded = hn::BitCast(d, hn::Or(hn::BitCast(du, hn::Sub(sum, align)), sign));
    // Units above the binade's start, plus a whole binade's worth for each binade above the first.
    const W code = hn::Add(hn::BitCast(du, sum), hn::ShiftRight<23 - mantissa>(power));
    return hn::Or(code, hn::ShiftRight < mantissa == 3 ? 24 : 28 > (sign));
  }
  static constexpr float kSmallestNormal = smallest < 0
      ? 1.0f / static_cast<float>(1 << (smallest < 0 ? -smallest : 0))
      : 1.0f;
  // Less the binades below the smallest normal, in units: as the sum's own low byte it costs nothing, and as
  // it is even it does not change what is nearest even.
  static constexpr uint32_t kFirstBinade = (0u - (static_cast<uint32_t>(127 + smallest) << mantissa)) & 0xFFu;
  static_assert(kFirstBinade % 2 == 0);
};
using E4m3 = SmallFloat<3, -6>;
using E2m1 = SmallFloat<1, 0>;

// Whole numbers: the sum with 1.5 * 2^23 has no bits for a fraction, and its low byte is the code. An even
// offset does not change what is nearest even.
struct WholeNumber {
  float low, high, offset;
  HWY_INLINE W operator()(V value, V& decoded) const {
    const F32 d;
    const V shift = hn::Set(d, 12582912.0f + offset),
            clamped = hn::Min(hn::Max(value, hn::Set(d, low)), hn::Set(d, high));
    const V sum = hn::Add(clamped, shift);
    decoded = hn::Sub(sum, shift);
    return hn::BitCast(U32(), sum);
  }
};

HWY_INLINE void store_bytes(W codes, uint8_t* to) {
  const hn::Rebind<uint8_t, U32> bytes;
  hn::StoreU(hn::TruncateTo(bytes, codes), bytes, to);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
