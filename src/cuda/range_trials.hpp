// Backend::try_ranges on a device.
#pragma once
#include <optional>

#include "cuda/forward.hpp"

namespace llmc::cuda {

std::optional<RangesTried> try_ranges(Engine& engine, const RangeTrials& trials);

}  // namespace llmc::cuda
