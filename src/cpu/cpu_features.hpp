// Instruction-set levels of the CPU backend. A level fixes every result bit: pin one to repeat bytes on
// another machine.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llmc::cpu {

// which Highway target runs the float32 kernels
enum class VectorLevel { baseline, sse4, avx2, avx512 };
enum class MatrixUnit { none, avx512_bf16, amx_bf16 };  // which unit multiplies bf16 by bf16

struct IsaLevel {
  std::string_view name;
  VectorLevel vectors;
  MatrixUnit bf16;
};

// All levels of this build, weakest first.
std::span<const IsaLevel> isa_levels();

// True when this processor and operating system run `level`. Asks the kernel for AMX state when `level` needs
// it.
bool is_available(const IsaLevel& level);

// Names of the available levels, weakest first.
std::vector<std::string> cpu_isa_names();

// The level called `name`, or the strongest available one for "". Throws Error(invalid_argument) for an
// unknown name and Error(unsupported) for one this machine lacks; both list the available names.
const IsaLevel& choose_isa(std::string_view name);

}  // namespace llmc::cpu
