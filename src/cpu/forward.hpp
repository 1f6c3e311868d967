// The CPU as core/forward sees it.
#pragma once
#include "core/forward/forward_device.hpp"
#include "cpu/gemm.hpp"

namespace llmc::cpu {

class Forward final : public ForwardDevice {
 public:
  explicit Forward(Engine& engine) : engine_(engine) {}

  std::string_view name() const override { return "cpu"; }
  Device device() const override { return {}; }
  std::span<const Fusion> fusions() const override;
  Tensor make(DType dtype, Shape shape) override { return Tensor(dtype, std::move(shape)); }
  Tensor bring_value(const Tensor& elsewhere) override;
  Tensor bring_weight(const Tensor& elsewhere) override;
  void copy_rows(const Tensor& from, int64_t first, int64_t rows, Tensor& to, int64_t at) override;
  void run(const OperationCall& call) override;

 private:
  Engine& engine_;
};

}  // namespace llmc::cpu
