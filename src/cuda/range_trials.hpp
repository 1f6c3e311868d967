// RangeKernels::try_ranges on a device.
#pragma once
#include <optional>

#include "cuda/engine.hpp"
#include "llmc/backend/ranges.hpp"

namespace llmc::cuda {

std::optional<RangesTried> try_ranges(Engine& engine, const RangeTrials& trials);

}  // namespace llmc::cuda
