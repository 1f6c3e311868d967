// The search for the range of least error under each scale (observers memoryless_mse and its kin). A warp per
// cell goes through the candidates in order; its lanes are the 4 x 8 partial sums in which torch adds up a
// row, so that the sums, and with them the ties, are those of core/quantize/candidate_error.cpp bit for bit.
// Cells too small for four chains use a quarter of the lanes each: four candidates at a time.
#include "core/quantize/candidate_value.hpp"
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / kWarp;

// The dtype of the arithmetic, which is the weight's; NaN (of an infinite range) stays NaN here.
template <class T>
struct Arithmetic;
template <>
struct Arithmetic<float> {
  using Round = KeepQuotient;
  static __device__ uint32_t index(float) { return 0; }
};
template <>
struct Arithmetic<Bf16> {
  using Round = QuotientToBf16;
  static __device__ uint32_t index(float value) { return bf16_from_float(value); }
};
template <>
struct Arithmetic<Half> {
  using Round = QuotientToF16;
  static __device__ uint32_t index(float value) { return f16_from_float(value); }
};

// Values under one scale, row after row; zeros where a block hangs over the edge.
template <class T>
struct Cell {
  const T* first;
  int64_t count;
  int width, rows, columns;  // of a block; rows and columns: inside the matrix. Not read when dense
  int64_t stride;
  bool dense;

  __device__ float operator[](int64_t i) const {
    if (dense) return to_float(first[i]);
    const int row = static_cast<int>(i) / width, column = static_cast<int>(i) - row * width;
    return row < rows && column < columns ? to_float(first[row * stride + column]) : 0.0f;
  }
};

template <class T, class Grid>
struct ValueError {
  float scale, zero;
  bool symmetric;
  const float *powers, *importance;  // importance: of this cell's columns
  float norm;
  Grid grid;

  __device__ float operator()(float value, int64_t i) const {
    const typename Arithmetic<T>::Round round;
    const float difference = symmetric ? symmetric_difference(value, scale, grid, round)
                                       : shifted_difference(value, scale, zero, grid, round);
    if (powers) return powers[Arithmetic<T>::index(size_of(difference))];
    const float error = raised(difference, norm);
    return importance ? error * importance[i] : error;
  }
};

// torch_ordered_sum of a cell's errors, the same in all lanes of the warp, or of each quarter with its own
// `error` when `quarters` (order.rounds is 0 then).
template <class T, class Grid>
__device__ float ordered_sum(const Cell<T>& cell,
                             const ValueError<T, Grid>& error,
                             const SumOrder& order,
                             bool quarters) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, chain = lane / kSumLanes, l = lane % kSumLanes;
  const bool paired = order.width > kSumLanes;
  const auto load = [&](int64_t i) {
    const int64_t at = i * order.width + l;
    const float first = error(cell[at], at);
    return paired ? first + error(cell[at + kSumLanes], at + kSumLanes) : first;
  };
  SumChain<float> sums(order.rounds);
  for (int64_t i = 0; i < order.rounds; ++i) sums.add(load(i * kSumChains + chain));
  float sum = sums.total();
  if (quarters || chain == 0)
    for (int64_t i = order.rounds * kSumChains; i < order.loads; ++i) sum += load(i);
  if (!quarters) {
    const float own = sum;
    sum = __shfl_sync(kAllLanes, own, l);
    for (int c = 1; c < kSumChains; ++c) sum += __shfl_sync(kAllLanes, own, c * kSumLanes + l);
  }
  float total = 0;
  for (int64_t i = order.loads * order.width; i < cell.count; ++i) total += error(cell[i], i);
  for (int other = 0; other < kSumLanes; ++other) total += __shfl_sync(kAllLanes, sum, lane - l + other);
  return total;
}

template <class T, class Grid>
__device__ ValueError<T, Grid> error_of_range(const RangeProblem& p,
                                              float low,
                                              float high,
                                              int64_t column,
                                              Grid grid) {
  const CellScale scale = scale_of_cell(low, high, p.grid);
  return {scale.stored, static_cast<float>(scale.zero_point),           p.grid.symmetric,
          p.powers,     p.importance ? p.importance + column : nullptr, p.norm,
          grid};
}

template <class T, class Grid>
__global__ void __launch_bounds__(kThreads, 3) search_cells(RangeProblem p, CellSearch s, Grid grid) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t index = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (index >= divide_up(p.rows, p.cell_rows) * p.row_cells) return;
  const int64_t row = index / p.row_cells * p.cell_rows, column = index % p.row_cells * p.cell_columns;
  const Cell<T> cell{static_cast<const T*>(p.weight) + row * p.columns + column,
                     p.cell_rows * p.cell_columns,
                     static_cast<int>(p.cell_columns),
                     static_cast<int>(least(p.cell_rows, p.rows - row)),
                     static_cast<int>(least(p.cell_columns, p.columns - column)),
                     p.columns,
                     p.cell_rows == 1 && column + p.cell_columns <= p.columns};
  float low = 0, high = 0;
  bool bad = false;
  for (int64_t i = lane; i < cell.count; i += kWarp) {
    const float value = cell[i];
    bad |= !(fabsf(value) <= 3.402823466e38f);
    low = fminf(low, value);
    high = fmaxf(high, value);
  }
  if (bad) atomicOr(s.bad, 1);
  low = round_to_model(warp_min(low) * s.expand, p.grid.model);
  high = round_to_model(warp_max(high) * s.expand, p.grid.model);

  const SumOrder order(cell.count, p.powers != nullptr);
  const bool quarters = order.rounds == 0;
  const int together = quarters ? kSumChains : 1;
  float best = s.largest, best_low = low, best_high = high;
  for (int step = 0; step < p.steps; step += together) {
    const int mine = quarters ? static_cast<int>(least(step + lane / kSumLanes, p.steps - 1)) : step;
    const float smaller = round_to_model(low * p.shrinks[mine], p.grid.model),
                larger = round_to_model(high * p.shrinks[mine], p.grid.model);
    float error = ordered_sum(cell, error_of_range<T>(p, smaller, larger, column, grid), order, quarters);
    if (s.sums_rounded) error = round_to_model(error, p.grid.model);
    for (int q = 0; q < together; ++q) {
      const float that = __shfl_sync(kAllLanes, error, q * kSumLanes),
                  that_low = __shfl_sync(kAllLanes, smaller, q * kSumLanes),
                  that_high = __shfl_sync(kAllLanes, larger, q * kSumLanes);
      if (step + q >= p.steps || !(that < best)) continue;
      best = that;
      best_low = that_low;
      best_high = that_high;
      if (lane == 0 && s.improved[step + q] == 0) atomicOr(s.improved + step + q, 1);
    }
  }
  if (lane != 0) return;
  s.min[index] = best_low;
  s.max[index] = best_high;
}

// A warp per tile and step.
template <class T, class Grid>
__global__ void __launch_bounds__(kThreads)
    sum_tile_errors(RangeProblem p, float low, float high, int64_t tile_rows, float* errors, Grid grid) {
  const int64_t index = int64_t{blockIdx.x} * kWarps + threadIdx.x / kWarp;
  if (index >= divide_up(p.rows, tile_rows) * p.steps) return;
  const int64_t row = index / p.steps * tile_rows, count = least(tile_rows, p.rows - row) * p.columns;
  const float shrink = p.shrinks[index % p.steps];
  const Cell<T> cell{static_cast<const T*>(p.weight) + row * p.columns, count, 0, 0, 0, 0, true};
  const auto error = error_of_range<T>(p, round_to_model(low * shrink, p.grid.model),
                                       round_to_model(high * shrink, p.grid.model), 0, grid);
  const float sum = ordered_sum(cell, error, SumOrder(count, p.powers != nullptr), false);
  if (threadIdx.x % kWarp == 0) errors[index] = sum;
}

unsigned blocks_of(int64_t warps) { return static_cast<unsigned>(divide_up(warps, kWarps)); }

template <class Run>
void with_grid(const RangeProblem& p, const Run& run) {
  if (p.integer) return run(IntegerGrid(p.num_bits));
  if (p.num_bits == 8) return run(Float8Grid{});
  run(Float4Grid{});
}

}  // namespace

void search_ranges_of_cells(const RangeProblem& p, const CellSearch& search, cudaStream_t stream) {
  const unsigned blocks = blocks_of(divide_up(p.rows, p.cell_rows) * p.row_cells);
  if (blocks == 0) return;
  with_grid(p, [&](auto grid) {
    using Grid = decltype(grid);
    if (p.dtype == DType::bf16)
      LLMC_LAUNCH((search_cells<Bf16, Grid>), blocks, kThreads, 0, stream, p, search, grid);
    else if (p.dtype == DType::f16)
      LLMC_LAUNCH((search_cells<Half, Grid>), blocks, kThreads, 0, stream, p, search, grid);
    else LLMC_LAUNCH((search_cells<float, Grid>), blocks, kThreads, 0, stream, p, search, grid);
  });
}

void sum_errors_of_tiles(const RangeProblem& p,
                         float low,
                         float high,
                         int64_t tile_rows,
                         float* errors,
                         cudaStream_t stream) {
  const unsigned blocks = blocks_of(divide_up(p.rows, tile_rows) * p.steps);
  if (blocks == 0) return;
  with_grid(p, [&](auto grid) {
    using Grid = decltype(grid);
    if (p.dtype == DType::bf16)
      LLMC_LAUNCH((sum_tile_errors<Bf16, Grid>), blocks, kThreads, 0, stream, p, low, high, tile_rows, errors,
                  grid);
    else if (p.dtype == DType::f16)
      LLMC_LAUNCH((sum_tile_errors<Half, Grid>), blocks, kThreads, 0, stream, p, low, high, tile_rows, errors,
                  grid);
    else
      LLMC_LAUNCH((sum_tile_errors<float, Grid>), blocks, kThreads, 0, stream, p, low, high, tile_rows,
                  errors, grid);
  });
}

}  // namespace llmc::cuda
