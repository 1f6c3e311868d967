// Schemes, matrices, their stored form and a writer's job, as tests of llmc_tensor.h need them.
#pragma once
#include <catch2/catch.hpp>

#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "capi/tensor_tools.hpp"
#include "core/run_tools.hpp"

namespace llmc::test {

inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN(),
                       kInfinity = std::numeric_limits<float>::infinity();
inline constexpr const char* kEveryFormat[] = {"W4A16",    "W4A16_ASYM",  "W3A16",     "W8A16",
                                               "W8A8",     "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4A16",
                                               "MXFP4A16", "MXFP8A16"};

inline Refusal refuse_quantize(llmc_session* session,
                               const llmc_scheme* scheme,
                               const llmc_tensor* weight,
                               const llmc_gram* gram = nullptr,
                               const float* global_scale = nullptr) {
  llmc_matrix* matrix = reinterpret_cast<llmc_matrix*>(16);
  const Refusal result = refusal(llmc_quantize_matrix, session, scheme, weight, gram, global_scale, &matrix);
  CHECK(matrix == nullptr);
  return result;
}
inline llmc_status scheme_status(const llmc_scheme_options& options) {
  llmc_scheme* scheme = reinterpret_cast<llmc_scheme*>(16);
  const Refusal result = refusal(llmc_scheme_create, &options, &scheme);
  CHECK(scheme == nullptr);
  return result.status;
}
inline llmc_matrix_facts facts_of(const llmc_matrix* matrix) {
  llmc_matrix_facts facts{};
  facts.struct_size = sizeof facts;
  must(llmc_matrix_info, matrix, &facts);
  return facts;
}
inline std::string dequantized(llmc_session* session, const llmc_matrix* matrix, DType dtype) {
  const llmc_matrix_facts facts = facts_of(matrix);
  Tensor values(dtype, {facts.rows, facts.columns});
  llmc_tensor out = tensor_of(values);
  must(llmc_matrix_dequantize, session, matrix, &out);
  return bytes_of(out);
}
struct Stored {
  std::vector<const char*> names;
  std::vector<llmc_tensor> tensors;
};
inline Stored stored(const llmc_packed* packed) {
  Stored result;
  for (int32_t i = 0; i < llmc_packed_count(packed); ++i) {
    result.names.push_back(nullptr);
    result.tensors.push_back(empty_tensor());
    must(llmc_packed_tensor, packed, i, &result.names.back(), &result.tensors.back());
  }
  return result;
}
inline OwnedMatrix unpack(llmc_session* session,
                          const llmc_scheme* scheme,
                          const Stored& from,
                          int32_t dtype) {
  llmc_matrix* matrix = nullptr;
  must(llmc_unpack, session, scheme, from.names.data(), from.tensors.data(),
       static_cast<int32_t>(from.tensors.size()), dtype, &matrix);
  return OwnedMatrix(matrix);
}

// A gram of 200 tokens in which no channel is dead.
inline OwnedGram seen_gram(llmc_session* session, int64_t channels) {
  auto gram = new_gram(channels);
  Tensor x = random_tensor(DType::f32, {200, channels}, 21);
  add(session, gram.get(), tensor_of(x));
  return gram;
}

struct WriterJob {
  ScratchFolder scratch;
  std::string output = scratch / "out";
  OwnedSession session = new_session();
  OwnedScheme scheme = new_scheme("W4A16");
  Tensor weight = random_tensor(DType::bf16, {6, 128}, 31), norm = random_tensor(DType::bf16, {128}, 32);
  OwnedMatrix matrix = quantize(session.get(), scheme.get(), tensor_of(weight));

  llmc_writer_options options() const {
    llmc_writer_options given{};
    given.struct_size = sizeof given;
    given.output_dir = output.c_str();
    given.config_json = R"({"model_type": "toy"})";
    return given;
  }
  OwnedWriter writer(const llmc_writer_options& given) const {
    llmc_writer* made = nullptr;
    must(llmc_writer_create, &given, &made);
    return OwnedWriter(made);
  }
  OwnedWriter planned() const {
    auto made = writer(options());
    must(llmc_writer_plan_matrix, made.get(), "fc1", scheme.get(), LLMC_DTYPE_BFLOAT16, 6, 128);
    const int64_t shape[1] = {128};
    must(llmc_writer_plan_tensor, made.get(), "norm.weight", LLMC_DTYPE_BFLOAT16, shape, 1);
    return made;
  }
  void give_matrix(llmc_writer* to) const {
    must(llmc_writer_add_matrix, session.get(), to, "fc1", matrix.get());
  }
  void give_norm(llmc_writer* to) {
    const llmc_tensor tensor = tensor_of(norm);
    must(llmc_writer_add_tensor, session.get(), to, "norm.weight", &tensor);
  }
  void finish(llmc_writer* of) const { must(llmc_writer_finish, session.get(), of); }
  bool left_nothing() const { return std::filesystem::is_empty(scratch.path()); }
};

}  // namespace llmc::test
