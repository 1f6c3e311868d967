// Ranges of the cells of a row. Magnitudes order as unsigned integers, and so do signed values once their
// bits are keyed: no float needed, and NaN sorts above infinity.
#include "cpu/quantize_kernels.hpp"

#include <cstring>
#include <type_traits>

#include "cpu/vector_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/range_kernels.cpp"
#include "hwy/foreach_target.h"
#include "cpu/vector_math-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {

template <class T>
using Bits = std::conditional_t<sizeof(T) == 2, uint16_t, uint32_t>;

template <class D>
HWY_INLINE hn::Vec<D> sign_bits(D d) {
  return hn::Set(d, static_cast<hn::TFromD<D>>(hn::TFromD<D>{1} << (8 * sizeof(hn::TFromD<D>) - 1)));
}

// Two unsigned integer keys for comparing floats: magnitude(x) orders like |x|, keyed(x) orders like x.
template <class D>
HWY_INLINE hn::Vec<D> magnitude(D d, hn::Vec<D> bits) {
  return hn::AndNot(sign_bits(d), bits);
}
template <class D>
HWY_INLINE hn::Vec<D> keyed(D d, hn::Vec<D> bits) {
  const hn::RebindToSigned<D> ds;
  const auto negative = hn::BitCast(d, hn::BroadcastSignBit(hn::BitCast(ds, bits)));
  return hn::Xor(bits, hn::Or(negative, sign_bits(d)));
}

// body(vector of bits) over [begin, end); lanes beyond the end are those of zero.
template <class D, class T, class Body>
HWY_INLINE void for_each_bits(D d, const T* row, int64_t begin, int64_t end, const Body& body) {
  using B = Bits<T>;
  constexpr auto lanes = static_cast<int64_t>(hn::MaxLanes(D()));
  int64_t i = begin;
  for (; i + lanes <= end; i += lanes) body(hn::LoadU(d, reinterpret_cast<const B*>(row + i)));
  if (i >= end) return;
  B tail[lanes] = {};
  std::memcpy(tail, row + i, static_cast<size_t>(end - i) * sizeof(B));
  body(hn::LoadU(d, tail));
}

// Folds a vector by maxima into one block of 128 bits.
template <class D>
HWY_INLINE auto folded([[maybe_unused]] D d, hn::Vec<D> v) {
#if HWY_TARGET != HWY_SCALAR  // which has no halves
  if constexpr (hn::MaxLanes(D()) * sizeof(hn::TFromD<D>) > 16) {
    const hn::Half<D> half;
    return folded(half, hn::Max(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  } else
#endif
  {
    return v;
  }
}

using Four = hn::CappedTag<uint32_t, 4>;
constexpr int64_t kFour = static_cast<int64_t>(hn::MaxLanes(Four()));
using FourBits = hn::Vec<Four>;

// The maxima of four blocks, each at the top of its lane: a cell of 16 values costs little more than its
// loads, where one maximum at a time would cost most of the work.
template <class T, class Blocks>
HWY_INLINE FourBits four_maxima(const Blocks& block) {
  const Four d;
  using B = Bits<T>;
#if HWY_TARGET == HWY_SCALAR
  static_assert(kFour == 1);
  FourBits maxima = hn::Set(d, static_cast<uint32_t>(hn::GetLane(block[0])));
  if constexpr (sizeof(B) == 2) maxima = hn::ShiftLeft<16>(maxima);
  return maxima;
#else
  const hn::Repartition<B, Four> db;
  const auto ab = hn::BitCast(
      d, hn::Max(hn::ConcatLowerLower(db, block[1], block[0]), hn::ConcatUpperUpper(db, block[1], block[0])));
  const auto cd = hn::BitCast(
      d, hn::Max(hn::ConcatLowerLower(db, block[3], block[2]), hn::ConcatUpperUpper(db, block[3], block[2])));
  FourBits maxima = hn::BitCast(
      d, hn::Max(hn::BitCast(db, hn::ConcatEven(d, cd, ab)), hn::BitCast(db, hn::ConcatOdd(d, cd, ab))));
  if constexpr (sizeof(B) == 2) {
    maxima = hn::BitCast(d, hn::Max(hn::BitCast(db, maxima), hn::BitCast(db, hn::ShiftLeft<16>(maxima))));
    maxima = hn::And(maxima, hn::Set(d, 0xFFFF0000u));
  }
  return maxima;
#endif
}

// The inverse of keyed(): the bits of the float. The 16 bits that a bfloat16 does not have are zero.
template <class T>
HWY_INLINE FourBits bits_of_keys(FourBits keys) {
  const Four d;
  const auto positive = hn::BitCast(d, hn::BroadcastSignBit(hn::BitCast(hn::RebindToSigned<Four>(), keys)));
  const auto bits = hn::Xor(keys, hn::Or(hn::Not(positive), sign_bits(d)));
  return sizeof(T) == 2 ? hn::And(bits, hn::Set(d, 0xFFFF0000u)) : bits;
}

#if HWY_TARGET != HWY_SCALAR
// Cells of two or four blocks of eight magnitudes (NVFP4, MX), with nothing to decide on the way. Four cells
// at a time, for as many as there are; returns how many cells that was.
template <int64_t blocks>
int64_t widen_small_cells(const uint16_t* row, int64_t columns, float* high, FourBits& worst) {
  const hn::RebindToFloat<Four> floats;
  const hn::Repartition<uint16_t, Four> d;
  constexpr int64_t kGroup = 8 * blocks;
  const int64_t cells = columns / (4 * kGroup) * 4;
  for (int64_t cell = 0; cell < cells; cell += 4) {
    hn::Vec<decltype(d)> tops[4];
    for (int64_t i = 0; i < 4; ++i) {
      const uint16_t* const at = row + kGroup * (cell + i);
      tops[i] = magnitude(d, hn::LoadU(d, at));
      for (int64_t block = 1; block < blocks; ++block)
        tops[i] = hn::Max(tops[i], magnitude(d, hn::LoadU(d, at + 8 * block)));
    }
    const FourBits most = four_maxima<uint16_t>(tops);
    worst = hn::Max(worst, most);
    hn::StoreU(hn::Max(hn::LoadU(floats, high + cell), hn::BitCast(floats, most)), floats, high + cell);
  }
  return cells;
}
#endif

template <bool symmetric, class D, class T>
bool ranges_with(D d, const T* row, int64_t columns, int64_t group, float* low, float* high) {
  const Four four;
  const hn::RebindToFloat<Four> floats;
  FourBits worst = hn::Zero(four);
  const auto widen_by = [&](FourBits most, FourBits least, int64_t cell) HWY_ATTR {
    worst = hn::Max(worst, hn::Max(magnitude(four, most), magnitude(four, least)));
    hn::StoreU(hn::Max(hn::LoadU(floats, high + cell), hn::BitCast(floats, most)), floats, high + cell);
    if constexpr (!symmetric)
      hn::StoreU(hn::Min(hn::LoadU(floats, low + cell), hn::BitCast(floats, least)), floats, low + cell);
  };
  int64_t begin = 0, cell = 0;
#if HWY_TARGET != HWY_SCALAR
  if constexpr (symmetric && sizeof(T) == 2)
    if (group == 16 || group == 32) {
      cell = group == 16 ? widen_small_cells<2>(row, columns, high, worst)
                         : widen_small_cells<4>(row, columns, high, worst);
      begin = cell * group;
    }
#endif
  for (; begin < columns; cell += kFour) {
    using Block = decltype(folded(d, hn::Zero(d)));
    Block tops[kFour], bottoms[kFour];
    for (int64_t i = 0; i < kFour; ++i, begin += group) {  // beyond the last column: empty cells
      const int64_t end = columns - begin < group ? columns : begin + group;
      if constexpr (symmetric) {
        auto top = hn::Zero(d);
        for_each_bits(d, row, begin, end,
                      [&](auto bits) HWY_ATTR { top = hn::Max(top, magnitude(d, bits)); });
        tops[i] = folded(d, top);
      } else {
        auto top = keyed(d, hn::Zero(d)), bottom = hn::Not(top);
        for_each_bits(d, row, begin, end, [&](auto bits) HWY_ATTR {
          const auto key = keyed(d, bits);
          top = hn::Max(top, key);
          bottom = hn::Max(bottom, hn::Not(key));
        });
        tops[i] = folded(d, top);
        bottoms[i] = folded(d, bottom);
      }
    }
    if constexpr (symmetric) widen_by(four_maxima<T>(tops), hn::Zero(four), cell);
    else
      widen_by(bits_of_keys<T>(four_maxima<T>(tops)), bits_of_keys<T>(hn::Not(four_maxima<T>(bottoms))),
               cell);
  }
  return hn::AllTrue(four, hn::Lt(worst, hn::Set(four, 0x7F800000u)));
}

template <class D, class T>
bool ranges_of(D d, const T* row, int64_t columns, int64_t group, bool symmetric, float* low, float* high) {
  return symmetric ? ranges_with<true>(d, row, columns, group, low, high)
                   : ranges_with<false>(d, row, columns, group, low, high);
}

bool ranges(const void* row,
            DType dtype,
            int64_t columns,
            int64_t group,
            bool symmetric,
            float* low,
            float* high) {
  if (dtype == DType::f32)
    return ranges_of(U32(), static_cast<const float*>(row), columns, group, symmetric, low, high);
  const auto* values = static_cast<const uint16_t*>(row);
  const hn::ScalableTag<uint16_t> full;
  const hn::CappedTag<uint16_t, 16> narrow;
  if (group < static_cast<int64_t>(hn::MaxLanes(full)))
    return ranges_of(narrow, values, columns, group, symmetric, low, high);
  return ranges_of(full, values, columns, group, symmetric, low, high);
}

}  // namespace

constexpr RangeKernel kRangeKernel{ranges};

}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmc::cpu {

const RangeKernel& range_kernels(VectorLevel level) { return LLMC_CPU_PICK(level, kRangeKernel); }

}  // namespace llmc::cpu
#endif
