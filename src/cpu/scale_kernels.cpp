// Scales of a row of cells from their ranges. A division is a division here: there is one per cell.
#include "cpu/quantize_kernels.hpp"

#include "cpu/vector_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/scale_kernels.cpp"
#include "hwy/foreach_target.h"
#include "cpu/quantize_formats-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {

struct Bf16Model {
  HWY_INLINE V operator()(V value) const { return as_stored(F32(), value, uint16_t{}); }  // NaN stays NaN
  static constexpr float kSmallestScale = 0x1p-7f;
  HWY_INLINE static void store_scale(V value, int64_t cell, std::byte* stored) {
    store(F32(), value, reinterpret_cast<uint16_t*>(stored) + cell);
  }
};
struct F32Model {
  HWY_INLINE V operator()(V value) const { return value; }
  static constexpr float kSmallestScale = 0x1p-23f;
  HWY_INLINE static void store_scale(V value, int64_t cell, std::byte* stored) {
    store(F32(), value, reinterpret_cast<float*>(stored) + cell);
  }
};

template <class Model>
HWY_INLINE V zero_points(const ScaleRule& rule, const Model& model, V low, V scale) {
  const F32 d;
  const V least = hn::Set(d, rule.low);
  const V exact = model(hn::Sub(least, model(hn::Div(low, scale))));
  const V clamped = hn::Min(hn::Max(exact, least), hn::Set(d, rule.high));
  return hn::IfThenElseZero(hn::Eq(exact, exact),
                            hn::Sub(hn::Add(clamped, hn::Set(d, 12582912.0f)), hn::Set(d, 12582912.0f)));
}

template <class Model>
void scales_of_model(const ScaleRule& rule,
                     const Model& model,
                     const float* low,
                     const float* high,
                     int64_t cells,
                     const CellScales& out) {
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
      store_bytes(hn::And(hn::BitCast(U32(), hn::ConvertTo(I32(), zero_point)), hn::Set(U32(), 0xFFu)),
                  reinterpret_cast<uint8_t*>(out.stored_zero_points) + cell);
    }
    if (rule.kind == ScaleKind::e4m3_of_global) {
      const V global = hn::Set(d, rule.global_scale);
      V decoded;
      const W code = E4m3{448.0f}(hn::Mul(global, scale), decoded);
      const auto none = hn::Eq(decoded, hn::Zero(d));
      store_bytes(hn::IfThenElse(hn::RebindMask(U32(), none), hn::Set(U32(), 0x20u), code),
                  reinterpret_cast<uint8_t*>(out.stored) + cell);
      hn::StoreU(hn::Div(hn::IfThenElse(none, hn::Set(d, 0.125f), decoded), global), d, out.values + cell);
    } else {
      scale = hn::IfThenElse(hn::Eq(scale, hn::Zero(d)), hn::Set(d, Model::kSmallestScale), scale);
      Model::store_scale(scale, cell, out.stored);
      hn::StoreU(scale, d, out.values + cell);
    }
  }
}

// The MX scale's exponent: floor(log2 |x|), plus one where the mantissa is 1.75 or more, minus the exponent of
// the grid's largest power of two. 255 stands for an overflow and becomes 254, the largest.
void power_scales(const ScaleRule& rule, const float* high, int64_t cells, const CellScales& out) {
  const F32 d;
  const I32 di;
  const auto offset = hn::Set(di, rule.mx_offset);
  for (int64_t cell = 0; cell < cells; cell += kLanes) {
    const auto raised = hn::ShiftRight<23>(
        hn::Add(hn::BitCast(di, hn::LoadU(d, high + cell)), hn::Set(di, 0x00200000)));
    auto exponent = hn::Max(hn::Sub(raised, offset), hn::Zero(di));
    exponent = hn::IfThenElse(hn::Eq(raised, hn::Set(di, 255)), hn::Set(di, 254), exponent);
    store_bytes(hn::BitCast(U32(), exponent), reinterpret_cast<uint8_t*>(out.stored) + cell);
    const auto subnormal = hn::Set(di, 0x00400000);
    hn::StoreU(hn::BitCast(
                   d, hn::IfThenElse(hn::Eq(exponent, hn::Zero(di)), subnormal, hn::ShiftLeft<23>(exponent))),
               d, out.values + cell);
  }
}

void scales(const ScaleRule& rule,
            const float* low,
            const float* high,
            int64_t cells,
            const CellScales& out) {
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
    plain = hn::And(plain,
                    hn::And(in_range,
                            hn::And(hn::Le(hn::LoadU(d, high + cell), limit),
                                    hn::Le(hn::Neg(hn::LoadU(d, low + cell)), limit))));
  }
  bool all = hn::AllTrue(d, plain);
  for (; cell < cells; ++cell) {
    const float scale = values[cell], limit = 0x1p60f * scale;
    all = all && scale >= 0x1p-90f && scale <= 1.0f && high[cell] <= limit && -low[cell] <= limit;
  }
  return all;
}

}  // namespace

constexpr ScaleKernels kScaleKernels{scales, scales_are_plain};

}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmc::cpu {

const ScaleKernels& scale_kernels(VectorLevel level) { return LLMC_CPU_PICK(level, kScaleKernels); }

}  // namespace llmc::cpu
#endif
