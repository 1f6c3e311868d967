// Packing of both bf16 kernels: 16 x 16 blocks of bf16 pairs, transposed where the source lies across the
// panel.
#pragma once
#include "cpu/micro_kernel.hpp"

namespace llmc::cpu {

// MicroKernel::pack for panels of group 2 (pairs side by side) and group 32 (AMX rows). Source bf16 or
// float32. Needs AVX512BW.
void pack_bf16(const Operand& operand,
               const PanelRange& range,
               const PanelLayout& layout,
               int64_t depth_step,
               void* panel);

}  // namespace llmc::cpu
