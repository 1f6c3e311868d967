#include "cuda/device_heap.hpp"

#include <algorithm>

#include "cuda/check.hpp"

namespace llmc::cuda {

namespace {

constexpr size_t kSmall = 512, kLarge = size_t{2} << 20;

size_t rounded(size_t bytes) {
  const size_t unit = bytes < kLarge ? kSmall : kLarge;
  return std::max(unit, (bytes + unit - 1) / unit * unit);
}

}  // namespace

std::byte* DeviceHeap::allocate(size_t bytes) {
  const size_t size = rounded(bytes);
  const std::lock_guard lock(mutex_);
  if (const auto fits = unused_.lower_bound(size); fits != unused_.end() && fits->first <= size + size / 4) {
    std::byte* const block = fits->second;
    in_use_ += fits->first;
    unused_.erase(fits);
    return block;
  }
  if (limit_ && held_ + size > limit_) trim();
  if (limit_ && held_ + size > limit_)
    throw Error(ErrorCode::out_of_memory,
                "cuda: no memory for " + std::to_string(bytes) + " bytes: " + std::to_string(in_use_) +
                    " in use, and the limit is " + std::to_string(limit_));
  void* block = nullptr;
  if (cudaMalloc(&block, size) != cudaSuccess) {
    cudaGetLastError();  // clears the error: the allocation is tried again below
    trim();
    if (cudaMalloc(&block, size) != cudaSuccess) {
      cudaGetLastError();
      size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      throw Error(ErrorCode::out_of_memory,
                  "cuda: no memory for " + std::to_string(bytes) + " bytes: " + std::to_string(in_use_) +
                      " in use, " + std::to_string(free) + " of " + std::to_string(total) + " free");
    }
  }
  sizes_[static_cast<std::byte*>(block)] = size;
  in_use_ += size;
  held_ += size;
  return static_cast<std::byte*>(block);
}

void DeviceHeap::release(std::byte* bytes) noexcept {
  if (!bytes) return;
  const std::lock_guard lock(mutex_);
  const size_t size = sizes_.at(bytes);
  in_use_ -= size;
  unused_.emplace(size, bytes);
}

void DeviceHeap::trim() noexcept {
  cudaStreamSynchronize(stream_);
  for (const auto& [size, block] : unused_) {
    cudaFree(block);
    sizes_.erase(block);
    held_ -= size;
  }
  unused_.clear();
}

Tensor DeviceHeap::tensor(DType dtype, Shape shape, DeviceMemory* owner) {
  const auto bytes = byte_count(shape, dtype);
  if (!bytes)
    throw Error(ErrorCode::invalid_argument,
                "cuda: shape " + to_string(shape) + " has a negative or too large size");
  return Tensor(dtype, std::move(shape), allocate(static_cast<size_t>(*bytes)), owner ? *owner : *this);
}

Tensor DeviceHeap::zeros(DType dtype, Shape shape, DeviceMemory* owner) {
  Tensor made = tensor(dtype, std::move(shape), owner);
  check(cudaMemsetAsync(made.data(), 0, static_cast<size_t>(made.bytes()), stream_), "cudaMemsetAsync");
  return made;
}

Tensor DeviceHeap::upload(const TensorView& host) {
  Tensor made = tensor(host.dtype, host.shape);
  check(cudaMemcpyAsync(made.data(), host.data, static_cast<size_t>(made.bytes()),
                        host.device == Device{} ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToDevice, stream_),
        "upload");
  // cudaMemcpyAsync reads pinned memory later, when the caller may have changed it
  if (host.device == Device{}) check(cudaStreamSynchronize(stream_), "upload");
  return made;
}

void DeviceHeap::download(const void* device, void* host, size_t bytes) {
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_), "download");
  check(cudaStreamSynchronize(stream_), "download");
}

bool DeviceHeap::is_nearly_full() const {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  const std::lock_guard lock(mutex_);
  const size_t available = limit_ ? std::min(free + held_, std::max(limit_, in_use_)) - in_use_
                                  : free + held_ - in_use_;
  return available < (in_use_ + available) * 3 / 10;
}

}  // namespace llmc::cuda
