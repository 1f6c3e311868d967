// The promises of llmc_tensor.h and llmc_dlpack.h, function by function.
#include <catch2/catch.hpp>

#include <climits>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <thread>

#include "capi/tensor_tools.hpp"
#include "core/run_tools.hpp"
#include "llmc_dlpack.h"
#include "llmc_tools.h"

using Catch::Contains;
using namespace llmc::test;
using llmc::DType;
using llmc::Tensor;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(),
                kInfinity = std::numeric_limits<float>::infinity();

Refusal refuse_add(llmc_session* session, llmc_gram* gram, const llmc_tensor* values) {
  return refusal([&](llmc_error** e) { return llmc_gram_add(session, gram, values, e); });
}
Refusal refuse_load(const std::string& path) {
  llmc_gram* gram = reinterpret_cast<llmc_gram*>(16);
  const Refusal result = refusal([&](llmc_error** e) { return llmc_gram_load(path.c_str(), &gram, e); });
  CHECK(gram == nullptr);
  return result;
}
OwnedGram load(const std::string& path) {
  llmc_gram* gram = nullptr;
  must([&](llmc_error** e) { return llmc_gram_load(path.c_str(), &gram, e); });
  return OwnedGram(gram);
}
void save(const llmc_gram* gram, const std::string& path) {
  must([&](llmc_error** e) { return llmc_gram_save(gram, path.c_str(), e); });
}

}  // namespace

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
  must([&](llmc_error** e) {
    return llmc_smooth_scales(gram.get(), &weights[0].known, 2, nullptr, scales, 2, e);
  });
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
  must([&](llmc_error** e) { return llmc_tensor_from_dlpack(&from, &to, e); });
  CHECK((to.data == data && to.dtype == LLMC_DTYPE_FLOAT32 && to.ndim == 2 && to.shape == shape &&
         to.strides == strides && to.byte_offset == 8));
  CHECK((to.device_type == LLMC_DEVICE_CPU && to.struct_size == sizeof to));
  from.code = 4;
  from.bits = 16;
  from.device_type = 2;
  from.device_id = 1;
  must([&](llmc_error** e) { return llmc_tensor_from_dlpack(&from, &to, e); });
  CHECK((to.dtype == LLMC_DTYPE_BFLOAT16 && to.device_type == LLMC_DEVICE_CUDA && to.device_index == 1));
  const auto refused = [&](auto change) {
    Dl wrong = from;
    change(wrong);
    return refusal([&](llmc_error** e) { return llmc_tensor_from_dlpack(&wrong, &to, e); }).status;
  };
  CHECK(refused([](Dl& t) { t.lanes = 4; }) == LLMC_UNSUPPORTED);
  CHECK(refused([](Dl& t) {
          t.code = 5;
          t.bits = 64;
        }) == LLMC_UNSUPPORTED);
  CHECK(refused([](Dl& t) { t.device_type = 10; }) == LLMC_UNSUPPORTED);
  CHECK(refused([](Dl& t) { t.byte_offset = UINT64_MAX; }) == LLMC_INVALID_ARGUMENT);
  CHECK(refusal([&](llmc_error** e) { return llmc_tensor_from_dlpack(&from, nullptr, e); }).status ==
        LLMC_INVALID_ARGUMENT);
}

// ---- statistics -------------------------------------------------------------------------------------------

TEST_CASE("a gram of two tokens is what one computes by hand") {
  const auto session = new_session();
  const auto gram = new_gram(2);
  float data[4] = {1, 2, -3, 0.5f};
  const std::vector<int64_t> shape{2, 2};
  add(session.get(), gram.get(), tensor_of(data, LLMC_DTYPE_FLOAT32, shape));
  const GramData seen = read_gram(gram.get());
  CHECK((seen.tokens == 2 && seen.samples == 1));
  CHECK(seen.gram == std::vector<float>{10, 0.5f, 0.5f, 4.25f});
  CHECK((seen.minimum == std::vector<float>{-3, 0.5f} && seen.maximum == std::vector<float>{1, 2}));
  CHECK((seen.sum_absolute == std::vector<double>{4, 2.5} &&
         seen.sum_squares == std::vector<double>{10, 4.25}));
}

TEST_CASE("any batch shape is its tokens, and its first of three dimensions its samples") {
  const auto session = new_session();
  Tensor data = random_tensor(DType::bf16, {2, 3, 5, 4}, 5);
  const auto seen = [&](const std::vector<int64_t>& shape) {
    const auto gram = new_gram(4);
    add(session.get(), gram.get(), tensor_of(data.data(), LLMC_DTYPE_BFLOAT16, shape));
    return read_gram(gram.get());
  };
  const GramData flat = seen({30, 4});
  GramData four = seen({2, 3, 5, 4}), three = seen({6, 5, 4});
  CHECK((flat.samples == 1 && four.samples == 2 && three.samples == 6));
  four.samples = three.samples = 1;
  CHECK((four == flat && three == flat));
  const GramData one = seen({4});
  CHECK((one.tokens == 1 && one.samples == 1));
  CHECK(seen({0, 4}).tokens == 0);
  CHECK(seen({3, 0, 4}).samples == 0);
}

TEST_CASE("float16 inputs count as the float32 numbers they stand for") {
  const auto session = new_session();
  Tensor half = random_tensor(DType::f16, {5000, 6}, 7), wide(DType::f32, {5000, 6});
  for (int64_t i = 0; i < half.size(); ++i)
    wide.as<float>()[i] = std::ldexp(1.0f + static_cast<float>(half.as<uint16_t>()[i] & 0x3FF) / 1024.0f,
                                     (half.as<uint16_t>()[i] >> 10) - 15);
  const auto a = new_gram(6), b = new_gram(6);
  add(session.get(), a.get(), tensor_of(half));
  add(session.get(), b.get(), tensor_of(wide));
  CHECK(read_gram(a.get()) == read_gram(b.get()));
}

TEST_CASE("merging grams gives the bits of adding all values to one, and threads change none") {
  Tensor data = random_tensor(DType::f32, {8192, 24}, 9);
  const std::vector<int64_t> half{4096, 24};
  GramData first;
  for (const int threads : {1, 3}) {
    const auto session = new_session(threads);
    const auto one = new_gram(24), left = new_gram(24), right = new_gram(24);
    add(session.get(), one.get(), tensor_of(data));
    add(session.get(), left.get(), tensor_of(data.data(), LLMC_DTYPE_FLOAT32, half));
    add(session.get(), right.get(), tensor_of(data.as<float>() + 4096 * 24, LLMC_DTYPE_FLOAT32, half));
    must([&](llmc_error** e) { return llmc_gram_merge(left.get(), right.get(), e); });
    const GramData whole = read_gram(one.get()), merged = read_gram(left.get());
    CHECK((merged.gram == whole.gram && merged.minimum == whole.minimum && merged.maximum == whole.maximum &&
           merged.tokens == whole.tokens));
    CHECK(merged.samples == 2);
    for (size_t i = 0; i < 24; ++i)
      CHECK(merged.sum_squares[i] == Approx(whole.sum_squares[i]).epsilon(1e-13));
    if (threads == 1) first = whole;
    else CHECK(whole == first);
  }
}

TEST_CASE("NaN and Inf in inputs are told with their place and leave the gram as it was") {
  const auto session = new_session();
  const auto gram = new_gram(3);
  Tensor data = random_tensor(DType::f32, {5, 3}, 11);
  add(session.get(), gram.get(), tensor_of(data));
  const GramData before = read_gram(gram.get());
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    Tensor wrong = Tensor::copy_of(data);
    wrong.as<float>()[4 * 3 + 2] = bad;
    const llmc_tensor tensor = tensor_of(wrong);
    const Refusal refused = refuse_add(session.get(), gram.get(), &tensor);
    CHECK(refused.status == LLMC_NUMERIC);
    CHECK_THAT(refused.message, Contains("channel 2 of token 4"));
  }
  CHECK(read_gram(gram.get()) == before);
  add(session.get(), gram.get(), tensor_of(data));
  CHECK(read_gram(gram.get()).tokens == 10);
}

TEST_CASE("grams of no, negative or absurd size are refused") {
  const auto status = [](int64_t channels, int32_t parts) {
    llmc_gram* gram = reinterpret_cast<llmc_gram*>(16);
    const Refusal refused = refusal(
        [&](llmc_error** e) { return llmc_gram_create(channels, parts, &gram, e); });
    CHECK(gram == nullptr);
    return refused.status;
  };
  for (const int64_t channels : {int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX, int64_t{1} << 40})
    CHECK(status(channels, LLMC_GRAM_ALL) == LLMC_INVALID_ARGUMENT);
  CHECK(status(int64_t{1} << 29, LLMC_GRAM_ALL) == LLMC_OUT_OF_MEMORY);
  CHECK(status(INT64_MAX, LLMC_GRAM_CHANNELS) == LLMC_INVALID_ARGUMENT);
  CHECK(status(4, 2) == LLMC_INVALID_ARGUMENT);
  CHECK(status(4, -1) == LLMC_INVALID_ARGUMENT);
}

TEST_CASE("reading a gram wants arrays of its size, and no matrix where there is none") {
  const auto all = new_gram(3), channels = new_gram(3, LLMC_GRAM_CHANNELS);
  std::vector<float> room(9, 7.0f);
  llmc_gram_data data{};
  data.struct_size = sizeof data;
  data.gram = room.data();
  for (const int64_t wrong : {int64_t{0}, int64_t{2}, int64_t{-3}, INT64_MAX}) {
    data.channels = wrong;
    CHECK(refusal([&](llmc_error** e) { return llmc_gram_read(all.get(), &data, e); }).status ==
          LLMC_INVALID_ARGUMENT);
  }
  data.channels = 3;
  CHECK(refusal([&](llmc_error** e) { return llmc_gram_read(channels.get(), &data, e); }).status ==
        LLMC_INVALID_ARGUMENT);
  CHECK(room == std::vector<float>(9, 7.0f));
  must([&](llmc_error** e) { return llmc_gram_read(all.get(), &data, e); });
  CHECK(room == std::vector<float>(9, 0.0f));
  CHECK(data.has_gram == LLMC_ON);
  data.struct_size = 12;
  CHECK(refusal([&](llmc_error** e) { return llmc_gram_read(all.get(), &data, e); }).status ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refusal([&](llmc_error** e) { return llmc_gram_merge(all.get(), channels.get(), e); }).status ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refusal([&](llmc_error** e) { return llmc_gram_merge(all.get(), new_gram(4).get(), e); }).status ==
        LLMC_INVALID_ARGUMENT);
}

TEST_CASE("a saved gram comes back bit for bit, and takes the place of an older file") {
  const ScratchFolder scratch;
  const std::string path = scratch / "seen.gram";
  const auto session = new_session();
  Tensor data = random_tensor(DType::bf16, {50, 7}, 13);
  for (const int32_t parts : {LLMC_GRAM_ALL, LLMC_GRAM_CHANNELS}) {
    const auto gram = new_gram(7, parts);
    add(session.get(), gram.get(), tensor_of(data));
    save(gram.get(), path);
    const auto loaded = load(path);
    CHECK(read_gram(loaded.get()) == read_gram(gram.get()));
    add(session.get(), loaded.get(), tensor_of(data));
    add(session.get(), gram.get(), tensor_of(data));
    CHECK(read_gram(loaded.get()) == read_gram(gram.get()));
  }
  CHECK(std::distance(std::filesystem::directory_iterator(scratch.path()), {}) == 1);
  const auto gram = new_gram(7);
  CHECK(refusal([&](llmc_error** e) {
          return llmc_gram_save(gram.get(), (scratch / "no/where").c_str(), e);
        }).status != LLMC_OK);
  CHECK(refusal([&](llmc_error** e) {
          return llmc_gram_save(gram.get(), scratch.path().c_str(), e);
        }).status == LLMC_IO);
  CHECK(refuse_load(scratch / "nothing").status == LLMC_NOT_FOUND);
}

TEST_CASE("a gram's file with any byte changed or missing is refused") {
  const ScratchFolder scratch;
  const auto session = new_session();
  const auto gram = new_gram(3);
  Tensor data = random_tensor(DType::f32, {5, 3}, 15);
  add(session.get(), gram.get(), tensor_of(data));
  save(gram.get(), scratch / "good");
  const std::string good = read_text(scratch / "good");
  const auto write = [&](const std::string& text) {
    std::ofstream(scratch / "bad", std::ios::binary) << text;
  };
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 0x10);
    write(bad);
    llmc_gram* loaded = nullptr;
    const llmc_status status = llmc_gram_load((scratch / "bad").c_str(), &loaded, nullptr);
    const OwnedGram owned(loaded);
    // A change of the header's own wording may leave it as it was meant; the numbers never change unseen.
    if (status == LLMC_OK) CHECK(read_gram(loaded) == read_gram(gram.get()));
    else CHECK(status == LLMC_BAD_FILE);
    if (i >= good.size() - 9 * 4) CHECK(status == LLMC_BAD_FILE);
  }
  for (const size_t length : {size_t{0}, size_t{7}, size_t{100}, good.size() - 1}) {
    write(good.substr(0, length));
    CHECK(refuse_load(scratch / "bad").status == LLMC_BAD_FILE);
  }
  write(good + "x");
  CHECK(refuse_load(scratch / "bad").status == LLMC_BAD_FILE);
  CHECK_THAT(refuse_load(golden("micro-llama/model.safetensors")).message, Contains("checksum"));
}

// ---- smoothing --------------------------------------------------------------------------------------------

TEST_CASE("smoothing scales are those of the formula, and moving them changes no product") {
  const auto session = new_session();
  const auto gram = new_gram(2, LLMC_GRAM_CHANNELS);
  float x[4] = {-2, 1, 2, 0.5f}, w[4] = {0.5f, 1, -0.25f, 2}, norm[2] = {3, 5};
  const std::vector<int64_t> matrix{2, 2}, vector{2};
  add(session.get(), gram.get(), tensor_of(x, LLMC_DTYPE_FLOAT32, matrix));
  llmc_tensor weight = tensor_of(w, LLMC_DTYPE_FLOAT32, matrix),
              scaled = tensor_of(norm, LLMC_DTYPE_FLOAT32, vector);
  float s[2];
  must([&](llmc_error** e) { return llmc_smooth_scales(gram.get(), &weight, 1, nullptr, s, 2, e); });
  CHECK(s[0] == Approx(std::sqrt(4.0) / std::sqrt(1.0)));  // range 4, 2 max|w| = 1
  CHECK(s[1] == Approx(std::sqrt(0.5) / std::sqrt(4.0)));
  must([&](llmc_error** e) { return llmc_smooth_apply(&weight, s, 2, LLMC_SMOOTH_MULTIPLY, e); });
  must([&](llmc_error** e) { return llmc_smooth_apply(&scaled, s, 2, LLMC_SMOOTH_DIVIDE, e); });
  CHECK(w[0] * norm[0] == Approx(0.5 * 3));
  CHECK(w[3] * norm[1] == Approx(2.0 * 5));
  llmc_smooth_options options{};
  options.struct_size = sizeof options;
  options.strength_set = LLMC_ON;  // strength 0: 1 / (2 max|w|)
  must([&](llmc_error** e) { return llmc_smooth_scales(gram.get(), &weight, 1, &options, s, 2, e); });
  CHECK(s[0] == Approx(1.0 / (2.0 * 1.0)));
  options.algorithm = LLMC_SMOOTHING_LOGARITHMIC;
  must([&](llmc_error** e) { return llmc_smooth_scales(gram.get(), &weight, 1, &options, s, 2, e); });
  CHECK(s[0] == Approx(4.0 / std::log2(6.0)));
  float plus[2] = {0.5f, 0};
  llmc_tensor gemma = tensor_of(plus, LLMC_DTYPE_FLOAT32, vector);
  const float two[2] = {2, 4};
  must([&](llmc_error** e) { return llmc_smooth_apply(&gemma, two, 2, LLMC_SMOOTH_DIVIDE_PLUS_ONE, e); });
  CHECK((plus[0] == -0.25f && plus[1] == -0.75f));
}

TEST_CASE("smoothing refuses what it cannot use and changes nothing then") {
  const auto session = new_session();
  const auto empty = new_gram(2);
  const auto gram = new_gram(2);
  float x[2] = {1, 2}, room[3] = {9, 9, 9};
  const std::vector<int64_t> shape{1, 2}, wide{1, 3};
  const llmc_tensor good = tensor_of(x, LLMC_DTYPE_FLOAT32, shape);
  add(session.get(), gram.get(), good);
  const auto scales = [&](const llmc_gram* g, llmc_tensor w, int32_t count, llmc_smooth_options options,
                          int64_t channels) {
    return refusal(
               [&](llmc_error** e) { return llmc_smooth_scales(g, &w, count, &options, room, channels, e); })
        .status;
  };
  llmc_smooth_options options{};
  options.struct_size = sizeof options;
  CHECK(scales(empty.get(), good, 1, options, 2) == LLMC_INVALID_ARGUMENT);  // nothing seen
  CHECK(scales(gram.get(), good, 0, options, 2) == LLMC_INVALID_ARGUMENT);
  CHECK(scales(gram.get(), good, -5, options, 2) == LLMC_INVALID_ARGUMENT);
  CHECK(scales(gram.get(), good, 1, options, 3) == LLMC_INVALID_ARGUMENT);
  CHECK(scales(gram.get(), tensor_of(room, LLMC_DTYPE_FLOAT32, wide), 1, options, 2) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(scales(gram.get(), tensor_of(x, LLMC_DTYPE_INT32, shape), 1, options, 2) == LLMC_INVALID_ARGUMENT);
  for (const double strength : {-0.1, 1.1, static_cast<double>(kNan)}) {
    options.strength_set = LLMC_ON;
    options.strength = strength;
    CHECK(scales(gram.get(), good, 1, options, 2) == LLMC_INVALID_ARGUMENT);
  }
  options = {};
  options.struct_size = sizeof options;
  options.algorithm = 3;
  CHECK(scales(gram.get(), good, 1, options, 2) == LLMC_INVALID_ARGUMENT);
  CHECK(room[0] == 9);

  const auto apply = [&](llmc_tensor tensor, std::vector<float> s, int64_t channels, int32_t operation) {
    return refusal(
               [&](llmc_error** e) { return llmc_smooth_apply(&tensor, s.data(), channels, operation, e); })
        .status;
  };
  CHECK(apply(good, {1, 1}, 3, LLMC_SMOOTH_DIVIDE) == LLMC_INVALID_ARGUMENT);
  CHECK(apply(good, {1, 1}, -2, LLMC_SMOOTH_DIVIDE) == LLMC_INVALID_ARGUMENT);
  CHECK(apply(good, {1, 1}, 2, 0) == LLMC_INVALID_ARGUMENT);
  CHECK(apply(good, {1, 1}, 2, 4) == LLMC_INVALID_ARGUMENT);
  for (const float bad : {0.0f, -1.0f, kNan, kInfinity})
    CHECK(apply(good, {1, bad}, 2, LLMC_SMOOTH_DIVIDE) == LLMC_INVALID_ARGUMENT);
  CHECK(apply(tensor_of(x, LLMC_DTYPE_INT32, shape), {1, 1}, 2, LLMC_SMOOTH_DIVIDE) == LLMC_INVALID_ARGUMENT);
  std::vector<char> odd(16);
  CHECK(apply(tensor_of(odd.data() + 1, LLMC_DTYPE_FLOAT32, shape), {1, 1}, 2, LLMC_SMOOTH_DIVIDE) ==
        LLMC_INVALID_ARGUMENT);
  CHECK((x[0] == 1 && x[1] == 2));
}
