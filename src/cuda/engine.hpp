// What every part of the backend works with.
#pragma once
#include "cuda/device_heap.hpp"
#include "cuda/products.hpp"

namespace llmc::cuda {

struct Engine {
  DeviceHeap& heap;
  Products& products;
  cudaStream_t stream;
};

}  // namespace llmc::cuda
