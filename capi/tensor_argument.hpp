// llmc_tensor on its way in and out.
#pragma once
#include <cstring>
#include <string>
#include <vector>

#include "guard.hpp"
#include "llmc/backend.hpp"
#include "llmc_tensor.h"

namespace llmc::capi {

DType dtype_of(int32_t dtype, const char* what);  // LLMC_DTYPE_*; Error(invalid_argument)
int32_t dtype_code(DType dtype);

// A caller's tensor, checked: in place when it is dense and aligned, else copied. Memory of a device is that
// of `backend` and comes to the host, unless it may stay.
class TensorArgument {
 public:
  enum class OnDevice { copied, stays };
  // `what` starts the messages: "llmc_gram_add: values"
  TensorArgument(const llmc_tensor* given,
                 const char* what,
                 Backend* backend = nullptr,
                 OnDevice use = OnDevice::copied);
  const TensorView& view() const { return view_; }
  TensorView as_rows() const;  // [.., n] -> [the rest, n]
  // For functions that write to it. Error(invalid_argument) when it had to be copied.
  std::byte* writable(const char* what) const;

 private:
  void take_from_device(const llmc_tensor& given,
                        bool dense,
                        bool aligned,
                        const char* what,
                        Backend* backend,
                        OnDevice use);

  Tensor copy_;
  TensorView view_;
};

// [count] tensors of a caller whose llmc_tensor may be larger than ours. The views stay as long as the
// object.
class TensorArguments {
 public:
  TensorArguments(const llmc_tensor* given, int32_t count, const char* what, Backend* backend = nullptr);
  const std::vector<TensorView>& views() const { return views_; }

 private:
  std::vector<TensorArgument> arguments_;
  std::vector<TensorView> views_;
};

// Copies what both sides know into a struct that the caller made; its struct_size stays.
template <class Struct>
void write_struct(const Struct& value, Struct* to, const char* name) {
  if (!to) throw Error(ErrorCode::invalid_argument, std::string(name) + " is NULL");
  const uint32_t size = to->struct_size;
  if (size < 8 || size % 8 || size > 65536)
    throw Error(ErrorCode::invalid_argument,
                std::string(name) + ".struct_size is " + std::to_string(size) + "; wanted sizeof(" + name +
                    "), " + std::to_string(sizeof(Struct)));
  std::memcpy(to, &value, size < sizeof(Struct) ? size : sizeof(Struct));
  to->struct_size = size;
}

// A view of a tensor of ours: shape is borrowed too.
llmc_tensor describe_tensor(const Tensor& tensor);
llmc_tensor describe_view(const void* data, DType dtype, const Shape& shape);

}  // namespace llmc::capi
