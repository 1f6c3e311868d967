// The promises of llmc_tensor.h about schemes, matrices, their bytes and the writer.
#include <catch2/catch.hpp>

#include <atomic>
#include <climits>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <thread>

#include "capi/tensor_tools.hpp"
#include "core/run_tools.hpp"
#include "llmc_tools.h"

using Catch::Contains;
using namespace llmc::test;
using llmc::DType;
using llmc::Tensor;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(),
                kInfinity = std::numeric_limits<float>::infinity();
constexpr const char* kEveryFormat[] = {"W4A16",       "W4A16_ASYM", "W3A16",    "W8A16",    "W8A8",
                                        "FP8_DYNAMIC", "FP8_BLOCK",  "NVFP4A16", "MXFP4A16", "MXFP8A16"};

Refusal refuse_quantize(llmc_session* session,
                        const llmc_scheme* scheme,
                        const llmc_tensor* weight,
                        const llmc_gram* gram = nullptr,
                        const float* global_scale = nullptr) {
  llmc_matrix* matrix = reinterpret_cast<llmc_matrix*>(16);
  const Refusal result = refusal([&](llmc_error** e) {
    return llmc_quantize_matrix(session, scheme, weight, gram, global_scale, &matrix, e);
  });
  CHECK(matrix == nullptr);
  return result;
}
llmc_status scheme_status(const llmc_scheme_options& options) {
  llmc_scheme* scheme = reinterpret_cast<llmc_scheme*>(16);
  const Refusal result = refusal([&](llmc_error** e) { return llmc_scheme_create(&options, &scheme, e); });
  CHECK(scheme == nullptr);
  return result.status;
}
llmc_matrix_facts facts_of(const llmc_matrix* matrix) {
  llmc_matrix_facts facts{};
  facts.struct_size = sizeof facts;
  must([&](llmc_error** e) { return llmc_matrix_info(matrix, &facts, e); });
  return facts;
}
std::string dequantized(llmc_session* session, const llmc_matrix* matrix, DType dtype) {
  const llmc_matrix_facts facts = facts_of(matrix);
  Tensor values(dtype, {facts.rows, facts.columns});
  llmc_tensor out = tensor_of(values);
  must([&](llmc_error** e) { return llmc_matrix_dequantize(session, matrix, &out, e); });
  return bytes_of(out);
}
struct Stored {
  std::vector<const char*> names;
  std::vector<llmc_tensor> tensors;
};
Stored stored(const llmc_packed* packed) {
  Stored result;
  for (int32_t i = 0; i < llmc_packed_count(packed); ++i) {
    result.names.push_back(nullptr);
    result.tensors.push_back(empty_tensor());
    must([&](llmc_error** e) {
      return llmc_packed_tensor(packed, i, &result.names.back(), &result.tensors.back(), e);
    });
  }
  return result;
}
OwnedMatrix unpack(llmc_session* session, const llmc_scheme* scheme, const Stored& from, int32_t dtype) {
  llmc_matrix* matrix = nullptr;
  must([&](llmc_error** e) {
    return llmc_unpack(session, scheme, from.names.data(), from.tensors.data(),
                       static_cast<int32_t>(from.tensors.size()), dtype, &matrix, e);
  });
  return OwnedMatrix(matrix);
}

// A gram of 200 tokens in which no channel is dead.
OwnedGram seen_gram(llmc_session* session, int64_t channels) {
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
    must([&](llmc_error** e) { return llmc_writer_create(&given, &made, e); });
    return OwnedWriter(made);
  }
  OwnedWriter planned() const {
    auto made = writer(options());
    must([&](llmc_error** e) {
      return llmc_writer_plan_matrix(made.get(), "fc1", scheme.get(), LLMC_DTYPE_BFLOAT16, 6, 128, e);
    });
    const int64_t shape[1] = {128};
    must([&](llmc_error** e) {
      return llmc_writer_plan_tensor(made.get(), "norm.weight", LLMC_DTYPE_BFLOAT16, shape, 1, e);
    });
    return made;
  }
  void give_matrix(llmc_writer* to) const {
    must([&](llmc_error** e) { return llmc_writer_add_matrix(session.get(), to, "fc1", matrix.get(), e); });
  }
  void give_norm(llmc_writer* to) {
    const llmc_tensor tensor = tensor_of(norm);
    must(
        [&](llmc_error** e) { return llmc_writer_add_tensor(session.get(), to, "norm.weight", &tensor, e); });
  }
  void finish(llmc_writer* of) const {
    must([&](llmc_error** e) { return llmc_writer_finish(session.get(), of, e); });
  }
  bool left_nothing() const { return std::filesystem::is_empty(scratch.path()); }
};

}  // namespace

// ---- schemes ----------------------------------------------------------------------------------------------

TEST_CASE("a scheme is a preset, the entry of a config group, or the arguments of weights, in YAML or JSON") {
  CHECK(llmc_scheme_format(new_scheme("w4a16").get()) == std::string("pack-quantized"));
  CHECK(llmc_scheme_format(new_scheme("NVFP4A16").get()) == std::string("nvfp4-pack-quantized"));
  const auto session = new_session();
  Tensor weight = random_tensor(DType::bf16, {4, 64}, 1);
  const char* texts[] = {R"({"num_bits": 4, "group_size": 32})",
                         "num_bits: 4\ngroup_size: 32\nstrategy: group",
                         "{weights: {num_bits: 4, group_size: 32, strategy: group}}",
                         "targets: [\"re:.*\"]\nweights:\n  num_bits: 4\n  group_size: 32\n"};
  const std::string expected = part_bytes(
      quantize(session.get(), new_scheme(texts[0]).get(), tensor_of(weight)).get(), LLMC_PART_CODES);
  for (const char* text : texts) {
    CAPTURE(text);
    const auto matrix = quantize(session.get(), new_scheme(text).get(), tensor_of(weight));
    CHECK(part_bytes(matrix.get(), LLMC_PART_CODES) == expected);
    CHECK(facts_of(matrix.get()).scheme == std::string("int4 group 32"));
  }
}

TEST_CASE("schemes that mean nothing are refused with the reason") {
  for (const char* text :
       {"", "W4A17", "UNQUANTIZED", "[1, 2]", "{", "{num_bits: 99}", "{num_bits: 4, group_size: -7}",
        "{nun_bits: 4}", "{weights: {num_bits: 4, type: float}}", "{input_activations: {num_bits: 8}}",
        "{format: nonsense, weights: {num_bits: 4}}",
        "{format: float-quantized, weights: {num_bits: 4, group_size: 32}}",
        "{num_bits: 4, strategy: token, dynamic: true}", "~"}) {
    CAPTURE(text);
    CHECK(scheme_status(scheme_options(text)) == LLMC_INVALID_ARGUMENT);
  }
  CHECK(scheme_status(scheme_options(nullptr)) == LLMC_INVALID_ARGUMENT);
  const auto gptq = [](auto change) {
    llmc_scheme_options options = scheme_options("W4A16", LLMC_METHOD_GPTQ);
    change(options);
    return scheme_status(options);
  };
  CHECK(gptq([](auto& o) { o.method = 3; }) == LLMC_INVALID_ARGUMENT);
  CHECK(gptq([](auto& o) { o.method = -1; }) == LLMC_INVALID_ARGUMENT);
  CHECK(gptq([](auto& o) { o.compat = 7; }) == LLMC_INVALID_ARGUMENT);
  CHECK(gptq([](auto& o) { o.rounding = 7; }) == LLMC_INVALID_ARGUMENT);
  CHECK(gptq([](auto& o) { o.dampening = 7; }) == LLMC_INVALID_ARGUMENT);
  CHECK(gptq([](auto& o) { o.activation_order = 7; }) == LLMC_INVALID_ARGUMENT);
  CHECK(gptq([](auto& o) { o.block_size = -128; }) == LLMC_INVALID_ARGUMENT);
  CHECK(gptq([](auto& o) { o.struct_size = 20; }) == LLMC_INVALID_ARGUMENT);
  for (const double frac : {-0.01, 1.5, static_cast<double>(kNan), static_cast<double>(kInfinity)})
    CHECK(gptq([&](auto& o) { o.dampening_frac = frac; }) == LLMC_INVALID_ARGUMENT);
  llmc_scheme_options rtn = scheme_options("W4A16");
  rtn.dampening_frac = 0.01;
  CHECK(scheme_status(rtn) == LLMC_INVALID_ARGUMENT);  // belongs to GPTQ
}

// ---- one matrix -------------------------------------------------------------------------------------------

TEST_CASE("a weight of four numbers is quantized as one does it by hand") {
  const auto session = new_session();
  const auto scheme = new_scheme(R"({"num_bits": 4, "strategy": "channel"})");
  float w[4] = {7.5f, -3, 0.4f, 1};  // scale 7.5 / 7.5 = 1
  const std::vector<int64_t> shape{1, 4};
  const auto matrix = quantize(session.get(), scheme.get(), tensor_of(w, LLMC_DTYPE_FLOAT32, shape));
  const std::string codes = part_bytes(matrix.get(), LLMC_PART_CODES);
  CHECK((codes[0] == 7 && codes[1] == -3 && codes[2] == 0 && codes[3] == 1));
  const llmc_matrix_facts facts = facts_of(matrix.get());
  CHECK((facts.rows == 1 && facts.columns == 4 && facts.method == LLMC_METHOD_RTN &&
         facts.model_dtype == LLMC_DTYPE_FLOAT32 && facts.global_scale == 0));
  CHECK(facts.relative_error == Approx(std::sqrt((0.25 + 0.16) / (56.25 + 9 + 0.16 + 1))));
  CHECK(facts.note == std::string());
  llmc_tensor none = empty_tensor();
  for (const int32_t part : {LLMC_PART_ZERO_POINTS, LLMC_PART_ORDER})
    CHECK(refusal([&](llmc_error** e) { return llmc_matrix_part(matrix.get(), part, &none, e); }).status ==
          LLMC_NOT_FOUND);
  for (const int32_t part : {0, -1, 5})
    CHECK(refusal([&](llmc_error** e) { return llmc_matrix_part(matrix.get(), part, &none, e); }).status ==
          LLMC_INVALID_ARGUMENT);
}

TEST_CASE("GPTQ visits columns by falling diagonal and says so") {
  const auto session = new_session();
  const auto gram = new_gram(4);
  float x[8] = {1, 3, 2, 0.5f, -1, 3, 2, 0.25f};
  const std::vector<int64_t> tokens{2, 4}, shape{3, 4};
  add(session.get(), gram.get(), tensor_of(x, LLMC_DTYPE_FLOAT32, tokens));
  Tensor weight = random_tensor(DType::f32, {3, 4}, 3);
  llmc_scheme_options options = scheme_options(R"({"num_bits": 4, "strategy": "channel"})", LLMC_METHOD_GPTQ);
  const auto matrix = quantize(session.get(), new_scheme(options).get(), tensor_of(weight), gram.get());
  const std::string order = part_bytes(matrix.get(), LLMC_PART_ORDER);
  const int32_t expected[4] = {1, 2, 0, 3};
  CHECK(std::memcmp(order.data(), expected, sizeof expected) == 0);
  const llmc_matrix_facts facts = facts_of(matrix.get());
  CHECK((facts.method == LLMC_METHOD_GPTQ && facts.dampening == 0.01 && facts.loss > 0));
  options.activation_order = LLMC_OFF;
  const auto unordered = quantize(session.get(), new_scheme(options).get(), tensor_of(weight), gram.get());
  llmc_tensor none = empty_tensor();
  CHECK(refusal([&](llmc_error** e) {
          return llmc_matrix_part(unordered.get(), LLMC_PART_ORDER, &none, e);
        }).status == LLMC_NOT_FOUND);
}

TEST_CASE("a weight that cannot be quantized is refused before any work") {
  const auto session = new_session();
  const auto rtn = new_scheme("W4A16"), gptq = new_scheme("W4A16", LLMC_METHOD_GPTQ),
             nvfp4 = new_scheme("NVFP4A16");
  Tensor weight = random_tensor(DType::bf16, {2, 128}, 5);
  llmc_tensor good = tensor_of(weight);
  const auto shaped = [&](const std::vector<int64_t>& shape) {
    const llmc_tensor tensor = tensor_of(weight.data(), LLMC_DTYPE_BFLOAT16, shape);
    return refuse_quantize(session.get(), rtn.get(), &tensor).status;
  };
  CHECK(shaped({128}) == LLMC_INVALID_ARGUMENT);
  CHECK(shaped({1, 2, 128}) == LLMC_INVALID_ARGUMENT);
  CHECK(shaped({0, 128}) == LLMC_INVALID_ARGUMENT);
  CHECK(shaped({2, 0}) == LLMC_INVALID_ARGUMENT);
  CHECK(shaped({2, 100}) == LLMC_INVALID_ARGUMENT);  // no whole groups
  CHECK(shaped({INT64_MAX, INT64_MAX}) == LLMC_INVALID_ARGUMENT);
  for (const int32_t dtype : {LLMC_DTYPE_FLOAT64, LLMC_DTYPE_INT8, LLMC_DTYPE_FLOAT8_E4M3}) {
    llmc_tensor wrong = good;
    const std::vector<int64_t> small{1, 16};
    wrong.dtype = dtype;
    wrong.shape = small.data();
    CHECK(refuse_quantize(session.get(), rtn.get(), &wrong).status == LLMC_INVALID_ARGUMENT);
  }
  CHECK_THAT(refuse_quantize(session.get(), gptq.get(), &good).message, Contains("no gram"));
  const auto unseen = new_gram(128), narrow = new_gram(64), channels = new_gram(128, LLMC_GRAM_CHANNELS);
  CHECK_THAT(refuse_quantize(session.get(), gptq.get(), &good, unseen.get()).message, Contains("no tokens"));
  CHECK_THAT(refuse_quantize(session.get(), gptq.get(), &good, narrow.get()).message,
             Contains("128 channels"));
  CHECK_THAT(refuse_quantize(session.get(), gptq.get(), &good, channels.get()).message, Contains("no gram"));
  const float one = 1;
  CHECK(refuse_quantize(session.get(), rtn.get(), &good, nullptr, &one).status == LLMC_INVALID_ARGUMENT);
  for (const float bad : {0.0f, -1.0f, kNan, kInfinity})
    CHECK(refuse_quantize(session.get(), nvfp4.get(), &good, nullptr, &bad).status == LLMC_INVALID_ARGUMENT);
  weight.as<uint16_t>()[130] = 0x7FC0;
  const Refusal nan = refuse_quantize(session.get(), rtn.get(), &good);
  CHECK(nan.status == LLMC_NUMERIC);
  CHECK_THAT(nan.message, Contains("[1, 2]"));
  float scale = 0;
  CHECK(refusal([&](llmc_error** e) {
          return llmc_global_scale(session.get(), nvfp4.get(), &good, 1, nullptr, &scale, e);
        }).status == LLMC_NUMERIC);
  CHECK(refusal([&](llmc_error** e) {
          return llmc_global_scale(session.get(), rtn.get(), &good, 1, nullptr, &scale, e);
        }).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal([&](llmc_error** e) {
          return llmc_global_scale(session.get(), nvfp4.get(), &good, 0, nullptr, &scale, e);
        }).status == LLMC_INVALID_ARGUMENT);
}

TEST_CASE("threads, sessions and odd addresses change no byte of a matrix") {
  Tensor weight = random_tensor(DType::bf16, {70, 256}, 7);
  std::vector<char> shifted(static_cast<size_t>(weight.bytes()) + 1);
  std::memcpy(shifted.data() + 1, weight.data(), static_cast<size_t>(weight.bytes()));
  for (const int32_t method : {LLMC_METHOD_RTN, LLMC_METHOD_GPTQ}) {
    const auto scheme = new_scheme("W4A16_ASYM", method);
    const auto one = new_session(1), three = new_session(3);
    const auto gram = seen_gram(one.get(), 256);
    const auto a = quantize(one.get(), scheme.get(), tensor_of(weight), gram.get());
    const auto b = quantize(three.get(), scheme.get(),
                            tensor_of(shifted.data() + 1, LLMC_DTYPE_BFLOAT16, weight.shape()), gram.get());
    for (const int32_t part : {LLMC_PART_CODES, LLMC_PART_SCALES, LLMC_PART_ZERO_POINTS})
      CHECK(part_bytes(a.get(), part) == part_bytes(b.get(), part));
  }
}

TEST_CASE("two threads with sessions of their own share a scheme, a gram and a matrix") {
  const auto scheme = new_scheme("W4A16", LLMC_METHOD_GPTQ);
  const auto first = new_session();
  const auto gram = seen_gram(first.get(), 128);
  Tensor weight = random_tensor(DType::bf16, {16, 128}, 9);
  const llmc_tensor view = tensor_of(weight);
  const auto shared = quantize(first.get(), scheme.get(), view, gram.get());
  const std::string expected = part_bytes(shared.get(), LLMC_PART_CODES);
  std::atomic<int> wrong{0};
  const auto work = [&] {
    const auto session = new_session();
    for (int i = 0; i < 20; ++i) {
      const auto matrix = quantize(session.get(), scheme.get(), view, gram.get());
      wrong += part_bytes(matrix.get(), LLMC_PART_CODES) != expected;
      wrong += stored(pack(session.get(), shared.get()).get()).names.size() != 3;
    }
  };
  std::thread other(work);
  work();
  other.join();
  CHECK(wrong == 0);
}

TEST_CASE("a session that is cancelled beforehand ends the next call of the tensor level, once") {
  const auto session = new_session();
  const auto scheme = new_scheme("FP8_DYNAMIC");
  const auto gram = new_gram(4);
  Tensor data = random_tensor(DType::f32, {2, 4}, 1);
  const llmc_tensor tensor = tensor_of(data);
  llmc_session_cancel(session.get());
  CHECK(refuse_quantize(session.get(), scheme.get(), &tensor).status == LLMC_CANCELLED);
  const auto matrix = quantize(session.get(), scheme.get(), tensor);
  llmc_session_cancel(session.get());
  CHECK(refusal([&](llmc_error** e) {
          return llmc_gram_add(session.get(), gram.get(), &tensor, e);
        }).status == LLMC_CANCELLED);
  add(session.get(), gram.get(), tensor);  // the gram is whole
  llmc_session_cancel(session.get());
  llmc_packed* packed = nullptr;
  CHECK(refusal([&](llmc_error** e) { return llmc_pack(session.get(), matrix.get(), &packed, e); }).status ==
        LLMC_CANCELLED);
}

TEST_CASE("a long GPTQ call that another thread cancels ends in the middle, and the session goes on") {
  const auto session = new_session(2);
  const auto scheme = new_scheme("W4A16", LLMC_METHOD_GPTQ);
  const int64_t columns = 1024;
  const auto gram = new_gram(columns);
  Tensor x = random_tensor(DType::f32, {64, columns}, 1),
         weight = random_tensor(DType::f32, {8192, columns}, 2);
  add(session.get(), gram.get(), tensor_of(x));
  const llmc_tensor tensor = tensor_of(weight);
  std::atomic<bool> ended{false};
  std::thread other([&] {  // over and over: one of them comes while it runs
    while (!ended) {
      llmc_session_cancel(session.get());
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  llmc_matrix* matrix = nullptr;
  const llmc_status status = llmc_quantize_matrix(session.get(), scheme.get(), &tensor, gram.get(), nullptr,
                                                  &matrix, nullptr);
  ended = true;
  other.join();
  CHECK(status == LLMC_CANCELLED);
  CHECK(matrix == nullptr);
  // a late request is used up
  while (llmc_quantize_matrix(session.get(), scheme.get(), &tensor, gram.get(), nullptr, &matrix, nullptr) ==
         LLMC_CANCELLED) {
  }
  CHECK(matrix != nullptr);
  llmc_matrix_free(matrix);
}

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
    must([&](llmc_error** e) { return llmc_matrix_part(matrix.get(), LLMC_PART_CODES, &codes, e); });
    must([&](llmc_error** e) { return llmc_matrix_part(matrix.get(), LLMC_PART_SCALES, &scales, e); });
    const bool asymmetric = llmc_matrix_part(matrix.get(), LLMC_PART_ZERO_POINTS, &zeros, nullptr) == LLMC_OK;
    const auto global = static_cast<float>(facts_of(matrix.get()).global_scale);
    llmc_matrix* made = nullptr;
    must([&](llmc_error** e) {
      return llmc_matrix_create(scheme.get(), &codes, &scales, asymmetric ? &zeros : nullptr,
                                global > 0 ? &global : nullptr, LLMC_DTYPE_BFLOAT16, &made, e);
    });
    const OwnedMatrix assembled(made);
    const auto again = pack(session.get(), assembled.get());
    const Stored first = stored(packed.get()), second = stored(again.get());
    REQUIRE(first.names.size() == second.names.size());
    for (size_t i = 0; i < first.names.size(); ++i)
      CHECK((first.names[i] == std::string(second.names[i]) &&
             bytes_of(first.tensors[i]) == bytes_of(second.tensors[i])));

    // Asymmetric schemes need their zero points, symmetric ones have none.
    llmc_matrix* none = nullptr;
    CHECK(refusal([&](llmc_error** e) {
            return llmc_matrix_create(scheme.get(), &codes, &scales, asymmetric ? nullptr : &codes,
                                      global > 0 ? &global : nullptr, LLMC_DTYPE_BFLOAT16, &none, e);
          }).status == LLMC_INVALID_ARGUMENT);
    CHECK(refusal([&](llmc_error** e) {
            return llmc_matrix_create(scheme.get(), &scales, &codes, asymmetric ? &zeros : nullptr,
                                      global > 0 ? &global : nullptr, LLMC_DTYPE_BFLOAT16, &none, e);
          }).status == LLMC_INVALID_ARGUMENT);
    const float one = 1;
    CHECK(refusal([&](llmc_error** e) {
            return llmc_matrix_create(scheme.get(), &codes, &scales, asymmetric ? &zeros : nullptr,
                                      global > 0 ? nullptr : &one, LLMC_DTYPE_BFLOAT16, &none, e);
          }).status == LLMC_INVALID_ARGUMENT);
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
    const Refusal refused = refusal([&](llmc_error** e) {
      return llmc_unpack(session.get(), scheme.get(), from.names.data(), from.tensors.data(),
                         static_cast<int32_t>(from.tensors.size()), dtype, &out, e);
    });
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
    CHECK(refusal([&](llmc_error** e) {
            return llmc_packed_tensor(packed.get(), index, nullptr, nullptr, e);
          }).status == LLMC_INVALID_ARGUMENT);
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
    return refusal(
               [&](llmc_error** e) { return llmc_matrix_dequantize(session.get(), matrix.get(), &out, e); })
        .status;
  };
  CHECK(status(room.data(), LLMC_DTYPE_FLOAT32, {8, 4}) == LLMC_INVALID_ARGUMENT);
  CHECK(status(room.data(), LLMC_DTYPE_FLOAT32, {32}) == LLMC_INVALID_ARGUMENT);
  CHECK(status(room.data(), LLMC_DTYPE_INT8, {4, 8}) == LLMC_INVALID_ARGUMENT);
  CHECK(status(room.data() + 1, LLMC_DTYPE_FLOAT32, {4, 8}) == LLMC_INVALID_ARGUMENT);
  const int64_t transposed[2] = {1, 4};
  CHECK(status(room.data(), LLMC_DTYPE_FLOAT32, {4, 8}, transposed) == LLMC_INVALID_ARGUMENT);
  CHECK(room == std::vector<char>(300, 7));
}

// ---- the writer -------------------------------------------------------------------------------------------

TEST_CASE("a written folder is sound, holds what was given and appears at the end alone") {
  WriterJob job;
  {
    const auto writer = job.planned();
    job.give_norm(writer.get());
    job.give_matrix(writer.get());
    must([&](llmc_error** e) { return llmc_writer_add_file(writer.get(), "tokenizer.json", "{}", 2, e); });
    CHECK_FALSE(std::filesystem::exists(job.output));
    job.finish(writer.get());
  }
  CHECK(std::distance(std::filesystem::directory_iterator(job.scratch.path()), {}) == 1);
  CHECK(read_text(job.output + "/tokenizer.json") == "{}");
  const auto config = nlohmann::json::parse(read_text(job.output + "/config.json"));
  CHECK(config["model_type"] == "toy");
  CHECK(config["quantization_config"]["config_groups"]["group_0"]["targets"] == nlohmann::json{"Linear"});
  llmc_verify_options verify{};
  verify.struct_size = sizeof verify;
  verify.model_dir = job.output.c_str();
  char* json = nullptr;
  must([&](llmc_error** e) { return llmc_verify(job.session.get(), &verify, &json, e); });
  CHECK(nlohmann::json::parse(json)["sound"] == true);
  llmc_json_free(json);
}

TEST_CASE("two schemes, an ignored matrix and a fixed activation scale get their place in the config") {
  WriterJob job;
  const auto fp8 = new_scheme("FP8");
  const auto second = quantize(job.session.get(), fp8.get(), tensor_of(job.weight));
  const auto writer = job.planned();
  must([&](llmc_error** e) {
    return llmc_writer_plan_matrix(writer.get(), "fc2", fp8.get(), LLMC_DTYPE_BFLOAT16, 6, 128, e);
  });
  const int64_t shape[2] = {6, 128};
  must([&](llmc_error** e) {
    return llmc_writer_plan_tensor(writer.get(), "head.weight", LLMC_DTYPE_BFLOAT16, shape, 2, e);
  });
  job.give_norm(writer.get());
  job.give_matrix(writer.get());
  must([&](llmc_error** e) {
    return llmc_writer_add_matrix(job.session.get(), writer.get(), "fc2", second.get(), e);
  });
  const llmc_tensor head = tensor_of(job.weight);
  must([&](llmc_error** e) {
    return llmc_writer_add_tensor(job.session.get(), writer.get(), "head.weight", &head, e);
  });
  CHECK_THAT(
      refusal([&](llmc_error** e) { return llmc_writer_finish(job.session.get(), writer.get(), e); }).message,
      Contains("fc2.input_scale"));
  const auto range = [&](const char* module, int32_t activation, float low, float high) {
    return refusal([&](llmc_error** e) {
             return llmc_writer_add_range(writer.get(), module, activation, low, high, e);
           })
        .status;
  };
  CHECK(range("fc1", LLMC_ACTIVATION_INPUT, -1, 1) == LLMC_INVALID_ARGUMENT);  // W4A16 fixes none
  CHECK(range("fc2", LLMC_ACTIVATION_OUTPUT, -1, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(range("fc2", 3, -1, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(range("fc3", LLMC_ACTIVATION_INPUT, -1, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(range("fc2", LLMC_ACTIVATION_INPUT, 1, -1) == LLMC_INVALID_ARGUMENT);
  CHECK(range("fc2", LLMC_ACTIVATION_INPUT, kNan, 1) == LLMC_INVALID_ARGUMENT);
  must([&](llmc_error** e) {
    return llmc_writer_add_range(writer.get(), "fc2", LLMC_ACTIVATION_INPUT, -2, 4.48f, e);
  });
  CHECK(range("fc2", LLMC_ACTIVATION_INPUT, -2, 4) == LLMC_INVALID_ARGUMENT);  // once
  job.finish(writer.get());
  const auto config = nlohmann::json::parse(read_text(job.output + "/config.json"))["quantization_config"];
  CHECK(config["ignore"] == nlohmann::json{"head"});
  CHECK(config["config_groups"]["group_1"]["targets"] == nlohmann::json{"fc2"});
  // bfloat16(4.48 / 448)
  CHECK(llmc::SafetensorsFile(job.output + "/model.safetensors").read("fc2.input_scale").as<uint16_t>()[0] ==
        0x3C24);
}

TEST_CASE("a writer refuses what contradicts its plan, and goes on") {
  WriterJob job;
  const auto writer = job.planned();
  llmc_session* const s = job.session.get();
  llmc_writer* const w = writer.get();
  const auto refused = [](auto call) { return refusal(call).status; };
  const int64_t shape[2] = {6, 128}, negative[1] = {-1}, huge[2] = {INT64_MAX, 8};
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "norm.weight", LLMC_DTYPE_BFLOAT16, shape, 1, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "fc1.weight_packed", LLMC_DTYPE_INT32, shape, 1, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "", LLMC_DTYPE_BFLOAT16, shape, 1, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, nullptr, LLMC_DTYPE_BFLOAT16, shape, 1, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "__metadata__", LLMC_DTYPE_BFLOAT16, shape, 1, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "\xff", LLMC_DTYPE_BFLOAT16, shape, 1, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) { return llmc_writer_plan_tensor(w, "a", 99, shape, 1, e); }) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "a", LLMC_DTYPE_BFLOAT16, nullptr, 1, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "a", LLMC_DTYPE_BFLOAT16, shape, -1, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "a", LLMC_DTYPE_BFLOAT16, shape, 9, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "a", LLMC_DTYPE_BFLOAT16, negative, 1, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "a", LLMC_DTYPE_BFLOAT16, huge, 2, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_matrix(w, "fc1", job.scheme.get(), LLMC_DTYPE_BFLOAT16, 6, 128, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_matrix(w, "b", nullptr, LLMC_DTYPE_BFLOAT16, 6, 128, e);
        }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_matrix(w, "b", job.scheme.get(), LLMC_DTYPE_INT8, 6, 128, e);
        }) == LLMC_INVALID_ARGUMENT);
  for (const int64_t rows : {int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX})
    CHECK(refused([&](llmc_error** e) {
            return llmc_writer_plan_matrix(w, "b", job.scheme.get(), LLMC_DTYPE_BFLOAT16, rows, 128, e);
          }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_matrix(w, "b", job.scheme.get(), LLMC_DTYPE_BFLOAT16, 6, 100, e);
        }) == LLMC_INVALID_ARGUMENT);

  const llmc_tensor norm = tensor_of(job.norm);
  CHECK(refused([&](llmc_error** e) { return llmc_writer_add_tensor(s, w, "other", &norm, e); }) ==
        LLMC_INVALID_ARGUMENT);
  llmc_tensor wrong = norm;
  wrong.dtype = LLMC_DTYPE_FLOAT16;
  CHECK(refused([&](llmc_error** e) { return llmc_writer_add_tensor(s, w, "norm.weight", &wrong, e); }) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) { return llmc_writer_add_matrix(s, w, "norm", job.matrix.get(), e); }) ==
        LLMC_INVALID_ARGUMENT);
  const auto other = quantize(s, new_scheme("W8A16").get(), tensor_of(job.weight));
  CHECK(refused([&](llmc_error** e) { return llmc_writer_add_matrix(s, w, "fc1", other.get(), e); }) ==
        LLMC_INVALID_ARGUMENT);
  Tensor bad = Tensor::copy_of(job.norm);
  bad.as<uint16_t>()[5] = 0x7F80;
  const llmc_tensor infinite = tensor_of(bad);
  CHECK(refused([&](llmc_error** e) { return llmc_writer_add_tensor(s, w, "norm.weight", &infinite, e); }) ==
        LLMC_NUMERIC);
  for (const char* name :
       {"config.json", "model.safetensors", "../x", "a/b", "", "model.safetensors.index.json"})
    CHECK(refused([&](llmc_error** e) { return llmc_writer_add_file(w, name, "x", 1, e); }) ==
          LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) { return llmc_writer_add_file(w, "x", nullptr, 1, e); }) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) { return llmc_writer_add_file(w, "x", "x", -1, e); }) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) { return llmc_writer_finish(s, w, e); }) == LLMC_INVALID_ARGUMENT);

  job.give_norm(w);
  CHECK(refused([&](llmc_error** e) { return llmc_writer_add_tensor(s, w, "norm.weight", &norm, e); }) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) {
          return llmc_writer_plan_tensor(w, "late", LLMC_DTYPE_BFLOAT16, shape, 1, e);
        }) == LLMC_INVALID_ARGUMENT);
  job.give_matrix(w);
  job.finish(w);
  CHECK(refused([&](llmc_error** e) { return llmc_writer_finish(s, w, e); }) == LLMC_INVALID_ARGUMENT);
  CHECK(refused([&](llmc_error** e) { return llmc_writer_add_file(w, "x", "x", 1, e); }) ==
        LLMC_INVALID_ARGUMENT);
}

TEST_CASE("a writer that is freed before its end leaves nothing, and one that cannot start says why") {
  WriterJob job;
  {
    const auto writer = job.planned();
    job.give_matrix(writer.get());
  }
  CHECK(job.left_nothing());
  const auto status = [&](auto change) {
    llmc_writer_options options = job.options();
    change(options);
    llmc_writer* writer = reinterpret_cast<llmc_writer*>(16);
    const Refusal refused = refusal([&](llmc_error** e) { return llmc_writer_create(&options, &writer, e); });
    CHECK(writer == nullptr);
    return refused.status;
  };
  CHECK(status([](auto& o) { o.struct_size = 4; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.output_dir = nullptr; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.config_json = nullptr; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.config_json = "{"; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.config_json = "[]"; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.compat = 9; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.overwrite = 9; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.reserved = 1; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.max_shard_bytes = -1; }) == LLMC_INVALID_ARGUMENT);
  CHECK(job.left_nothing());
  std::filesystem::create_directories(job.output + "/full");
  CHECK(status([](auto&) {}) == LLMC_EXISTS);
}
