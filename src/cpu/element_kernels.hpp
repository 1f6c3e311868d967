// Row-wise kernels of the forward pass, one copy per Highway target. Arithmetic in float32; one rounding (to
// nearest even) at the end.
// `DType` is that of the values: f32 or bf16. Rows need no alignment; `out` may equal an input.
#pragma once
#include <cstdint>

#include "cpu/cpu_features.hpp"
#include "llmc/graph.hpp"
#include "llmc/tensor.hpp"

namespace llmc::cpu {

// Which keys a panel of queries sees: query q sees key k iff q - window < k <= q (window 0: every k <= q).
struct CausalMask {
  int64_t first_query, first_key, window;
};

struct ElementKernels {
  // f32, bf16 or f16 to float
  void (*load_row)(const void* x, DType dtype, int64_t n, float* out);
  // out = x + bias; bias may be null
  void (*store_row)(const float* x, const float* bias, int64_t n, DType dtype, void* out);
  // out += x
  void (*add_row)(const float* x, int64_t n, float* out);
  // out -= x
  void (*subtract_row)(const float* x, int64_t n, float* out);
  void (*add)(const void* x, const void* y, DType dtype, int64_t n, void* out);
  void (*multiply)(const void* x, const void* y, DType dtype, int64_t n, void* out);
  void (*activate)(ActivationKind kind, const void* x, DType dtype, int64_t n, void* out);
  // weight (already 1 + w for rms_plus_one) and bias [n]; bias may be null
  void (*norm_row)(NormKind kind,
                   const void* x,
                   DType dtype,
                   int64_t n,
                   float epsilon,
                   const float* weight,
                   const float* bias,
                   void* out);
  // pairs (i, i + half) of one head; cosine and sine [half]
  void (*rotate_row)(const void* x,
                     DType dtype,
                     int64_t half,
                     const float* cosine,
                     const float* sine,
                     void* out);
  // scores [keys][stride], `queries` (a multiple of the vector size) used: replaced by exp(scale * (score -
  // max)) or 0; inverse_sums [queries]
  void (*softmax_columns)(float* scores,
                          int64_t keys,
                          int64_t stride,
                          int64_t queries,
                          float scale,
                          const CausalMask& mask,
                          float* inverse_sums);
  // x -= bf16(x): what a bf16 copy of x leaves behind
  void (*keep_bf16_residue)(float* x, int64_t n);
  // running minimum, maximum and sum of |x| of each channel over `rows` rows
  void (*channel_statistics)(const void* x,
                             DType dtype,
                             int64_t rows,
                             int64_t stride,
                             int64_t n,
                             float* min,
                             float* max,
                             double* sum_abs,
                             double* sum_squares);
  float (*max_row)(const float* x, int64_t n);
  float (*max_abs_row)(const void* x, DType dtype, int64_t n);
  double (*sum_exp_row)(const float* x, int64_t n, float shift);  // sum of exp(x - shift)
  // sum of exp(x - x_shift) * ((x - x_shift) - (y - y_shift))
  double (*sum_exp_difference_row)(const float* x, float x_shift, const float* y, float y_shift, int64_t n);
};

const ElementKernels& element_kernels(VectorLevel level);

}  // namespace llmc::cpu
