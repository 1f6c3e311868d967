// Statistics that a caller collects, batch by batch.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/quantize/finite.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/smoothing.hpp"
#include "llmc/backend/host_view.hpp"
#include "llmc/error.hpp"
#include "llmc/matrix.hpp"

namespace llmc {

namespace {

// tokens; one chain of float32 sums in Backend::accumulate_gram, so that cutting here changes no bit
constexpr int64_t kPass = 4096;

int64_t channels_of(const Statistics& statistics) {
  return static_cast<int64_t>(statistics.channels.min.size());
}

int64_t added(int64_t a, int64_t b, const char* what) {
  if (__builtin_add_overflow(a, b, &a))
    throw Error(ErrorCode::invalid_argument, fmt::format("gram: {} overflow", what));
  return a;
}

}  // namespace

Statistics new_statistics(int64_t channels, StatisticsParts parts) {
  if (channels < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("gram: {} channels, wanted at least 1", channels));
  const auto width = static_cast<size_t>(channels);
  if (!byte_count({channels, 8}, DType::f64) ||
      (parts == StatisticsParts::all && !byte_count({channels, channels}, DType::f32)))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("gram: {} channels are too many for any memory", channels));
  Statistics statistics;
  if (parts == StatisticsParts::all) statistics.gram = Tensor::zeros(DType::f32, {channels, channels});
  try {
    statistics.channels.min.assign(width, std::numeric_limits<float>::infinity());
    statistics.channels.max.assign(width, -std::numeric_limits<float>::infinity());
    statistics.channels.sum_abs.assign(width, 0.0);
    statistics.channels.sum_squares.assign(width, 0.0);
  } catch (const std::length_error&) {
    throw Error(ErrorCode::out_of_memory, fmt::format("gram: no memory for {} channels", channels));
  }
  return statistics;
}

void check_values(const Statistics& into, const TensorView& x, Backend& backend) {
  const int64_t channels = channels_of(into);
  if (x.shape.size() != 2 || x.shape[1] != channels)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("gram: values have shape {}, wanted [tokens, {}]", to_string(x.shape), channels));
  if (x.dtype != DType::f32 && x.dtype != DType::bf16 && x.dtype != DType::f16)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("gram: values are {}, wanted F32, BF16 or F16", dtype_name(x.dtype)));
  added(into.tokens, x.rows(), "tokens");
  if (x.rows() == 0) return;
  if (const auto bad = backend.scan(x).first_non_finite)
    throw Error(ErrorCode::numeric,
                fmt::format("gram: NaN or Inf in channel {} of token {}", *bad % channels, *bad / channels));
}

void add_values(Statistics& into,
                const TensorView& x,
                int64_t samples,
                Backend& backend,
                const std::function<void()>& poll) {
  for (int64_t first = 0; first < x.rows(); first += kPass) {
    poll();
    const TensorView pass = x.row_range(first, std::min(x.rows(), first + kPass));
    const Tensor widened = x.dtype == DType::f16 ? converted(*HostView(pass, backend), DType::f32) : Tensor();
    const TensorView values = widened.empty() ? pass : TensorView(widened);
    if (!into.gram.empty()) backend.accumulate_gram(values, into.gram);
    backend.accumulate_channels(values, into.channels);
  }
  into.tokens += x.rows();
  into.samples = added(into.samples, samples, "samples");
}

void merge_statistics(Statistics& into, const Statistics& from) {
  const int64_t channels = channels_of(into);
  if (channels_of(from) != channels)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("gram: cannot merge {} channels into {}", channels_of(from), channels));
  if (into.gram.empty() != from.gram.empty())
    throw Error(ErrorCode::invalid_argument,
                "gram: one of the two keeps channel statistics alone; wanted two of a kind");
  const int64_t tokens = added(into.tokens, from.tokens, "tokens"),
                samples = added(into.samples, from.samples, "samples");
  for (int64_t i = 0; i < channels && !into.gram.empty(); ++i) {
    float* to = into.gram.as<float>() + i * channels;
    const float* row = from.gram.as<float>() + i * channels;
    for (int64_t j = 0; j <= i; ++j) to[j] += row[j];
  }
  ChannelStatistics& to = into.channels;
  for (size_t j = 0; j < to.min.size(); ++j) {
    to.min[j] = std::min(to.min[j], from.channels.min[j]);
    to.max[j] = std::max(to.max[j], from.channels.max[j]);
    to.sum_abs[j] += from.channels.sum_abs[j];
    to.sum_squares[j] += from.channels.sum_squares[j];
  }
  to.tokens += from.channels.tokens;
  into.tokens = tokens, into.samples = samples;
}

void divide_channels(Statistics& statistics, std::span<const float> scales) {
  const auto channels = static_cast<int64_t>(scales.size());
  for (int64_t i = 0; i < channels && !statistics.gram.empty(); ++i) {
    float* row = statistics.gram.as<float>() + i * channels;
    const auto own = static_cast<double>(scales[static_cast<size_t>(i)]);
    for (int64_t j = 0; j <= i; ++j)
      row[j] = static_cast<float>(static_cast<double>(row[j]) /
                                  (own * static_cast<double>(scales[static_cast<size_t>(j)])));
  }
  ChannelStatistics& c = statistics.channels;
  for (size_t j = 0; j < scales.size(); ++j) {
    const auto scale = static_cast<double>(scales[j]);
    c.min[j] /= scales[j];
    c.max[j] /= scales[j];
    c.sum_abs[j] /= scale;
    c.sum_squares[j] /= scale * scale;
  }
}

std::vector<float> smoothing_scales_of(const Statistics& statistics,
                                       std::span<const TensorView> weights,
                                       const SmoothingOptions& options) {
  const int64_t channels = channels_of(statistics);
  if (statistics.tokens == 0)
    throw Error(ErrorCode::invalid_argument, "smoothing: the statistics have seen no tokens");
  if (weights.empty()) throw Error(ErrorCode::invalid_argument, "smoothing: got no weights");
  if (!(options.strength >= 0.0 && options.strength <= 1.0))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("smoothing: strength is {}, wanted 0 to 1", options.strength));
  std::vector<float> largest(static_cast<size_t>(channels), 0.0f);
  for (const TensorView& weight : weights) {
    if (weight.shape.size() != 2 || weight.shape[1] != channels)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("smoothing: a weight has shape {}, wanted [rows, {}]", to_string(weight.shape),
                              channels));
    if (!is_floating(weight.dtype))
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("smoothing: a weight is {}, wanted F32, BF16 or F16", dtype_name(weight.dtype)));
    raise_column_maxima(weight, largest);
  }
  const SmoothingRule rule{static_cast<float>(options.strength), options.logarithmic,
                           options.compat == Compat::reference ? weights[0].dtype : DType::f32};
  return smoothing_scales(statistics.channels.min, statistics.channels.max, largest, rule, "smoothing");
}

void apply_smoothing(std::byte* data,
                     DType dtype,
                     int64_t rows,
                     std::span<const float> scales,
                     SmoothingTarget target) {
  static constexpr SmoothingUse kUse[] = {SmoothingUse::multiply, SmoothingUse::divide,
                                          SmoothingUse::divide_plus_one};
  use_smoothing_scales(data, dtype, rows, scales, kUse[static_cast<size_t>(target)]);
}

}  // namespace llmc
