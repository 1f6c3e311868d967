// Rounding to nearest of every scheme, fused: ranges, scales, codes and packing in one pass over memory. A
// block takes a strip of cells: first the scales of its cells, then the words of its codes, reading the
// weights a second time from the cache. Bit for bit what src/core/quantize defines: the arithmetic is the
// same functions (core/quantize/scale_grid.hpp).
#include "cuda/kernels.hpp"
#include "cuda/packed_words.cuh"

namespace llmc::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;
constexpr int64_t kStripColumns = 2048;  // about; a strip holds whole cells and whole 32-bit words

struct StripShared {
  float low[kWarps], high[kWarps];
  double error[kWarps], energy[kWarps];
  float multiplier[kStripColumns];  // of the strip's cells; enough for cells of one column
  float zero[kStripColumns];
};

struct Strips {
  int64_t cells;  // side by side in one strip
  int64_t across, down;
};
__host__ __device__ inline int64_t greatest_common_divisor(int64_t a, int64_t b) {
  while (b != 0) {
    const int64_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}
__host__ __device__ inline Strips strips_of(int64_t rows,
                                            int64_t cell_rows,
                                            int64_t cell_columns,
                                            int64_t row_cells) {
  // cells whose columns fill whole words, whatever the bits
  const int64_t unit = 32 / greatest_common_divisor(cell_columns, 32);
  int64_t cells = kStripColumns / (unit * cell_columns) * unit;
  cells = cells < unit ? unit : cells;
  cells = least(cells, row_cells);
  return {cells, divide_up(row_cells, cells), divide_up(rows, cell_rows)};
}

__device__ inline void store_scale(const RowProblem& p, int64_t cell, const CellScale& scale) {
  if (p.grid.storage == ScaleStorage::exponent) static_cast<uint8_t*>(p.scales)[cell] = mx_byte(scale.stored);
  else if (p.grid.storage == ScaleStorage::e4m3)
    static_cast<uint8_t*>(p.scales)[cell] = e4m3_from_float(scale.stored);
  else if (p.grid.model == DType::bf16)
    static_cast<uint16_t*>(p.scales)[cell] = bf16_from_float(scale.stored);
  else if (p.grid.model == DType::f16) static_cast<uint16_t*>(p.scales)[cell] = f16_from_float(scale.stored);
  else static_cast<float*>(p.scales)[cell] = scale.stored;
  if (p.zero_points) p.zero_points[cell] = scale.zero_point;
}
__device__ inline CellScale given_scale(const RowProblem& p, int64_t cell) {
  CellScale scale;
  if (p.grid.storage == ScaleStorage::exponent)
    scale.stored = float_from_e8m0(static_cast<const uint8_t*>(p.scales)[cell]);
  else if (p.grid.storage == ScaleStorage::e4m3)
    scale.stored = float_from_e4m3(static_cast<const uint8_t*>(p.scales)[cell]);
  else if (p.grid.model == DType::bf16)
    scale.stored = float_from_bf16(static_cast<const uint16_t*>(p.scales)[cell]);
  else if (p.grid.model == DType::f16)
    scale.stored = float_from_f16(static_cast<const uint16_t*>(p.scales)[cell]);
  else scale.stored = static_cast<const float*>(p.scales)[cell];
  scale.zero_point = p.zero_points ? p.zero_points[cell] : int8_t{0};
  return scale;
}

template <class T, class Code, class Quotient>
__global__ void __launch_bounds__(kThreads, 2) quantize_strips(RowProblem p, Code code, Quotient quotient) {
  StripShared& shared = shared_memory<StripShared>();
  const Strips strips = strips_of(p.rows, p.cell_rows, p.cell_columns, p.row_cells);
  const int64_t across = blockIdx.x % strips.across, down = blockIdx.x / strips.across;
  const int64_t first_row = down * p.cell_rows, last_row = least(p.rows, first_row + p.cell_rows);
  const int64_t first_cell = across * strips.cells, cells = least(strips.cells, p.row_cells - first_cell);
  const int64_t first_column = first_cell * p.cell_columns,
                last_column = least(p.columns, (first_cell + cells) * p.cell_columns);
  const T* const weight = static_cast<const T*>(p.weight);
  const int warp = static_cast<int>(threadIdx.x) / kWarp, lane = static_cast<int>(threadIdx.x) % kWarp;

  // The scales: a warp per cell, or the whole block where there are fewer cells than warps.
  const bool by_warp = cells >= kWarps;
  for (int64_t c = by_warp ? warp : 0; c < cells; c += by_warp ? kWarps : 1) {
    const int64_t begin = first_column + c * p.cell_columns, end = least(begin + p.cell_columns, last_column);
    float low = 0, high = 0;
    for (int64_t row = first_row; row < last_row; ++row)
      for (int64_t k = begin + (by_warp ? lane : static_cast<int>(threadIdx.x)); k < end;
           k += by_warp ? kWarp : kThreads) {
        const float value = to_float(weight[row * p.columns + k]);
        if (!(fabsf(value) <= 3.402823466e38f))
          atomicMin(p.bad, static_cast<unsigned long long>(row * p.columns + k));
        low = fminf(low, value);
        high = fmaxf(high, value);
      }
    if (by_warp) {
      low = warp_min(low);
      high = warp_max(high);
    } else {
      low = block_reduce(low, shared.low, 0.0f, [](float v) { return warp_min(v); });
      high = block_reduce(high, shared.high, 0.0f, [](float v) { return warp_max(v); });
      __syncthreads();
    }
    if (by_warp ? lane == 0 : threadIdx.x == 0) {
      const int64_t cell = p.one_scale ? 0 : down * p.row_cells + first_cell + c;
      const CellScale scale = p.scales_given ? given_scale(p, cell) : scale_of_cell(low, high, p.grid);
      if (!p.scales_given) store_scale(p, cell, scale);
      shared.multiplier[c] = p.grid.storage == ScaleStorage::e4m3 ? scale.stored / p.grid.global_scale
                                                                  : scale.stored;
      shared.zero[c] = static_cast<float>(scale.zero_point);
    }
  }
  __syncthreads();

  // The codes, a 32-bit word at a time.
  const int bits = p.packed ? p.num_bits : 8, offset = p.packed && p.integer ? 1 << (p.num_bits - 1) : 0;
  const uint32_t mask = (1u << bits) - 1;
  const int columns = static_cast<int>(last_column - first_column), words = (columns * bits + 31) / 32,
            width = static_cast<int>(least(p.cell_columns, columns));
  const bool products_rounded = p.grid.storage == ScaleStorage::model;
  double error = 0, energy = 0;
  for (int64_t row = first_row; row < last_row; ++row)
    for (int word = static_cast<int>(threadIdx.x); word < words; word += kThreads) {
      int cell = word * 32 / bits / width, cell_end = (cell + 1) * width;
      const uint32_t packed = packed_word(word, bits, columns, [&](int64_t k, bool starts_here) {
        if (k == cell_end) {
          ++cell;
          cell_end += width;
        }
        const float value = to_float(weight[row * p.columns + first_column + k]),
                    multiplier = shared.multiplier[cell], zero = shared.zero[cell];
        const auto c = code(quotient(quotient(value / multiplier) + zero));
        if (p.want_error && starts_here) {  // a code that began in the word before was counted there
          float product = (value_of_code(code, c) - zero) * multiplier;
          if (products_rounded) product = round_to_model(product, p.grid.model);
          const double difference = static_cast<double>(value) - static_cast<double>(product);
          error += difference * difference;
          energy += static_cast<double>(value) * static_cast<double>(value);
        }
        return (static_cast<uint32_t>(static_cast<int>(c)) + static_cast<uint32_t>(offset)) & mask;
      });
      store_word(p.codes + row * p.code_row_bytes, p.code_row_bytes, first_column * bits / 8 + word * 4,
                 packed);
    }
  if (!p.want_error) return;
  error = block_reduce(error, shared.error, 0.0, [](double v) { return warp_sum(v); });
  energy = block_reduce(energy, shared.energy, 0.0, [](double v) { return warp_sum(v); });
  if (threadIdx.x == 0) p.errors[blockIdx.x] = double2{error, energy};
}

template <class T, class Code>
void quantize_as(const RowProblem& p, Code code, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(row_problem_blocks(p));
  if (p.round_quotient && p.dtype == DType::bf16)
    LLMC_LAUNCH((quantize_strips<T, Code, QuotientToBf16>), blocks, kThreads, sizeof(StripShared), stream, p,
                code, QuotientToBf16{});
  else if (p.round_quotient && p.dtype == DType::f16)
    LLMC_LAUNCH((quantize_strips<T, Code, QuotientToF16>), blocks, kThreads, sizeof(StripShared), stream, p,
                code, QuotientToF16{});
  else
    LLMC_LAUNCH((quantize_strips<T, Code, KeepQuotient>), blocks, kThreads, sizeof(StripShared), stream, p,
                code, KeepQuotient{});
}

template <class Code>
void quantize_with(const RowProblem& p, Code code, cudaStream_t stream) {
  if (p.dtype == DType::bf16) return quantize_as<Bf16>(p, code, stream);
  if (p.dtype == DType::f16) return quantize_as<Half>(p, code, stream);
  quantize_as<float>(p, code, stream);
}

template <class T>
__global__ void __launch_bounds__(kThreads) dequantize_values(DequantizeProblem p) {
  const int64_t count = p.rows * p.columns;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / p.columns, column = i % p.columns,
                  cell = p.one_scale ? 0 : row / p.cell_rows * p.row_cells + column / p.cell_columns;
    const uint8_t code = p.codes[i];
    const float value = p.integer ? static_cast<float>(static_cast<int8_t>(code))
        : p.num_bits == 8         ? float_from_e4m3(code)
                                  : float_from_fp4(code);
    const float zero = p.zero_points ? static_cast<float>(p.zero_points[cell]) : 0.0f;
    static_cast<T*>(p.out)[i] = from_float<T>(
        round_to_model((value - zero) * p.multipliers[cell], p.product_dtype));
  }
}

}  // namespace

int64_t row_problem_blocks(const RowProblem& p) {
  const Strips strips = strips_of(p.rows, p.cell_rows, p.cell_columns, p.row_cells);
  return strips.across * strips.down;
}

void quantize_row_cells(const RowProblem& p, cudaStream_t stream) {
  if (p.rows == 0 || p.columns == 0) return;
  if (p.integer) return quantize_with(p, IntegerCode{p.grid.low, p.grid.high}, stream);
  if (p.num_bits == 8) return quantize_with(p, Fp8Code{}, stream);
  quantize_with(p, Fp4Code{}, stream);
}

void dequantize_row_cells(const DequantizeProblem& p, cudaStream_t stream) {
  const int64_t count = p.rows * p.columns;
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>(least(divide_up(count, kThreads), 8192));
  if (p.out_dtype == DType::bf16) LLMC_LAUNCH((dequantize_values<Bf16>), blocks, kThreads, 0, stream, p);
  else if (p.out_dtype == DType::f16) LLMC_LAUNCH((dequantize_values<Half>), blocks, kThreads, 0, stream, p);
  else LLMC_LAUNCH((dequantize_values<float>), blocks, kThreads, 0, stream, p);
}

}  // namespace llmc::cuda
