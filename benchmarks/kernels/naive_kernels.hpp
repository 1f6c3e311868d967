// The first steps of the kernel ladders: what one would write first, to measure the others by.
#pragma once
#include "cuda/kernels.hpp"

namespace llmc::cuda::naive {

// one thread per pair of channels
void add_to_gram(const void* x_bf16, int64_t tokens, int64_t width, float* gram, cudaStream_t stream);
// One launch per column, one thread per row, errors pushed onto all later columns of the block in global
// memory: as a column loop in a tensor library does it.
void quantize_column_block(const ColumnProblem& problem,
                           float* current,
                           float low,
                           float high,
                           cudaStream_t stream);
// one thread per query and channel
void attend(const AttentionProblem& problem_bf16, int64_t tokens, cudaStream_t stream);
// scales, codes and words in three passes
void quantize_group_rows(const void* weight_bf16,
                         int64_t rows,
                         int64_t columns,
                         int64_t group,
                         float* scales,
                         int8_t* codes,
                         uint32_t* words,
                         cudaStream_t stream);

}  // namespace llmc::cuda::naive
