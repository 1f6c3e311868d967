#include "cpu/gptq_kernel.hpp"

#include <cmath>
#include <cstring>

#include "cpu/vector_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/gptq_kernel.cpp"
#include "hwy/foreach_target.h"
#include "cpu/vector_math-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {

using VI = hn::Vec<I32>;

struct Rounded {
  V value;  // on the grid, before the zero point is taken off
  VI code;
};

// Grids: what round() gives for a quotient. Clamped before rounding, ties to even.
struct IntegerGrid {
  float low, high;
  HWY_INLINE Rounded round(F32 d, V y) const {
    const V value = hn::Round(hn::Min(hn::Max(y, hn::Set(d, low)), hn::Set(d, high)));
    return {value, hn::ConvertTo(I32(), value)};
  }
};

struct Float8Grid {  // e4m3fn
  HWY_INLINE Rounded round(F32 d, V y) const {
    const I32 di;
    const V clamped = hn::Min(hn::Max(y, hn::Set(d, -448.0f)), hn::Set(d, 448.0f)),
            magnitude = hn::Abs(clamped);
    const auto sign = hn::And(hn::BitCast(di, clamped), hn::Set(di, static_cast<int32_t>(0x80000000u)));
    const auto bits = hn::BitCast(di, magnitude), odd = hn::And(hn::ShiftRight<20>(bits), hn::Set(di, 1));
    const auto normal = hn::ShiftLeft<20>(
        hn::ShiftRight<20>(hn::Add(bits, hn::Add(odd, hn::Set(di, 0x7FFFF)))));
    const V steps = hn::Round(hn::Mul(magnitude, hn::Set(d, 512.0f)));  // subnormals are multiples of 2^-9
    const auto small = hn::Lt(magnitude, hn::Set(d, 0.015625f));
    const V value = hn::IfThenElse(small, hn::Mul(steps, hn::Set(d, 1.0f / 512.0f)), hn::BitCast(d, normal));
    const auto code = hn::IfThenElse(hn::RebindMask(di, small), hn::ConvertTo(di, steps),
                                     hn::Sub(hn::ShiftRight<20>(normal), hn::Set(di, 120 << 3)));
    const auto sign_code = hn::And(hn::ShiftRight<24>(sign), hn::Set(di, 0x80));
    return {hn::BitCast(d, hn::Or(hn::BitCast(di, value), sign)), hn::Or(code, sign_code)};
  }
};

struct Float4Grid {  // e2m1
  HWY_INLINE Rounded round(F32 d, V y) const {
    const I32 di;
    const V magnitude = hn::Min(hn::Abs(y), hn::Set(d, 6.0f)), zero = hn::Zero(d);
    V value = zero, code = zero;
    struct Step {
      float above, value;
      bool inclusive;  // ties go to the even mantissa
    };
    constexpr Step kSteps[] = {{0.25f, 0.5f, false}, {0.75f, 1.0f, true}, {1.25f, 1.5f, false},
                               {1.75f, 2.0f, true},  {2.5f, 3.0f, false}, {3.5f, 4.0f, true},
                               {5.0f, 6.0f, false}};
    float index = 1.0f;
    for (const Step& step : kSteps) {
      const V limit = hn::Set(d, step.above);
      const auto reached = step.inclusive ? hn::Ge(magnitude, limit) : hn::Gt(magnitude, limit);
      value = hn::IfThenElse(reached, hn::Set(d, step.value), value);
      code = hn::IfThenElse(reached, hn::Set(d, index), code);
      index += 1.0f;
    }
    const auto negative = hn::Lt(y, zero);
    return {hn::IfThenElse(negative, hn::Neg(value), value),
            hn::ConvertTo(di, hn::IfThenElse(negative, hn::Add(code, hn::Set(d, 8.0f)), code))};
  }
};

// The products as the reader of the file will see them.
struct ToFloat {
  HWY_INLINE V round(F32, V x) const { return x; }
};
struct ToBf16 {
  HWY_INLINE V round(F32 d, V x) const { return hn::BitCast(d, hn::ShiftLeft<16>(bf16_bits(d, x))); }
};
struct ToHalf {
  HWY_INLINE V round(F32 d, V x) const {
    const U32 du;
    const auto bits = hn::BitCast(du, x), odd = hn::And(hn::ShiftRight<13>(bits), hn::Set(du, 1u));
    const auto kept = hn::ShiftLeft<13>(hn::ShiftRight<13>(hn::Add(bits, hn::Add(odd, hn::Set(du, 0xFFFu)))));
    const V small = hn::Mul(hn::Round(hn::Mul(x, hn::Set(d, 0x1p24f))), hn::Set(d, 0x1p-24f));
    return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 0x1p-14f)), small, hn::BitCast(d, kept));
  }
};

// w1 -= sum over earlier columns k of e[k] * factor[k], in the order of k, for N vectors of rows at once to
// hide latency.
template <int N>
HWY_INLINE void subtract_errors(F32 d,
                                const float* HWY_RESTRICT errors,
                                int64_t width,
                                const float* HWY_RESTRICT factor,
                                int64_t columns,
                                V (&w)[N]) {
  for (int64_t k = 0; k < columns; ++k) {
    const V u = hn::Set(d, factor[k]);
    HWY_UNROLL(4)
    for (int v = 0; v < N; ++v) w[v] = hn::NegMulAdd(hn::LoadU(d, errors + k * width + v * kLanes), u, w[v]);
  }
}

template <int N, class Grid, class Product>
HWY_INLINE void run_lanes(const ColumnBlock& block, int64_t lane, const Grid& grid, const Product& product) {
  const F32 d;
  const int64_t width = block.width;
  V loss[N];
  for (int v = 0; v < N; ++v) loss[v] = hn::Zero(d);
  for (int64_t i = 0; i < block.columns; ++i) {
    const float* factor = block.factor ? block.factor + i * block.factor_stride : nullptr;
    const V pivot = hn::Set(d, factor ? factor[i] : 1.0f);
    V w[N];
    for (int v = 0; v < N; ++v) w[v] = hn::LoadU(d, block.current + i * width + lane + v * kLanes);
    if (factor) subtract_errors<N>(d, block.current + lane, width, factor, i, w);
    for (int v = 0; v < N; ++v) {
      const int64_t at = i * width + lane + v * kLanes,
                    scale_at = block.scale_column[i] * width + lane + v * kLanes;
      const V scale = hn::LoadU(d, block.scales + scale_at);
      const V zero = block.zero_points ? hn::LoadU(d, block.zero_points + scale_at) : hn::Zero(d);
      V quotient = hn::Div(w[v], scale);
      if (block.zero_points) quotient = hn::Add(quotient, zero);
      const Rounded rounded = grid.round(d, quotient);
      const V q = product.round(d, hn::Mul(hn::Sub(rounded.value, zero), scale));
      const V error = hn::Div(hn::Sub(w[v], q), pivot);
      hn::StoreU(error, d, block.current + at);
      hn::StoreU(hn::Sub(hn::LoadU(d, block.original + at), q), d, block.difference + at);
      loss[v] = hn::MulAdd(error, error, loss[v]);
      HWY_ALIGN int32_t codes[kLanes];
      hn::Store(rounded.code, I32(), codes);
      for (int64_t l = 0; l < kLanes; ++l) block.codes[at + l] = static_cast<uint8_t>(codes[l]);
    }
  }
  for (int v = 0; v < N; ++v) {
    HWY_ALIGN float lanes[kLanes];
    hn::Store(loss[v], d, lanes);
    for (int64_t l = 0; l < kLanes; ++l) block.loss[lane + v * kLanes + l] += static_cast<double>(lanes[l]);
  }
}

template <class Grid, class Product>
void run_block(const ColumnBlock& block, const Grid& grid, const Product& product) {
  int64_t lane = 0;
  for (; lane + 4 * kLanes <= block.width; lane += 4 * kLanes) run_lanes<4>(block, lane, grid, product);
  for (; lane + 2 * kLanes <= block.width; lane += 2 * kLanes) run_lanes<2>(block, lane, grid, product);
}

template <class Grid>
void run_product(const ColumnBlock& block, const Grid& grid) {
  switch (block.product_dtype) {
    case DType::bf16:
      return run_block(block, grid, ToBf16());
    case DType::f16:
      return run_block(block, grid, ToHalf());
    default:
      return run_block(block, grid, ToFloat());
  }
}

void run(const ColumnBlock& block) {
  if (block.grid.type == NumberType::floating) {
    if (block.grid.num_bits == 4) return run_product(block, Float4Grid());
    return run_product(block, Float8Grid());
  }
  const float half = std::ldexp(1.0f, block.grid.num_bits - 1);
  run_product(block, IntegerGrid{-half, half - 1.0f});
}

}  // namespace

constexpr ColumnKernel kColumnKernel = run;

}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmc::cpu {

ColumnKernel column_kernel(VectorLevel level) { return LLMC_CPU_PICK(level, kColumnKernel); }

}  // namespace llmc::cpu
#endif
