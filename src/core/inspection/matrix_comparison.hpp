// One decoded matrix beside the weight it was made from: its error, what rounding alone would have cost, and
// whether its scales fit the source.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/formats/verify.hpp"
#include "core/quantize/qparams.hpp"

namespace llmc {

// How much the two may differ, by what was done to the weight.
enum class Basis {
  rounded,   // every weight went to its nearest code
  tuned,     // GPTQ and its like: other codes, the same scales
  smoothed,  // input channels (and rows) were rescaled first, then rounded
  smoothed_and_tuned,
  pruned,  // weights were set to zero first
};

struct MatrixComparison {
  double relative_error = 0, rounding_error = 0, allowed_error = 0, cosine = 0;
  // decoded to zeros although the source is not (GPTQ does that to inputs it never saw)
  int64_t dead_columns = 0;
  // [K] smoothed: what each input channel of the source was multiplied by, fitted from the codes
  std::vector<float> channel_factors;
  std::vector<float> channel_errors;  // [K] standard errors of those
  float absmax = 0;                   // of the source
  // the scales are not those of the source's values, though nearly so
  std::optional<Fault> scale_fault;
  std::optional<Fault> fault;  // what no way of quantizing makes of this source
};

struct Rescaling {  // how the source may have been smoothed
  // [K] each: what norms of its layer gave away, one of which its columns may have taken up
  std::vector<std::vector<float>> norms;
  bool linears = false;  // so may the Linear before it (AWQ)
  bool rows = false;     // and its own outputs may have been divided
};

// `source`: [N, K] bf16, f16 or f32, the matrix's shape; changed in place when smoothed.
MatrixComparison compare_matrix(const std::string& module,
                                const QuantizedMatrix& matrix,
                                Tensor& source,
                                Basis basis,
                                const Rescaling& rescaling,
                                const ParallelFor& parallel);

// Multiplies each column of `source` (and each row) by the factor that brings it closest to `values`.
void fit_channels(const TensorView& values, Tensor& source, bool fit_rows);
// ||values - source|| / ||source||
double relative_difference(const TensorView& values, const TensorView& source);

}  // namespace llmc
