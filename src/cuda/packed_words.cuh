// Rows of codes as the file holds them, a 32-bit word at a time: `bits` each, lowest bits first
// (core/quantize/packing.hpp).
#pragma once
#include "cuda/language.cuh"

namespace llmc::cuda {

// The word whose first bit is bit 32 * word of a row of `columns` codes. stored(k, starts_here): the bits of
// code k; a code may straddle two words.
template <class Stored>
__device__ inline uint32_t packed_word(int64_t word, int bits, int64_t columns, const Stored& stored) {
  const int64_t first_bit = word * 32;
  uint32_t result = 0;
  for (int64_t k = first_bit / bits; k < columns && k * bits < first_bit + 32; ++k) {
    const auto shift = static_cast<int>(k * bits - first_bit);
    const uint32_t code = stored(k, shift >= 0);
    result |= shift >= 0 ? code << shift : code >> -shift;
  }
  return result;
}

// Rows of fp4 end on a byte.
__device__ inline void store_word(std::byte* row, int64_t row_bytes, int64_t at, uint32_t word) {
  if (row_bytes % 4 == 0) *reinterpret_cast<uint32_t*>(row + at) = word;
  else
    for (int64_t b = 0; b < least(4, row_bytes - at); ++b)
      row[at + b] = static_cast<std::byte>(word >> (8 * b));
}

}  // namespace llmc::cuda
