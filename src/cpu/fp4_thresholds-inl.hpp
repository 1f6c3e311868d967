// NVFP4 without a division per value; included once per target, inside its target loop.
// The code of a value x in a cell of 16 with scale s is the number of steps b of the fp4 grid that the
// quotient x / s, rounded to float32, has passed. As rounding keeps order, that is so from some product s *
// (b +- half a unit of b) on, which is exact in double: 24 bits by 25. And as x is a bfloat16, the greatest
// bfloat16 that has not yet passed is all that is needed of it: seven 16-bit numbers for each cell, and three
// comparisons, a search of seven in three steps, for each value.
#if defined(LLMC_CPU_FP4_THRESHOLDS_INL) == defined(HWY_TARGET_TOGGLE)
#ifdef LLMC_CPU_FP4_THRESHOLDS_INL
#undef LLMC_CPU_FP4_THRESHOLDS_INL
#else
#define LLMC_CPU_FP4_THRESHOLDS_INL
#endif

#include "cpu/quantize_formats-inl.hpp"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET != HWY_SCALAR            // which has no tables
constexpr int64_t kThresholdCell = 16;  // values of one cell
constexpr auto kThresholdVector = static_cast<int64_t>(hn::MaxLanes(hn::ScalableTag<uint16_t>()));
constexpr int64_t kThresholdCells = 16;  // of which as many have their tables made at once

// Steps between neighbours on the grid {0, 0.5, 1, 1.5, 2, 3, 4, 6}. A quotient halfway goes to the even
// code, so some steps are taken at the midpoint and others just above it.
struct Step {
  // what the exact quotient must exceed, or reach, to be rounded to a float32 that takes the step
  double first;
  bool reached;
};
constexpr Step kSteps[] = {{0.25 + 0x1p-26, false}, {0.75 - 0x1p-25, true}, {1.25 + 0x1p-24, false},
                           {1.75 - 0x1p-24, true},  {2.5 + 0x1p-23, false}, {3.5 - 0x1p-23, true},
                           {5.0 + 0x1p-22, false}};

// tables: [cells][2][8], each cell's table twice: 0 and the seven greatest magnitudes that stay below a step.
// scales: within [2^-90, 1], so that all is normal.
HWY_INLINE void make_thresholds(const float* scales, int64_t cells, uint16_t* tables) {
  const hn::ScalableTag<double> d;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::Rebind<float, decltype(d)> df;
  constexpr auto lanes = static_cast<int64_t>(hn::MaxLanes(d));
  for (int64_t cell = 0; cell < cells; cell += lanes) {
    const auto scale = hn::PromoteTo(d, hn::LoadU(df, scales + cell));
    const auto threshold = [&](int step) HWY_ATTR {
      auto bits = hn::BitCast(du, hn::Mul(scale, hn::Set(d, kSteps[step].first)));
      if (kSteps[step].reached) bits = hn::Sub(bits, hn::Set(du, 1u));  // the double before it
      // a bfloat16's seven bits of the fraction, and its exponent
      return hn::Sub(hn::ShiftRight<45>(bits), hn::Set(du, uint64_t{896} << 7));
    };
    const auto low = hn::Or(hn::ShiftLeft<16>(threshold(0)),
                            hn::Or(hn::ShiftLeft<32>(threshold(1)), hn::ShiftLeft<48>(threshold(2))));
    const auto high = hn::Or(hn::Or(threshold(3), hn::ShiftLeft<16>(threshold(4))),
                             hn::Or(hn::ShiftLeft<32>(threshold(5)), hn::ShiftLeft<48>(threshold(6))));
    hn::StoreInterleaved4(low, high, low, high, du,
                          reinterpret_cast<uint64_t*>(tables + cell * kThresholdCell));
  }
}

// A vector of bfloat16 bits to codes with the sign in bit 3. table: of each value's cell, in each block of
// 128 bits.
template <class D>
HWY_INLINE hn::Vec<D> codes_by_thresholds(D d, hn::Vec<D> bits, hn::Vec<D> table) {
  const hn::RebindToSigned<D> ds;
  const auto place = [&](int index)
                         HWY_ATTR { return hn::Set(d, static_cast<uint16_t>(0x0202 * index + 0x0100)); };
  const auto magnitude = hn::And(bits, hn::Set(d, uint16_t{0x7FFF}));
  const auto passed = [&](hn::Vec<D> places) HWY_ATTR {
    return hn::RebindMask(
        d, hn::Gt(hn::BitCast(ds, magnitude), hn::BitCast(ds, hn::TableLookupBytes(table, places))));
  };
  const auto fourth = passed(place(4));
  const auto second = passed(hn::IfThenElse(fourth, place(6), place(2)));
  const auto last = hn::Add(hn::IfThenElse(fourth, place(5), place(1)),
                            hn::IfThenElseZero(second, hn::Set(d, uint16_t{0x0404})));
  // the last place: the code when it is passed, one more when not
  const auto odd = hn::And(hn::ShiftRight<1>(last), hn::Set(d, uint16_t{7}));
  const auto code = hn::IfThenElse(passed(last), odd, hn::Xor(odd, hn::Set(d, uint16_t{1})));
  // -0 has the code of 0
  const auto negative = hn::And(bits, hn::Add(magnitude, hn::Set(d, uint16_t{0x7FFF})));
  return hn::Or(code, hn::And(hn::ShiftRight<12>(negative), hn::Set(d, uint16_t{8})));
}

// body(vector of codes, first column) over a row of whole vectors and cells.
template <class Body>
HWY_INLINE void for_each_by_thresholds(const uint16_t* row,
                                       int64_t columns,
                                       const float* scales,
                                       const Body& body) {
  const hn::ScalableTag<uint16_t> d;
  alignas(64) uint16_t tables[kThresholdCells * 2 * 8];
  for (int64_t begin = 0; begin < columns; begin += kThresholdCells * kThresholdCell) {
    const int64_t count = columns - begin < kThresholdCells * kThresholdCell
        ? columns - begin
        : kThresholdCells * kThresholdCell;
    // padded, as all arrays with one entry per cell
    make_thresholds(scales + begin / kThresholdCell, kThresholdCells, tables);
    for (int64_t i = 0; i < count; i += kThresholdVector) {
      const auto table = hn::LoadU(d, tables + i / kThresholdCell * kThresholdCell);
      body(codes_by_thresholds(d, hn::LoadU(d, row + begin + i), table), begin + i);
    }
  }
}
#endif

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
