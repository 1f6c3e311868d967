// GPTQ from one triangular factor (performance notes in docs/cuda.md): with H = R R^T, R upper, and D = W - Q
// of the columns done, the conditional optimum of the columns B is W[:, B] + D[:, 0:b] R[0:b, B] inv(R_BB).
// The products are cuBLASLt's; here is what has no library: the gather of the dampened, reversed gram, the
// inverses of the diagonal blocks, and the fused column loop.
#include "core/quantize/scale_grid.hpp"
#include "cuda/kernels.hpp"
#include "cuda/language.cuh"

namespace llmc::cuda {
namespace {

constexpr int kBlock = kGptqBlock;

// ---- before the factorization

// diagonal[i] = gram[i][i]; `bad` becomes 1 when a number of the lower triangle is not finite. One block per
// row.
__global__ void read_diagonal_rows(const float* gram, int64_t n, float* diagonal, int* bad) {
  const int64_t i = blockIdx.x;
  float zero = 0;  // sum of 0 * x: NaN when some x is not finite
  for (int64_t j = threadIdx.x; j <= i; j += blockDim.x) zero += gram[i * n + j] * 0.0f;
  if (zero != 0.0f) atomicOr(bad, 1);
  if (threadIdx.x == 0) diagonal[i] = gram[i * n + i];
}

// work's lower triangle = the dampened gram in visiting order, reversed; diagonal has ones where columns are
// dead, addend what dampening adds.
__global__ void gather_rows_reversed(const float* gram,
                                     int64_t n,
                                     const int32_t* order,
                                     const float* diagonal,
                                     float frac,
                                     float mean,
                                     float* work) {
  const int64_t i = blockIdx.x, original = order[n - 1 - i];
  for (int64_t j = threadIdx.x; j < n; j += blockDim.x) {
    if (j > i) {
      work[i * n + j] = 0.0f;
      continue;
    }
    const int64_t other = order[n - 1 - j];
    float value = original == other ? diagonal[original]
                                    : gram[original > other ? original * n + other : other * n + original];
    if (j == i) value += frac * (mean > 0 ? mean : value);
    work[i * n + j] = value;
  }
}

// R[i][j] = L[n - 1 - i][n - 1 - j]: the whole array backwards.
__global__ void reverse_array(float* values, int64_t count) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i >= count / 2) return;
  const float low = values[i], high = values[count - 1 - i];
  values[i] = high;
  values[count - 1 - i] = low;
}

struct InverseShared {
  float factor[kBlock][kBlock + 1];
  float inverse[kBlock][kBlock + 1];
};

// inverses[b] = inv(R_BB), upper, [128][128], ones on the diagonal beyond the last column. One block of 128
// threads each; thread j solves for column j.
__global__ void __launch_bounds__(kBlock)
    invert_diagonal_blocks(const float* factor, int64_t n, float* inverses) {
  InverseShared& shared = shared_memory<InverseShared>();
  const int64_t first = int64_t{blockIdx.x} * kBlock;
  const int size = static_cast<int>(least(kBlock, n - first)), column = static_cast<int>(threadIdx.x);
  for (int i = 0; i < kBlock; ++i) {
    shared.factor[i][column] = i < size && column < size && i <= column
        ? factor[(first + i) * n + first + column]
        : i == column ? 1.0f
                      : 0.0f;
    shared.inverse[i][column] = 0.0f;
  }
  __syncthreads();
  for (int i = column; i >= 0; --i) {
    float sum = i == column ? 1.0f : 0.0f;
    for (int k = i + 1; k <= column; ++k) sum = fmaf(-shared.factor[i][k], shared.inverse[k][column], sum);
    shared.inverse[i][column] = sum / shared.factor[i][i];
  }
  __syncthreads();
  for (int i = 0; i < kBlock; ++i)
    inverses[(int64_t{blockIdx.x} * kBlock + i) * kBlock + column] = shared.inverse[i][column];
}

// ---- the weights in visiting order

template <class T>
__global__ void gather_columns(const T* weight,
                               int64_t columns,
                               const int32_t* order,
                               const float* diagonal_given,
                               float* out) {
  const int64_t row = blockIdx.x;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) {
    const int64_t original = order[i];
    // a dead column: its inputs were always zero, so its weight becomes zero
    out[row * columns + i] = diagonal_given[original] == 0.0f ? 0.0f
                                                              : to_float(weight[row * columns + original]);
  }
}

// ---- the column loop

// four threads a row; 32 columns at a time in registers
constexpr int kTeam = 4, kRows = 64, kThreads = kRows * kTeam, kSub = 32, kOwn = kSub / kTeam;

struct ColumnShared {
  alignas(16) float inverse[kBlock][kBlock];     // U_B strictly above the diagonal, zeros elsewhere
  float pivots[kBlock];                          // its diagonal
  alignas(16) float current[kRows][kBlock + 4];  // W1, later the scaled errors
};

// Columns [begin, begin + 128) for 64 rows of problem blockIdx.y. Within 32 columns each thread owns every
// fourth; what lies behind them is updated once they are done.
template <class Code, bool kPlainRounding>
__global__ void __launch_bounds__(kThreads, 2)
    quantize_columns(const ColumnProblem* problems, int64_t begin, DType product_dtype, Code code) {
  ColumnShared& shared = shared_memory<ColumnShared>();
  const ColumnProblem p = problems[blockIdx.y];
  const int member = static_cast<int>(threadIdx.x) % kTeam, local = static_cast<int>(threadIdx.x) / kTeam;
  const int64_t first_row = int64_t{blockIdx.x} * kRows, row = first_row + local;
  if (first_row >= p.rows) return;  // the launch is sized for the problem with the most rows
  const bool there = row < p.rows;
  const int columns = static_cast<int>(least(kBlock, p.columns - begin));
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float* const weights = p.weights + begin;
  const float* const inverse = p.inverses + begin * kBlock;

  for (int i = static_cast<int>(threadIdx.x); i < kBlock * kBlock; i += kThreads) {
    const int r = i / kBlock, c = i % kBlock;
    const float value = kPlainRounding ? 0.0f : inverse[i];
    shared.inverse[r][c] = c > r ? value : 0.0f;
    if (r == c) shared.pivots[r] = kPlainRounding ? 1.0f : value;
  }
  for (int i = static_cast<int>(threadIdx.x); i < kRows * kBlock; i += kThreads) {
    const int r = i / kBlock, c = i % kBlock;
    const int64_t at = first_row + r;
    float value = 0;
    if (at < p.rows && c < columns) {
      value = weights[at * p.columns + c];
      if (!kPlainRounding && begin > 0) value += p.update[at * kBlock + c];
    }
    shared.current[r][c] = value;
  }
  __syncthreads();

  float loss = 0;
  for (int first = 0; first < columns; first += kSub) {
    float w[kOwn], scale[kOwn], zero[kOwn];
#pragma unroll
    for (int k = 0; k < kOwn; ++k) {
      const int column = first + k * kTeam + member;
      w[k] = shared.current[local][column];
      const bool known = there && column < columns;
      const int64_t at = known ? row * p.scale_columns + p.scale_column[begin + column] : 0;
      scale[k] = known ? p.scales[at] : 1.0f;
      zero[k] = known && p.zero_points ? static_cast<float>(p.zero_points[at]) : 0.0f;
    }
    // 32 columns in order. All four threads round the column they own next; the owner's error goes to the
    // others.
#pragma unroll
    for (int i = 0; i < kSub; ++i) {
      const int k = i / kTeam, owner = i % kTeam, column = first + i;
      const auto c = code(w[k] / scale[k] + zero[k]);
      const float product = round_to_model((value_of_code(code, c) - zero[k]) * scale[k], product_dtype);
      float error = (w[k] - product) / shared.pivots[column];
      if (member == owner && there && column < columns) {
        p.codes[row * p.columns + p.order[begin + column]] = static_cast<uint8_t>(c);
        weights[row * p.columns + column] -= product;  // W becomes D = W - Q
        loss = fmaf(error, error, loss);
      }
      error = __shfl_sync(kAllLanes, error, lane / kTeam * kTeam + owner);
      if constexpr (!kPlainRounding) {
        if (member == owner) shared.current[local][column] = error;
#pragma unroll
        for (int later = k; later < kOwn; ++later)
          w[later] = fmaf(-error, shared.inverse[column][first + later * kTeam + member], w[later]);
      }
    }
    if constexpr (!kPlainRounding) {
      __syncwarp();  // the errors of this row are written
      // four columns a thread at a time
      for (int next = first + kSub + member * 4; next < columns; next += kTeam * 4) {
        float4 sum = *reinterpret_cast<const float4*>(&shared.current[local][next]);
#pragma unroll 8
        for (int i = 0; i < kSub; ++i) {
          const float error = -shared.current[local][first + i];
          const float4 factor = *reinterpret_cast<const float4*>(&shared.inverse[first + i][next]);
          sum.x = fmaf(error, factor.x, sum.x);
          sum.y = fmaf(error, factor.y, sum.y);
          sum.z = fmaf(error, factor.z, sum.z);
          sum.w = fmaf(error, factor.w, sum.w);
        }
        *reinterpret_cast<float4*>(&shared.current[local][next]) = sum;
      }
      __syncwarp();
    }
  }
  loss += __shfl_xor_sync(kAllLanes, loss, 1);
  loss += __shfl_xor_sync(kAllLanes, loss, 2);
  if (member == 0 && there) p.loss[row] += static_cast<double>(loss);
}

// loss[r] = d H d^T for d = differences[r], given products = d L^T with L the lower triangle of H. One warp
// per row.
__global__ void quadratic_forms(const float* differences,
                                const float* products,
                                const float* lower,
                                int64_t rows,
                                int64_t n,
                                double* loss) {
  const int64_t row = int64_t{blockIdx.x} * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  if (row >= rows) return;
  double sum = 0;
  for (int64_t i = threadIdx.x % kWarp; i < n; i += kWarp) {
    const auto d = static_cast<double>(differences[row * n + i]);
    sum += d * (2.0 * static_cast<double>(products[row * n + i]) - static_cast<double>(lower[i * n + i]) * d);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % kWarp == 0) loss[row] = sum;
}

// ---- what an output is made of, for the report

template <class T>
__global__ void gather_sampled_rows(const T* weight,
                                    int64_t rows,
                                    int64_t n,
                                    int64_t first,
                                    int64_t step,
                                    float* sample) {
  const int64_t k = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (k >= n) return;
  for (int64_t i = 0; i < kEnergyRows; ++i) {
    const int64_t row = first + i * step;
    sample[k * kEnergyRows + i] = row < rows ? to_float(weight[row * n + k]) : 0.0f;
  }
}

// One warp per row of the gram, one lane per sampled row.
__global__ void sum_row_energies(const float* sample, const float* gram, int64_t n, double* energies) {
  static_assert(kEnergyRows == kWarp);
  const int64_t i = int64_t{blockIdx.x} * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  if (i >= n) return;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const float* const h = gram + i * n;
  float below = 0;
#pragma unroll 8
  for (int64_t k = 0; k < i; ++k) below = fmaf(h[k], sample[k * kWarp + lane], below);
  const float own = sample[i * kWarp + lane];
  const double energy = warp_sum(static_cast<double>(own) *
                                 (2.0 * static_cast<double>(below) + static_cast<double>(h[i] * own)));
  if (lane == 0) energies[i] = energy;
}

}  // namespace

void read_gram_diagonal(const float* gram, int64_t n, float* diagonal, int* bad, cudaStream_t stream) {
  LLMC_LAUNCH(read_diagonal_rows, static_cast<unsigned>(n), 128, 0, stream, gram, n, diagonal, bad);
}

void gather_gram_reversed(const float* gram,
                          int64_t n,
                          const int32_t* order,
                          const float* diagonal,
                          float frac,
                          float mean,
                          float* work,
                          cudaStream_t stream) {
  LLMC_LAUNCH(gather_rows_reversed, static_cast<unsigned>(n), 256, 0, stream, gram, n, order, diagonal, frac,
              mean, work);
}

void reverse_factor(float* factor, int64_t n, cudaStream_t stream) {
  if (n > 0)
    LLMC_LAUNCH(reverse_array, static_cast<unsigned>(divide_up(n * n / 2 + 1, 256)), 256, 0, stream, factor,
                n * n);
}

void invert_factor_blocks(const float* factor, int64_t n, float* inverses, cudaStream_t stream) {
  LLMC_LAUNCH(invert_diagonal_blocks, static_cast<unsigned>(divide_up(n, kBlock)), kBlock,
              sizeof(InverseShared), stream, factor, n, inverses);
}

void gather_weight_columns(const void* weight,
                           DType dtype,
                           int64_t rows,
                           int64_t columns,
                           const int32_t* order,
                           const float* diagonal,
                           float* out,
                           cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(rows);
  if (dtype == DType::bf16)
    LLMC_LAUNCH((gather_columns<Bf16>), blocks, 256, 0, stream, static_cast<const Bf16*>(weight), columns,
                order, diagonal, out);
  else if (dtype == DType::f16)
    LLMC_LAUNCH((gather_columns<Half>), blocks, 256, 0, stream, static_cast<const Half*>(weight), columns,
                order, diagonal, out);
  else
    LLMC_LAUNCH((gather_columns<float>), blocks, 256, 0, stream, static_cast<const float*>(weight), columns,
                order, diagonal, out);
}

void quantize_column_block(const ColumnProblem* problems,
                           int count,
                           int64_t most_rows,
                           int64_t begin,
                           bool plainly,
                           const NumberGrid& grid,
                           DType product_dtype,
                           cudaStream_t stream) {
  if (most_rows == 0 || count == 0) return;
  const dim3 blocks(static_cast<unsigned>(divide_up(most_rows, kRows)), static_cast<unsigned>(count));
  const auto run = [&](auto code) {
    using Code = decltype(code);
    if (plainly)
      LLMC_LAUNCH((quantize_columns<Code, true>), blocks, kThreads, sizeof(ColumnShared), stream, problems,
                  begin, product_dtype, code);
    else
      LLMC_LAUNCH((quantize_columns<Code, false>), blocks, kThreads, sizeof(ColumnShared), stream, problems,
                  begin, product_dtype, code);
  };
  if (grid.type == NumberType::floating) return grid.num_bits == 4 ? run(Fp4Code{}) : run(Fp8Code{});
  const auto half = static_cast<float>(1 << (grid.num_bits - 1));
  run(IntegerCode{-half, half - 1.0f});
}

void gather_row_sample(const void* weight,
                       DType dtype,
                       int64_t rows,
                       int64_t n,
                       int64_t first,
                       int64_t step,
                       float* sample,
                       cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(divide_up(n, 256));
  if (blocks == 0) return;
  if (dtype == DType::bf16)
    LLMC_LAUNCH((gather_sampled_rows<Bf16>), blocks, 256, 0, stream, static_cast<const Bf16*>(weight), rows,
                n, first, step, sample);
  else if (dtype == DType::f16)
    LLMC_LAUNCH((gather_sampled_rows<Half>), blocks, 256, 0, stream, static_cast<const Half*>(weight), rows,
                n, first, step, sample);
  else
    LLMC_LAUNCH((gather_sampled_rows<float>), blocks, 256, 0, stream, static_cast<const float*>(weight), rows,
                n, first, step, sample);
}

void collect_output_energies(const float* sample,
                             const float* gram,
                             int64_t n,
                             double* energies,
                             cudaStream_t stream) {
  if (n > 0)
    LLMC_LAUNCH(sum_row_energies, static_cast<unsigned>(divide_up(n, 4)), 128, 0, stream, sample, gram, n,
                energies);
}

void sum_quadratic_form(const float* differences,
                        const float* products,
                        const float* lower,
                        int64_t rows,
                        int64_t n,
                        double* loss,
                        cudaStream_t stream) {
  LLMC_LAUNCH(quadratic_forms, static_cast<unsigned>(divide_up(rows, 4)), 128, 0, stream, differences,
              products, lower, rows, n, loss);
}

}  // namespace llmc::cuda
