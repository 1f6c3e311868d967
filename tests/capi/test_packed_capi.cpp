// The promises of llmc_tensor.h about the bytes of a matrix: pack, unpack, decode.
#include <catch2/catch.hpp>

#include <atomic>
#include <climits>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "capi/matrix_tools.hpp"
#include "llmc_tools.h"

using Catch::Contains;
using namespace llmc::test;
using llmc::DType;
using llmc::Tensor;

// ---- bytes on disk ----------------------------------------------------------------------------------------

TEST_CASE("every format packs, unpacks and decodes to what it was") {
  const auto session = new_session(2);
  for (const char* name : kEveryFormat) {
    CAPTURE(name);
    const auto scheme = new_scheme(name);
    Tensor weight = random_tensor(DType::bf16, {130, 256}, 11);
    const auto matrix = quantize(session.get(), scheme.get(), tensor_of(weight));
    const auto packed = pack(session.get(), matrix.get());
    Stored tensors = stored(packed.get());
    std::reverse(tensors.names.begin(), tensors.names.end());
    std::reverse(tensors.tensors.begin(), tensors.tensors.end());
    const auto back = unpack(session.get(), scheme.get(), tensors, LLMC_DTYPE_BFLOAT16);
    for (const int32_t part : {LLMC_PART_CODES, LLMC_PART_SCALES})
      CHECK(part_bytes(back.get(), part) == part_bytes(matrix.get(), part));
    CHECK(facts_of(back.get()).method == 0);
    for (const DType dtype : {DType::bf16, DType::f32, DType::f16})
      CHECK(dequantized(session.get(), back.get(), dtype) == dequantized(session.get(), matrix.get(), dtype));

    // From the parts alone, too.
    llmc_tensor codes = empty_tensor(), scales = empty_tensor(), zeros = empty_tensor();
    must(llmc_matrix_part, matrix.get(), LLMC_PART_CODES, &codes);
    must(llmc_matrix_part, matrix.get(), LLMC_PART_SCALES, &scales);
    const bool asymmetric = llmc_matrix_part(matrix.get(), LLMC_PART_ZERO_POINTS, &zeros, nullptr) == LLMC_OK;
    const auto global = static_cast<float>(facts_of(matrix.get()).global_scale);
    llmc_matrix* made = nullptr;
    must(llmc_matrix_create, scheme.get(), &codes, &scales, asymmetric ? &zeros : nullptr,
         global > 0 ? &global : nullptr, LLMC_DTYPE_BFLOAT16, &made);
    const OwnedMatrix assembled(made);
    const auto again = pack(session.get(), assembled.get());
    const Stored first = stored(packed.get()), second = stored(again.get());
    REQUIRE(first.names.size() == second.names.size());
    for (size_t i = 0; i < first.names.size(); ++i)
      CHECK((first.names[i] == std::string(second.names[i]) &&
             bytes_of(first.tensors[i]) == bytes_of(second.tensors[i])));

    // Asymmetric schemes need their zero points, symmetric ones have none.
    llmc_matrix* none = nullptr;
    CHECK(refusal(llmc_matrix_create, scheme.get(), &codes, &scales, asymmetric ? nullptr : &codes,
                  global > 0 ? &global : nullptr, LLMC_DTYPE_BFLOAT16, &none)
              .status == LLMC_INVALID_ARGUMENT);
    CHECK(refusal(llmc_matrix_create, scheme.get(), &scales, &codes, asymmetric ? &zeros : nullptr,
                  global > 0 ? &global : nullptr, LLMC_DTYPE_BFLOAT16, &none)
              .status == LLMC_INVALID_ARGUMENT);
    const float one = 1;
    CHECK(refusal(llmc_matrix_create, scheme.get(), &codes, &scales, asymmetric ? &zeros : nullptr,
                  global > 0 ? nullptr : &one, LLMC_DTYPE_BFLOAT16, &none)
              .status == LLMC_INVALID_ARGUMENT);
  }
}

TEST_CASE("unpacking refuses tensors that are missing, foreign, twice too long or of another dtype") {
  const auto session = new_session();
  const auto scheme = new_scheme("W4A16");
  Tensor weight = random_tensor(DType::bf16, {4, 128}, 13);
  const auto matrix = quantize(session.get(), scheme.get(), tensor_of(weight));
  const auto packed = pack(session.get(), matrix.get());
  const Stored good = stored(packed.get());
  const auto status = [&](Stored from, int32_t dtype = LLMC_DTYPE_BFLOAT16) {
    llmc_matrix* out = reinterpret_cast<llmc_matrix*>(16);
    const Refusal refused = refusal(llmc_unpack, session.get(), scheme.get(), from.names.data(),
                                    from.tensors.data(), static_cast<int32_t>(from.tensors.size()), dtype,
                                    &out);
    CHECK(out == nullptr);
    return refused.status;
  };
  for (size_t missing = 0; missing < good.names.size(); ++missing) {
    Stored from = good;
    from.names.erase(from.names.begin() + static_cast<std::ptrdiff_t>(missing));
    from.tensors.erase(from.tensors.begin() + static_cast<std::ptrdiff_t>(missing));
    CHECK(status(from) == LLMC_INVALID_ARGUMENT);
  }
  for (size_t i = 0; i < good.names.size(); ++i) {
    Stored from = good;
    from.tensors[i].dtype = LLMC_DTYPE_INT8;
    CHECK(status(from) == LLMC_INVALID_ARGUMENT);
    from = good;
    const std::vector<int64_t> other{1};
    from.tensors[i].shape = other.data();
    from.tensors[i].ndim = 1;
    CHECK(status(from) == LLMC_INVALID_ARGUMENT);
    from = good;
    from.names[i] = nullptr;
    CHECK(status(from) == LLMC_INVALID_ARGUMENT);
  }
  Stored extra = good;
  extra.names.push_back("weight_zero_point");
  extra.tensors.push_back(good.tensors[0]);
  CHECK(status(extra) == LLMC_INVALID_ARGUMENT);
  CHECK(status(good, LLMC_DTYPE_FLOAT32) == LLMC_INVALID_ARGUMENT);  // its scales are bfloat16
  CHECK(status(good, LLMC_DTYPE_INT8) == LLMC_INVALID_ARGUMENT);
  CHECK(status(good, 0) == LLMC_INVALID_ARGUMENT);
  CHECK(status({}) == LLMC_INVALID_ARGUMENT);
  int64_t negative[2] = {-4, 128}, huge[2] = {INT64_MAX, INT64_MAX};
  for (int64_t* shape : {negative, huge}) {
    Stored from = good;
    for (size_t i = 0; i < from.names.size(); ++i)
      if (from.names[i] == std::string("weight_shape")) from.tensors[i].data = shape;
    CHECK(status(from) == LLMC_INVALID_ARGUMENT);
  }
  for (const int32_t index : {-1, 3, INT_MAX})
    CHECK(refusal(llmc_packed_tensor, packed.get(), index, nullptr, nullptr).status == LLMC_INVALID_ARGUMENT);
}

TEST_CASE("decoding wants room of the right shape and kind") {
  const auto session = new_session();
  const auto scheme = new_scheme("FP8_DYNAMIC");
  Tensor weight = random_tensor(DType::bf16, {4, 8}, 15);
  const auto matrix = quantize(session.get(), scheme.get(), tensor_of(weight));
  std::vector<char> room(300, 7);
  const auto status = [&](void* data, int32_t dtype, const std::vector<int64_t>& shape,
                          const int64_t* strides = nullptr) {
    llmc_tensor out = tensor_of(data, dtype, shape);
    out.strides = strides;
    return refusal(llmc_matrix_dequantize, session.get(), matrix.get(), &out).status;
  };
  CHECK(status(room.data(), LLMC_DTYPE_FLOAT32, {8, 4}) == LLMC_INVALID_ARGUMENT);
  CHECK(status(room.data(), LLMC_DTYPE_FLOAT32, {32}) == LLMC_INVALID_ARGUMENT);
  CHECK(status(room.data(), LLMC_DTYPE_INT8, {4, 8}) == LLMC_INVALID_ARGUMENT);
  CHECK(status(room.data() + 1, LLMC_DTYPE_FLOAT32, {4, 8}) == LLMC_INVALID_ARGUMENT);
  const int64_t transposed[2] = {1, 4};
  CHECK(status(room.data(), LLMC_DTYPE_FLOAT32, {4, 8}, transposed) == LLMC_INVALID_ARGUMENT);
  CHECK(room == std::vector<char>(300, 7));
}
