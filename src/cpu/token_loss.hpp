// Backend::cross_entropy and Backend::accumulate_channels on the CPU.
#pragma once
#include "cpu/gemm.hpp"
#include "llmc/backend.hpp"

namespace llmc::cpu {

Backend::CrossEntropy token_loss(Engine& engine,
                                 const TensorView& logits,
                                 const TensorView* reference_logits,
                                 const TokenBatch& batch);
void accumulate_channel_statistics(Engine& engine, const TensorView& x, ChannelStatistics& statistics);

}  // namespace llmc::cpu
