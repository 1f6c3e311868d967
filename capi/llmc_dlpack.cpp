#include "llmc_dlpack.h"

#include <algorithm>
#include <iterator>

#include "guard.hpp"
#include "tensor_argument.hpp"

using llmc::Error;
using llmc::ErrorCode;

namespace {

// DLPack's own layout, which its versions 0.2 to 1.x share.
struct DlTensor {
  void* data;
  int32_t device_type, device_id;
  int32_t ndim;
  uint8_t code, bits;
  uint16_t lanes;
  const int64_t* shape;
  const int64_t* strides;
  uint64_t byte_offset;
};

struct DlType {
  uint8_t code, bits;
  int32_t dtype;
};
constexpr DlType kTypes[] = {
    {2, 32, LLMC_DTYPE_FLOAT32},     {4, 16, LLMC_DTYPE_BFLOAT16},    {2, 16, LLMC_DTYPE_FLOAT16},
    {2, 64, LLMC_DTYPE_FLOAT64},     {10, 8, LLMC_DTYPE_FLOAT8_E4M3}, {12, 8, LLMC_DTYPE_FLOAT8_E5M2},
    {14, 8, LLMC_DTYPE_FLOAT8_E8M0}, {0, 8, LLMC_DTYPE_INT8},         {0, 16, LLMC_DTYPE_INT16},
    {0, 32, LLMC_DTYPE_INT32},       {0, 64, LLMC_DTYPE_INT64},       {1, 8, LLMC_DTYPE_UINT8},
    {1, 16, LLMC_DTYPE_UINT16},      {1, 32, LLMC_DTYPE_UINT32},      {1, 64, LLMC_DTYPE_UINT64},
    {6, 8, LLMC_DTYPE_BOOL}};

constexpr int32_t kCpu = 1, kCuda = 2, kCudaHost = 3;

}  // namespace

llmc_status llmc_tensor_from_dlpack(const void* dl_tensor, llmc_tensor* tensor, llmc_error** error) {
  return llmc::capi::guard(error, [&] {
    if (!dl_tensor) throw Error(ErrorCode::invalid_argument, "llmc_tensor_from_dlpack: dl_tensor is NULL");
    DlTensor from;
    std::memcpy(&from, dl_tensor, sizeof from);
    const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes), [&](const DlType& known) {
      return known.code == from.code && known.bits == from.bits;
    });
    if (type == std::end(kTypes) || from.lanes != 1)
      throw Error(ErrorCode::unsupported,
                  "llmc_tensor_from_dlpack: dtype code " + std::to_string(from.code) + " with " +
                      std::to_string(from.bits) + " bits and " + std::to_string(from.lanes) +
                      " lanes; wanted one of LLMC_DTYPE_*");
    if (from.device_type != kCpu && from.device_type != kCuda && from.device_type != kCudaHost)
      throw Error(ErrorCode::unsupported,
                  "llmc_tensor_from_dlpack: device type " + std::to_string(from.device_type) +
                      "; wanted the CPU (1), CUDA (2) or pinned host memory (3)");
    if (from.byte_offset > static_cast<uint64_t>(INT64_MAX))
      throw Error(ErrorCode::invalid_argument, "llmc_tensor_from_dlpack: byte_offset is too large");
    llmc_tensor made{};
    made.dtype = type->dtype;
    made.data = from.data;
    made.shape = from.shape;
    made.strides = from.strides;
    made.byte_offset = static_cast<int64_t>(from.byte_offset);
    made.ndim = from.ndim;
    made.device_type = from.device_type == kCuda ? LLMC_DEVICE_CUDA : LLMC_DEVICE_CPU;
    made.device_index = from.device_type == kCuda ? from.device_id : 0;
    llmc::capi::write_struct(made, tensor, "llmc_tensor");
  });
}
