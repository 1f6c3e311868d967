#include "core/quantize/number_formats.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "llmc/error.hpp"

namespace llmc {
namespace {

template <class T, class Convert>
void widen(const std::byte* source, int64_t count, float* destination, Convert convert) {
  const T* values = reinterpret_cast<const T*>(source);
  for (int64_t i = 0; i < count; ++i) destination[i] = convert(values[i]);
}

template <class T, class Convert>
void narrow(const float* source, int64_t count, std::byte* destination, Convert convert) {
  T* values = reinterpret_cast<T*>(destination);
  for (int64_t i = 0; i < count; ++i) values[i] = convert(source[i]);
}

template <class T>
float cast_to_float(T value) {
  return static_cast<float>(value);
}

[[noreturn]] void refuse(DType dtype) {
  throw Error(ErrorCode::unsupported,
              fmt::format("number formats: no conversion from float32 to {}", dtype_name(dtype)));
}

}  // namespace

float round_to(float value, DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::f32:
      return value;
    case DType::f16:
      return float_from_f16(f16_from_float(value));
    case DType::bf16:
      return round_to_bf16(value);
    case DType::f8_e4m3:
      return float_from_e4m3(e4m3_from_float(value));
    case DType::f8_e5m2:
      return float_from_e5m2(e5m2_from_float(value));
    default:
      refuse(dtype);
  }
}

void to_float(const std::byte* source, DType dtype, int64_t count, float* destination) {
  switch (dtype) {
    case DType::f64:
      return widen<double>(source, count, destination, cast_to_float<double>);
    case DType::f32:
      return widen<float>(source, count, destination, cast_to_float<float>);
    case DType::f16:
      return widen<uint16_t>(source, count, destination, float_from_f16);
    case DType::bf16:
      return widen<uint16_t>(source, count, destination, float_from_bf16);
    case DType::f8_e4m3:
      return widen<uint8_t>(source, count, destination, float_from_e4m3);
    case DType::f8_e5m2:
      return widen<uint8_t>(source, count, destination, float_from_e5m2);
    case DType::f8_e8m0:
      return widen<uint8_t>(source, count, destination, float_from_e8m0);
    case DType::i64:
      return widen<int64_t>(source, count, destination, cast_to_float<int64_t>);
    case DType::i32:
      return widen<int32_t>(source, count, destination, cast_to_float<int32_t>);
    case DType::i16:
      return widen<int16_t>(source, count, destination, cast_to_float<int16_t>);
    case DType::i8:
      return widen<int8_t>(source, count, destination, cast_to_float<int8_t>);
    case DType::u64:
      return widen<uint64_t>(source, count, destination, cast_to_float<uint64_t>);
    case DType::u32:
      return widen<uint32_t>(source, count, destination, cast_to_float<uint32_t>);
    case DType::u16:
      return widen<uint16_t>(source, count, destination, cast_to_float<uint16_t>);
    case DType::u8:
    case DType::boolean:
      return widen<uint8_t>(source, count, destination, cast_to_float<uint8_t>);
  }
}

void to_float(const TensorView& source, float* destination) {
  to_float(source.data, source.dtype, source.size(), destination);
}

void from_float(const float* source, int64_t count, DType dtype, std::byte* destination) {
  switch (dtype) {
    case DType::f64:
      return narrow<double>(source, count, destination,
                            [](float value) { return static_cast<double>(value); });
    case DType::f32:
      return narrow<float>(source, count, destination, [](float value) { return value; });
    case DType::f16:
      return narrow<uint16_t>(source, count, destination, f16_from_float);
    case DType::bf16:
      return narrow<uint16_t>(source, count, destination, bf16_from_float);
    case DType::f8_e4m3:
      return narrow<uint8_t>(source, count, destination, e4m3_from_float);
    case DType::f8_e5m2:
      return narrow<uint8_t>(source, count, destination, e5m2_from_float);
    default:
      refuse(dtype);
  }
}

Tensor converted(const TensorView& source, DType dtype) {
  if (source.dtype == dtype) return Tensor::copy_of(source);
  Tensor result(dtype, source.shape);
  const int64_t count = source.size();
  constexpr int64_t kPiece = 4096;
  float piece[kPiece];
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t part = std::min(kPiece, count - begin);
    to_float(source.data + begin * static_cast<int64_t>(item_size(source.dtype)), source.dtype, part, piece);
    from_float(piece, part, dtype, result.data() + begin * static_cast<int64_t>(item_size(dtype)));
  }
  return result;
}

}  // namespace llmc
