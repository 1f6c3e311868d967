// Backend::quantize_rows on a device: rows come from the host and their codes go back.
#pragma once
#include <optional>

#include "cuda/forward.hpp"

namespace llmc::cuda {

std::optional<RowsQuantized> quantize_rows(Engine& engine, const RowQuantization& job);

}  // namespace llmc::cuda
