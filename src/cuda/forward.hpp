// Backend::execute on a device: runs nodes of the graph one after another, neighbours as one kernel where
// nobody else reads what lies between them.
#pragma once
#include "core/model/rope_tables.hpp"
#include "cuda/device_heap.hpp"
#include "cuda/products.hpp"
#include "llmc/backend.hpp"

namespace llmc::cuda {

// What every part of the backend works with.
struct Engine {
  DeviceHeap& heap;
  Products& products;
  cudaStream_t stream;
};

// The form a weight has on the device: vectors as float32, matrices as they are.
Tensor staged_weight(Engine& engine, const TensorView& host);

void execute_nodes(Engine& engine,
                   RopeTables& rope,
                   std::span<const Node> segment,
                   const Execution& execution);

}  // namespace llmc::cuda
