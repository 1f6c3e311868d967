// The one interface between the pipeline and a device: coarse calls, chosen once per session; below it plain
// data. Results depend on the inputs, the backend and its ISA level only: never on the number of threads.
// What every backend computes it inherits (statistics, GPTQ, smoothing); what one may have a fast way for it
// offers as an interface (row_kernels, range_kernels), and where it offers none the caller computes by the
// definition in src/core/quantize.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "llmc/backend/execution.hpp"
#include "llmc/backend/gptq.hpp"
#include "llmc/backend/smoothing.hpp"
#include "llmc/backend/statistics.hpp"
#include "llmc/graph.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

class RowKernels;    // llmc/backend/rows.hpp
class RangeKernels;  // llmc/backend/ranges.hpp

class Backend : public StatisticsKernels, public GptqKernels, public SmoothingKernels {
 public:
  virtual Device device() const = 0;
  virtual std::string description() const = 0;  // "cpu avx512_bf16, 2 threads"
  virtual int threads() const = 0;
  // From now on a call ends with Error(cancelled) soon after *cancel becomes true, in the middle of a
  // factorization too. Null: never. Not during a call.
  virtual void watch(const std::atomic<bool>*) {}

  // Memory. A device's own stays its own: only the calls of its backend read or write it. Tensors of a
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
  virtual void execute(std::span<const Node> segment, const Execution& execution) = 0;  // in order

  // body(begin, end) over disjoint ranges that cover [0, count); chunks of `grain`. The first exception is
  // rethrown here.
  virtual void parallel_for(int64_t count,
                            int64_t grain,
                            const std::function<void(int64_t, int64_t)>& body) = 0;

  virtual RowKernels* row_kernels() { return nullptr; }
  virtual RangeKernels* range_kernels() { return nullptr; }
};

}  // namespace llmc
