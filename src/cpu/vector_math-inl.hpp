// Small vector functions shared by the Highway kernel files; included once per target, inside their target
// loop.
#if defined(LLMC_CPU_VECTOR_MATH_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMC_CPU_VECTOR_MATH_INL
#undef LLMC_CPU_VECTOR_MATH_INL
#else
#define LLMC_CPU_VECTOR_MATH_INL
#endif

#include <cstring>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

using F32 = hn::ScalableTag<float>;
using I32 = hn::ScalableTag<int32_t>;
using U32 = hn::ScalableTag<uint32_t>;
using V = hn::Vec<F32>;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(F32()));

HWY_INLINE float bf16_to_float(uint16_t value) {
  const uint32_t bits = static_cast<uint32_t>(value) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}
HWY_INLINE float half_to_float(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, magnitude = half & 0x7FFFu;
  uint32_t bits = magnitude >= 0x7C00u ? 0x7F800000u | (magnitude & 0x3FFu) << 13
                                       : (magnitude << 13) + 0x38000000u;
  float wide;
  if (magnitude < 0x400u) {  // subnormal: a multiple of 2^-24
    wide = static_cast<float>(magnitude) * 0x1p-24f;
    std::memcpy(&bits, &wide, sizeof bits);
  }
  bits |= sign;
  std::memcpy(&wide, &bits, sizeof wide);
  return wide;
}
HWY_INLINE float widen(float value) { return value; }
HWY_INLINE float widen(uint16_t value) { return bf16_to_float(value); }

// bf16 to nearest even in the low 16 bits of each lane; NaN stays NaN. (Highway 1.0.3's own conversion
// truncates.)
HWY_INLINE hn::Vec<U32> bf16_bits(F32, V value) {
  const U32 du;
  const auto bits = hn::BitCast(du, value), odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0x7FFFu))));
  return hn::IfThenElse(hn::RebindMask(du, hn::Eq(value, value)), rounded, hn::Set(du, 0x7FC0u));
}

// What a value is after it was stored in T and loaded again.
HWY_INLINE V as_stored(F32, V value, float) { return value; }
HWY_INLINE V as_stored(F32 d, V value, uint16_t) {
  return hn::BitCast(d, hn::ShiftLeft<16>(bf16_bits(d, value)));
}

HWY_INLINE V load(F32 d, const float* from) { return hn::LoadU(d, from); }
HWY_INLINE V load(F32 d, const uint16_t* from) {
  const hn::Rebind<uint16_t, F32> d16;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(U32(), hn::LoadU(d16, from))));
}
HWY_INLINE void store(F32 d, V value, float* to) { hn::StoreU(value, d, to); }
HWY_INLINE void store(F32 d, V value, uint16_t* to) {
  const hn::Rebind<uint16_t, F32> d16;
  hn::StoreU(hn::DemoteTo(d16, hn::BitCast(I32(), bf16_bits(d, value))), d16, to);
}

// 2^x, relative error below 2e-7; 2^-126 below that exponent.
HWY_INLINE V exp2(F32 d, V x) {
  x = hn::Min(hn::Max(x, hn::Set(d, -126.0f)), hn::Set(d, 127.0f));
  const V whole = hn::Round(x), f = hn::Sub(x, whole);
  V p = hn::Set(d, 1.5403530e-4f);
  p = hn::MulAdd(p, f, hn::Set(d, 1.3333558e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 9.6181291e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.5504109e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 2.4022651e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 6.9314718e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::ConvertTo(I32(), whole));
  return hn::BitCast(d, hn::Add(hn::BitCast(I32(), p), exponent));
}

// e^x with the argument reduced in two parts, so that large |x| keeps its precision.
HWY_INLINE V exp(F32 d, V x) {
  x = hn::Min(hn::Max(x, hn::Set(d, -87.0f)), hn::Set(d, 88.0f));
  const V whole = hn::Round(hn::Mul(x, hn::Set(d, 1.44269504f)));
  V f = hn::NegMulAdd(whole, hn::Set(d, 0.693359375f), x);
  f = hn::NegMulAdd(whole, hn::Set(d, -2.12194440e-4f), f);
  V p = hn::Set(d, 1.9875691500e-4f);
  p = hn::MulAdd(p, f, hn::Set(d, 1.3981999507e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 8.3334519073e-3f));
  p = hn::MulAdd(p, f, hn::Set(d, 4.1665795894e-2f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.6666665459e-1f));
  p = hn::MulAdd(p, f, hn::Set(d, 5.0000001201e-1f));
  p = hn::Add(hn::MulAdd(p, hn::Mul(f, f), f), hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::ConvertTo(I32(), whole));
  return hn::BitCast(d, hn::Add(hn::BitCast(I32(), p), exponent));
}

HWY_INLINE V silu(F32 d, V x) { return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp(d, hn::Neg(x)))); }

// 0.5 x (1 + tanh(u)) = x / (1 + e^(-2u)), u = sqrt(2 / pi) (x + 0.044715 x^3)
HWY_INLINE V gelu_tanh(F32 d, V x) {
  const V cubic = hn::MulAdd(hn::Mul(hn::Mul(x, x), x), hn::Set(d, 0.044715f), x);
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), exp(d, hn::Mul(cubic, hn::Set(d, -1.5957691216057308f)))));
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
