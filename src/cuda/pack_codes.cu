// Codes of GPTQ on their way to the file: packed on the device, an eighth or a half of the bytes crosses the
// bus.
#include "cuda/kernels.hpp"
#include "cuda/packed_words.cuh"

namespace llmc::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) pack_words(const uint8_t* codes,
                                                       int64_t rows,
                                                       int64_t columns,
                                                       int bits,
                                                       uint32_t offset,
                                                       std::byte* out,
                                                       int64_t row_bytes) {
  const int64_t words = divide_up(row_bytes, 4);
  const uint32_t mask = (1u << bits) - 1;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < rows * words;
       i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / words, word = i % words;
    const uint32_t packed = packed_word(
        word, bits, columns, [&](int64_t k, bool) { return (codes[row * columns + k] + offset) & mask; });
    store_word(out + row * row_bytes, row_bytes, word * 4, packed);
  }
}

}  // namespace

void pack_code_rows(const uint8_t* codes,
                    int64_t rows,
                    int64_t columns,
                    int bits,
                    bool integer,
                    std::byte* out,
                    int64_t row_bytes,
                    cudaStream_t stream) {
  const int64_t words = rows * divide_up(row_bytes, 4);
  if (words == 0) return;
  const uint32_t offset = integer ? 1u << (bits - 1) : 0;
  LLMC_LAUNCH(pack_words, static_cast<unsigned>(least(divide_up(words, kThreads), 8192)), kThreads, 0, stream,
              codes, rows, columns, bits, offset, out, row_bytes);
}

}  // namespace llmc::cuda
