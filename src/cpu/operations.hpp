// The arithmetic of the forward pass on the CPU: a call is checked already (core/forward), and has its file under
// operations/.
#pragma once
#include "core/forward/calls.hpp"
#include "cpu/gemm.hpp"

namespace llmc::cpu {

void run(Engine& engine, const EmbeddingCall& call);
void run(Engine& engine, const NormCall& call);
void run(Engine& engine, const LinearCall& call);
void run(Engine& engine, const RopeCall& call);
void run(Engine& engine, const AttentionCall& call);
void run(Engine& engine, const ActivationCall& call);
void run(Engine& engine, const MultiplyCall& call);
void run(Engine& engine, const AddCall& call);
void run(Engine& engine, const SliceCall& call);
void run(Engine& engine, const RoundingCall& call);

}  // namespace llmc::cpu
