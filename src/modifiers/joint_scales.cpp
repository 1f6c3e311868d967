#include "modifiers/joint_scales.hpp"

#include <algorithm>

#include "core/quantize/mse_observer.hpp"

namespace llmc {

namespace {

// Mean square of each input channel; empty when nothing was observed.
std::vector<float> importance_of(const Statistics* statistics) {
  std::vector<float> importance;
  if (!statistics || statistics->channels.tokens == 0) return importance;
  for (const double sum : statistics->channels.sum_squares) importance.push_back(static_cast<float>(sum / static_cast<double>(statistics->channels.tokens)));
  return importance;
}

}  // namespace

bool weighs_channels(const Scheme& scheme) {
  const auto search = scheme.weights ? range_search(*scheme.weights) : std::nullopt;
  return search && search->weighted;
}

std::vector<QuantizationParameters> joint_scales(std::span<const MatrixJob> jobs, const QuantizationArgs& args, const Statistics* statistics, Backend& backend, std::string* note) {
  const std::vector<float> importance = importance_of(statistics);
  if (note) *note = importance_fallback(args, jobs[0].weight->columns(), importance);
  const RowParallel parallel = [&](int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body) { backend.parallel_for(count, grain, body); };
  std::vector<ValueRanges> ranges;
  for (const MatrixJob& job : jobs) ranges.push_back(weight_ranges(*job.weight, args, importance, parallel));
  std::optional<float> global_scale;
  if (args.strategy == Strategy::tensor_group) {
    float largest = 0;
    for (const ValueRanges& range : ranges) largest = std::max(largest, absolute_maximum(range));
    global_scale = nvfp4_global_scale(largest, jobs[0].weight->dtype());
  }
  std::vector<QuantizationParameters> parameters;
  for (size_t j = 0; j < jobs.size(); ++j) parameters.push_back(qparams_from_ranges(ranges[j], args, jobs[j].weight->dtype(), global_scale));
  return parameters;
}

}  // namespace llmc
