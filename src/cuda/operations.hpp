// The arithmetic of the forward pass on a device: a call is checked already (core/forward), its tensors lie
// there, and it has its file under operations/. Weights that are vectors are float32.
#pragma once
#include "core/forward/calls.hpp"
#include "cuda/engine.hpp"

namespace llmc::cuda {

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

}  // namespace llmc::cuda
