// Backend::execute on the CPU: runs nodes of the graph one after another.
#pragma once
#include "core/model/rope_tables.hpp"
#include "cpu/gemm.hpp"
#include "llmc/backend.hpp"

namespace llmc::cpu {

void execute_nodes(Engine& engine,
                   RopeTables& rope,
                   std::span<const Node> segment,
                   const Execution& execution);

}  // namespace llmc::cpu
