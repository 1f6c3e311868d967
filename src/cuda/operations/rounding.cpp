// Fake quantization of activations as the served model does it at run time.
#include "core/quantize/activation_grid.hpp"
#include "cuda/kernels.hpp"
#include "cuda/operations.hpp"

namespace llmc::cuda {

void run(Engine& engine, const RoundingCall& call) {
  const ActivationQuantization& how = call.how;
  std::vector<ActivationScale> fixed;
  for (size_t i = 0; i < how.fixed_scales.size(); ++i)
    fixed.push_back({how.fixed_scales[i],
                     how.fixed_zero_points.empty() ? 0.0f : static_cast<float>(how.fixed_zero_points[i])});
  const Tensor scales = fixed.empty() ? Tensor() : engine.heap.upload(fixed, DType::u8);
  round_activations(call.x.data(), call.x.dtype(), call.x.size() / call.group, call.group,
                    ActivationGrid(how, call.x.dtype()),
                    fixed.empty() ? nullptr : scales.as<ActivationScale>(), call.heads, call.out.data(),
                    engine.stream);
}

}  // namespace llmc::cuda
