// The promises of llmc_tensor.h about schemes and matrices.
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
  struct BadText {
    const char *what, *text;
  };
  const BadText bad_texts[] = {
      {"no text", nullptr},
      {"an empty text", ""},
      {"null in YAML", "~"},
      {"no such preset", "W4A17"},
      {"a preset that quantizes nothing", "UNQUANTIZED"},
      {"a list", "[1, 2]"},
      {"cut short", "{"},
      {"more bits than there are", "{num_bits: 99}"},
      {"a negative group", "{num_bits: 4, group_size: -7}"},
      {"a mistyped key", "{nun_bits: 4}"},
      {"a float of 4 bits per tensor", "{weights: {num_bits: 4, type: float}}"},
      {"inputs without weights", "{input_activations: {num_bits: 8}}"},
      {"no such format", "{format: nonsense, weights: {num_bits: 4}}"},
      {"a format for other weights", "{format: float-quantized, weights: {num_bits: 4, group_size: 32}}"},
      {"weights per token", "{num_bits: 4, strategy: token, dynamic: true}"},
  };
  for (const auto& [what, text] : bad_texts) {
    CAPTURE(what);
    CHECK(scheme_status(scheme_options(text)) == LLMC_INVALID_ARGUMENT);
  }
  struct BadOption {
    const char* what;
    void (*change)(llmc_scheme_options&);
  };
  const BadOption bad_options[] = {
      {"method above the last", [](auto& o) { o.method = 3; }},
      {"method below the first", [](auto& o) { o.method = -1; }},
      {"compat", [](auto& o) { o.compat = 7; }},
      {"rounding", [](auto& o) { o.rounding = 7; }},
      {"dampening", [](auto& o) { o.dampening = 7; }},
      {"activation_order", [](auto& o) { o.activation_order = 7; }},
      {"a negative block_size", [](auto& o) { o.block_size = -128; }},
      {"a struct_size that is no multiple of 8", [](auto& o) { o.struct_size = 20; }},
      {"dampening_frac below 0", [](auto& o) { o.dampening_frac = -0.01; }},
      {"dampening_frac above 1", [](auto& o) { o.dampening_frac = 1.5; }},
      {"dampening_frac NaN", [](auto& o) { o.dampening_frac = static_cast<double>(kNan); }},
      {"dampening_frac infinite", [](auto& o) { o.dampening_frac = static_cast<double>(kInfinity); }},
  };
  for (const BadOption& bad : bad_options) {
    CAPTURE(bad.what);
    llmc_scheme_options options = scheme_options("W4A16", LLMC_METHOD_GPTQ);
    bad.change(options);
    CHECK(scheme_status(options) == LLMC_INVALID_ARGUMENT);
  }
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
    CHECK(refusal(llmc_matrix_part, matrix.get(), part, &none).status == LLMC_NOT_FOUND);
  for (const int32_t part : {0, -1, 5})
    CHECK(refusal(llmc_matrix_part, matrix.get(), part, &none).status == LLMC_INVALID_ARGUMENT);
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
  CHECK(refusal(llmc_matrix_part, unordered.get(), LLMC_PART_ORDER, &none).status == LLMC_NOT_FOUND);
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
  CHECK(refusal(llmc_global_scale, session.get(), nvfp4.get(), &good, 1, nullptr, &scale).status ==
        LLMC_NUMERIC);
  CHECK(refusal(llmc_global_scale, session.get(), rtn.get(), &good, 1, nullptr, &scale).status ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_global_scale, session.get(), nvfp4.get(), &good, 0, nullptr, &scale).status ==
        LLMC_INVALID_ARGUMENT);
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
  CHECK(refusal(llmc_gram_add, session.get(), gram.get(), &tensor).status == LLMC_CANCELLED);
  add(session.get(), gram.get(), tensor);  // the gram is whole
  llmc_session_cancel(session.get());
  llmc_packed* packed = nullptr;
  CHECK(refusal(llmc_pack, session.get(), matrix.get(), &packed).status == LLMC_CANCELLED);
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
