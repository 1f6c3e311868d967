// The one interface between the pipeline and a device: coarse calls, chosen once per session; below it plain
// data. Results depend on the inputs, the backend and its ISA level only: never on the number of threads.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "llmc/graph.hpp"
#include "llmc/scheme.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

// Whole sequences packed one after another, no padding. Attention never crosses a sequence boundary.
struct TokenBatch {
  std::vector<int32_t> token_ids;        // [tokens]
  std::vector<int64_t> sequence_starts;  // [sequences + 1], first 0, last = tokens
  int64_t tokens() const { return static_cast<int64_t>(token_ids.size()); }
};

using WeightTable = std::unordered_map<std::string, Tensor>;  // by tensor name
// by ValueId, each [tokens, width]; empty when not alive
using ValueTable = std::vector<Tensor>;

// Per-channel statistics of one value over all tokens seen. Sums are kept in double so that they can be
// merged.
struct ChannelStatistics {
  int64_t tokens = 0;
  std::vector<float> min, max;               // [width]
  std::vector<double> sum_abs, sum_squares;  // [width]
};

// The grid that codes live on.
struct NumberGrid {
  NumberType type = NumberType::integer;
  int num_bits = 4;
  bool symmetric = true;
};

// One GPTQ problem: the rows of every Linear that shares a Hessian and a scheme, concatenated.
struct GptqProblem {
  // each [its rows, columns], all f32, bf16 or f16; the problem's rows are theirs, one matrix after another
  std::vector<TensorView> weights;
  // [columns, columns] f32: the lower triangle of sum x x^T (accumulate_gram)
  TensorView gram;
  NumberGrid grid;
  TensorView scales;                  // [rows, scale_columns] f32, the values as stored on disk
  TensorView zero_points;             // [rows, scale_columns] i8; data null when symmetric
  std::vector<int32_t> scale_column;  // [columns]: which scale column each input channel uses
  DType product_dtype = DType::bf16;  // q * scale is rounded to it, as the reader of the file will do
  bool activation_order = true;       // visit channels by falling diagonal (ties: lower index first)
  bool relative_dampening = true;     // H_ii += frac * H_ii; otherwise H_ii += frac * mean(diag H)
  double dampening_frac = 0.01;
  int64_t block_size = 128;

  int64_t rows() const {
    int64_t all = 0;
    for (const TensorView& weight : weights) all += weight.rows();
    return all;
  }
  int64_t columns() const { return weights.empty() ? 0 : weights[0].columns(); }
};
struct GptqSolution {
  // of each weight, [its rows, columns] i8, or f8_e4m3 for an 8-bit float grid, or u8 fp4 codes; a device's
  // lie on it
  std::vector<Tensor> codes;
  // [rows]: (w - q) H (w - q)^T with the dampened gram of this problem, unnormalized
  std::vector<double> row_loss;
  double dampening_frac = 0;  // that worked; each failed factorization tries ten times more
  int attempts = 1;
  std::vector<int32_t> order;       // [columns]: which column was visited i-th
  bool rounded_to_nearest = false;  // every dampening up to 1.0 failed: codes are plain rounding
};

// How codes lie in a row of the file. packed: num_bits each, lowest bits first; rows of integers end on a
// 32-bit word, rows of fp4 on a byte.
enum class CodeLayout { bytes, packed };
int64_t code_row_bytes(const QuantizationArgs& args, CodeLayout layout, int64_t columns);

// Rows of one weight on their way from the model's numbers to the file's bytes, rounded to nearest.
struct RowQuantization {
  // [rows, columns] bf16, f16 or f32; block scales: whole blocks, except at the matrix's end
  TensorView weight;
  const QuantizationArgs* args = nullptr;
  Rounding rounding = Rounding::exact;
  CodeLayout layout = CodeLayout::bytes;
  std::optional<float> global_scale;  // NVFP4's; given
  // true: scales and zero points are read; false: written, from the smallest and largest value of each cell
  bool scales_given = false;
  bool want_error = true;
  std::byte* codes = nullptr;  // [rows, code_row_bytes]
  Device codes_device;         // where they lie: the host, or this backend's device
  // of these rows' cells (per-tensor: [1], always given), in the dtype of the file
  std::byte* scales = nullptr;
  int8_t* zero_points = nullptr;  // the same shape, not packed; null when symmetric
};
struct RowsQuantized {
  // position in `weight` of a NaN or infinity; nothing else is valid then
  std::optional<int64_t> first_non_finite;
  double error = 0, energy = 0;  // sums of (w - q)^2 and w^2, when wanted
};

// Codes on their way back to numbers.
struct Dequantization {
  TensorView codes;  // [rows, columns] i8, f8_e4m3 or u8 fp4 codes; not packed
  const QuantizationArgs* args = nullptr;
  TensorView multipliers;  // f32, the scales' grid: exponents expanded, the global scale divided in
  TensorView zero_points;  // i8, the same grid; data null when symmetric
  // (code - zero point) * multiplier is rounded to the first and stored as the second
  DType product_dtype = DType::bf16, out = DType::bf16;
};

// The ranges that a searching observer tries for every scale of a weight: [min, max] * expand * shrinks[i],
// each product rounded to the weight's dtype (core/quantize/mse_observer.hpp).
struct RangeTrials {
  TensorView weight;  // [rows, columns] bf16, f16 or f32
  const QuantizationArgs* args = nullptr;
  float expand = 1;
  // [steps]; empty: only the ranges of the values are wanted, zero included
  std::span<const float> shrinks;
  // |difference|^norm by the 15 bits of a |difference| in the weight's dtype [32768]; empty: computed in
  // float32
  std::span<const float> powers;
  float norm = 2;
  std::span<const float> importance;  // [columns]: what errors are multiplied by; empty: one
  float largest = 0;                  // only errors below it can win
  bool sums_rounded = true;           // to the weight's dtype, before they are compared
  // a scale for the whole tensor: errors are summed over so many rows at a time
  int64_t tile_rows = 64;
};
struct RangesTried {
  // of each scale: the first range of the smallest error; per-tensor: [1], of the values, zero included
  std::vector<float> min, max;
  // [steps]: whether the step was better than all before it for any scale; per-tensor: empty
  std::vector<uint8_t> improved;
  std::vector<float> errors;  // per-tensor: [tiles, steps], the sums; otherwise empty
};

// What a scan over values finds. Zero counts as one of them.
struct ValueExtent {
  float min = 0, max = 0;
  std::optional<int64_t> first_non_finite;  // nothing else is valid then
};

struct ForwardOptions {
  DType value_dtype = DType::bf16;  // of the values between nodes; arithmetic accumulates in float32
};

// Rounding of a value as the served model does it: the input or output of a Linear, or what an attention
// reads.
struct ActivationQuantization {
  NumberGrid grid;
  int64_t group_size = 0;     // channels that share a scale; 0: all of a token's
  bool power_of_two = false;  // scales of the MX formats
  float global_scale = 0;     // NVFP4: group scales are e4m3 numbers over it; 0: none
  // found at calibration time: one, or one per group (an attention's heads); empty: from each token
  std::vector<float> fixed_scales;
  std::vector<int8_t> fixed_zero_points;  // as many; empty: symmetric
};

// How long the values of a segment live, for a backend that runs several nodes as one: such values are never
// made.
struct ValueLifetimes {
  // [nodes of the segment]: what nobody reads after node i
  std::span<const std::vector<ValueId>> last_uses;
  // before the output of a node is made: the moment to lend it memory
  std::function<void(const Node&)> starting;
  // node i of the segment is done: what it was the last to read may go
  std::function<void(size_t)> finished;
};

// What a smoothing scale does to a tensor whose last dimension are the channels: a reader's weight is
// multiplied; a norm's weight and bias are divided, (1 + weight) where that is what the norm multiplies by.
enum class SmoothingUse { multiply, divide, divide_plus_one };

// A block's weights in the memory a backend computes in. Owns the table that was copied there; otherwise it refers
// to the caller's table, which must outlive it.
class StagedWeights {
 public:
  explicit StagedWeights(const WeightTable* borrowed) : table_(borrowed) {}
  explicit StagedWeights(WeightTable moved)
      : own_(std::make_unique<WeightTable>(std::move(moved))),
        table_(own_.get()) {}
  operator const WeightTable&() const { return *table_; }  // NOLINT(google-explicit-constructor): it is one

 private:
  std::unique_ptr<WeightTable> own_;
  const WeightTable* table_;
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual Device device() const = 0;
  virtual std::string description() const = 0;  // "cpu avx512_bf16, 2 threads"
  virtual int threads() const = 0;
  // From now on a call ends with Error(cancelled) soon after *cancel becomes true, in the middle of a
  // factorization too. Null: never. Not during a call.
  virtual void watch(const std::atomic<bool>*) {}

  // Memory. A device's own stays its own: only these calls and those below read or write it. Tensors of a
  // device die before its backend.
  virtual Tensor zeros(DType dtype, Shape shape) { return Tensor::zeros(dtype, std::move(shape)); }
  virtual Tensor to_host(const TensorView& values) { return Tensor::copy_of(values); }
  // Memory on this device that is a caller's own: once wait_for has returned, what was queued on its stream
  // (null: the device's default one) is done.
  virtual void wait_for(void*) {}
  // from the host to contiguous memory of this device, as many bytes
  virtual void copy_to_device(const TensorView&, const TensorView&) {}
  // A weight [rows, columns] where execute() and the calls below read it, filled by `read` piece by piece, in
  // order. May run on one other thread, beside every call.
  using ReadBytes = std::function<void(int64_t offset, int64_t bytes, std::byte* to)>;
  virtual Tensor load_weight(DType dtype, Shape shape, const ReadBytes& read) {
    Tensor weight(dtype, std::move(shape));
    read(0, weight.bytes(), weight.data());
    return weight;
  }
  // The weights of `nodes` for many calls of execute() to come; later changes of `weights` are not seen.
  virtual StagedWeights stage(std::span<const Node>, const WeightTable& weights) {
    return StagedWeights(&weights);
  }
  // A value that waits until other tiles are done: a backend short of memory may move it to the host.
  virtual void park(Tensor&) {}

  // How many tokens a call of execute() should get where there are many. It does not change: the cut of the
  // calibration data follows it.
  virtual int64_t tile_tokens() const { return 4096; }
  // Runs the nodes in order: reads values[node.inputs], writes values[node.output] ([tokens, width],
  // value_dtype). Embedding reads batch.token_ids. An output that is there already with the right shape is
  // written over: memory that the caller reuses. Weights may be f32, bf16 or f16. `rounding` and `lifetimes`
  // may be null; what to round on the way, by "<node>.input", "<node>.output" of a Linear and "<module>.q",
  // ".k", ".v" of an attention.
  using ActivationRounding = std::unordered_map<std::string, ActivationQuantization>;
  virtual void execute(std::span<const Node> segment,
                       const WeightTable& weights,
                       const TokenBatch& batch,
                       const ForwardOptions& options,
                       ValueTable& values,
                       const ActivationRounding* rounding = nullptr,
                       const ValueLifetimes* lifetimes = nullptr) = 0;

  // gram[i][j] += sum over tokens of x[t][i] * x[t][j], for j <= i only. x: [tokens, n] f32 or bf16; gram:
  // [n, n] f32. float32 accumulation.
  virtual void accumulate_gram(const TensorView& x, Tensor& gram) = 0;
  virtual void accumulate_channels(const TensorView& x, ChannelStatistics& statistics) = 0;

  // One solution per problem. The problems have nothing to do with each other, nor the bits of one solution
  // with the other problems: a device may solve them side by side.
  virtual std::vector<GptqSolution> gptq(std::span<const GptqProblem> problems) = 0;
  GptqSolution gptq(const GptqProblem& problem) { return std::move(gptq(std::span(&problem, 1)).front()); }
  // The sum over the rows w = 0, step, 2 step ... of `weight` of w H w^T. gram: the lower triangle of H.
  virtual double output_energy(const TensorView& weight, int64_t step, const TensorView& gram) = 0;

  // core/quantize/smoothing.hpp, bit for bit. Tensors on the host or on this device; largest: [columns],
  // grown from empty.
  virtual void raise_column_maxima(const TensorView& weight, std::vector<float>& largest) = 0;
  virtual void use_smoothing_scales(Tensor& tensor, std::span<const float> scales, SmoothingUse use) = 0;

  // Ranges, scales, codes and packing in one pass over memory, bit for bit as src/core/quantize defines them.
  // Nothing: this backend has no fast way for such a job, and the caller computes it by that definition.
  virtual std::optional<RowsQuantized> quantize_rows(const RowQuantization&) { return std::nullopt; }
  // Values of the weight as its reader will see it, where this backend's execute() wants them. Nothing: as
  // above.
  virtual std::optional<Tensor> dequantize(const Dequantization&) { return std::nullopt; }
  // Rows of codes as they lie in the file (CodeLayout::packed), [rows, code_row_bytes] u8 on the host.
  // Nothing: the codes are on the host, and the caller packs them.
  virtual std::optional<Tensor> pack_codes(const TensorView&, const QuantizationArgs&) {
    return std::nullopt;
  }
  // Bit for bit what core/quantize/mse_observer.cpp finds. Nothing: as above; values that are not finite are
  // left to the definition.
  virtual std::optional<RangesTried> try_ranges(const RangeTrials&) { return std::nullopt; }
  virtual ValueExtent scan(const TensorView& values) = 0;  // any floating dtype

  // For each token t < tokens - 1 that is not the last of its sequence: -log p(next token). logits: [tokens,
  // vocabulary]. When reference logits are given (same shape), also sum over those tokens KL(reference ||
  // logits) and the count of equal arg max.
  struct CrossEntropy {
    double negative_log_likelihood = 0, kl = 0;
    int64_t tokens = 0, top1 = 0;
  };
  virtual CrossEntropy cross_entropy(const TensorView& logits,
                                     const TensorView* reference_logits,
                                     const TokenBatch& batch) = 0;

  // body(begin, end) over disjoint ranges that cover [0, count); chunks of `grain`. The first exception is
  // rethrown here.
  virtual void parallel_for(int64_t count,
                            int64_t grain,
                            const std::function<void(int64_t, int64_t)>& body) = 0;
};

// A tensor as the host can read it: itself, or a copy when it lies on a device.
class HostView {
 public:
  HostView(const TensorView& values, Backend& backend) : view_(values) {
    if (values.device != Device{} && values.data) {
      copy_ = backend.to_host(values);
      view_ = copy_;
    }
  }
  HostView(const HostView&) = delete;
  HostView& operator=(const HostView&) = delete;
  const TensorView& operator*() const { return view_; }
  const TensorView* operator->() const { return &view_; }

 private:
  Tensor copy_;
  TensorView view_;
};

struct BackendOptions {
  int threads = 0;  // 0: the cores this process may use
  // "", or one of cpu_isa_names(): pins the instruction set, so that bytes repeat across machines
  std::string cpu_isa;
};
std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);

struct CudaOptions {
  // of libllmc_cuda.so; empty: beside the library or program that holds make_cuda_backend
  std::string module_path;
  int32_t device_index = 0;
  // bytes of the device's memory; values beyond it wait on the host. 0: all there is
  int64_t memory_limit = 0;
};
// `host` does what is done on the host. Throws Error(unsupported) that says what is missing: the module, a
// library it needs, a driver, a device.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options, std::unique_ptr<Backend> host);
bool cuda_module_is_there();  // libllmc_cuda.so lies beside the library or program; nothing is loaded

}  // namespace llmc
