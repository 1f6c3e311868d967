// Plain loops, compiled once per instruction set (without contraction to fused multiply-add: CMakeLists.txt),
// so that all give the same bits.
#include "core/quantize/candidate_error.hpp"

#include <algorithm>
#include <cmath>

#include "core/quantize/candidate_value.hpp"

#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/quantize/candidate_error.cpp"
#include "hwy/foreach_target.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc {
namespace HWY_NAMESPACE {
namespace {

template <class Grid, class Round>
void fill(const Candidate& c, const ErrorPower& power, const Grid& grid, const Round& round, float* errors) {
  const float scale = c.scale, zero = c.symmetric ? 0.0f : c.zero_point;
  const bool weighted = c.importance != nullptr;
  if (c.symmetric)
    for (int64_t i = 0; i < c.count; ++i) errors[i] = symmetric_difference(c.values[i], scale, grid, round);
  else
    for (int64_t i = 0; i < c.count; ++i)
      errors[i] = shifted_difference(c.values[i], scale, zero, grid, round);
  if (!power.table().empty()) {  // the bits of the differences, for look_up
    for (int64_t i = 0; i < c.count; ++i)
      errors[i] = std::bit_cast<float>(Round::index(size_of(round(errors[i]))));
    return;
  }
  const float norm = power.norm();
  if (norm == 3.0f)
    for (int64_t i = 0; i < c.count; ++i) errors[i] = raised(errors[i], 3.0f);
  else if (norm == 2.0f)
    for (int64_t i = 0; i < c.count; ++i) errors[i] = raised(errors[i], 2.0f);
  else
    for (int64_t i = 0; i < c.count; ++i) errors[i] = raised(errors[i], norm);
  if (weighted)
    for (int64_t i = 0; i < c.count; ++i) errors[i] *= c.importance[i];
}

template <class Grid>
void fill_dtype(const Candidate& c, const ErrorPower& power, const Grid& grid, float* errors) {
  if (c.dtype == DType::bf16) return fill(c, power, grid, ToBf16(), errors);
  if (c.dtype == DType::f16) return fill(c, power, grid, ToF16(), errors);
  fill(c, power, grid, ToF32(), errors);
}

void fill_errors(const Candidate& c, const ErrorPower& power, float* errors) {
  if (c.type == NumberType::floating)
    return c.num_bits == 4 ? fill_dtype(c, power, Float4Grid(), errors)
                           : fill_dtype(c, power, Float8Grid(), errors);
  fill_dtype(c, power, IntegerGrid(c.num_bits), errors);
}

}  // namespace

constexpr auto kFill = fill_errors;

}  // namespace HWY_NAMESPACE
}  // namespace llmc
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmc {
namespace {

using FillErrors = void (*)(const Candidate&, const ErrorPower&, float*);

FillErrors best_fill() {
#if defined(__x86_64__)
  const int64_t supported = hwy::SupportedTargets();
  if (supported & HWY_AVX3) return N_AVX3::kFill;
  if (supported & HWY_AVX2) return N_AVX2::kFill;
#endif
  return HWY_NAMESPACE::kFill;
}

// One load after another, on every processor: gather instructions are slower where they are mitigated.
void look_up(const float* table, int64_t count, float* errors) {
  for (int64_t i = 0; i < count; ++i) errors[i] = table[std::bit_cast<uint32_t>(errors[i])];
}

struct Lanes {
  float values[kSumLanes] = {};
  void operator+=(const Lanes& more) {
    for (int l = 0; l < kSumLanes; ++l) values[l] += more.values[l];
  }
};

}  // namespace

ErrorPower::ErrorPower(double norm, DType dtype, bool widened)
    : dtype_(widened ? DType::f32 : dtype),
      norm_(round_to(static_cast<float>(norm), dtype_)) {
  if (dtype_ != DType::bf16 && dtype_ != DType::f16) return;
  const bool bf16 = dtype_ == DType::bf16;
  table_.resize(32768);
  for (uint32_t bits = 0; bits < table_.size(); ++bits) {
    const float base = bf16 ? float_from_bf16(static_cast<uint16_t>(bits))
                            : float_from_f16(static_cast<uint16_t>(bits));
    if (!std::isfinite(base)) table_[bits] = base;
    else if (bf16 && norm_ == 3.0f) table_[bits] = round_to_bf16(round_to_bf16(base * base) * base);
    else
      table_[bits] = round_to(norm_ == 1.0f       ? base
                                  : norm_ == 2.0f ? base * base
                                                  : power_of(base, norm_),
                              dtype_);
  }
}

void candidate_errors(const Candidate& candidate, const ErrorPower& power, float* errors) {
  static const FillErrors fill = best_fill();
  fill(candidate, power, errors);
  if (!power.table().empty()) look_up(power.table().data(), candidate.count, errors);
}

float torch_ordered_sum(const float* values, int64_t count, bool paired) {
  const SumOrder order(count, paired);
  const auto load = [&](int64_t i) {
    Lanes lanes;
    const float* from = values + i * order.width;
    if (paired)
      for (int l = 0; l < kSumLanes; ++l) lanes.values[l] = from[l] + from[l + kSumLanes];
    else std::copy_n(from, kSumLanes, lanes.values);
    return lanes;
  };
  Lanes sum;
  for (int c = 0; c < kSumChains; ++c) {
    SumChain<Lanes> chain(order.rounds);
    for (int64_t i = 0; i < order.rounds; ++i) chain.add(load(i * kSumChains + c));
    Lanes lanes = chain.total();
    for (int64_t i = order.rounds * kSumChains; c == 0 && i < order.loads; ++i) lanes += load(i);
    sum += lanes;
  }
  float total = 0;
  for (int64_t i = order.loads * order.width; i < count; ++i) total += values[i];
  for (const float lane : sum.values) total += lane;
  return total;
}

}  // namespace llmc
#endif
