// Is a compressed folder what its config.json says, so that vLLM loads and means the same numbers?
#pragma once
#include <string>
#include <vector>

#include "core/checkpoint/checkpoint.hpp"

namespace llmc {

// One line per fault, in module order; empty when all is well. Reads every quantized tensor, one module at a time.
std::vector<std::string> verify_folder(const Checkpoint& compressed);

}  // namespace llmc
