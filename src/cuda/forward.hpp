// A device as core/forward sees it.
#pragma once
#include "core/forward/forward_device.hpp"
#include "cuda/engine.hpp"

namespace llmc::cuda {

class Forward final : public ForwardDevice {
 public:
  explicit Forward(Engine& engine) : engine_(engine) {}

  std::string_view name() const override { return "cuda"; }
  Device device() const override { return engine_.heap.device(); }
  std::span<const Fusion> fusions() const override;
  Tensor make(DType dtype, Shape shape) override { return engine_.heap.tensor(dtype, std::move(shape)); }
  Tensor bring_value(const Tensor& elsewhere) override { return engine_.heap.upload(elsewhere); }
  Tensor bring_weight(const Tensor& elsewhere) override;  // vectors as float32, matrices as they are
  void copy_rows(const Tensor& from, int64_t first, int64_t rows, Tensor& to, int64_t at) override;
  void run(const OperationCall& call) override;

 private:
  Engine& engine_;
};

}  // namespace llmc::cuda
