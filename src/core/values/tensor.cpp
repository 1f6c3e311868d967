#include "llmc/tensor.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include "llmc/error.hpp"
#include "llmc/memory.hpp"

namespace llmc {
namespace {

struct DTypeRow {
  DType dtype;
  uint8_t bytes;
  bool floating;
  std::string_view name;   // safetensors
  std::string_view torch;  // config.json
};

constexpr DTypeRow kDTypes[] = {
    {DType::f64, 8, true, "F64", "float64"},
    {DType::f32, 4, true, "F32", "float32"},
    {DType::f16, 2, true, "F16", "float16"},
    {DType::bf16, 2, true, "BF16", "bfloat16"},
    {DType::f8_e4m3, 1, true, "F8_E4M3", "float8_e4m3fn"},
    {DType::f8_e5m2, 1, true, "F8_E5M2", "float8_e5m2"},
    {DType::f8_e8m0, 1, true, "F8_E8M0", "float8_e8m0fnu"},
    {DType::i64, 8, false, "I64", "int64"},
    {DType::i32, 4, false, "I32", "int32"},
    {DType::i16, 2, false, "I16", "int16"},
    {DType::i8, 1, false, "I8", "int8"},
    {DType::u64, 8, false, "U64", "uint64"},
    {DType::u32, 4, false, "U32", "uint32"},
    {DType::u16, 2, false, "U16", "uint16"},
    {DType::u8, 1, false, "U8", "uint8"},
    {DType::boolean, 1, false, "BOOL", "bool"},
};

constexpr std::pair<std::string_view, DType> kTorchAliases[] = {{"half", DType::f16},
                                                                {"float", DType::f32},
                                                                {"double", DType::f64}};

constexpr size_t kAlignment = 64;
constexpr size_t kPage = size_t{64} << 10;  // a multiple of every system's page
constexpr size_t kLargePage = size_t{2} << 20;
// from this size on a tensor has pages of its own, which go back to the system with it
constexpr size_t kOwnMapping = size_t{2} << 20;

// Stands kAlignment bytes before the data.
struct AllocationHead {
  size_t mapped;  // bytes of the mapping; 0: from the heap
  int64_t bytes;  // as charged
  MemoryTag tag;
};
static_assert(sizeof(AllocationHead) <= kAlignment);

const DTypeRow& row_of(DType dtype) { return kDTypes[static_cast<size_t>(dtype)]; }

int64_t checked_bytes(const Shape& shape, DType dtype) {
  const auto bytes = byte_count(shape, dtype);
  if (!bytes)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tensor: shape {} {} has a negative or too large size", to_string(shape),
                            dtype_name(dtype)));
  return *bytes;
}

// `bytes` (a multiple of kPage) of fresh pages that start at a large page, so that few faults fill them. Null
// when there are none.
void* map_pages(size_t bytes) {
  void* const mapping = mmap(nullptr, bytes + kLargePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                             -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  auto* const first = static_cast<std::byte*>(mapping);
  const size_t before = (kLargePage - reinterpret_cast<uintptr_t>(first) % kLargePage) % kLargePage;
  if (before > 0) munmap(first, before);
  munmap(first + before + bytes, kLargePage - before);
#if defined(MADV_HUGEPAGE)
  madvise(first + before, bytes, MADV_HUGEPAGE);
#endif
  return first + before;
}

std::byte* allocate_bytes(size_t bytes) {
  if (bytes > std::numeric_limits<size_t>::max() / 2) return nullptr;
  const size_t total = bytes + kAlignment,
               mapped = total >= kOwnMapping ? (total + kPage - 1) / kPage * kPage : 0;
  void* const start = mapped ? map_pages(mapped)
                             : ::operator new(total, std::align_val_t{kAlignment}, std::nothrow);
  if (!start) return nullptr;
  const MemoryTag tag = MemoryTag::current();
  new (start) AllocationHead{mapped, static_cast<int64_t>(total), tag};
  tag.charge(static_cast<int64_t>(total));
  return static_cast<std::byte*>(start) + kAlignment;
}

void free_bytes(std::byte* bytes) noexcept {
  std::byte* start = bytes - kAlignment;
  const AllocationHead head = *reinterpret_cast<const AllocationHead*>(start);
  head.tag.credit(head.bytes);
  if (head.mapped) munmap(start, head.mapped);
  else ::operator delete(start, std::align_val_t{kAlignment});
}

}  // namespace

size_t item_size(DType dtype) { return row_of(dtype).bytes; }
std::string_view dtype_name(DType dtype) { return row_of(dtype).name; }
std::string_view torch_name(DType dtype) { return row_of(dtype).torch; }
bool is_floating(DType dtype) { return row_of(dtype).floating; }

std::optional<DType> parse_dtype(std::string_view name) {
  for (const DTypeRow& row : kDTypes)
    if (row.name == name) return row.dtype;
  return std::nullopt;
}

std::optional<DType> parse_torch_dtype(std::string_view name) {
  if (name.starts_with("torch.")) name.remove_prefix(6);
  for (const DTypeRow& row : kDTypes)
    if (row.torch == name) return row.dtype;
  for (const auto& [alias, dtype] : kTorchAliases)
    if (alias == name) return dtype;
  return std::nullopt;
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (const int64_t extent : shape) text += fmt::format("{}{}", text.size() > 1 ? ", " : "", extent);
  return text + "]";
}

std::optional<int64_t> element_count(const Shape& shape) {
  if (std::any_of(shape.begin(), shape.end(), [](int64_t extent) { return extent < 0; })) return std::nullopt;
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  int64_t count = 1;
  for (const int64_t extent : shape)
    if (__builtin_mul_overflow(count, extent, &count)) return std::nullopt;
  return count;
}

std::optional<int64_t> byte_count(const Shape& shape, DType dtype) {
  auto count = element_count(shape);
  if (!count || __builtin_mul_overflow(*count, static_cast<int64_t>(item_size(dtype)), &*count))
    return std::nullopt;
  return count;
}

TensorView::TensorView(const Tensor& tensor)
    : data(tensor.data()),
      dtype(tensor.dtype()),
      shape(tensor.shape()),
      device(tensor.device()) {}

int64_t TensorView::size() const {
  return checked_bytes(shape, dtype) / static_cast<int64_t>(item_size(dtype));
}
int64_t TensorView::bytes() const { return checked_bytes(shape, dtype); }

TensorView TensorView::row_range(int64_t begin, int64_t end) const {
  if (shape.empty() || begin < 0 || end < begin || end > shape[0])
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tensor: rows [{}, {}) are not within shape {}", begin, end, to_string(shape)));
  const int64_t row_bytes = shape[0] == 0 ? 0 : bytes() / shape[0];
  Shape part = shape;
  part[0] = end - begin;
  return TensorView(data + begin * row_bytes, dtype, std::move(part), device);
}

void Tensor::Free::operator()(std::byte* bytes) const noexcept {
  if (owner) owner->release(bytes);
  else free_bytes(bytes);
}

Tensor::Tensor(DType dtype, Shape shape) : dtype_(dtype), shape_(std::move(shape)) {
  const int64_t wanted = checked_bytes(shape_, dtype);
  data_.reset(allocate_bytes(static_cast<size_t>(wanted)));
  if (!data_)
    throw Error(ErrorCode::out_of_memory,
                fmt::format("tensor: no memory for {} bytes, shape {} {}", wanted, to_string(shape_),
                            dtype_name(dtype)));
}

Tensor::Tensor(DType dtype, Shape shape, std::byte* bytes, DeviceMemory& owner)
    : data_(bytes, Free(&owner)),
      dtype_(dtype),
      shape_(std::move(shape)) {}

Tensor Tensor::zeros(DType dtype, Shape shape) {
  Tensor tensor(dtype, std::move(shape));
  std::memset(tensor.data(), 0, static_cast<size_t>(tensor.bytes()));
  return tensor;
}

Tensor Tensor::copy_of(const TensorView& view) {
  Tensor tensor(view.dtype, view.shape);
  if (tensor.bytes() > 0) std::memcpy(tensor.data(), view.data, static_cast<size_t>(tensor.bytes()));
  return tensor;
}

int64_t Tensor::size() const {
  return checked_bytes(shape_, dtype_) / static_cast<int64_t>(item_size(dtype_));
}
int64_t Tensor::bytes() const { return checked_bytes(shape_, dtype_); }

void Tensor::reshape(Shape shape) {
  if (element_count(shape) != size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("tensor: cannot reshape {} to {}", to_string(shape_), to_string(shape)));
  shape_ = std::move(shape);
}

}  // namespace llmc
