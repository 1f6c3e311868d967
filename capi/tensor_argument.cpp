#include "tensor_argument.hpp"

#include <algorithm>
#include <optional>

namespace llmc::capi {

namespace {

constexpr int32_t kMaxDimensions = 8;

// By LLMC_DTYPE_* - 1.
constexpr DType kDTypes[] = {DType::f32,     DType::bf16,    DType::f16,     DType::f64,
                             DType::f8_e4m3, DType::f8_e5m2, DType::f8_e8m0, DType::i8,
                             DType::i16,     DType::i32,     DType::i64,     DType::u8,
                             DType::u16,     DType::u32,     DType::u64,     DType::boolean};

[[noreturn]] void refuse(const char* what, const std::string& text) {
  throw Error(ErrorCode::invalid_argument, std::string(what) + " " + text);
}

Shape shape_of(const llmc_tensor& given, DType dtype, const char* what) {
  if (given.ndim < 0 || given.ndim > kMaxDimensions)
    refuse(what,
           "has ndim " + std::to_string(given.ndim) + "; wanted 0 to " + std::to_string(kMaxDimensions));
  if (given.ndim > 0 && !given.shape) refuse(what, "has no shape (NULL)");
  Shape shape(given.shape, given.shape + given.ndim);
  if (!byte_count(shape, dtype))
    refuse(what, "has shape " + to_string(shape) + ", which is negative or too large");
  return shape;
}

bool is_dense(const Shape& shape, const int64_t* strides) {
  int64_t expected = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    if (shape[d] != 1 && strides[d] != expected) return false;
    expected *= shape[d];
  }
  return true;
}

void check_strides(const Shape& shape,
                   const int64_t* strides,
                   DType dtype,
                   int64_t byte_offset,
                   const char* what) {
  int64_t last = 0;
  for (size_t d = 0; d < shape.size(); ++d) {
    int64_t reach = 0;
    if (strides[d] < 0) refuse(what, "has stride " + std::to_string(strides[d]) + "; wanted none below 0");
    if (__builtin_mul_overflow(shape[d] - 1, strides[d], &reach) ||
        __builtin_add_overflow(last, reach, &last))
      refuse(what, "has strides that reach too far");
  }
  if (__builtin_mul_overflow(last + 1, static_cast<int64_t>(item_size(dtype)), &last) ||
      __builtin_add_overflow(last, byte_offset, &last))
    refuse(what, "has strides that reach too far");
}

// Row-major copy; a last dimension without gaps goes row by row.
void copy_strided(const std::byte* from,
                  const Shape& shape,
                  const int64_t* strides,
                  size_t item,
                  std::byte* to) {
  if (shape.empty()) {
    std::memcpy(to, from, item);
    return;
  }
  const size_t inner = shape.size() - 1;
  const bool whole_rows = strides[inner] == 1 || shape[inner] == 1;
  std::vector<int64_t> at(shape.size(), 0);
  const int64_t row_bytes = shape[inner] * static_cast<int64_t>(item);
  for (;;) {
    int64_t offset = 0;
    for (size_t d = 0; d < inner; ++d) offset += at[d] * strides[d];
    const std::byte* row = from + offset * static_cast<int64_t>(item);
    if (whole_rows) std::memcpy(to, row, static_cast<size_t>(row_bytes));
    else
      for (int64_t i = 0; i < shape[inner]; ++i)
        std::memcpy(to + i * static_cast<int64_t>(item),
                    row + i * strides[inner] * static_cast<int64_t>(item), item);
    to += row_bytes;
    size_t d = inner;
    while (d > 0 && ++at[d - 1] == shape[d - 1]) at[--d] = 0;
    if (d == 0) return;
  }
}

}  // namespace

DType dtype_of(int32_t dtype, const char* what) {
  if (dtype < 1 || dtype > static_cast<int32_t>(std::size(kDTypes)))
    refuse(what, "is " + std::to_string(dtype) + "; wanted one of LLMC_DTYPE_*");
  return kDTypes[dtype - 1];
}

int32_t dtype_code(DType dtype) {
  return static_cast<int32_t>(std::find(std::begin(kDTypes), std::end(kDTypes), dtype) -
                              std::begin(kDTypes)) +
      1;
}

TensorArgument::TensorArgument(const llmc_tensor* pointer, const char* what, Backend* backend, OnDevice use) {
  if (!pointer) refuse(what, "is NULL");
  const llmc_tensor given = read_options(pointer, "llmc_tensor");
  if (given.reserved) refuse(what, "has a reserved field that is not 0");
  const bool on_host = given.device_type == LLMC_DEVICE_CPU;
  if (!on_host && given.device_type != LLMC_DEVICE_CUDA)
    refuse(what,
           "has device_type " + std::to_string(given.device_type) +
               "; wanted LLMC_DEVICE_CPU or LLMC_DEVICE_CUDA");
  if (on_host && given.device_index != 0)
    refuse(what, "has device_index " + std::to_string(given.device_index) + "; the CPU is device 0");
  if (on_host && given.stream) refuse(what, "has a stream, but lies in the CPU's memory; wanted NULL");
  const std::string dtype_name = std::string(what) + ".dtype";
  const DType dtype = dtype_of(given.dtype, dtype_name.c_str());
  Shape shape = shape_of(given, dtype, what);
  const int64_t elements = *element_count(shape), item = static_cast<int64_t>(item_size(dtype));
  if (given.byte_offset < 0)
    refuse(what, "has byte_offset " + std::to_string(given.byte_offset) + "; wanted 0 or more");
  if (elements > 0 && !given.data) refuse(what, "has no data (NULL)");
  const std::byte* data = given.data ? static_cast<const std::byte*>(given.data) + given.byte_offset
                                     : nullptr;
  if (elements == 0) data = nullptr;
  const bool dense = elements == 0 || !given.strides || is_dense(shape, given.strides);
  if (!dense) check_strides(shape, given.strides, dtype, given.byte_offset, what);
  const bool aligned = reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(item) == 0;
  view_ = TensorView(data, dtype, std::move(shape));
  if (!on_host) take_from_device(given, dense, aligned, what, backend, use);
  if (!on_host || (dense && aligned)) return;
  copy_ = Tensor(dtype, view_.shape);
  if (dense) std::memcpy(copy_.data(), data, static_cast<size_t>(copy_.bytes()));
  else copy_strided(data, view_.shape, given.strides, static_cast<size_t>(item), copy_.data());
  view_ = copy_;
}

void TensorArgument::take_from_device(const llmc_tensor& given,
                                      bool dense,
                                      bool aligned,
                                      const char* what,
                                      Backend* backend,
                                      OnDevice use) {
  const auto unsupported = [&](const std::string& text) {
    throw Error(
        ErrorCode::unsupported,
        std::string(what) + " lies on cuda device " + std::to_string(given.device_index) + "; " + text);
  };
  const Device device{DeviceType::cuda, given.device_index};
  if (!backend) unsupported("this call takes the CPU's memory alone: copy it there first");
  if (backend->device() != device)
    unsupported("the session computes on " + backend->description() +
                ": copy it to the CPU's memory first, or use a session on that device");
  if (!dense) unsupported("wanted contiguous memory there");
  if (!aligned) refuse(what, "is not aligned to its elements, which memory of a device must be");
  view_.device = device;
  backend->wait_for(given.stream);
  if (use == OnDevice::stays || view_.size() == 0) return;
  copy_ = backend->to_host(view_);
  view_ = copy_;
}

TensorView TensorArgument::as_rows() const {
  TensorView rows = view_;
  const int64_t columns = view_.shape.empty() ? 1 : view_.shape.back();
  int64_t count = 1;
  for (size_t d = 0; d + 1 < view_.shape.size(); ++d) count *= view_.shape[d];
  rows.shape = {count, columns};
  return rows;
}

std::byte* TensorArgument::writable(const char* what) const {
  if (!copy_.empty())
    refuse(what, "is not contiguous, or not aligned to its elements; it is written to, so it must be both");
  return const_cast<std::byte*>(view_.data);
}

TensorArguments::TensorArguments(const llmc_tensor* given,
                                 int32_t count,
                                 const char* what,
                                 Backend* backend) {
  if (count < 0) refuse(what, "has count " + std::to_string(count) + "; wanted 0 or more");
  if (count > 0 && !given) refuse(what, "is NULL");
  arguments_.reserve(static_cast<size_t>(count));
  for (int32_t i = 0; i < count; ++i) {
    const auto* at = reinterpret_cast<const llmc_tensor*>(reinterpret_cast<const std::byte*>(given) +
                                                          static_cast<size_t>(i) * given->struct_size);
    if (at->struct_size != given->struct_size) refuse(what, "has llmc_tensors of different struct_size");
    arguments_.emplace_back(at, what, backend);
  }
  for (const TensorArgument& argument : arguments_) views_.push_back(argument.view());
}

llmc_tensor describe_view(const void* data, DType dtype, const Shape& shape) {
  llmc_tensor tensor{};
  tensor.struct_size = sizeof tensor;
  tensor.dtype = dtype_code(dtype);
  tensor.data = const_cast<void*>(data);
  tensor.shape = shape.data();
  tensor.ndim = static_cast<int32_t>(shape.size());
  return tensor;
}

llmc_tensor describe_tensor(const Tensor& tensor) {
  return describe_view(tensor.data(), tensor.dtype(), tensor.shape());
}

}  // namespace llmc::capi
