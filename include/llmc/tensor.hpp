// Dense tensors: `Tensor` owns its bytes, `TensorView` borrows them. Row-major, contiguous.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace llmc {

enum class DType : uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean
};

size_t item_size(DType dtype);                            // bytes of one element
std::string_view dtype_name(DType dtype);                 // safetensors' spelling: "BF16"
std::string_view torch_name(DType dtype);                 // config.json's spelling: "bfloat16"
std::optional<DType> parse_dtype(std::string_view name);  // safetensors' spelling
// "bfloat16", "torch.bfloat16", "float32", ...
std::optional<DType> parse_torch_dtype(std::string_view name);
bool is_floating(DType dtype);

enum class DeviceType : int32_t { cpu = 0, cuda = 1 };
struct Device {
  DeviceType type = DeviceType::cpu;
  int32_t index = 0;
  bool operator==(const Device&) const = default;
};

using Shape = std::vector<int64_t>;
std::string to_string(const Shape& shape);  // "[64, 128]"

// Elements of `shape`, or nothing when a dimension is negative or the product (times item_size) overflows
// int64.
std::optional<int64_t> element_count(const Shape& shape);
std::optional<int64_t> byte_count(const Shape& shape, DType dtype);

class Tensor;

// A borrowed tensor. Never outlives what it points into; cannot be made from a temporary Tensor.
struct TensorView {
  const std::byte* data = nullptr;
  DType dtype = DType::f32;
  Shape shape;
  Device device;

  TensorView() = default;
  TensorView(const void* bytes, DType type, Shape dimensions, Device where = {})
      : data(static_cast<const std::byte*>(bytes)),
        dtype(type),
        shape(std::move(dimensions)),
        device(where) {}
  TensorView(
      const Tensor& tensor);  // NOLINT(google-explicit-constructor): a view of what we own is the common case
  TensorView(Tensor&&) = delete;

  int64_t size() const;  // elements
  int64_t bytes() const;
  int64_t rows() const { return shape.empty() ? 1 : shape[0]; }
  int64_t columns() const { return shape.size() < 2 ? 1 : size() / (shape[0] ? shape[0] : 1); }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(data);
  }
  TensorView row_range(int64_t begin, int64_t end) const;  // rows [begin, end) of the first dimension
};

// Whose memory a tensor on a device is.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;
  virtual Device device() const = 0;
  virtual void release(std::byte* bytes) noexcept = 0;
};

// An owned tensor: 64-byte aligned, uninitialized unless zeroed. Move-only; copy() is explicit.
class Tensor {
 public:
  Tensor() = default;
  Tensor(DType dtype, Shape shape);  // host memory; throws Error(out_of_memory)
  // memory of a device, given back to `owner`, which outlives the tensor
  Tensor(DType dtype, Shape shape, std::byte* bytes, DeviceMemory& owner);
  static Tensor zeros(DType dtype, Shape shape);
  static Tensor copy_of(const TensorView& view);

  Tensor(Tensor&&) noexcept = default;
  Tensor& operator=(Tensor&&) noexcept = default;

  bool empty() const { return !data_; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size() const;
  int64_t bytes() const;
  int64_t rows() const { return shape_.empty() ? 1 : shape_[0]; }
  int64_t columns() const { return shape_.size() < 2 ? 1 : size() / (shape_[0] ? shape_[0] : 1); }
  Device device() const { return data_.get_deleter().owner ? data_.get_deleter().owner->device() : Device{}; }
  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  template <class T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }
  TensorView view() const& { return TensorView(*this); }
  void reshape(Shape shape);  // the same number of elements

 private:
  struct Free {
    Free() : owner(nullptr) {}
    explicit Free(DeviceMemory* memory) : owner(memory) {}
    DeviceMemory* owner;  // null: host memory
    void operator()(std::byte* bytes) const noexcept;
  };
  std::unique_ptr<std::byte[], Free> data_;
  DType dtype_ = DType::f32;
  Shape shape_;
};

}  // namespace llmc
