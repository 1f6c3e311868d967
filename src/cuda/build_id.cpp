#include "cuda/module.hpp"

namespace llmc::cuda {

const char* build_id() { return LLMC_BUILD_ID; }

}  // namespace llmc::cuda
