#pragma once
#include "llmc/backend.hpp"

namespace llmc {

// A tensor as the host can read it: itself, or a copy when it lies on a device.
class HostView {
 public:
  HostView(const TensorView& values, Backend& backend) : view_(values) {
    if (values.device != Device{} && values.data) {
      copy_ = backend.to_host(values);
      view_ = copy_;
    }
  }
  HostView(const HostView&) = delete;
  HostView& operator=(const HostView&) = delete;
  const TensorView& operator*() const { return view_; }
  const TensorView* operator->() const { return &view_; }

 private:
  Tensor copy_;
  TensorView view_;
};

}  // namespace llmc
