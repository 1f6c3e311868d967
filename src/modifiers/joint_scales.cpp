#include "modifiers/joint_scales.hpp"

#include <algorithm>

#include "core/quantize/mse_observer.hpp"
#include "core/quantize/row_tiles.hpp"

namespace llmc {

namespace {

std::vector<float> importance_of(const Statistics* statistics) {
  return statistics ? mean_squares(statistics->channels.sum_squares, statistics->channels.tokens)
                    : std::vector<float>{};
}

}  // namespace

bool weighs_channels(const Scheme& scheme) {
  const auto search = scheme.weights ? range_search(*scheme.weights) : std::nullopt;
  return search && search->weighted;
}

std::vector<QuantizationParameters> joint_scales(std::span<const MatrixJob> jobs,
                                                 const QuantizationArgs& args,
                                                 const Statistics* statistics,
                                                 Backend& backend,
                                                 std::string* note) {
  const std::vector<float> importance = importance_of(statistics);
  if (note) *note = importance_fallback(args, jobs[0].weight.columns(), importance);
  std::vector<ValueRanges> ranges;
  for (const MatrixJob& job : jobs) ranges.push_back(weight_ranges(job.weight, args, importance, backend));
  std::optional<float> global_scale;
  if (args.strategy == Strategy::tensor_group) {
    global_scale = jobs[0].global_scale;
    if (!global_scale) global_scale = joint_global_scale(ranges, jobs[0].weight.dtype);
  }
  std::vector<QuantizationParameters> parameters;
  for (size_t j = 0; j < jobs.size(); ++j)
    parameters.push_back(qparams_from_ranges(ranges[j], args, jobs[j].weight.dtype, global_scale, backend));
  return parameters;
}

}  // namespace llmc
