// Codes <-> the words on disk. Integers of b bits lie densely, lowest bits first, little-endian, each with
// 2^(b-1) added; the tail of the last word is zero. fp4 codes lie two to a byte, the even one low.
#pragma once
#include "llmc/parallel.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

int64_t packed_words(int64_t elements, int num_bits);  // ceil(elements * num_bits / 32)

// i8 [rows, K] -> i32 [rows, packed_words(K)]
Tensor pack_int_rows(const TensorView& codes, int num_bits);
// i32 [rows, words] -> i8 [rows, columns]
Tensor unpack_int_rows(const TensorView& words,
                       int num_bits,
                       int64_t columns,
                       const ParallelFor& parallel = {});

// Zero points are packed down the rows: one stream per column.
// i8 [N, C] -> i32 [packed_words(N), C]
Tensor pack_int_columns(const TensorView& codes, int num_bits);
// i32 [words, C] -> i8 [rows, C]
Tensor unpack_int_columns(const TensorView& words, int num_bits, int64_t rows);

Tensor pack_fp4_rows(const TensorView& codes);  // u8 [rows, K], K even -> u8 [rows, K / 2]
// u8 [rows, B] -> u8 [rows, 2 B]
Tensor unpack_fp4_rows(const TensorView& bytes, const ParallelFor& parallel = {});

}  // namespace llmc
