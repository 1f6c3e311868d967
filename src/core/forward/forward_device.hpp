// A backend as the forward pass sees it: memory, what it can fuse, and arithmetic.
#pragma once
#include <span>
#include <string_view>

#include "core/forward/calls.hpp"

namespace llmc {

// Neighbours that a backend may run as one call (fusions.cpp says when).
enum class Fusion {
  linears,              // Linears of one input: the input is read once
  add_norm,             // a Norm of a sum: the sum is written on the way
  activation_multiply,  // an activation that one product alone reads is never made
};

class ForwardDevice {
 public:
  virtual ~ForwardDevice() = default;

  virtual std::string_view name() const = 0;  // "cpu": what its errors begin with
  virtual Device device() const = 0;
  virtual std::span<const Fusion> fusions() const = 0;
  virtual Tensor make(DType dtype, Shape shape) = 0;  // its contents do not matter
  // Here, from where it waited; a value as it is, a weight in the form that the arithmetic wants.
  virtual Tensor bring_value(const Tensor& elsewhere) = 0;
  virtual Tensor bring_weight(const Tensor& elsewhere) = 0;
  virtual void copy_rows(const Tensor& from, int64_t first, int64_t rows, Tensor& to, int64_t at) = 0;
  virtual void run(const OperationCall& call) = 0;
};

}  // namespace llmc
