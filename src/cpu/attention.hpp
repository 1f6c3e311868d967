// Causal attention over packed sequences, with grouped heads and an optional sliding window.
#pragma once
#include <span>

#include "cpu/gemm.hpp"
#include "llmc/graph.hpp"

namespace llmc::cpu {

// q [tokens, heads * head_dim], k and v [tokens, kv_heads * head_dim], out like q; all of `dtype` (f32 or
// bf16). sequence_starts [sequences + 1].
void attend(Engine& engine,
            const Attention& shape,
            DType dtype,
            const void* q,
            const void* k,
            const void* v,
            std::span<const int64_t> sequence_starts,
            void* out);

}  // namespace llmc::cpu
