#include "core/quantize/finite.hpp"

#include <fmt/format.h>

#include <cstring>

#include "llmc/error.hpp"

namespace llmc {
namespace {

// Position of the first element whose magnitude bits reach `limit` (all exponent bits set), or -1.
template <class T>
int64_t find_at_least(const std::byte* source, int64_t count, T magnitude_mask, T limit) {
  const T* values = reinterpret_cast<const T*>(source);
  constexpr int64_t kBlock = 4096;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(count, begin + kBlock);
    bool found = false;
    for (int64_t i = begin; i < end; ++i) found |= static_cast<T>(values[i] & magnitude_mask) >= limit;
    if (!found) continue;
    for (int64_t i = begin; i < end; ++i)
      if (static_cast<T>(values[i] & magnitude_mask) >= limit) return i;
  }
  return -1;
}

}  // namespace

std::optional<int64_t> first_non_finite(const TensorView& values) {
  const int64_t count = values.size();
  int64_t position = -1;
  switch (values.dtype) {
    case DType::f64:
      position = find_at_least<uint64_t>(values.data, count, 0x7FFFFFFFFFFFFFFFu, 0x7FF0000000000000u);
      break;
    case DType::f32:
      position = find_at_least<uint32_t>(values.data, count, 0x7FFFFFFFu, 0x7F800000u);
      break;
    case DType::f16:
      position = find_at_least<uint16_t>(values.data, count, 0x7FFF, 0x7C00);
      break;
    case DType::bf16:
      position = find_at_least<uint16_t>(values.data, count, 0x7FFF, 0x7F80);
      break;
    case DType::f8_e4m3:
      position = find_at_least<uint8_t>(values.data, count, 0x7F, 0x7F);
      break;
    case DType::f8_e5m2:
      position = find_at_least<uint8_t>(values.data, count, 0x7F, 0x7C);
      break;
    case DType::f8_e8m0:
      position = find_at_least<uint8_t>(values.data, count, 0xFF, 0xFF);
      break;
    default:
      break;
  }
  if (position < 0) return std::nullopt;
  return position;
}

void check_finite(const std::string& place,
                  const std::string& tensor,
                  const TensorView& values,
                  int64_t first) {
  if (!is_floating(values.dtype)) return;
  if (const auto at = first_non_finite(values)) refuse_non_finite(place, tensor, first + *at);
}

void refuse_non_finite(const std::string& place, const std::string& tensor, int64_t element) {
  throw Error(ErrorCode::numeric,
              fmt::format("'{}': tensor '{}' holds NaN or Inf at element {}; wanted finite numbers", place,
                          tensor, element));
}

}  // namespace llmc
