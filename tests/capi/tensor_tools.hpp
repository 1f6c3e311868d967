// What tests of llmc_tensor.h share.
#pragma once
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "llmc/tensor.hpp"
#include "llmc_tensor.h"

namespace llmc::test {

template <class T, void (*free_object)(T*)>
struct Freed {
  void operator()(T* object) const { free_object(object); }
};
template <class T, void (*free_object)(T*)>
using Owned = std::unique_ptr<T, Freed<T, free_object>>;
using OwnedSession = Owned<llmc_session, llmc_session_free>;
using OwnedGram = Owned<llmc_gram, llmc_gram_free>;
using OwnedScheme = Owned<llmc_scheme, llmc_scheme_free>;
using OwnedMatrix = Owned<llmc_matrix, llmc_matrix_free>;
using OwnedPacked = Owned<llmc_packed, llmc_packed_free>;
using OwnedWriter = Owned<llmc_writer, llmc_writer_free>;

// What a failed call said; throws when it did not fail, so that a test cannot pass by accident.
struct Refusal {
  llmc_status status;
  std::string message;
};
// Calls a function of the C interface that must fail, with all its arguments but the last:
// refusal(llmc_pack, session, nullptr, &packed). Fails the test when it succeeds.
template <class Function, class... Arguments>
Refusal refusal(Function&& function, Arguments&&... arguments) {
  llmc_error* const unset = reinterpret_cast<llmc_error*>(16);  // the call must not read what stands there
  llmc_error* error = unset;
  const llmc_status status = function(std::forward<Arguments>(arguments)..., &error);
  if (status == LLMC_OK) throw std::runtime_error("the call succeeded");
  if (error == unset) throw std::runtime_error("the call failed without an error object");
  Refusal result{status, llmc_error_message(error)};
  if (llmc_error_status(error) != status) throw std::runtime_error("the error object has another status");
  llmc_error_free(error);
  return result;
}
// Calls a function of the C interface that must work, with all its arguments but the last: must(llmc_pack, session,
// matrix, &packed). Fails the test with the text of the error.
template <class Function, class... Arguments>
void must(Function&& function, Arguments&&... arguments) {
  llmc_error* error = nullptr;
  if (function(std::forward<Arguments>(arguments)..., &error) == LLMC_OK) return;
  const std::string message = llmc_error_message(error);
  llmc_error_free(error);
  throw std::runtime_error(message);
}

inline OwnedSession new_session(int threads = 1) {
  llmc_session_options options{};
  options.struct_size = sizeof options;
  options.threads = threads;
  llmc_session* session = nullptr;
  must(llmc_session_create, &options, &session);
  return OwnedSession(session);
}
inline OwnedGram new_gram(int64_t channels, int32_t parts = LLMC_GRAM_ALL) {
  llmc_gram* gram = nullptr;
  must(llmc_gram_create, channels, parts, &gram);
  return OwnedGram(gram);
}
inline llmc_scheme_options scheme_options(const char* scheme, int32_t method = LLMC_METHOD_RTN) {
  llmc_scheme_options options{};
  options.struct_size = sizeof options;
  options.scheme = scheme;
  options.method = method;
  return options;
}
inline OwnedScheme new_scheme(const llmc_scheme_options& options) {
  llmc_scheme* scheme = nullptr;
  must(llmc_scheme_create, &options, &scheme);
  return OwnedScheme(scheme);
}
inline OwnedScheme new_scheme(const char* scheme, int32_t method = LLMC_METHOD_RTN) {
  return new_scheme(scheme_options(scheme, method));
}

inline llmc_tensor tensor_of(void* data, int32_t dtype, const std::vector<int64_t>& shape) {
  llmc_tensor tensor{};
  tensor.struct_size = sizeof tensor;
  tensor.dtype = dtype;
  tensor.data = data;
  tensor.shape = shape.data();
  tensor.ndim = static_cast<int32_t>(shape.size());
  return tensor;
}
inline llmc_tensor tensor_of(Tensor& tensor) {
  return tensor_of(tensor.data(),
                   tensor.dtype() == DType::f32       ? LLMC_DTYPE_FLOAT32
                       : tensor.dtype() == DType::f16 ? LLMC_DTYPE_FLOAT16
                                                      : LLMC_DTYPE_BFLOAT16,
                   tensor.shape());
}
inline llmc_tensor empty_tensor() {
  llmc_tensor tensor{};
  tensor.struct_size = sizeof tensor;
  return tensor;
}

inline void add(llmc_session* session, llmc_gram* gram, const llmc_tensor& values) {
  must(llmc_gram_add, session, gram, &values);
}
inline OwnedMatrix quantize(llmc_session* session,
                            const llmc_scheme* scheme,
                            const llmc_tensor& weight,
                            const llmc_gram* gram = nullptr,
                            const float* global_scale = nullptr) {
  llmc_matrix* matrix = nullptr;
  must(llmc_quantize_matrix, session, scheme, &weight, gram, global_scale, &matrix);
  return OwnedMatrix(matrix);
}
inline OwnedPacked pack(llmc_session* session, const llmc_matrix* matrix) {
  llmc_packed* packed = nullptr;
  must(llmc_pack, session, matrix, &packed);
  return OwnedPacked(packed);
}
inline int64_t item_bytes(int32_t dtype) {
  switch (dtype) {
    case LLMC_DTYPE_FLOAT64:
    case LLMC_DTYPE_INT64:
    case LLMC_DTYPE_UINT64:
      return 8;
    case LLMC_DTYPE_FLOAT32:
    case LLMC_DTYPE_INT32:
    case LLMC_DTYPE_UINT32:
      return 4;
    case LLMC_DTYPE_FLOAT16:
    case LLMC_DTYPE_BFLOAT16:
    case LLMC_DTYPE_INT16:
    case LLMC_DTYPE_UINT16:
      return 2;
    default:
      return 1;
  }
}
inline std::string bytes_of(const llmc_tensor& tensor) {
  int64_t bytes = item_bytes(tensor.dtype);
  for (int32_t d = 0; d < tensor.ndim; ++d) bytes *= tensor.shape[d];
  return std::string(static_cast<const char*>(tensor.data), static_cast<size_t>(bytes));
}
inline std::string part_bytes(const llmc_matrix* matrix, int32_t part) {
  llmc_tensor tensor = empty_tensor();
  must(llmc_matrix_part, matrix, part, &tensor);
  return bytes_of(tensor);
}

// What a gram holds.
struct GramData {
  int64_t tokens = 0, samples = 0;
  std::vector<float> gram, minimum, maximum;
  std::vector<double> sum_absolute, sum_squares;
  bool operator==(const GramData&) const = default;
};
inline GramData read_gram(const llmc_gram* gram) {
  llmc_gram_data data{};
  data.struct_size = sizeof data;
  must(llmc_gram_read, gram, &data);
  GramData result;
  const auto n = static_cast<size_t>(data.channels);
  if (data.has_gram == LLMC_ON) result.gram.resize(n * n);
  result.minimum.resize(n);
  result.maximum.resize(n);
  result.sum_absolute.resize(n);
  result.sum_squares.resize(n);
  data.gram = result.gram.empty() ? nullptr : result.gram.data();
  data.minimum = result.minimum.data();
  data.maximum = result.maximum.data();
  data.sum_absolute = result.sum_absolute.data();
  data.sum_squares = result.sum_squares.data();
  must(llmc_gram_read, gram, &data);
  result.tokens = data.tokens;
  result.samples = data.samples;
  return result;
}

// Numbers between -1 and 1 that every machine makes alike.
inline Tensor random_tensor(DType dtype, Shape shape, uint32_t seed) {
  Tensor tensor(dtype, std::move(shape));
  uint32_t state = seed * 2654435761u + 1;
  for (int64_t i = 0; i < tensor.size(); ++i) {
    state = state * 1664525u + 1013904223u;
    const float value = static_cast<float>(static_cast<int32_t>(state >> 8) - (1 << 23)) /
        static_cast<float>(1 << 23);
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (dtype == DType::f32) tensor.as<float>()[i] = value;
    else if (dtype == DType::bf16) tensor.as<uint16_t>()[i] = static_cast<uint16_t>(bits >> 16);
    else tensor.as<uint16_t>()[i] = static_cast<uint16_t>(0x3400 + (state >> 24));  // float16: 0.25 to 0.3125
  }
  return tensor;
}

}  // namespace llmc::test
