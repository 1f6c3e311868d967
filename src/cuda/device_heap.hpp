// Memory of one device for tensors and scratch, from any thread. Freed memory is kept and given out again:
// work that touches it is queued on one stream, in order, or waits for what is queued there when it gets the
// memory.
#pragma once
#include <cuda_runtime.h>

#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "llmc/tensor.hpp"

namespace llmc::cuda {

class DeviceHeap final : public DeviceMemory {
 public:
  // limit: bytes to hold at most; 0: all there is.
  DeviceHeap(int32_t index, cudaStream_t stream, size_t limit = 0)
      : device_{DeviceType::cuda, index},
        stream_(stream),
        limit_(limit) {}
  ~DeviceHeap() override { trim(); }
  DeviceHeap(const DeviceHeap&) = delete;
  DeviceHeap& operator=(const DeviceHeap&) = delete;

  Device device() const override { return device_; }
  void release(std::byte* bytes) noexcept override;

  // Uninitialized; throws Error(out_of_memory). `owner`: who is told when the tensor goes, and then gives the
  // memory back here; null: this heap.
  Tensor tensor(DType dtype, Shape shape, DeviceMemory* owner = nullptr);
  Tensor zeros(DType dtype, Shape shape, DeviceMemory* owner = nullptr);
  Tensor upload(const TensorView& host);  // from memory that may change once this returns
  template <class T>
  Tensor upload(const std::vector<T>& host, DType dtype) {
    return upload(
        TensorView(host.data(), dtype, {static_cast<int64_t>(host.size() * sizeof(T) / item_size(dtype))}));
  }
  // `values` itself where it lies on this device; otherwise its copy, in `holder`.
  TensorView here(const TensorView& values, Tensor& holder) {
    if (values.device == device_) return values;
    holder = upload(values);
    return holder.view();
  }
  void download(const void* device, void* host, size_t bytes);  // and waits for all that is queued
  template <class T>
  std::vector<T> download(const Tensor& from, size_t count) {
    std::vector<T> to(count);
    download(from.data(), to.data(), count * sizeof(T));
    return to;
  }
  bool is_nearly_full() const;  // time to move what waits to the host

 private:
  std::byte* allocate(size_t bytes);
  void trim() noexcept;  // gives unused memory back to the driver; the caller holds mutex_, or is the last

  const Device device_;
  const cudaStream_t stream_;
  const size_t limit_;
  mutable std::mutex mutex_;                      // guards what follows
  std::unordered_map<std::byte*, size_t> sizes_;  // of all blocks
  std::multimap<size_t, std::byte*> unused_;
  size_t in_use_ = 0, held_ = 0;
};

}  // namespace llmc::cuda
