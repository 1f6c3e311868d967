// Every operation here rounds exactly as the scalar definition does: a division is a division, and roundings are those of number_formats.hpp written for vectors.
#include "cpu/quantize_kernels.hpp"

#include <cstring>
#include <type_traits>

#include "cpu/vector_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/quantize_kernels.cpp"
#include "hwy/foreach_target.h"
#include "cpu/vector_math-inl.hpp"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {

using W = hn::Vec<U32>;

// body(vector of values, first column, columns in it) over [begin, end); lanes beyond the end are zero.
template <class T, class Body>
HWY_INLINE void for_each_vector(const T* row, int64_t begin, int64_t end, const Body& body) {
  const F32 d;
  int64_t i = begin;
  for (; i + kLanes <= end; i += kLanes) body(load(d, row + i), i, kLanes);
  if (i == end) return;
  T tail[kLanes] = {};
  std::memcpy(tail, row + i, static_cast<size_t>(end - i) * sizeof(T));
  body(load(d, tail), i, end - i);
}

// Ranges. Magnitudes order as unsigned integers, and so do signed values once their bits are keyed: no float needed, and NaN sorts above infinity.

template <class T>
using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;
template <class T>
inline constexpr Bits<T> kSign = static_cast<Bits<T>>(Bits<T>{1} << (8 * sizeof(T) - 1));
template <class T>
inline constexpr Bits<T> kInfinity = static_cast<Bits<T>>(sizeof(T) == 2 ? 0x7F80u : 0x7F800000u);

template <class T>
HWY_INLINE float value_of(Bits<T> bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return widen(value);
}
template <class T>
HWY_INLINE Bits<T> bits_of_key(Bits<T> key) { return static_cast<Bits<T>>(key & kSign<T> ? key ^ kSign<T> : ~key); }

template <class D>
HWY_INLINE hn::Vec<D> keyed(D d, hn::Vec<D> bits) {
  using B = hn::TFromD<D>;
  const hn::RebindToSigned<D> ds;
  const auto negative = hn::BitCast(d, hn::ShiftRight<8 * sizeof(B) - 1>(hn::BitCast(ds, bits)));
  return hn::Xor(bits, hn::Or(negative, hn::Set(d, kSign<B>)));
}

template <class D, class Vector>
HWY_INLINE auto upper_half(D half, Vector v) {
#if HWY_TARGET == HWY_SCALAR  // has no halves; never called
  static_cast<void>(half);
  return v;
#else
  return hn::UpperHalf(half, v);
#endif
}

template <class D>
HWY_INLINE hn::TFromD<D> largest_lane(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) > 16) {
    const hn::Half<D> half;
    return largest_lane(half, hn::Max(hn::LowerHalf(half, v), upper_half(half, v)));
  } else {
    return hn::GetLane(hn::MaxOfLanes(d, v));
  }
}
template <class D>
HWY_INLINE hn::TFromD<D> smallest_lane(D d, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) > 16) {
    const hn::Half<D> half;
    return smallest_lane(half, hn::Min(hn::LowerHalf(half, v), upper_half(half, v)));
  } else {
    return hn::GetLane(hn::MinOfLanes(d, v));
  }
}

// body(vector of bits) over [begin, end); lanes beyond the end are those of zero.
template <class D, class T, class Body>
HWY_INLINE void for_each_bits(D d, const T* row, int64_t begin, int64_t end, const Body& body) {
  using B = Bits<T>;
  constexpr auto lanes = static_cast<int64_t>(hn::MaxLanes(D()));
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) body(hn::LoadU(d, reinterpret_cast<const B*>(row + i)));
  if (i == end) return;
  B tail[lanes] = {};
  std::memcpy(tail, row + i, static_cast<size_t>(end - i) * sizeof(B));
  body(hn::LoadU(d, tail));
}

template <class D, class T>
bool ranges_with(D d, const T* row, int64_t columns, int64_t group, bool symmetric, float* low, float* high) {
  using B = Bits<T>;
  B worst = 0;
  for (int64_t begin = 0, cell = 0; begin < columns; begin += group, ++cell) {
    const int64_t end = columns - begin < group ? columns : begin + group;
    if (symmetric) {
      auto top = hn::Zero(d);
      const auto magnitude = hn::Set(d, static_cast<B>(~kSign<T>));
      for_each_bits(d, row, begin, end, [&](auto bits) HWY_ATTR { top = hn::Max(top, hn::And(bits, magnitude)); });
      const B bits = largest_lane(d, top);
      worst = bits > worst ? bits : worst;
      const float value = value_of<T>(bits);
      high[cell] = value > high[cell] ? value : high[cell];
    } else {
      auto top = hn::Set(d, kSign<T>), bottom = top;
      for_each_bits(d, row, begin, end, [&](auto bits) HWY_ATTR {
        const auto key = keyed(d, bits);
        top = hn::Max(top, key);
        bottom = hn::Min(bottom, key);
      });
      const B above = bits_of_key<T>(largest_lane(d, top)), below = bits_of_key<T>(smallest_lane(d, bottom));
      const B below_magnitude = static_cast<B>(below & static_cast<B>(~kSign<T>));
      worst = above > worst ? above : worst;
      worst = below_magnitude > worst ? below_magnitude : worst;
      const float least = value_of<T>(below), most = value_of<T>(above);
      low[cell] = least < low[cell] ? least : low[cell];
      high[cell] = most > high[cell] ? most : high[cell];
    }
  }
  return worst < kInfinity<T>;
}

bool ranges(const void* row, DType dtype, int64_t columns, int64_t group, bool symmetric, float* low, float* high) {
  if (dtype == DType::f32) return ranges_with(U32(), static_cast<const float*>(row), columns, group, symmetric, low, high);
  const auto* values = static_cast<const uint16_t*>(row);
  const hn::ScalableTag<uint16_t> full;
  const hn::CappedTag<uint16_t, 16> narrow;
  if (group < static_cast<int64_t>(hn::MaxLanes(full))) return ranges_with(narrow, values, columns, group, symmetric, low, high);
  return ranges_with(full, values, columns, group, symmetric, low, high);
}

// Small formats.

HWY_INLINE V rounded_to_bf16(V value) { return as_stored(F32(), value, uint16_t{}); }  // NaN stays NaN

// The same for what is never NaN.
HWY_INLINE V number_to_bf16(V value) {
  const F32 d;
  const U32 du;
  const W bits = hn::BitCast(du, value);
  const W rounded = hn::Add(bits, hn::Add(hn::And(hn::ShiftRight<16>(bits), hn::Set(du, 1u)), hn::Set(du, 0x7FFFu)));
  return hn::BitCast(d, hn::And(rounded, hn::Set(du, 0xFFFF0000u)));
}

// A float of `mantissa` stored bits whose smallest normal is 2^smallest and largest value is `largest`: adding 2^(23 - mantissa) times its own power of two to a
// magnitude rounds it, to nearest even, to a whole number of units in its last place; subnormals share the power of two of the smallest normal.
template <int mantissa, int smallest>
struct SmallFloat {
  float largest;

  // Code (sign included) of a number, and in `decoded` the value it stands for.
  HWY_INLINE W operator()(V value, V& decoded) const {
    const F32 d;
    const U32 du;
    const W bits = hn::BitCast(du, value), sign = hn::And(bits, hn::Set(du, 0x80000000u));
    const V magnitude = hn::Min(hn::BitCast(d, hn::Xor(bits, sign)), hn::Set(d, largest));
    const W power = hn::And(hn::BitCast(du, hn::Max(magnitude, hn::Set(d, kSmallestNormal))), hn::Set(du, 0x7F800000u));
    const V align = hn::BitCast(d, hn::Add(power, hn::Set(du, static_cast<uint32_t>(23 - mantissa) << 23)));
    const V sum = hn::Add(magnitude, align);
    decoded = hn::BitCast(d, hn::Or(hn::BitCast(du, hn::Sub(sum, align)), sign));
    // Units above the binade's start, plus a whole binade's worth for each binade above the first.
    const W code = hn::Add(hn::Add(hn::BitCast(du, sum), hn::ShiftRight<23 - mantissa>(power)), hn::Set(du, 0u - (static_cast<uint32_t>(127 + smallest) << mantissa)));
    constexpr uint32_t kCodeMask = mantissa == 3 ? 0x7Fu : 0x7u;
    return hn::Or(hn::And(code, hn::Set(du, kCodeMask)), hn::ShiftRight<mantissa == 3 ? 24 : 28>(sign));
  }
  static constexpr float kSmallestNormal = smallest < 0 ? 1.0f / static_cast<float>(1 << (smallest < 0 ? -smallest : 0)) : 1.0f;
};
using E4m3 = SmallFloat<3, -6>;
using E2m1 = SmallFloat<1, 0>;

// Whole numbers: the sum with 1.5 * 2^23 has no bits for a fraction, and its low byte is the code. An even offset does not change what is nearest even.
struct WholeNumber {
  float low, high, offset;
  HWY_INLINE W operator()(V value, V& decoded) const {
    const F32 d;
    const V shift = hn::Set(d, 12582912.0f + offset), clamped = hn::Min(hn::Max(value, hn::Set(d, low)), hn::Set(d, high));
    const V sum = hn::Add(clamped, shift);
    decoded = hn::Sub(sum, shift);
    return hn::BitCast(U32(), sum);
  }
};

// Scales.

struct Bf16Model {
  HWY_INLINE V operator()(V value) const { return rounded_to_bf16(value); }
  static constexpr float kSmallestScale = 0x1p-7f;
  HWY_INLINE static void store_scale(V value, int64_t cell, std::byte* stored) { store(F32(), value, reinterpret_cast<uint16_t*>(stored) + cell); }
};
struct F32Model {
  HWY_INLINE V operator()(V value) const { return value; }
  static constexpr float kSmallestScale = 0x1p-23f;
  HWY_INLINE static void store_scale(V value, int64_t cell, std::byte* stored) { store(F32(), value, reinterpret_cast<float*>(stored) + cell); }
};

HWY_INLINE void store_bytes(W codes, uint8_t* to) {
  const hn::Rebind<uint8_t, U32> bytes;
  hn::StoreU(hn::TruncateTo(bytes, codes), bytes, to);
}

HWY_INLINE void store_some_bytes(W codes, int64_t count, uint8_t* to) {
  if (count == kLanes) return store_bytes(codes, to);
  uint8_t some[HWY_MAX_BYTES / sizeof(float)];
  store_bytes(codes, some);
  std::memcpy(to, some, static_cast<size_t>(count));
}

template <class Model>
HWY_INLINE V zero_points(const ScaleRule& rule, const Model& model, V low, V scale) {
  const F32 d;
  const V least = hn::Set(d, rule.low);
  const V exact = model(hn::Sub(least, model(hn::Div(low, scale))));
  const V clamped = hn::Min(hn::Max(exact, least), hn::Set(d, rule.high));
  return hn::IfThenElseZero(hn::Eq(exact, exact), hn::Sub(hn::Add(clamped, hn::Set(d, 12582912.0f)), hn::Set(d, 12582912.0f)));
}

template <class Model>
void scales_of_model(const ScaleRule& rule, const Model& model, const float* low, const float* high, int64_t cells, const CellScales& out) {
  const F32 d;
  const V steps = hn::Set(d, rule.high - rule.low);
  for (int64_t cell = 0; cell < cells; cell += kLanes) {
    const V top = hn::LoadU(d, high + cell);
    V scale;
    if (rule.symmetric) {
      scale = model(hn::Div(top, hn::Mul(steps, hn::Set(d, 0.5f))));
    } else {
      const V bottom = hn::LoadU(d, low + cell);
      scale = model(hn::Div(model(hn::Sub(top, bottom)), steps));
      const V zero_point = zero_points(rule, model, bottom, scale);
      hn::StoreU(zero_point, d, out.zero_points + cell);
      store_bytes(hn::And(hn::BitCast(U32(), hn::ConvertTo(I32(), zero_point)), hn::Set(U32(), 0xFFu)), reinterpret_cast<uint8_t*>(out.stored_zero_points) + cell);
    }
    if (rule.kind == ScaleKind::e4m3_of_global) {
      const V global = hn::Set(d, rule.global_scale);
      V decoded;
      const W code = E4m3{448.0f}(hn::Mul(global, scale), decoded);
      const auto none = hn::Eq(decoded, hn::Zero(d));
      store_bytes(hn::IfThenElse(hn::RebindMask(U32(), none), hn::Set(U32(), 0x20u), code), reinterpret_cast<uint8_t*>(out.stored) + cell);
      hn::StoreU(hn::Div(hn::IfThenElse(none, hn::Set(d, 0.125f), decoded), global), d, out.values + cell);
    } else {
      scale = hn::IfThenElse(hn::Eq(scale, hn::Zero(d)), hn::Set(d, Model::kSmallestScale), scale);
      Model::store_scale(scale, cell, out.stored);
      hn::StoreU(scale, d, out.values + cell);
    }
  }
}

// The exponent under the magnitude, raised to the next from 1.75 times it on, less the grid's own exponent. 255 (an overflow) becomes the largest.
void power_scales(const ScaleRule& rule, const float* high, int64_t cells, const CellScales& out) {
  const F32 d;
  const I32 di;
  const auto offset = hn::Set(di, rule.mx_offset);
  for (int64_t cell = 0; cell < cells; cell += kLanes) {
    const auto raised = hn::ShiftRight<23>(hn::Add(hn::BitCast(di, hn::LoadU(d, high + cell)), hn::Set(di, 0x00200000)));
    auto exponent = hn::Max(hn::Sub(raised, offset), hn::Zero(di));
    exponent = hn::IfThenElse(hn::Eq(raised, hn::Set(di, 255)), hn::Set(di, 254), exponent);
    store_bytes(hn::BitCast(U32(), exponent), reinterpret_cast<uint8_t*>(out.stored) + cell);
    const auto subnormal = hn::Set(di, 0x00400000);
    hn::StoreU(hn::BitCast(d, hn::IfThenElse(hn::Eq(exponent, hn::Zero(di)), subnormal, hn::ShiftLeft<23>(exponent))), d, out.values + cell);
  }
}

void scales(const ScaleRule& rule, const float* low, const float* high, int64_t cells, const CellScales& out) {
  if (rule.kind == ScaleKind::e8m0) return power_scales(rule, high, cells, out);
  if (rule.model == DType::bf16) return scales_of_model(rule, Bf16Model(), low, high, cells, out);
  scales_of_model(rule, F32Model(), low, high, cells, out);
}

bool scales_are_plain(const float* low, const float* high, const float* values, int64_t cells) {
  const F32 d;
  int64_t cell = 0;
  auto plain = hn::Eq(hn::Zero(d), hn::Zero(d));
  for (; cell + kLanes <= cells; cell += kLanes) {
    const V scale = hn::LoadU(d, values + cell), limit = hn::Mul(scale, hn::Set(d, 0x1p60f));
    const auto in_range = hn::And(hn::Ge(scale, hn::Set(d, 0x1p-90f)), hn::Le(scale, hn::Set(d, 1.0f)));
    plain = hn::And(plain, hn::And(in_range, hn::And(hn::Le(hn::LoadU(d, high + cell), limit), hn::Le(hn::Neg(hn::LoadU(d, low + cell)), limit))));
  }
  bool all = hn::AllTrue(d, plain);
  for (; cell < cells; ++cell) {
    const float scale = values[cell], limit = 0x1p60f * scale;
    all = all && scale >= 0x1p-90f && scale <= 1.0f && high[cell] <= limit && -low[cell] <= limit;
  }
  return all;
}

// Codes. First the quotient, rounded exactly as a float32 division rounds it.

struct Divide {
  V scale;
  HWY_INLINE explicit Divide(float of) : scale(hn::Set(F32(), of)) {}
  HWY_INLINE V operator()(V value) const { return hn::Div(value, scale); }
};
// By a power of two: its inverse is exact.
struct MultiplyByInverse {
  V inverse;
  HWY_INLINE explicit MultiplyByInverse(float of) : inverse(hn::Set(F32(), 1.0f / of)) {}
  HWY_INLINE V operator()(V value) const { return hn::Mul(value, inverse); }
};
// With a correctly rounded inverse, value * inverse is at most two units off; what is left over after one fused step is exact (or off by 2^-24 of itself), and
// correcting by it lands within 2^-22 units of the true quotient before that is rounded. For a bfloat16 by a bfloat16 (8 bits by 8 bits) this is the division's
// result: such a quotient is no midpoint between two floats, and at least 1/510 of a unit away from one.
struct CorrectedOnce {
  V scale, inverse;
  HWY_INLINE explicit CorrectedOnce(float of) : scale(hn::Set(F32(), of)), inverse(hn::Set(F32(), 1.0f / of)) {}
  HWY_INLINE V operator()(V value) const {
    const V near = hn::Mul(value, inverse);
    return hn::MulAdd(hn::NegMulAdd(near, scale, value), inverse, near);
  }
};
// Any other numbers need a second correction, of a quotient that is then one of the two floats around the true one: it rounds as the division does (Markstein 1990).
struct CorrectedTwice {
  CorrectedOnce once;
  HWY_INLINE explicit CorrectedTwice(float of) : once(of) {}
  HWY_INLINE V operator()(V value) const {
    const V nearer = once(value);
    return hn::MulAdd(hn::NegMulAdd(nearer, once.scale, value), once.inverse, nearer);
  }
};
// Both need fused steps in which nothing overflows or underflows (CodeRule::plain): quotients that matter are above 2^-12, and none becomes zero.
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX2
constexpr bool kFusedSteps = false;
#else
constexpr bool kFusedSteps = true;
#endif

// Then what happens to it before it becomes a code.
struct AsIs {
  HWY_INLINE V operator()(V quotient, V zero_point) const { return hn::Add(quotient, zero_point); }  // -0 + 0 is +0, as in the definition
};
struct RoundOnce {  // zero_point is 0: a second rounding would change nothing
  HWY_INLINE V operator()(V quotient, V zero_point) const { return hn::Add(number_to_bf16(quotient), zero_point); }
};
struct RoundTwice {
  HWY_INLINE V operator()(V quotient, V zero_point) const { return number_to_bf16(hn::Add(number_to_bf16(quotient), zero_point)); }
};

// And what became of the values: nothing is asked, or sums of squares. float32 sums serve one row of ordinary size; where they might not, doubles do.
struct NoSums {
  static constexpr bool kWanted = false;
  HWY_INLINE void add(V, V) {}
};
struct FloatSums {
  static constexpr bool kWanted = true;
  V error, energy;
  HWY_INLINE FloatSums() : error(hn::Zero(F32())), energy(hn::Zero(F32())) {}
  HWY_INLINE void add(V difference, V value) {
    error = hn::MulAdd(difference, difference, error);
    energy = hn::MulAdd(value, value, energy);
  }
  HWY_INLINE bool add_to(WeightError& total) const {
    const float errors = hn::GetLane(hn::SumOfLanes(F32(), error)), energies = hn::GetLane(hn::SumOfLanes(F32(), energy));
    if (!(energies > 1e-18f && energies < 1e37f && errors < 1e37f)) return false;
    total.error += static_cast<double>(errors);
    total.energy += static_cast<double>(energies);
    return true;
  }
};
struct DoubleSums {
  static constexpr bool kWanted = true;
  using Wide = hn::ScalableTag<double>;
  hn::Vec<Wide> error, energy;
  HWY_INLINE DoubleSums() : error(hn::Zero(Wide())), energy(hn::Zero(Wide())) {}
  HWY_INLINE void add(V difference, V value) {
    add_squares(difference, error);
    add_squares(value, energy);
  }
  HWY_INLINE static void add_squares(V value, hn::Vec<Wide>& sum) {
    const Wide wide;
#if HWY_TARGET == HWY_SCALAR
    const auto only = hn::PromoteTo(wide, value);
    sum = hn::MulAdd(only, only, sum);
#else
    const hn::Rebind<float, Wide> half;
    const auto low = hn::PromoteTo(wide, hn::LowerHalf(half, value)), high = hn::PromoteTo(wide, hn::UpperHalf(half, value));
    sum = hn::MulAdd(low, low, hn::MulAdd(high, high, sum));
#endif
  }
  HWY_INLINE void add_to(WeightError& total) const {
    total.error += hn::GetLane(hn::SumOfLanes(Wide(), error));
    total.energy += hn::GetLane(hn::SumOfLanes(Wide(), energy));
  }
};

template <class T>
struct RowCodes {
  CodeRule rule;
  const T* row;
  int64_t columns, group;
  const float* scales;
  const float* zero_points;  // may be null
  uint8_t* codes;
};

// Lanes beyond a cell's end hold zeros; they decode to zero, as the zero point is on the grid.
template <class Division, class T, class Adjust, class Code, class Sums>
HWY_INLINE W code_vector(const RowCodes<T>& job, V values, const Division& quotient, V scale, V zero_point, const Adjust& adjust, const Code& code, Sums& sums) {
  V decoded;
  const W made = code(adjust(quotient(values), zero_point), decoded);
  if constexpr (Sums::kWanted) {
    const V product = hn::Mul(hn::Sub(decoded, zero_point), scale);
    sums.add(hn::Sub(values, job.rule.round_product ? number_to_bf16(product) : product), values);
  }
  return made;
}

template <class Division, class T, class Adjust, class Code, class Sums>
void code_all_cells(const RowCodes<T> job, const Adjust adjust, const Code code, Sums& sums) {  // by value: what codes are stored to could alias a reference
  const F32 d;
  const bool whole_vectors = job.group % kLanes == 0 && job.columns % job.group == 0;
  for (int64_t begin = 0, cell = 0; begin < job.columns; begin += job.group, ++cell) {
    const float scale = job.scales[cell];
    const Division quotient(scale);
    const V scales = hn::Set(d, scale), zero_point = hn::Set(d, job.zero_points ? job.zero_points[cell] : 0.0f);
    if (whole_vectors) {  // without the code for a rest, what is constant stays in registers from cell to cell
      for (int64_t at = begin; at < begin + job.group; at += kLanes) {
        hwy::Prefetch(job.row + job.columns + at);  // the next row, which the ranges will want
        store_bytes(code_vector(job, load(d, job.row + at), quotient, scales, zero_point, adjust, code, sums), job.codes + at);
      }
    } else {
      for_each_vector(job.row, begin, job.columns - begin < job.group ? job.columns : begin + job.group, [&](V values, int64_t at, int64_t count) HWY_ATTR {
        hwy::Prefetch(job.row + job.columns + at);
        store_some_bytes(code_vector(job, values, quotient, scales, zero_point, adjust, code, sums), count, job.codes + at);
      });
    }
  }
}

template <class T, class Adjust, class Code, class Sums>
void code_cells(const RowCodes<T>& job, const Adjust& adjust, const Code& code, Sums& sums) {
  if constexpr (kFusedSteps && !std::is_same_v<Sums, DoubleSums>) {
    if (job.rule.plain && job.rule.scales == ScaleValues::powers_of_two) return code_all_cells<MultiplyByInverse>(job, adjust, code, sums);
    if constexpr (std::is_same_v<T, uint16_t>)
      if (job.rule.plain && job.rule.scales == ScaleValues::bf16) return code_all_cells<CorrectedOnce>(job, adjust, code, sums);
    if (job.rule.plain) return code_all_cells<CorrectedTwice>(job, adjust, code, sums);
  }
  code_all_cells<Divide>(job, adjust, code, sums);
}

template <class T, class Adjust, class Code>
void code_row(const RowCodes<T>& job, const Adjust& adjust, const Code& code, WeightError* error) {
  if (!error) {
    NoSums none;
    return code_cells(job, adjust, code, none);
  }
  FloatSums quick;
  code_cells(job, adjust, code, quick);
  if (quick.add_to(*error)) return;
  DoubleSums exact;
  code_cells(job, adjust, code, exact);
  exact.add_to(*error);
}

template <class T, class Adjust>
void code_by_kind(const RowCodes<T>& job, const Adjust& adjust, WeightError* error) {
  const CodeRule& rule = job.rule;
  switch (rule.kind) {
    case CodeKind::integer: return code_row(job, adjust, WholeNumber{rule.low, rule.high, static_cast<float>(rule.offset)}, error);
    case CodeKind::e4m3: return code_row(job, adjust, E4m3{448.0f}, error);
    case CodeKind::e2m1: return code_row(job, adjust, E2m1{6.0f}, error);
  }
}

void codes(const CodeRule& rule, const void* row, DType dtype, int64_t columns, int64_t group, const float* scales, const float* zero_points, uint8_t* codes, WeightError* error) {
  if (dtype == DType::f32) return code_by_kind(RowCodes<float>{rule, static_cast<const float*>(row), columns, group, scales, zero_points, codes}, AsIs(), error);
  const RowCodes<uint16_t> job{rule, static_cast<const uint16_t*>(row), columns, group, scales, zero_points, codes};
  if (!rule.round_quotient) return code_by_kind(job, AsIs(), error);
  zero_points ? code_row(job, RoundTwice(), WholeNumber{rule.low, rule.high, static_cast<float>(rule.offset)}, error) : code_by_kind(job, RoundOnce(), error);
}

// Packing: eight codes in a 64-bit lane close up in three steps, pairs, fours and eights.

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

template <int bits>
void pack_bits(const uint8_t* codes, int64_t count, std::byte* packed, int64_t bytes) {
  const hn::ScalableTag<uint64_t> d;
  constexpr auto lanes = static_cast<int64_t>(hn::MaxLanes(d));
  int64_t at = 0;  // bytes done
  for (int64_t i = 0; i < count && at < bytes; i += 8 * lanes) {
    const auto closed = close_up<bits>(hn::LoadU(d, reinterpret_cast<const uint64_t*>(codes + i)));
    if constexpr (bits == 4) {
      if (at + 4 * lanes <= bytes) {
        const hn::Rebind<uint32_t, decltype(d)> words;
        hn::StoreU(hn::TruncateTo(words, closed), words, reinterpret_cast<uint32_t*>(packed + at));
        at += 4 * lanes;
        continue;
      }
    }
    uint64_t parts[lanes];
    hn::StoreU(closed, d, parts);
    for (int64_t lane = 0; lane < lanes && at < bytes; ++lane) {
      const int64_t part = bytes - at < bits ? bytes - at : bits;
      if (bytes - at >= 8) std::memcpy(packed + at, &parts[lane], 8);  // what is too much is written over by the next
      else std::memcpy(packed + at, &parts[lane], static_cast<size_t>(part));
      at += part;
    }
  }
  if (at < bytes) std::memset(packed + at, 0, static_cast<size_t>(bytes - at));
}

void pack(const uint8_t* codes, int64_t count, int num_bits, std::byte* packed, int64_t bytes) {
  switch (num_bits) {
    case 1: return pack_bits<1>(codes, count, packed, bytes);
    case 2: return pack_bits<2>(codes, count, packed, bytes);
    case 3: return pack_bits<3>(codes, count, packed, bytes);
    case 4: return pack_bits<4>(codes, count, packed, bytes);
    case 5: return pack_bits<5>(codes, count, packed, bytes);
    case 6: return pack_bits<6>(codes, count, packed, bytes);
    case 7: return pack_bits<7>(codes, count, packed, bytes);
    default: std::memcpy(packed, codes, static_cast<size_t>(count)); std::memset(packed + count, 0, static_cast<size_t>(bytes - count)); return;
  }
}

}  // namespace

constexpr QuantizeKernels kQuantizeKernels{ranges, scales, scales_are_plain, codes, pack};

}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmc::cpu {

const QuantizeKernels& quantize_kernels(VectorLevel level) { return LLMC_CPU_PICK(level, kQuantizeKernels); }

}  // namespace llmc::cpu
#endif
