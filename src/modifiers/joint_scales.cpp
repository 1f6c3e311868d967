#include "modifiers/joint_scales.hpp"

#include <algorithm>

namespace llmc {

std::vector<QuantizationParameters> joint_scales(std::span<const MatrixJob> jobs, const QuantizationArgs& args) {
  std::optional<float> global_scale;
  if (args.strategy == Strategy::tensor_group) {
    float largest = 0;
    for (const MatrixJob& job : jobs) largest = std::max(largest, absolute_maximum(*job.weight));
    global_scale = nvfp4_global_scale(largest, jobs[0].weight->dtype());
  }
  std::vector<QuantizationParameters> parameters;
  for (const MatrixJob& job : jobs) parameters.push_back(compute_qparams(*job.weight, args, global_scale));
  return parameters;
}

}  // namespace llmc
