// llmc_oneshot_options as the core takes them; the model and the calibration data are left out.
#pragma once
#include "llmc.h"
#include "llmc/oneshot.hpp"

namespace llmc::capi {

OneshotOptions convert(const llmc_oneshot_options& given);  // Error(invalid_argument)

}  // namespace llmc::capi
