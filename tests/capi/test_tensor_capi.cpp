// The promises of llmc_tensor.h and llmc_dlpack.h about tensors.
#include <catch2/catch.hpp>

#include <climits>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "capi/gram_tools.hpp"
#include "llmc_dlpack.h"
#include "llmc_tools.h"

using Catch::Contains;
using namespace llmc::test;
using llmc::DType;
using llmc::Tensor;

// ---- NULL -------------------------------------------------------------------------------------------------

TEST_CASE("NULL may be given to every _free and getter of the tensor level") {
  llmc_gram_free(nullptr);
  llmc_scheme_free(nullptr);
  llmc_matrix_free(nullptr);
  llmc_packed_free(nullptr);
  llmc_writer_free(nullptr);
  CHECK(llmc_packed_count(nullptr) == 0);
  CHECK(llmc_scheme_format(nullptr) == std::string());
}

TEST_CASE("every function of the tensor level refuses NULL for each object it needs") {
  const auto session = new_session();
  const auto gram = new_gram(4);
  const auto scheme = new_scheme("FP8_DYNAMIC");
  Tensor data = random_tensor(DType::f32, {3, 4}, 1);
  llmc_tensor tensor = tensor_of(data);
  const auto matrix = quantize(session.get(), scheme.get(), tensor);
  const auto packed = pack(session.get(), matrix.get());
  llmc_matrix* out = nullptr;
  llmc_packed* out_packed = nullptr;
  float number = 1, scales[4] = {1, 1, 1, 1};
  const char* name = "x";
  llmc_session* const s = session.get();
  const auto check = [](auto call) { CHECK(refusal(call).status == LLMC_INVALID_ARGUMENT); };
  check([&](llmc_error** e) { return llmc_gram_create(4, LLMC_GRAM_ALL, nullptr, e); });
  check([&](llmc_error** e) { return llmc_gram_add(nullptr, gram.get(), &tensor, e); });
  check([&](llmc_error** e) { return llmc_gram_add(s, nullptr, &tensor, e); });
  check([&](llmc_error** e) { return llmc_gram_add(s, gram.get(), nullptr, e); });
  check([&](llmc_error** e) { return llmc_gram_merge(nullptr, gram.get(), e); });
  check([&](llmc_error** e) { return llmc_gram_merge(gram.get(), nullptr, e); });
  check([&](llmc_error** e) { return llmc_gram_merge(gram.get(), gram.get(), e); });
  check([&](llmc_error** e) { return llmc_gram_save(nullptr, "x", e); });
  check([&](llmc_error** e) { return llmc_gram_save(gram.get(), nullptr, e); });
  check([&](llmc_error** e) { return llmc_gram_save(gram.get(), "", e); });
  check([&](llmc_error** e) { return llmc_gram_load("x", nullptr, e); });
  check([&](llmc_error** e) {
    llmc_gram* g;
    return llmc_gram_load(nullptr, &g, e);
  });
  check([&](llmc_error** e) {
    llmc_gram_data d{};
    d.struct_size = sizeof d;
    return llmc_gram_read(nullptr, &d, e);
  });
  check([&](llmc_error** e) { return llmc_gram_read(gram.get(), nullptr, e); });
  check([&](llmc_error** e) { return llmc_smooth_scales(nullptr, &tensor, 1, nullptr, scales, 4, e); });
  check([&](llmc_error** e) { return llmc_smooth_scales(gram.get(), nullptr, 1, nullptr, scales, 4, e); });
  check([&](llmc_error** e) { return llmc_smooth_scales(gram.get(), &tensor, 1, nullptr, nullptr, 4, e); });
  check([&](llmc_error** e) { return llmc_smooth_apply(nullptr, scales, 4, LLMC_SMOOTH_DIVIDE, e); });
  check([&](llmc_error** e) { return llmc_smooth_apply(&tensor, nullptr, 4, LLMC_SMOOTH_DIVIDE, e); });
  check([&](llmc_error** e) {
    llmc_scheme* x;
    return llmc_scheme_create(nullptr, &x, e);
  });
  check([&](llmc_error** e) {
    const auto o = scheme_options("W4A16");
    return llmc_scheme_create(&o, nullptr, e);
  });
  check([&](llmc_error** e) {
    return llmc_quantize_matrix(nullptr, scheme.get(), &tensor, nullptr, nullptr, &out, e);
  });
  check([&](llmc_error** e) { return llmc_quantize_matrix(s, nullptr, &tensor, nullptr, nullptr, &out, e); });
  check([&](llmc_error** e) {
    return llmc_quantize_matrix(s, scheme.get(), nullptr, nullptr, nullptr, &out, e);
  });
  check([&](llmc_error** e) {
    return llmc_quantize_matrix(s, scheme.get(), &tensor, nullptr, nullptr, nullptr, e);
  });
  check([&](llmc_error** e) {
    return llmc_global_scale(nullptr, scheme.get(), &tensor, 1, nullptr, &number, e);
  });
  check([&](llmc_error** e) { return llmc_global_scale(s, nullptr, &tensor, 1, nullptr, &number, e); });
  check([&](llmc_error** e) { return llmc_global_scale(s, scheme.get(), nullptr, 1, nullptr, &number, e); });
  check([&](llmc_error** e) { return llmc_global_scale(s, scheme.get(), &tensor, 1, nullptr, nullptr, e); });
  check([&](llmc_error** e) {
    return llmc_matrix_create(nullptr, &tensor, &tensor, nullptr, nullptr, LLMC_DTYPE_FLOAT32, &out, e);
  });
  check([&](llmc_error** e) {
    return llmc_matrix_create(scheme.get(), nullptr, &tensor, nullptr, nullptr, LLMC_DTYPE_FLOAT32, &out, e);
  });
  check([&](llmc_error** e) {
    return llmc_matrix_create(scheme.get(), &tensor, nullptr, nullptr, nullptr, LLMC_DTYPE_FLOAT32, &out, e);
  });
  check([&](llmc_error** e) {
    return llmc_matrix_create(scheme.get(), &tensor, &tensor, nullptr, nullptr, LLMC_DTYPE_FLOAT32, nullptr,
                              e);
  });
  check([&](llmc_error** e) {
    llmc_matrix_facts f{};
    f.struct_size = sizeof f;
    return llmc_matrix_info(nullptr, &f, e);
  });
  check([&](llmc_error** e) { return llmc_matrix_info(matrix.get(), nullptr, e); });
  check([&](llmc_error** e) {
    llmc_tensor t = empty_tensor();
    return llmc_matrix_part(nullptr, LLMC_PART_CODES, &t, e);
  });
  check([&](llmc_error** e) { return llmc_matrix_part(matrix.get(), LLMC_PART_CODES, nullptr, e); });
  check([&](llmc_error** e) { return llmc_matrix_dequantize(nullptr, matrix.get(), &tensor, e); });
  check([&](llmc_error** e) { return llmc_matrix_dequantize(s, nullptr, &tensor, e); });
  check([&](llmc_error** e) { return llmc_matrix_dequantize(s, matrix.get(), nullptr, e); });
  check([&](llmc_error** e) { return llmc_pack(nullptr, matrix.get(), &out_packed, e); });
  check([&](llmc_error** e) { return llmc_pack(s, nullptr, &out_packed, e); });
  check([&](llmc_error** e) { return llmc_pack(s, matrix.get(), nullptr, e); });
  check([&](llmc_error** e) {
    llmc_tensor t = empty_tensor();
    return llmc_packed_tensor(nullptr, 0, &name, &t, e);
  });
  check([&](llmc_error** e) {
    return llmc_unpack(nullptr, scheme.get(), &name, &tensor, 1, LLMC_DTYPE_FLOAT32, &out, e);
  });
  check([&](llmc_error** e) {
    return llmc_unpack(s, nullptr, &name, &tensor, 1, LLMC_DTYPE_FLOAT32, &out, e);
  });
  check([&](llmc_error** e) {
    return llmc_unpack(s, scheme.get(), nullptr, &tensor, 1, LLMC_DTYPE_FLOAT32, &out, e);
  });
  check([&](llmc_error** e) {
    return llmc_unpack(s, scheme.get(), &name, nullptr, 1, LLMC_DTYPE_FLOAT32, &out, e);
  });
  check([&](llmc_error** e) {
    return llmc_unpack(s, scheme.get(), &name, &tensor, 1, LLMC_DTYPE_FLOAT32, nullptr, e);
  });
  check([&](llmc_error** e) {
    return llmc_unpack(s, scheme.get(), &name, &tensor, -1, LLMC_DTYPE_FLOAT32, &out, e);
  });
  check([&](llmc_error** e) { return llmc_writer_create(nullptr, nullptr, e); });
  check([&](llmc_error** e) {
    llmc_writer* w;
    return llmc_writer_create(nullptr, &w, e);
  });
  const int64_t shape[1] = {1};
  check(
      [&](llmc_error** e) { return llmc_writer_plan_tensor(nullptr, "x", LLMC_DTYPE_FLOAT32, shape, 1, e); });
  check([&](llmc_error** e) {
    return llmc_writer_plan_matrix(nullptr, "x", scheme.get(), LLMC_DTYPE_FLOAT32, 3, 4, e);
  });
  check([&](llmc_error** e) { return llmc_writer_add_tensor(s, nullptr, "x", &tensor, e); });
  check([&](llmc_error** e) { return llmc_writer_add_matrix(s, nullptr, "x", matrix.get(), e); });
  check([&](llmc_error** e) { return llmc_writer_add_range(nullptr, "x", LLMC_ACTIVATION_INPUT, 0, 1, e); });
  check([&](llmc_error** e) { return llmc_writer_add_file(nullptr, "x", "", 0, e); });
  check([&](llmc_error** e) { return llmc_writer_finish(s, nullptr, e); });
  check([&](llmc_error** e) {
    llmc_tensor t = empty_tensor();
    return llmc_tensor_from_dlpack(nullptr, &t, e);
  });
  // no error pointer is needed
  CHECK(llmc_gram_add(nullptr, nullptr, nullptr, nullptr) == LLMC_INVALID_ARGUMENT);
  CHECK(read_gram(gram.get()).tokens == 0);
}

// ---- tensors ----------------------------------------------------------------------------------------------

TEST_CASE("a tensor that cannot be is refused before it is read") {
  const auto session = new_session();
  const auto gram = new_gram(4);
  float data[8] = {};
  const std::vector<int64_t> shape{2, 4};
  struct Row {
    const char* says;
    llmc_status status;
    void (*change)(llmc_tensor&);
  };
  static const int64_t negative[2] = {-2, 4}, huge[2] = {INT64_MAX / 2, 4}, zero_by_huge[2] = {0, INT64_MAX},
                       backwards[2] = {-4, 1}, far[2] = {INT64_MAX / 2, 1}, wrong[2] = {2, 5};
  const Row rows[] = {
      {"struct_size", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.struct_size = 0; }},
      {"struct_size", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.struct_size = 63; }},
      {"struct_size", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.struct_size = UINT32_MAX; }},
      {"dtype is 0", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.dtype = 0; }},
      {"dtype is -1", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.dtype = -1; }},
      {"dtype is 17", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.dtype = 17; }},
      {"wanted F32", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.dtype = LLMC_DTYPE_INT32; }},
      {"no data", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.data = nullptr; }},
      {"no shape", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.shape = nullptr; }},
      {"ndim", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.ndim = -1; }},
      {"ndim", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.ndim = 9; }},
      {"ndim", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.ndim = INT_MAX; }},
      {"no dimensions", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.ndim = 0; }},
      {"negative or too large", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.shape = negative; }},
      {"negative or too large", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.shape = huge; }},
      {"wanted [tokens, 4]", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.shape = zero_by_huge; }},
      {"wanted [tokens, 4]", LLMC_INVALID_ARGUMENT,
       [](llmc_tensor& t) {
         t.shape = wrong;
         t.data = nullptr;
         t.ndim = 1;
         static const int64_t five[1] = {0};
         t.shape = five;
       }},
      {"stride -4", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.strides = backwards; }},
      {"reach too far", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.strides = far; }},
      {"byte_offset", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.byte_offset = -4; }},
      {"reserved", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.reserved = 1; }},
      {"cuda device 3", LLMC_UNSUPPORTED,
       [](llmc_tensor& t) {
         t.device_type = LLMC_DEVICE_CUDA;
         t.device_index = 3;
       }},
      {"device_type 9", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.device_type = 9; }},
      {"device_index", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.device_index = 1; }},
      {"stream", LLMC_INVALID_ARGUMENT, [](llmc_tensor& t) { t.stream = &t; }},
  };
  for (const Row& row : rows) {
    CAPTURE(row.says);
    llmc_tensor tensor = tensor_of(data, LLMC_DTYPE_FLOAT32, shape);
    row.change(tensor);
    const Refusal refused = refuse_add(session.get(), gram.get(), &tensor);
    CHECK(refused.status == row.status);
    CHECK_THAT(refused.message, Contains(row.says));
  }
  CHECK(read_gram(gram.get()).tokens == 0);
}

TEST_CASE("a larger tensor struct of a newer header works while its unknown tail is zero") {
  struct Newer {
    llmc_tensor known;
    uint64_t later;
  };
  const auto session = new_session();
  const auto gram = new_gram(2);
  float data[2] = {1, 2};
  const std::vector<int64_t> shape{1, 2};
  Newer tensor{tensor_of(data, LLMC_DTYPE_FLOAT32, shape), 0};
  tensor.known.struct_size = sizeof tensor;
  add(session.get(), gram.get(), tensor.known);
  CHECK(read_gram(gram.get()).tokens == 1);
  tensor.later = 7;
  CHECK(refuse_add(session.get(), gram.get(), &tensor.known).status == LLMC_UNSUPPORTED);

  // Arrays of them are walked by the caller's size.
  Newer weights[2] = {{tensor_of(data, LLMC_DTYPE_FLOAT32, shape), 0},
                      {tensor_of(data, LLMC_DTYPE_FLOAT32, shape), 0}};
  weights[0].known.struct_size = weights[1].known.struct_size = sizeof(Newer);
  float scales[2];
  must(llmc_smooth_scales, gram.get(), &weights[0].known, 2, nullptr, scales, 2);
}

TEST_CASE("strided, shifted and misaligned tensors count as the numbers they hold") {
  const auto session = new_session();
  Tensor whole = random_tensor(DType::f32, {6, 8}, 3);
  const auto expected = [&](auto value) {  // [3, 4] built by hand
    Tensor picked(DType::f32, {3, 4});
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 4; ++j) picked.as<float>()[i * 4 + j] = value(i, j);
    const auto gram = new_gram(4);
    add(session.get(), gram.get(), tensor_of(picked));
    return read_gram(gram.get());
  };
  const auto got = [&](const llmc_tensor& tensor) {
    const auto gram = new_gram(4);
    add(session.get(), gram.get(), tensor);
    return read_gram(gram.get());
  };
  const std::vector<int64_t> shape{3, 4};
  const float* numbers = whole.as<float>();
  SECTION("every other row") {
    const int64_t strides[2] = {16, 1};
    llmc_tensor tensor = tensor_of(whole.data(), LLMC_DTYPE_FLOAT32, shape);
    tensor.strides = strides;
    CHECK(got(tensor) == expected([&](int64_t i, int64_t j) { return numbers[i * 16 + j]; }));
  }
  SECTION("transposed, from an offset") {
    const int64_t strides[2] = {1, 8};
    llmc_tensor tensor = tensor_of(whole.data(), LLMC_DTYPE_FLOAT32, shape);
    tensor.strides = strides;
    tensor.byte_offset = 12;
    CHECK(got(tensor) == expected([&](int64_t i, int64_t j) { return numbers[j * 8 + i + 3]; }));
  }
  SECTION("one row for all: stride 0") {
    const int64_t strides[2] = {0, 1};
    llmc_tensor tensor = tensor_of(whole.data(), LLMC_DTYPE_FLOAT32, shape);
    tensor.strides = strides;
    CHECK(got(tensor) == expected([&](int64_t, int64_t j) { return numbers[j]; }));
  }
  SECTION("dense strides, and any stride of a dimension of one") {
    const std::vector<int64_t> boxed{1, 3, 4};
    const int64_t strides[3] = {999, 4, 1};
    llmc_tensor tensor = tensor_of(whole.data(), LLMC_DTYPE_FLOAT32, boxed);
    tensor.strides = strides;
    CHECK(got(tensor) == expected([&](int64_t i, int64_t j) { return numbers[i * 4 + j]; }));
  }
  SECTION("odd addresses") {
    std::vector<char> shifted(static_cast<size_t>(whole.bytes()) + 1);
    std::memcpy(shifted.data() + 1, whole.data(), static_cast<size_t>(whole.bytes()));
    CHECK(got(tensor_of(shifted.data() + 1, LLMC_DTYPE_FLOAT32, shape)) ==
          expected([&](int64_t i, int64_t j) { return numbers[i * 4 + j]; }));
    const int64_t strides[2] = {8, 2};
    llmc_tensor tensor = tensor_of(shifted.data() + 1, LLMC_DTYPE_FLOAT32, shape);
    tensor.strides = strides;
    CHECK(got(tensor) == expected([&](int64_t i, int64_t j) { return numbers[i * 8 + j * 2]; }));
  }
}

TEST_CASE("a DLPack tensor is described as it is") {
  struct Dl {
    void* data;
    int32_t device_type, device_id, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    int64_t *shape, *strides;
    uint64_t byte_offset;
  };
  float data[6] = {};
  int64_t shape[2] = {2, 3}, strides[2] = {3, 1};
  Dl from{data, 1, 0, 2, 2, 32, 1, shape, strides, 8};
  llmc_tensor to = empty_tensor();
  must(llmc_tensor_from_dlpack, &from, &to);
  CHECK((to.data == data && to.dtype == LLMC_DTYPE_FLOAT32 && to.ndim == 2 && to.shape == shape &&
         to.strides == strides && to.byte_offset == 8));
  CHECK((to.device_type == LLMC_DEVICE_CPU && to.struct_size == sizeof to));
  from.code = 4;
  from.bits = 16;
  from.device_type = 2;
  from.device_id = 1;
  must(llmc_tensor_from_dlpack, &from, &to);
  CHECK((to.dtype == LLMC_DTYPE_BFLOAT16 && to.device_type == LLMC_DEVICE_CUDA && to.device_index == 1));
  const auto refused = [&](auto change) {
    Dl wrong = from;
    change(wrong);
    return refusal(llmc_tensor_from_dlpack, &wrong, &to).status;
  };
  CHECK(refused([](Dl& t) { t.lanes = 4; }) == LLMC_UNSUPPORTED);
  CHECK(refused([](Dl& t) {
          t.code = 5;
          t.bits = 64;
        }) == LLMC_UNSUPPORTED);
  CHECK(refused([](Dl& t) { t.device_type = 10; }) == LLMC_UNSUPPORTED);
  CHECK(refused([](Dl& t) { t.byte_offset = UINT64_MAX; }) == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_tensor_from_dlpack, &from, nullptr).status == LLMC_INVALID_ARGUMENT);
}
