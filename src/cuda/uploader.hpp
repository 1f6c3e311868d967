// Brings weights to the device through pinned memory on a stream of its own, beside the arithmetic. Any
// thread, one tensor at a time.
#pragma once
#include <cuda_runtime.h>

#include <mutex>

#include "cuda/device_heap.hpp"
#include "llmc/backend.hpp"

namespace llmc::cuda {

class Uploader {
 public:
  Uploader(DeviceHeap& heap, cudaStream_t compute, Backend& host);
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  // A copy of `host` on the device, on its way when this returns; what is queued on the compute stream from
  // then on finds it there.
  Tensor upload(const TensorView& host);
  // A tensor whose bytes `read` gives piece by piece; it has arrived when this returns.
  Tensor fill(DType dtype, Shape shape, const Backend::ReadBytes& read);

 private:
  struct Piece {
    void* pinned = nullptr;
    cudaEvent_t read = nullptr;  // the copy out of it is done
  };

  void send(Tensor& to, const Backend::ReadBytes& read);

  DeviceHeap& heap_;
  const cudaStream_t compute_;
  Backend& host_;
  std::mutex mutex_;  // guards what follows
  cudaStream_t copies_ = nullptr;
  cudaEvent_t arrived_ = nullptr, free_ = nullptr;
  Piece pieces_[2];
  int next_ = 0;
};

}  // namespace llmc::cuda
