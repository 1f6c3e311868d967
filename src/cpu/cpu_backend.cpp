// The CPU behind llmc::Backend.
#include <algorithm>
#include <mutex>

#include "core/forward/forward_pass.hpp"
#include "core/quantize/smoothing.hpp"
#include "cpu/forward.hpp"
#include "cpu/gptq.hpp"
#include "cpu/quantize_rows.hpp"
#include "cpu/token_loss.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

constexpr int64_t kSmoothedRows = 64;  // at a time

class CpuBackend final : public Backend, public RowKernels {
 public:
  explicit CpuBackend(const BackendOptions& options)
      : engine_(cpu::choose_isa(options.cpu_isa), options.threads) {}

  Device device() const override { return {}; }
  int threads() const override { return engine_.pool.threads(); }
  void watch(const std::atomic<bool>* cancel) override { engine_.pool.watch(cancel); }
  std::string description() const override {
    return "cpu " + std::string(engine_.isa.name) + ", " + std::to_string(threads()) +
        (threads() == 1 ? " thread" : " threads");
  }

  void execute(std::span<const Node> segment, const Execution& execution) override {
    ForwardPass(forward_, rope_, execution).run(segment);
  }

  void accumulate_gram(const TensorView& x, Tensor& gram) override {
    const int64_t n = x.columns();
    if ((x.dtype != DType::f32 && x.dtype != DType::bf16) || gram.dtype() != DType::f32 ||
        gram.shape() != Shape{n, n})
      throw Error(ErrorCode::internal,
                  "cpu: gram " + to_string(gram.shape()) + " of " + std::string(dtype_name(x.dtype)) +
                      " values " + to_string(x.shape));
    cpu::accumulate_gram(engine_, x.data, x.dtype, x.rows(), n, gram.as<float>());
  }

  void accumulate_channels(const TensorView& x, ChannelStatistics& statistics) override {
    cpu::accumulate_channel_statistics(engine_, x, statistics);
  }
  std::vector<GptqSolution> gptq(std::span<const GptqProblem> problems) override {
    std::vector<GptqSolution> solutions;
    for (const GptqProblem& problem : problems) solutions.push_back(cpu::solve_gptq(engine_, problem));
    return solutions;
  }
  double output_energy(const TensorView& weight, int64_t step, const TensorView& gram) override {
    return cpu::output_energy(engine_, weight, step, gram);
  }
  void raise_column_maxima(const TensorView& weight, std::vector<float>& largest) override {
    std::mutex mutex;
    largest.resize(static_cast<size_t>(weight.columns()), 0.0f);
    parallel_for(weight.rows(), kSmoothedRows, [&](int64_t begin, int64_t end) {
      std::vector<float> own;
      llmc::raise_column_maxima(weight.row_range(begin, end), own);
      const std::lock_guard lock(mutex);
      for (size_t j = 0; j < own.size(); ++j) largest[j] = std::max(largest[j], own[j]);
    });
  }
  void use_smoothing_scales(Tensor& tensor, std::span<const float> scales, SmoothingUse use) override {
    const int64_t rows = tensor.size() / static_cast<int64_t>(scales.size()),
                  row_bytes = rows > 0 ? tensor.bytes() / rows : 0;
    parallel_for(rows, kSmoothedRows, [&](int64_t begin, int64_t end) {
      llmc::use_smoothing_scales(tensor.data() + begin * row_bytes, tensor.dtype(), end - begin, scales, use);
    });
  }
  void divide_rows(Tensor& weight, std::span<const float> scales) override {
    const int64_t columns = weight.columns(),
                  row_bytes = columns * static_cast<int64_t>(item_size(weight.dtype()));
    parallel_for(weight.rows(), kSmoothedRows, [&](int64_t begin, int64_t end) {
      llmc::divide_rows(weight.data() + begin * row_bytes, weight.dtype(), columns,
                        scales.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)));
    });
  }
  RowKernels* row_kernels() override { return this; }
  std::optional<RowsQuantized> quantize_rows(const RowQuantization& job) override {
    return cpu::quantize_rows(engine_, job);
  }
  ValueExtent scan(const TensorView& values) override { return cpu::scan_values(engine_, values); }
  CrossEntropy cross_entropy(const TensorView& logits,
                             const TensorView* reference,
                             const TokenBatch& batch) override {
    return cpu::token_loss(engine_, logits, reference, batch);
  }
  void parallel_for(int64_t count,
                    int64_t grain,
                    const std::function<void(int64_t, int64_t)>& body) override {
    engine_.pool.parallel_for(count, grain, body);
  }

 private:
  cpu::Engine engine_;
  cpu::Forward forward_{engine_};
  RopeTables rope_;
};

}  // namespace

std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options) {
  if (options.threads < 0)
    throw Error(ErrorCode::invalid_argument,
                "cpu: " + std::to_string(options.threads) + " threads, wanted 0 (all cores) or more");
  return std::make_unique<CpuBackend>(options);
}

}  // namespace llmc
