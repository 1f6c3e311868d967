// Values to codes, one byte each. Quotients are rounded exactly as a division rounds them.
#include "cpu/quantize_kernels.hpp"

#include <cstring>
#include <type_traits>

#include "cpu/vector_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/code_kernels.cpp"
#include "hwy/foreach_target.h"
#include "cpu/fp4_thresholds-inl.hpp"
#include "cpu/quantize_formats-inl.hpp"
#include "hwy/cache_control.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {

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

HWY_INLINE void store_some_bytes(W codes, int64_t count, uint8_t* to) {
  if (count == kLanes) return store_bytes(codes, to);
  uint8_t some[HWY_MAX_BYTES / sizeof(float)];
  store_bytes(codes, some);
  std::memcpy(to, some, static_cast<size_t>(count));
}

// First the quotient, rounded exactly as a float32 division rounds it.

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
// With a correctly rounded inverse, value * inverse is at most two units off; what is left over after one
// fused step is exact (or off by 2^-24 of itself), and correcting by it lands within 2^-22 units of the true
// quotient before that is rounded. For a bfloat16 by a bfloat16 (8 bits by 8 bits) this is the division's
// result: such a quotient is no midpoint between two floats, and at least 1/510 of a unit away from one.
struct CorrectedOnce {
  V scale, inverse;
  HWY_INLINE explicit CorrectedOnce(float of)
      : scale(hn::Set(F32(), of)),
        inverse(hn::Set(F32(), 1.0f / of)) {}
  HWY_INLINE V operator()(V value) const {
    const V near = hn::Mul(value, inverse);
    return hn::MulAdd(hn::NegMulAdd(near, scale, value), inverse, near);
  }
};
// Any other numbers need a second correction, of a quotient that is then one of the two floats around the
// true one: it rounds as the division does (Markstein 1990).
struct CorrectedTwice {
  CorrectedOnce once;
  HWY_INLINE explicit CorrectedTwice(float of) : once(of) {}
  HWY_INLINE V operator()(V value) const {
    const V nearer = once(value);
    return hn::MulAdd(hn::NegMulAdd(nearer, once.scale, value), once.inverse, nearer);
  }
};
// Both need fused steps in which nothing overflows or underflows (CodeRule::plain): quotients that matter are
// above 2^-12, and none becomes zero.
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX2
constexpr bool kFusedSteps = false;
#else
constexpr bool kFusedSteps = true;
#endif

// The adjustment of a quotient before it is rounded to a code: the zero point is added, or nothing is done.
struct AsIs {
  // -0 + 0 is +0, as in the definition
  HWY_INLINE V operator()(V quotient, V zero_point) const { return hn::Add(quotient, zero_point); }
};
struct RoundOnce {  // zero_point is 0: a second rounding would change nothing
  HWY_INLINE V operator()(V quotient, V zero_point) const {
    return hn::Add(number_to_bf16(quotient), zero_point);
  }
};
struct RoundTwice {
  HWY_INLINE V operator()(V quotient, V zero_point) const {
    return number_to_bf16(hn::Add(number_to_bf16(quotient), zero_point));
  }
};

// The sums that go with the codes: none, or error = sum (w - q)^2 and energy = sum w^2. float32 is exact enough
// for a row of ordinary size; longer rows use double.
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
    const float errors = hn::GetLane(hn::SumOfLanes(F32(), error)),
                energies = hn::GetLane(hn::SumOfLanes(F32(), energy));
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
    const auto low = hn::PromoteTo(wide, hn::LowerHalf(half, value)),
               high = hn::PromoteTo(wide, hn::UpperHalf(half, value));
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
HWY_INLINE W code_vector(const RowCodes<T>& job,
                         V values,
                         const Division& quotient,
                         V scale,
                         V zero_point,
                         const Adjust& adjust,
                         const Code& code,
                         Sums& sums) {
  V decoded;
  const W made = code(adjust(quotient(values), zero_point), decoded);
  if constexpr (Sums::kWanted) {
    const V product = hn::Mul(hn::Sub(decoded, zero_point), scale);
    sums.add(hn::Sub(values, job.rule.round_product ? number_to_bf16(product) : product), values);
  }
  return made;
}

template <class Division, class T, class Adjust, class Code, class Sums>
// by value: the compiler must assume that stores to the codes change what a reference refers to
void code_all_cells(const RowCodes<T> job, const Adjust adjust, const Code code, Sums& sums) {
  const F32 d;
  const bool whole_vectors = job.group % kLanes == 0 && job.columns % job.group == 0;
  for (int64_t begin = 0, cell = 0; begin < job.columns; begin += job.group, ++cell) {
    const float scale = job.scales[cell];
    const Division quotient(scale);
    const V scales = hn::Set(d, scale),
            zero_point = hn::Set(d, job.zero_points ? job.zero_points[cell] : 0.0f);
    // without the code for a rest, what is constant stays in registers from cell to cell
    if (whole_vectors) {
      for (int64_t at = begin; at < begin + job.group; at += kLanes) {
        hwy::Prefetch(job.row + job.columns + at);  // the next row, which the ranges will want
        store_bytes(code_vector(job, load(d, job.row + at), quotient, scales, zero_point, adjust, code, sums),
                    job.codes + at);
      }
    } else {
      for_each_vector(job.row, begin, job.columns - begin < job.group ? job.columns : begin + job.group,
                      [&](V values, int64_t at, int64_t count) HWY_ATTR {
                        hwy::Prefetch(job.row + job.columns + at);
                        store_some_bytes(
                            code_vector(job, values, quotient, scales, zero_point, adjust, code, sums), count,
                            job.codes + at);
                      });
    }
  }
}

#if HWY_TARGET != HWY_SCALAR
// Adds up the squared quantization errors. Decoded FP4 values are multiples of 0.5, so a cell keeps them doubled, as
// integers, and multiplies by scale / 2: exact.
template <class D, class Sums>
HWY_INLINE void add_errors_of_codes(D d,
                                    hn::Vec<D> codes,
                                    const RowCodes<uint16_t>& job,
                                    int64_t at,
                                    Sums& sums) {
  const hn::Repartition<uint8_t, D> bytes;
  alignas(16) static constexpr uint8_t kHalfSteps[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, 1, 2, 3, 4, 6, 8, 12};
  const auto half_steps = hn::BitCast(
      d, hn::TableLookupBytes(hn::LoadDup128(bytes, kHalfSteps), hn::BitCast(bytes, codes)));
  const hn::Half<D> half;
  const auto add = [&](auto steps, auto own, int64_t first) HWY_ATTR {
    const W sign = hn::ShiftLeft<31>(hn::ShiftRight<3>(hn::PromoteTo(U32(), own)));
    const V magnitude = hn::Mul(hn::ConvertTo(F32(), hn::BitCast(I32(), hn::PromoteTo(U32(), steps))),
                                hn::Set(F32(), 0.5f * job.scales[first / kThresholdCell]));
    const V product = hn::BitCast(F32(), hn::Or(hn::BitCast(U32(), magnitude), sign)),
            values = load(F32(), job.row + first);
    sums.add(hn::Sub(values, job.rule.round_product ? number_to_bf16(product) : product), values);
  };
  add(hn::LowerHalf(half, half_steps), hn::LowerHalf(half, codes), at);
  add(hn::UpperHalf(half, half_steps), hn::UpperHalf(half, codes), at + kLanes);
}

template <class Sums>
void code_by_thresholds(const RowCodes<uint16_t> job, Sums& sums) {
  const hn::ScalableTag<uint16_t> d;
  const hn::Rebind<uint8_t, decltype(d)> bytes;
  for_each_by_thresholds(job.row, job.columns, job.scales, [&](auto codes, int64_t at) HWY_ATTR {
    hwy::Prefetch(job.row + job.columns + at);
    hn::StoreU(hn::TruncateTo(bytes, codes), bytes, job.codes + at);
    if constexpr (Sums::kWanted) add_errors_of_codes(d, codes, job, at, sums);
  });
}
#endif

template <class T, class Adjust, class Code, class Sums>
void code_cells(const RowCodes<T>& job, const Adjust& adjust, const Code& code, Sums& sums) {
#if HWY_TARGET != HWY_SCALAR
  if constexpr (std::is_same_v<T, uint16_t> && std::is_same_v<Code, E2m1> && std::is_same_v<Adjust, AsIs> &&
                !std::is_same_v<Sums, DoubleSums>)
    if (job.rule.plain && job.group == kThresholdCell && job.columns % kThresholdVector == 0)
      return code_by_thresholds(job, sums);
#endif
  if constexpr (kFusedSteps && !std::is_same_v<Sums, DoubleSums>) {
    if (job.rule.plain && job.rule.scales == ScaleValues::powers_of_two)
      return code_all_cells<MultiplyByInverse>(job, adjust, code, sums);
    if constexpr (std::is_same_v<T, uint16_t>)
      if (job.rule.plain && job.rule.scales == ScaleValues::bf16)
        return code_all_cells<CorrectedOnce>(job, adjust, code, sums);
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
    case CodeKind::integer:
      return code_row(job, adjust, WholeNumber{rule.low, rule.high, static_cast<float>(rule.offset)}, error);
    case CodeKind::e4m3:
      return code_row(job, adjust, E4m3{448.0f}, error);
    case CodeKind::e2m1:
      return code_row(job, adjust, E2m1{6.0f}, error);
  }
}

void codes(const CodeRule& rule,
           const void* row,
           DType dtype,
           int64_t columns,
           int64_t group,
           const float* scales,
           const float* zero_points,
           uint8_t* codes,
           WeightError* error) {
  if (dtype == DType::f32)
    return code_by_kind(
        RowCodes<float>{rule, static_cast<const float*>(row), columns, group, scales, zero_points, codes},
        AsIs(), error);
  const RowCodes<uint16_t> job{rule, static_cast<const uint16_t*>(row), columns, group, scales, zero_points,
                               codes};
  if (!rule.round_quotient) return code_by_kind(job, AsIs(), error);
  zero_points
      ? code_row(job, RoundTwice(), WholeNumber{rule.low, rule.high, static_cast<float>(rule.offset)}, error)
      : code_by_kind(job, RoundOnce(), error);
}

}  // namespace

constexpr CodeKernel kCodeKernel{codes};

}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmc::cpu {

const CodeKernel& code_kernels(VectorLevel level) { return LLMC_CPU_PICK(level, kCodeKernel); }

}  // namespace llmc::cpu
#endif
