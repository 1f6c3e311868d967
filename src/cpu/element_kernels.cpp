#include "cpu/element_kernels.hpp"

#include <cmath>
#include <cstring>
#include <limits>

#include "cpu/vector_targets.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/element_kernels.cpp"
#include "hwy/foreach_target.h"
#include "cpu/vector_math-inl.hpp"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace llmc::cpu {
namespace HWY_NAMESPACE {
namespace {

// out[i] = operation(x[i]) with the tail going through a padded copy, so that every element sees the same
// instructions.
template <class T, class Operation>
HWY_INLINE void map_row(const T* x, int64_t n, T* out, const Operation& operation) {
  const F32 d;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(d, operation(load(d, x + i), i), out + i);
  if (i == n) return;
  T tail[kLanes] = {};
  std::memcpy(tail, x + i, static_cast<size_t>(n - i) * sizeof(T));
  store(d, operation(load(d, tail), i), tail);
  std::memcpy(out + i, tail, static_cast<size_t>(n - i) * sizeof(T));
}

// A vector from y[i], ..., y[n - 1], zeros beyond.
template <class T>
HWY_INLINE V load_some(const T* y, int64_t i, int64_t n) {
  const F32 d;
  if (i + kLanes <= n) return load(d, y + i);
  T tail[kLanes] = {};
  std::memcpy(tail, y + i, static_cast<size_t>(n - i) * sizeof(T));
  return load(d, tail);
}

void load_row(const void* x, DType dtype, int64_t n, float* out) {
  if (dtype == DType::f32) {
    std::memcpy(out, x, static_cast<size_t>(n) * sizeof(float));
  } else if (dtype == DType::f16) {
    for (int64_t i = 0; i < n; ++i) out[i] = half_to_float(static_cast<const uint16_t*>(x)[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) out[i] = bf16_to_float(static_cast<const uint16_t*>(x)[i]);
  }
}

template <class T>
void store_typed(const float* x, const float* bias, int64_t n, T* out) {
  const F32 d;
  int64_t i = 0;
  if (bias) {
    for (; i + kLanes <= n; i += kLanes)
      store(d, hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, bias + i)), out + i);
  } else {
    for (; i + kLanes <= n; i += kLanes) store(d, hn::LoadU(d, x + i), out + i);
  }
  if (i == n) return;
  T tail[kLanes];
  store(d, bias ? hn::Add(load_some(x, i, n), load_some(bias, i, n)) : load_some(x, i, n), tail);
  std::memcpy(out + i, tail, static_cast<size_t>(n - i) * sizeof(T));
}
void store_row(const float* x, const float* bias, int64_t n, DType dtype, void* out) {
  if (dtype == DType::bf16) return store_typed(x, bias, n, static_cast<uint16_t*>(out));
  store_typed(x, bias, n, static_cast<float*>(out));
}

template <class T>
void add_typed(const T* x, const T* y, int64_t n, T* out) {
  map_row(x, n, out, [=](V value, int64_t i) HWY_ATTR { return hn::Add(value, load_some(y, i, n)); });
}
void add(const void* x, const void* y, DType dtype, int64_t n, void* out) {
  if (dtype == DType::bf16)
    return add_typed(static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(y), n,
                     static_cast<uint16_t*>(out));
  add_typed(static_cast<const float*>(x), static_cast<const float*>(y), n, static_cast<float*>(out));
}

template <class T>
void multiply_typed(const T* x, const T* y, int64_t n, T* out) {
  map_row(x, n, out, [=](V value, int64_t i) HWY_ATTR { return hn::Mul(value, load_some(y, i, n)); });
}
void multiply(const void* x, const void* y, DType dtype, int64_t n, void* out) {
  if (dtype == DType::bf16)
    return multiply_typed(static_cast<const uint16_t*>(x), static_cast<const uint16_t*>(y), n,
                          static_cast<uint16_t*>(out));
  multiply_typed(static_cast<const float*>(x), static_cast<const float*>(y), n, static_cast<float*>(out));
}

void add_row(const float* x, int64_t n, float* out) { add_typed(out, x, n, out); }
void subtract_row(const float* x, int64_t n, float* out) {
  map_row(out, n, out, [=](V value, int64_t i) HWY_ATTR { return hn::Sub(value, load_some(x, i, n)); });
}

template <class T>
void activate_typed(ActivationKind kind, const T* x, int64_t n, T* out) {
  const F32 d;
  switch (kind) {
    case ActivationKind::silu:
      return map_row(x, n, out, [=](V value, int64_t) HWY_ATTR { return silu(d, value); });
    case ActivationKind::relu:
      return map_row(x, n, out, [=](V value, int64_t) HWY_ATTR { return hn::Max(value, hn::Zero(d)); });
    case ActivationKind::gelu_tanh:
      return map_row(x, n, out, [=](V value, int64_t) HWY_ATTR { return gelu_tanh(d, value); });
    case ActivationKind::gelu:
      return map_row(x, n, out, [=](V value, int64_t) HWY_ATTR {
        HWY_ALIGN float lanes[kLanes];
        hn::Store(value, d, lanes);
        for (float& lane : lanes) lane = 0.5f * lane * (1.0f + std::erf(lane * 0.70710678118654752f));
        return hn::Load(d, lanes);
      });
  }
}
void activate(ActivationKind kind, const void* x, DType dtype, int64_t n, void* out) {
  if (dtype == DType::bf16)
    return activate_typed(kind, static_cast<const uint16_t*>(x), n, static_cast<uint16_t*>(out));
  activate_typed(kind, static_cast<const float*>(x), n, static_cast<float*>(out));
}

template <class T>
HWY_INLINE float sum(const T* x, int64_t n) {
  const F32 d;
  V total = hn::Zero(d);
  for (int64_t i = 0; i < n; i += kLanes) total = hn::Add(total, load_some(x, i, n));
  return hn::GetLane(hn::SumOfLanes(d, total));
}

template <class T>
HWY_INLINE float sum_squares(const T* x, int64_t n, float mean) {
  const F32 d;
  V total = hn::Zero(d);
  const V center = hn::Set(d, mean);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    const V value = hn::Sub(load(d, x + i), center);
    total = hn::MulAdd(value, value, total);
  }
  float rest = 0;
  for (; i < n; ++i) {
    const float value = widen(x[i]) - mean;
    rest += value * value;
  }
  return hn::GetLane(hn::SumOfLanes(d, total)) + rest;
}

template <class T>
void norm_typed(NormKind kind,
                const T* x,
                int64_t n,
                float epsilon,
                const float* weight,
                const float* bias,
                T* out) {
  const F32 d;
  const float count = static_cast<float>(n), mean = kind == NormKind::layer ? sum(x, n) / count : 0.0f;
  const V center = hn::Set(d, mean),
          scale = hn::Set(d, 1.0f / std::sqrt(sum_squares(x, n, mean) / count + epsilon));
  map_row(x, n, out, [=](V value, int64_t i) HWY_ATTR {
    V normal = hn::Mul(hn::Sub(value, center), scale);
    // transformers and vLLM round before they multiply by the weight
    if (kind == NormKind::rms) normal = as_stored(d, normal, T{});
    normal = hn::Mul(normal, load_some(weight, i, n));
    return bias ? hn::Add(normal, load_some(bias, i, n)) : normal;
  });
}
void norm_row(NormKind kind,
              const void* x,
              DType dtype,
              int64_t n,
              float epsilon,
              const float* weight,
              const float* bias,
              void* out) {
  if (dtype == DType::bf16)
    return norm_typed(kind, static_cast<const uint16_t*>(x), n, epsilon, weight, bias,
                      static_cast<uint16_t*>(out));
  norm_typed(kind, static_cast<const float*>(x), n, epsilon, weight, bias, static_cast<float*>(out));
}

template <class T>
void rotate_typed(const T* x, int64_t half, const float* cosine, const float* sine, T* out) {
  const F32 d;
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const V first = load(d, x + i), second = load(d, x + half + i), c = hn::LoadU(d, cosine + i),
            s = hn::LoadU(d, sine + i);
    store(d, hn::Sub(hn::Mul(first, c), hn::Mul(second, s)), out + i);
    store(d, hn::Add(hn::Mul(second, c), hn::Mul(first, s)), out + half + i);
  }
  if (i == half) return;
  const V first = load_some(x, i, half), second = load_some(x + half, i, half),
          c = load_some(cosine, i, half), s = load_some(sine, i, half);
  T low[kLanes], high[kLanes];
  store(d, hn::Sub(hn::Mul(first, c), hn::Mul(second, s)), low);
  store(d, hn::Add(hn::Mul(second, c), hn::Mul(first, s)), high);
  std::memcpy(out + i, low, static_cast<size_t>(half - i) * sizeof(T));
  std::memcpy(out + half + i, high, static_cast<size_t>(half - i) * sizeof(T));
}
void rotate_row(const void* x, DType dtype, int64_t half, const float* cosine, const float* sine, void* out) {
  if (dtype == DType::bf16)
    return rotate_typed(static_cast<const uint16_t*>(x), half, cosine, sine, static_cast<uint16_t*>(out));
  rotate_typed(static_cast<const float*>(x), half, cosine, sine, static_cast<float*>(out));
}

// Lanes of the queries [query, query + kLanes) that see `key`.
constexpr int64_t kForever = std::numeric_limits<int32_t>::max();  // more keys than a sequence has

HWY_INLINE hn::Mask<F32> visible(int64_t key, int64_t query, int64_t window) {
  const hn::ScalableTag<int32_t> di;
  // query position - key position: below 0 the key is in the future, from the window on it is masked
  const auto behind = hn::Iota(di, static_cast<int32_t>(query - key));
  const auto low = hn::Set(di, -1),
             high = hn::Set(di,
                            window > 0 ? static_cast<int32_t>(std::min(window, kForever))
                                       : static_cast<int32_t>(kForever));
  return hn::RebindMask(F32(), hn::And(hn::Gt(behind, low), hn::Lt(behind, high)));
}

// Softmax over keys for N vectors of queries at once, in ranges of keys: kMasked where some query does not
// see every key.
template <int N>
struct SoftmaxLanes {
  float* scores;
  int64_t stride, query, first_key, window;
  V factor;
  V top[N], total[N];

  template <bool kMasked>
  HWY_INLINE void find_top(int64_t begin, int64_t end) {
    const F32 d;
    for (int64_t k = begin; k < end; ++k) {
      HWY_UNROLL(4)
      for (int v = 0; v < N; ++v) {
        const V score = hn::LoadU(d, scores + k * stride + v * kLanes);
        top[v] = hn::Max(
            top[v],
            kMasked ? hn::IfThenElse(visible(first_key + k, query + v * kLanes, window), score, top[v])
                    : score);
      }
    }
  }

  template <bool kMasked>
  HWY_INLINE void weigh(int64_t begin, int64_t end) {
    const F32 d;
    for (int64_t k = begin; k < end; ++k) {
      HWY_UNROLL(4)
      for (int v = 0; v < N; ++v) {
        float* score = scores + k * stride + v * kLanes;
        V weight = exp2(d, hn::Mul(hn::Sub(hn::LoadU(d, score), top[v]), factor));
        if (kMasked) weight = hn::IfThenElseZero(visible(first_key + k, query + v * kLanes, window), weight);
        total[v] = hn::Add(total[v], weight);
        hn::StoreU(weight, d, score);
      }
    }
  }

  // Keys [from, to) are seen by all.
  HWY_INLINE void run(int64_t keys, int64_t from, int64_t to, float* inverse_sums) {
    const F32 d;
    for (int v = 0; v < N; ++v) {
      top[v] = hn::Set(d, -3.0e38f);
      total[v] = hn::Zero(d);
    }
    find_top<true>(0, from);
    find_top<false>(from, to);
    find_top<true>(to, keys);
    weigh<true>(0, from);
    weigh<false>(from, to);
    weigh<true>(to, keys);
    for (int v = 0; v < N; ++v) hn::StoreU(hn::Div(hn::Set(d, 1.0f), total[v]), d, inverse_sums + v * kLanes);
  }
};

template <int N>
HWY_INLINE void softmax_lanes(float* scores,
                              int64_t keys,
                              int64_t stride,
                              int64_t query,
                              int64_t from,
                              int64_t to,
                              float scale,
                              const CausalMask& mask,
                              float* inverse_sums) {
  SoftmaxLanes<N> lanes;
  lanes.scores = scores;
  lanes.stride = stride;
  lanes.query = query;
  lanes.first_key = mask.first_key;
  lanes.window = mask.window;
  lanes.factor = hn::Set(F32(), scale * 1.44269504088896341f);
  lanes.run(keys, from, to, inverse_sums);
}

void softmax_columns(float* scores,
                     int64_t keys,
                     int64_t stride,
                     int64_t queries,
                     float scale,
                     const CausalMask& mask,
                     float* inverse_sums) {
  int64_t from = mask.window > 0 ? mask.first_query + queries - mask.window - mask.first_key : 0,
          to = mask.first_query + 1 - mask.first_key;
  from = from < 0 ? 0 : from > keys ? keys : from;
  to = to > keys ? keys : to < from ? from : to;
  int64_t q = 0;
  for (; q + 4 * kLanes <= queries; q += 4 * kLanes)
    softmax_lanes<4>(scores + q, keys, stride, mask.first_query + q, from, to, scale, mask, inverse_sums + q);
  for (; q + kLanes <= queries; q += kLanes)
    softmax_lanes<1>(scores + q, keys, stride, mask.first_query + q, from, to, scale, mask, inverse_sums + q);
}

void keep_bf16_residue(float* x, int64_t n) {
  const F32 d;
  map_row(x, n, x, [=](V value, int64_t) HWY_ATTR {
    return hn::Sub(value, hn::BitCast(d, hn::ShiftLeft<16>(bf16_bits(d, value))));
  });
}

template <class T>
void channel_statistics_typed(const T* x,
                              int64_t rows,
                              int64_t stride,
                              int64_t n,
                              float* min,
                              float* max,
                              double* sum_abs,
                              double* sum_squares) {
  const F32 d;
  for (int64_t i = 0; i < n; i += kLanes) {
    const int64_t count = n - i < kLanes ? n - i : kLanes;
    V low = load_some(min, i, n), high = load_some(max, i, n), total = hn::Zero(d), squares = hn::Zero(d);
    for (int64_t row = 0; row < rows; ++row) {
      const V value = load_some(x + row * stride, i, n);
      low = hn::Min(low, value);
      high = hn::Max(high, value);
      total = hn::Add(total, hn::Abs(value));
      squares = hn::MulAdd(value, value, squares);
    }
    float lows[kLanes], highs[kLanes], totals[kLanes], square_sums[kLanes];
    hn::StoreU(low, d, lows);
    hn::StoreU(high, d, highs);
    hn::StoreU(total, d, totals);
    hn::StoreU(squares, d, square_sums);
    for (int64_t lane = 0; lane < count; ++lane) {
      min[i + lane] = lows[lane];
      max[i + lane] = highs[lane];
      sum_abs[i + lane] += static_cast<double>(totals[lane]);
      sum_squares[i + lane] += static_cast<double>(square_sums[lane]);
    }
  }
}
void channel_statistics(const void* x,
                        DType dtype,
                        int64_t rows,
                        int64_t stride,
                        int64_t n,
                        float* min,
                        float* max,
                        double* sum_abs,
                        double* sum_squares) {
  if (dtype == DType::bf16)
    return channel_statistics_typed(static_cast<const uint16_t*>(x), rows, stride, n, min, max, sum_abs,
                                    sum_squares);
  channel_statistics_typed(static_cast<const float*>(x), rows, stride, n, min, max, sum_abs, sum_squares);
}

float max_row(const float* x, int64_t n) {
  const F32 d;
  V top = hn::Set(d, x[0]);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) top = hn::Max(top, hn::LoadU(d, x + i));
  float result = hn::GetLane(hn::MaxOfLanes(d, top));
  for (; i < n; ++i) result = x[i] > result ? x[i] : result;
  return result;
}

template <class T>
float max_abs_typed(const T* x, int64_t n) {
  const F32 d;
  V top = hn::Zero(d);
  for (int64_t i = 0; i < n; i += kLanes) top = hn::Max(top, hn::Abs(load_some(x, i, n)));
  return hn::GetLane(hn::MaxOfLanes(d, top));
}
float max_abs_row(const void* x, DType dtype, int64_t n) {
  return dtype == DType::bf16 ? max_abs_typed(static_cast<const uint16_t*>(x), n)
                              : max_abs_typed(static_cast<const float*>(x), n);
}

constexpr int64_t kChunk = 1024;  // float32 sums of this many terms are added in double

double sum_exp_row(const float* x, int64_t n, float shift) {
  const F32 d;
  const V center = hn::Set(d, shift);
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    const int64_t end = n - begin < kChunk ? n : begin + kChunk;
    V part = hn::Zero(d);
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) part = hn::Add(part, exp(d, hn::Sub(hn::LoadU(d, x + i), center)));
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, part)));
    for (; i < end; ++i) total += static_cast<double>(std::exp(x[i] - shift));
  }
  return total;
}

double sum_exp_difference_row(const float* x, float x_shift, const float* y, float y_shift, int64_t n) {
  const F32 d;
  const V x_center = hn::Set(d, x_shift), y_center = hn::Set(d, y_shift);
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kChunk) {
    const int64_t end = n - begin < kChunk ? n : begin + kChunk;
    V part = hn::Zero(d);
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      const V a = hn::Sub(hn::LoadU(d, x + i), x_center), b = hn::Sub(hn::LoadU(d, y + i), y_center);
      part = hn::MulAdd(exp(d, a), hn::Sub(a, b), part);
    }
    total += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, part)));
    for (; i < end; ++i) {
      const float a = x[i] - x_shift, b = y[i] - y_shift;
      total += static_cast<double>(std::exp(a) * (a - b));
    }
  }
  return total;
}

}  // namespace

constexpr ElementKernels kElementKernels{
    load_row,   store_row,       add_row,           subtract_row,
    add,        multiply,        activate,          norm_row,
    rotate_row, softmax_columns, keep_bf16_residue, channel_statistics,
    max_row,    max_abs_row,     sum_exp_row,       sum_exp_difference_row};

}  // namespace HWY_NAMESPACE
}  // namespace llmc::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace llmc::cpu {

const ElementKernels& element_kernels(VectorLevel level) { return LLMC_CPU_PICK(level, kElementKernels); }

}  // namespace llmc::cpu
#endif
