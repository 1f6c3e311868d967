// Calibration tokens for llmc_oneshot: the caller's own, or a data set through the text module.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "llmc.h"
#include "llmc/backend.hpp"

namespace llmc::capi {

struct CalibrationData {
  std::optional<TokenBatch> tokens;  // nothing when neither was given
  std::vector<std::string> notes;
};
std::string template_date(const llmc_oneshot_options& options);  // the given one, or the fixed default
CalibrationData load_calibration(const llmc_oneshot_options& options, const Backend& backend);

}  // namespace llmc::capi
