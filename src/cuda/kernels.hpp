// The kernels of src/cuda, one section per .cu file: launchers that queue work on a stream. They never
// allocate and never wait. Pointers are the device's unless said; arrays are row-major and dense; counts of
// zero do nothing.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "core/quantize/activation_grid.hpp"
#include "core/quantize/scale_grid.hpp"
#include "llmc/backend/rows.hpp"
#include "llmc/backend.hpp"

namespace llmc::cuda {

// ---- elementwise.cu; values are f32 or bf16

void activate_values(ActivationKind kind,
                     const void* x,
                     DType dtype,
                     int64_t count,
                     void* out,
                     cudaStream_t stream);
void multiply_values(const void* x,
                     const void* y,
                     DType dtype,
                     int64_t count,
                     void* out,
                     cudaStream_t stream);
void add_values(const void* x, const void* y, DType dtype, int64_t count, void* out, cudaStream_t stream);
// act(x) * y, rounded in between
void activate_and_multiply(ActivationKind kind,
                           const void* x,
                           const void* y,
                           DType dtype,
                           int64_t count,
                           void* out,
                           cudaStream_t stream);
// f32, bf16, f16 -> f32, bf16
void convert(const void* x, DType from, void* out, DType to, int64_t count, cudaStream_t stream);
void add_bias_to_rows(void* values,
                      DType dtype,
                      const float* bias,
                      int64_t rows,
                      int64_t width,
                      cudaStream_t stream);
// out [rows, width] = channels [first, first + width) of x [rows, x_width]
void slice_channels(const void* x,
                    DType dtype,
                    int64_t rows,
                    int64_t x_width,
                    int64_t first,
                    int64_t width,
                    void* out,
                    cudaStream_t stream);
void gather_embeddings(const void* table,
                       DType from,
                       const int32_t* ids,
                       int64_t tokens,
                       int64_t width,
                       void* out,
                       DType to,
                       cudaStream_t stream);

// ---- norm.cu

// out = norm(x), or total = x + residual and out = norm(total). x, residual, total, out: [groups, width];
// weight and bias: [width], bias may be null.
void norm_values(NormKind kind,
                 const void* x,
                 const void* residual,
                 void* total,
                 DType dtype,
                 int64_t groups,
                 int64_t width,
                 float epsilon,
                 const float* weight,
                 const float* bias,
                 void* out,
                 cudaStream_t stream);

// ---- rope.cu

// x, out: [tokens, heads, head_dim]; cosine, sine: [rows, half]; row_of: [tokens], which row rotates a token.
void rotate_values(const void* x,
                   DType dtype,
                   const float* cosine,
                   const float* sine,
                   const int32_t* row_of,
                   int64_t tokens,
                   int64_t heads,
                   int64_t head_dim,
                   int64_t half,
                   void* out,
                   cudaStream_t stream);

// ---- attention.cu

// queries [query, query + attention_queries_per_tile()) of one sequence, in rows of the queries. A key counts
// as its token's query does, also one of a token that came before them: it lies `shift` rows further on.
struct AttentionTile {
  int64_t query, sequence_begin, sequence_end;
  int64_t shift = 0;
};
struct AttentionProblem {
  // [tokens or keys, heads or kv_heads, head_dim]
  const void *queries = nullptr, *keys = nullptr, *values = nullptr;
  void* out = nullptr;  // [tokens, heads, head_dim]
  const AttentionTile* tiles = nullptr;
  int64_t tile_count = 0;
  int heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 1;
  float soft_cap = 0;  // scores become cap * tanh(score / cap); 0: as they are
  int64_t window = 0;  // a query sees this many keys, itself the last; 0: all before it
};
int64_t attention_queries_per_tile();
int64_t attention_most_channels();  // of a head
void attend(const AttentionProblem& problem, DType dtype, cudaStream_t stream);

// ---- activation_rounding.cu

// x, out: [groups, width]; fixed: [heads], group i takes fixed[i % heads]; null: from each group's own range.
void round_activations(const void* x,
                       DType dtype,
                       int64_t groups,
                       int64_t width,
                       const ActivationGrid& grid,
                       const ActivationScale* fixed,
                       int64_t heads,
                       void* out,
                       cudaStream_t stream);

// ---- observers.cu

struct ChannelSums {
  float min, max;
  double sum_abs, sum_squares;
};
// into: [width]
void collect_channel_sums(const void* x,
                          DType dtype,
                          int64_t tokens,
                          int64_t width,
                          ChannelSums* into,
                          cudaStream_t stream);

unsigned extent_blocks(int64_t count);
// extents: [extent_blocks(count)], zero included; bad: all ones, or lowered to the first position of a NaN or
// infinity. x: f32, bf16, f16.
void collect_extents(const void* x,
                     DType dtype,
                     int64_t count,
                     float2* extents,
                     unsigned long long* bad,
                     cudaStream_t stream);

// ---- range_search.cu

// The ranges to try are [low, high] * shrinks[i].
struct RangeProblem {
  const void* weight = nullptr;  // [rows, columns]
  DType dtype = DType::bf16;
  int64_t rows = 0, columns = 0;
  int64_t cell_rows = 1, cell_columns = 1, row_cells = 1;  // as in RowProblem
  bool one_scale = false, integer = true;
  int num_bits = 4;
  ScaleGrid grid;
  const float* shrinks = nullptr;  // [steps]
  int steps = 0;
  const float* powers = nullptr;  // [32768], or null: |difference|^norm in float32
  float norm = 2;
  const float* importance = nullptr;  // [columns], or null
};
struct CellSearch {
  float expand = 1, largest = 0;  // a cell's low is its smallest value times expand
  bool sums_rounded = true;
  float *min = nullptr, *max = nullptr;  // of the cells: the first range of the smallest error
  // [steps]: zeros, become 1 where a step was better than all before it for any cell
  int* improved = nullptr;
  int* bad = nullptr;  // 0, becomes 1 when the weight holds NaN or Inf
};
void search_ranges_of_cells(const RangeProblem& problem, const CellSearch& search, cudaStream_t stream);
// One scale for the whole: errors [tiles, steps] of tiles of `tile_rows`.
void sum_errors_of_tiles(const RangeProblem& problem,
                         float low,
                         float high,
                         int64_t tile_rows,
                         float* errors,
                         cudaStream_t stream);

// ---- token_loss.cu

struct TokenLoss {
  double negative_log_likelihood, kl;
  int32_t counted, same_top;
};
// logits: [tokens, vocabulary]; reference: the same shape, or null; next: [tokens], -1 where nothing follows;
// losses: [tokens].
void collect_token_losses(const void* logits,
                          DType dtype,
                          const void* reference,
                          DType reference_dtype,
                          const int32_t* next,
                          int64_t tokens,
                          int64_t vocabulary,
                          TokenLoss* losses,
                          cudaStream_t stream);

// ---- gram.cu

// gram: [width, width], lower triangle
void add_to_gram(const void* x, DType dtype, int64_t tokens, int64_t width, float* gram, cudaStream_t stream);

// ---- gptq.cu

constexpr int kGptqBlock = 128;  // columns

// bad: 0, becomes 1 when the lower triangle holds NaN or Inf
void read_gram_diagonal(const float* gram, int64_t n, float* diagonal, int* bad, cudaStream_t stream);
// work's lower triangle: the gram with `diagonal` on it, rows and columns by `order` and backwards, frac *
// (mean, or the diagonal itself when mean is 0) added to the diagonal.
void gather_gram_reversed(const float* gram,
                          int64_t n,
                          const int32_t* order,
                          const float* diagonal,
                          float frac,
                          float mean,
                          float* work,
                          cudaStream_t stream);
// lower L of the reversed matrix -> upper R, in place
void reverse_factor(float* factor, int64_t n, cudaStream_t stream);
// inverses: [blocks, 128, 128]
void invert_factor_blocks(const float* factor, int64_t n, float* inverses, cudaStream_t stream);
// out[r][i] = weight[r][order[i]], zero where diagonal[order[i]] is zero.
void gather_weight_columns(const void* weight,
                           DType dtype,
                           int64_t rows,
                           int64_t columns,
                           const int32_t* order,
                           const float* diagonal,
                           float* out,
                           cudaStream_t stream);

// The columns of one problem, in visiting order.
struct ColumnProblem {
  int64_t rows = 0, columns = 0;
  float* weights = nullptr;  // [rows, columns]: in W, out W - Q
  // [rows, 128]: what the columns done add to W in this block; not read in the first block
  const float* update = nullptr;
  const float* inverses = nullptr;      // [blocks, 128, 128]: inv(R_BB); null: plain rounding
  const float* scales = nullptr;        // [rows, scale_columns]
  const int8_t* zero_points = nullptr;  // the same shape; null when symmetric
  int64_t scale_columns = 0;
  const int32_t* scale_column = nullptr;  // [columns]
  const int32_t* order = nullptr;         // [columns]: where the codes of a column go
  uint8_t* codes = nullptr;               // [rows, columns]
  double* loss = nullptr;                 // [rows] +=
};
// loss[r] = d H d^T, d = differences[r]: products [rows, n] = differences L^T, lower [n, n] = L, the lower
// triangle of H.
void sum_quadratic_form(const float* differences,
                        const float* products,
                        const float* lower,
                        int64_t rows,
                        int64_t n,
                        double* loss,
                        cudaStream_t stream);
// Columns [begin, begin + 128) of several problems with as many columns, side by side. problems: [count], on
// the device, all with inverses or (plainly) all without; most_rows: of any of them; the first block begins
// at 0, blocks are done in order.
void quantize_column_block(const ColumnProblem* problems,
                           int count,
                           int64_t most_rows,
                           int64_t begin,
                           bool plainly,
                           const NumberGrid& grid,
                           DType product_dtype,
                           cudaStream_t stream);

constexpr int kEnergyRows = 32;
// sample[k][i] = weight[first + i * step][k]; zeros where there is no such row. sample: [n, kEnergyRows]
void gather_row_sample(const void* weight,
                       DType dtype,
                       int64_t rows,
                       int64_t n,
                       int64_t first,
                       int64_t step,
                       float* sample,
                       cudaStream_t stream);
// energies[i]: what row i of H's lower triangle adds to the sum of w H w^T over the sample. gram: [n, n];
// energies: [n]
void collect_output_energies(const float* sample,
                             const float* gram,
                             int64_t n,
                             double* energies,
                             cudaStream_t stream);

// ---- smoothing.cu; weights are f32, bf16 or f16

// largest: [columns], zeros or more
void raise_column_maxima(const void* weight,
                         DType dtype,
                         int64_t rows,
                         int64_t columns,
                         float* largest,
                         cudaStream_t stream);
// weight[row] /= scales[row]
void divide_rows(void* weight,
                 DType dtype,
                 int64_t rows,
                 int64_t columns,
                 const float* scales,
                 cudaStream_t stream);
void use_smoothing_scales(void* weight,
                          DType dtype,
                          int64_t rows,
                          int64_t columns,
                          const float* scales,
                          SmoothingUse use,
                          cudaStream_t stream);

// ---- pack_codes.cu

// codes: [rows, columns], a byte each; out: [rows, row_bytes], `bits` each, integers with 2^(bits - 1) added.
void pack_code_rows(const uint8_t* codes,
                    int64_t rows,
                    int64_t columns,
                    int bits,
                    bool integer,
                    std::byte* out,
                    int64_t row_bytes,
                    cudaStream_t stream);

// ---- quantize_rows.cu

struct RowProblem {
  const void* weight = nullptr;  // [rows, columns]
  DType dtype = DType::bf16;
  int64_t rows = 0, columns = 0;
  // one scale covers cell_rows x cell_columns; row_cells of them side by side
  int64_t cell_rows = 1, cell_columns = 1, row_cells = 1;
  bool one_scale = false, scales_given = false, want_error = true;
  ScaleGrid grid;
  int num_bits = 4;
  bool integer = true, packed = false;
  bool round_quotient = false;  // to the weight's dtype
  void* scales = nullptr;       // of the cells, as the file holds them
  int8_t* zero_points = nullptr;
  std::byte* codes = nullptr;  // [rows, code_row_bytes]
  int64_t code_row_bytes = 0;
  double2* errors = nullptr;          // [row_problem_blocks()]: sums of (w - q)^2 and w^2
  unsigned long long* bad = nullptr;  // all ones, or lowered to the first position of a NaN or infinity
};
int64_t row_problem_blocks(const RowProblem& problem);
void quantize_row_cells(const RowProblem& problem, cudaStream_t stream);

// Codes back to values. codes: [rows, columns] i8, e4m3 or fp4 codes, not packed.
struct DequantizeProblem {
  const uint8_t* codes = nullptr;
  int64_t rows = 0, columns = 0, cell_rows = 1, cell_columns = 1, row_cells = 1;
  bool one_scale = false, integer = true;
  int num_bits = 4;
  const float* multipliers = nullptr;   // of the cells
  const int8_t* zero_points = nullptr;  // null when symmetric
  DType product_dtype = DType::bf16, out_dtype = DType::bf16;
  void* out = nullptr;  // [rows, columns] bf16 or f32
};
void dequantize_row_cells(const DequantizeProblem& problem, cudaStream_t stream);

}  // namespace llmc::cuda
