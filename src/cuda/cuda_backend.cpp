// The device behind llmc::Backend, and the module's one entry.
#include <algorithm>
#include <limits>

#include "core/forward/forward_pass.hpp"
#include "cuda/check.hpp"
#include "cuda/forward.hpp"
#include "cuda/gptq_solver.hpp"
#include "cuda/gram_accumulator.hpp"
#include "cuda/kernels.hpp"
#include "cuda/module.hpp"
#include "cuda/range_trials.hpp"
#include "cuda/row_quantizer.hpp"
#include "cuda/uploader.hpp"
#include "llmc/backend/host_view.hpp"
#include "llmc/error.hpp"

namespace llmc::cuda {
namespace {

// The stream of all work: made before, and destroyed after, everything that queues work on it.
struct Stream {
  cudaStream_t handle = nullptr;
  Stream() { check(cudaStreamCreateWithFlags(&handle, cudaStreamNonBlocking), "cudaStreamCreate"); }
  ~Stream() {
    if (handle) cudaStreamDestroy(handle);
  }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
};

// from here on: tiles of 32768 tokens, whose values take a few GB
constexpr size_t kRoomy = size_t{12} << 30;

// The owner of tensors in memory that a caller lends: it frees nothing.
class LentMemory final : public DeviceMemory {
 public:
  explicit LentMemory(Device device) : device_(device) {}
  Device device() const override { return device_; }
  void release(std::byte*) noexcept override {}

 private:
  const Device device_;
};

class CudaBackend final : public Backend, public RowKernels, public RangeKernels {
 public:
  CudaBackend(std::unique_ptr<Backend> host,
              int32_t index,
              const cudaDeviceProp& properties,
              size_t memory_limit)
      : host_(std::move(host)),
        description_("cuda " + std::string(properties.name) + ", sm_" + std::to_string(properties.major) +
                     std::to_string(properties.minor)),
        heap_(index, stream_.handle, memory_limit),
        products_(heap_, stream_.handle),
        factorization_(heap_, stream_.handle),
        engine_{heap_, products_, stream_.handle},
        grams_(engine_),
        uploader_(heap_, stream_.handle, *host_),
        tile_tokens_((memory_limit ? std::min(memory_limit, properties.totalGlobalMem)
                                   : properties.totalGlobalMem) < kRoomy
                         ? 4096
                         : 32768) {}

  Device device() const override { return heap_.device(); }
  std::string description() const override { return description_; }
  int threads() const override { return host_->threads(); }
  void watch(const std::atomic<bool>* cancel) override {
    host_->watch(cancel);
    cancel_ = cancel;
  }

  Tensor zeros(DType dtype, Shape shape) override {
    select();
    return grams_.zeros(dtype, std::move(shape));
  }

  Tensor to_host(const TensorView& values) override {
    if (values.device == Device{}) return Tensor::copy_of(values);
    select();
    grams_.finish(values.data);
    Tensor copy(values.dtype, values.shape);
    heap_.download(values.data, copy.data(), static_cast<size_t>(copy.bytes()));
    return copy;
  }

  void wait_for(void* stream) override {
    select();
    check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), "the caller's stream");
  }

  void copy_to_device(const TensorView& from, const TensorView& to) override {
    select();
    check(cudaMemcpyAsync(const_cast<std::byte*>(to.data), from.data, static_cast<size_t>(from.bytes()),
                          cudaMemcpyHostToDevice, stream_.handle),
          "copy to the caller's memory");
    check(cudaStreamSynchronize(stream_.handle), "copy to the caller's memory");
  }

  // A value stays on the host while the device is nearly full; execute() copies it when it is used.
  Tensor load_weight(DType dtype, Shape shape, const ReadBytes& read) override {
    select();
    if (shape.size() == 2 && (dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f32) &&
        !heap_.is_nearly_full())
      return uploader_.fill(dtype, std::move(shape), read);
    return Backend::load_weight(dtype, std::move(shape), read);
  }

  StagedWeights stage(std::span<const Node> nodes, const WeightTable& weights) override {
    select();
    WeightTable moved;
    for (const Node& node : nodes)
      for (const NodeWeight& weight : node.weights) {
        const std::string& name = weight.name;
        const auto found = weights.find(name);
        if (found == weights.end() || moved.contains(name)) continue;
        const Tensor& tensor = found->second;
        moved.emplace(name,
                      tensor.device() == device()      ? Tensor(tensor.dtype(), tensor.shape(),
                                                                const_cast<std::byte*>(tensor.data()), lent_)
                          : tensor.shape().size() == 1 ? forward_.bring_weight(tensor)
                                                       : uploader_.upload(tensor));
      }
    return StagedWeights(std::move(moved));
  }

  void park(Tensor& value) override {
    select();
    if (value.device() == device() && heap_.is_nearly_full()) value = to_host(value);
  }

  int64_t tile_tokens() const override { return tile_tokens_; }

  void execute(std::span<const Node> segment, const Execution& execution) override {
    select();
    ForwardPass(forward_, rope_, execution).run(segment);
  }

  void accumulate_gram(const TensorView& x, Tensor& gram) override {
    select();
    const int64_t n = x.columns();
    if ((x.dtype != DType::f32 && x.dtype != DType::bf16) || gram.dtype() != DType::f32 ||
        gram.shape() != Shape{n, n})
      throw Error(ErrorCode::internal,
                  "cuda: gram " + to_string(gram.shape()) + " of " + std::string(dtype_name(x.dtype)) +
                      " values " + to_string(x.shape));
    Tensor holder;
    const TensorView there = heap_.here(x, holder);
    if (gram.device() == device()) return grams_.add(there, gram.as<float>());
    Tensor moved = heap_.upload(gram);
    add_to_gram(there.data, there.dtype, there.rows(), n, moved.as<float>(), stream_.handle);
    heap_.download(moved.data(), gram.data(), static_cast<size_t>(gram.bytes()));
  }

  void accumulate_channels(const TensorView& x, ChannelStatistics& statistics) override {
    select();
    const auto width = static_cast<size_t>(x.columns());
    if (x.dtype != DType::f32 && x.dtype != DType::bf16)
      throw Error(ErrorCode::internal,
                  "cuda: channel statistics of " + std::string(dtype_name(x.dtype)) + ", wanted F32 or BF16");
    if (statistics.min.empty()) {
      statistics.min.assign(width, std::numeric_limits<float>::infinity());
      statistics.max.assign(width, -std::numeric_limits<float>::infinity());
      statistics.sum_abs.assign(width, 0.0);
      statistics.sum_squares.assign(width, 0.0);
    }
    if (statistics.min.size() != width)
      throw Error(ErrorCode::internal,
                  "cuda: channel statistics of width " + std::to_string(statistics.min.size()) +
                      " given values of width " + std::to_string(width));
    Tensor holder, sums = heap_.tensor(DType::u8, {static_cast<int64_t>(width * sizeof(ChannelSums))});
    const TensorView there = heap_.here(x, holder);
    collect_channel_sums(there.data, there.dtype, there.rows(), there.columns(), sums.as<ChannelSums>(),
                         stream_.handle);
    const auto found = heap_.download<ChannelSums>(sums, width);
    for (size_t i = 0; i < width; ++i) {
      statistics.min[i] = std::min(statistics.min[i], found[i].min);
      statistics.max[i] = std::max(statistics.max[i], found[i].max);
      statistics.sum_abs[i] += found[i].sum_abs;
      statistics.sum_squares[i] += found[i].sum_squares;
    }
    statistics.tokens += x.rows();
  }

  std::vector<GptqSolution> gptq(std::span<const GptqProblem> problems) override {
    select();
    for (const GptqProblem& problem : problems) grams_.finish(problem.gram.data);
    return solve_gptq(engine_, factorization_, problems);
  }

  double output_energy(const TensorView& weight, int64_t step, const TensorView& gram) override {
    select();
    grams_.finish(gram.data);
    Tensor holder;
    return cuda::output_energy(engine_, weight, step, heap_.here(gram, holder).as<float>());
  }

  void raise_column_maxima(const TensorView& weight, std::vector<float>& largest) override {
    if (weight.device == Device{}) return host_->raise_column_maxima(weight, largest);
    select();
    largest.resize(static_cast<size_t>(weight.columns()), 0.0f);
    Tensor maxima = heap_.upload(largest, DType::f32);
    cuda::raise_column_maxima(weight.data, weight.dtype, weight.rows(), weight.columns(), maxima.as<float>(),
                              stream_.handle);
    largest = heap_.download<float>(maxima, largest.size());
  }

  void use_smoothing_scales(Tensor& tensor, std::span<const float> scales, SmoothingUse use) override {
    if (tensor.device() == Device{}) return host_->use_smoothing_scales(tensor, scales, use);
    select();
    const auto columns = static_cast<int64_t>(scales.size());
    const Tensor there = heap_.upload(TensorView(scales.data(), DType::f32, {columns}));
    cuda::use_smoothing_scales(tensor.data(), tensor.dtype(), tensor.size() / columns, columns,
                               there.as<float>(), use, stream_.handle);
  }

  void divide_rows(Tensor& weight, std::span<const float> scales) override {
    if (weight.device() == Device{}) return host_->divide_rows(weight, scales);
    select();
    const Tensor there = heap_.upload(TensorView(scales.data(), DType::f32, {weight.rows()}));
    cuda::divide_rows(weight.data(), weight.dtype(), weight.rows(), weight.columns(), there.as<float>(),
                      stream_.handle);
  }

  RowKernels* row_kernels() override { return this; }
  RangeKernels* range_kernels() override { return this; }
  std::optional<RowsQuantized> quantize_rows(const RowQuantization& job) override {
    select();
    return cuda::quantize_rows(engine_, job);
  }

  std::optional<Tensor> dequantize(const Dequantization& job) override {
    select();
    return cuda::dequantize(engine_, job);
  }

  std::optional<Tensor> pack_codes(const TensorView& codes, const QuantizationArgs& args) override {
    if (codes.device == Device{}) return std::nullopt;
    select();
    const int64_t row_bytes = code_row_bytes(args, CodeLayout::packed, codes.columns());
    if (args.type == NumberType::floating && args.num_bits == 8) return to_host(codes);
    const Tensor packed = heap_.tensor(DType::u8, {codes.rows(), row_bytes});
    pack_code_rows(codes.as<uint8_t>(), codes.rows(), codes.columns(), args.num_bits,
                   args.type == NumberType::integer, const_cast<std::byte*>(packed.data()), row_bytes,
                   stream_.handle);
    return to_host(packed);
  }

  std::optional<RangesTried> try_ranges(const RangeTrials& trials) override {
    select();
    return cuda::try_ranges(engine_, trials);
  }

  ValueExtent scan(const TensorView& values) override {
    const int64_t count = values.size();
    if (count == 0 ||
        (values.dtype != DType::bf16 && values.dtype != DType::f32 && values.dtype != DType::f16))
      return host_->scan(*HostView(values, *this));
    select();
    Tensor holder,
        extents = heap_.tensor(DType::u8, {static_cast<int64_t>(extent_blocks(count) * sizeof(float2))});
    const unsigned long long none = ~0ull;
    Tensor bad = heap_.upload(std::vector{none}, DType::u8);
    const TensorView there = heap_.here(values, holder);
    collect_extents(there.data, there.dtype, count, extents.as<float2>(), bad.as<unsigned long long>(),
                    stream_.handle);
    ValueExtent total;
    for (const float2& part : heap_.download<float2>(extents, extent_blocks(count))) {
      total.min = std::min(total.min, part.x);
      total.max = std::max(total.max, part.y);
    }
    if (const auto first = heap_.download<unsigned long long>(bad, 1)[0]; first != none)
      total.first_non_finite = static_cast<int64_t>(first);
    return total;
  }

  CrossEntropy cross_entropy(const TensorView& logits,
                             const TensorView* reference,
                             const TokenBatch& batch) override {
    const int64_t tokens = batch.tokens(), vocabulary = logits.columns();
    if (logits.rows() != tokens || (reference && reference->shape != logits.shape))
      throw Error(ErrorCode::internal,
                  "cuda: cross entropy of logits " + to_string(logits.shape) + " over " +
                      std::to_string(tokens) + " tokens");
    std::vector<int32_t> next(static_cast<size_t>(tokens), -1);
    for (size_t s = 0; s + 1 < batch.sequence_starts.size(); ++s)
      for (int64_t t = batch.sequence_starts[s]; t + 1 < batch.sequence_starts[s + 1]; ++t) {
        const int32_t id = batch.token_ids[static_cast<size_t>(t + 1)];
        if (id < 0 || id >= vocabulary)
          throw Error(ErrorCode::invalid_argument,
                      "token id " + std::to_string(id) + " at position " + std::to_string(t + 1) +
                          " is outside the vocabulary of " + std::to_string(vocabulary));
        next[static_cast<size_t>(t)] = id;
      }
    select();
    Tensor holder, reference_holder,
        losses = heap_.tensor(DType::u8, {tokens * static_cast<int64_t>(sizeof(TokenLoss))});
    const TensorView own = heap_.here(logits, holder),
                     theirs = reference ? heap_.here(*reference, reference_holder) : TensorView();
    const Tensor wanted = heap_.upload(next, DType::i32);
    collect_token_losses(own.data, own.dtype, theirs.data, theirs.dtype, wanted.as<int32_t>(), tokens,
                         vocabulary, losses.as<TokenLoss>(), stream_.handle);
    CrossEntropy total;
    for (const TokenLoss& loss : heap_.download<TokenLoss>(losses, static_cast<size_t>(tokens))) {
      total.negative_log_likelihood += loss.negative_log_likelihood;
      total.kl += loss.kl;
      total.tokens += loss.counted;
      total.top1 += loss.same_top;
    }
    return total;
  }

  void parallel_for(int64_t count,
                    int64_t grain,
                    const std::function<void(int64_t, int64_t)>& body) override {
    host_->parallel_for(count, grain, body);
  }

 private:
  // At the start of each call: CUDA's current device is per thread, and calls may come from any thread. Cancelling
  // is checked here alone, as one call queues less than a second of work.
  void select() const {
    if (cancel_ && cancel_->load(std::memory_order_relaxed)) throw Error(ErrorCode::cancelled, "cancelled");
    check(cudaSetDevice(heap_.device().index), "cudaSetDevice");
  }

  const std::atomic<bool>* cancel_ = nullptr;
  const std::unique_ptr<Backend> host_;
  const std::string description_;
  const Stream stream_;
  DeviceHeap heap_;
  LentMemory lent_{heap_.device()};
  Products products_;
  Factorization factorization_;
  Engine engine_;
  Forward forward_{engine_};
  RopeTables rope_;
  GramAccumulator grams_;
  Uploader uploader_;
  const int64_t tile_tokens_;
};

std::unique_ptr<Backend> open_device(int32_t index, size_t memory_limit, std::unique_ptr<Backend> host) {
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess || count == 0)
    throw Error(
        ErrorCode::unsupported,
        "device cuda: no usable GPU: " +
            std::string(status == cudaSuccess ? "the driver shows none" : cudaGetErrorString(status)));
  if (index < 0 || index >= count)
    throw Error(ErrorCode::unsupported,
                "device cuda: device " + std::to_string(index) + " of " + std::to_string(count));
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "cudaGetDeviceProperties");
  if (properties.major < 8)
    throw Error(ErrorCode::unsupported,
                "device cuda: '" + std::string(properties.name) + "' is sm_" +
                    std::to_string(properties.major) + std::to_string(properties.minor) +
                    ", wanted sm_80 or newer");
  check(cudaSetDevice(index), "cudaSetDevice");
  return std::make_unique<CudaBackend>(std::move(host), index, properties, memory_limit);
}

}  // namespace
}  // namespace llmc::cuda

extern "C" __attribute__((visibility("default"))) void llmc_cuda_open(
    const llmc::cuda::ModuleRequest* request,
    llmc::cuda::ModuleAnswer* answer) {
  try {
    if (request->struct_size != sizeof(llmc::cuda::ModuleRequest) ||
        std::string(request->build_id) != llmc::cuda::build_id())
      throw llmc::Error(llmc::ErrorCode::unsupported,
                        "device cuda: libllmc_cuda.so is of another build than libllmc.so (" +
                            std::string(llmc::cuda::build_id()) +
                            "); wanted the two that were installed together");
    answer->backend = llmc::cuda::open_device(
        request->device_index, static_cast<size_t>(request->memory_limit), std::move(*request->host));
  } catch (const llmc::Error& error) {
    answer->code = error.code();
    answer->text = error.what();
  } catch (const std::exception& error) {
    answer->text = error.what();
  }
}
