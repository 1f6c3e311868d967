// The tensor level from C++: examples small enough for paper, whole folders, and errors.
#include "capi/cpp_layer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

using namespace llmc::test;

namespace {

constexpr const char* kChannel = "{num_bits: 4, strategy: channel, symmetric: true}";

// Numbers that are neither equal nor ordered.
std::vector<float> wild(int64_t count) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(static_cast<float>((i * i * 31 + i * 7) % 1009) / 500 - 1);
  return values;
}

template <class T>
std::vector<T> values(const cpp::TensorRef& tensor) {
  return std::vector<T>(tensor.data<T>(), tensor.data<T>() + tensor.size());
}

std::vector<std::pair<std::string, std::vector<uint8_t>>> bytes(const cpp::Packed& packed) {
  std::vector<std::pair<std::string, std::vector<uint8_t>>> all;
  for (const auto& [name, tensor] : packed.tensors()) {
    const auto* first = static_cast<const uint8_t*>(tensor.data());
    all.emplace_back(name,
                     std::vector<uint8_t>(first, first + tensor.size() * cpp::dtype_size(tensor.dtype())));
  }
  return all;
}

}  // namespace

TEST_CASE(
    "C++: a gram is the sum of outer products with figures by channel, from numbers, bits, strides and "
    "DLPack") {
  auto session = cpp_session(1);
  cpp::Gram gram(2), bits(2), strided(2), lent(2);
  const float numbers[] = {1, 2, -3, 4}, wide[] = {1, -3, 9, 2, 4};
  gram.add(session, {numbers, {2, 2}});
  CHECK((gram.channels() == 2 && gram.tokens() == 2 && gram.samples() == 1));
  CHECK(gram.matrix() == std::vector<float>{10, -10, -10, 20});
  const cpp::Channels seen = gram.statistics();
  CHECK((seen.minimum == std::vector<float>{-3, 2} && seen.maximum == std::vector<float>{1, 4}));
  CHECK((seen.sum_absolute == std::vector<double>{4, 6} && seen.sum_squares == std::vector<double>{10, 20}));
  const uint16_t words[] = {0x3f80, 0x4000, 0xc040, 0x4080};
  bits.add(session, {words, LLMC_DTYPE_BFLOAT16, {2, 2}});
  strided.add(session, {wide, {2, 2}, {1, 3}});
  const int64_t shape[] = {2, 2}, strides[] = {1, 3};
  struct {
    const void* data;
    int32_t device_type, device_id, ndim;
    uint8_t code, bits;
    uint16_t lanes;
    const int64_t *shape, *strides;
    uint64_t byte_offset;
  } dl_tensor{wide, 1, 0, 2, 2, 32, 1, shape, strides, 0};
  lent.add(session, cpp::TensorRef::from_dlpack(&dl_tensor));
  for (const cpp::Gram* other : {&bits, &strided, &lent}) CHECK(other->matrix() == gram.matrix());
}

TEST_CASE("C++: merged grams and one from a file equal that of the concatenation") {
  const ScratchFolder scratch;
  auto session = cpp_session(2);
  const std::vector<float> all = wild(64 * 16);
  cpp::Gram first(16), second(16), both(16);
  const cpp::TensorRef a(all.data(), {40, 16}), b(all.data() + 40 * 16, {24, 16});
  first.add(session, a);
  second.add(session, b);
  both.add(session, a);
  both.add(session, b);
  second.save(scratch / "second");
  first.merge(cpp::Gram::load(scratch / "second"));
  CHECK((first.matrix() == both.matrix() && first.tokens() == 64 && first.samples() == 2));
  CHECK(first.statistics().maximum == both.statistics().maximum);
  CHECK(status_of([&] { first.merge(cpp::Gram(3)); }) == LLMC_INVALID_ARGUMENT);
  CHECK(status_of([&] { cpp::Gram(3, LLMC_GRAM_CHANNELS).matrix(); }) == LLMC_INVALID_ARGUMENT);
  CHECK(status_of([&] { cpp::Gram::load(scratch / "none"); }) == LLMC_NOT_FOUND);
  const std::vector<float> nan(16, std::numeric_limits<float>::quiet_NaN());
  CHECK(status_of([&] { first.add(session, {nan.data(), {16}}); }) == LLMC_NUMERIC);
  CHECK(first.tokens() == 64);
}

TEST_CASE("C++: smoothing moves a factor from the norm to the weights") {
  auto session = cpp_session(1);
  cpp::Gram gram(2, LLMC_GRAM_CHANNELS);
  const float inputs[] = {8, 1, -8, -1};
  gram.add(session, {inputs, {2, 2}});
  std::vector<float> weight{1, 1}, norm{32, 6};
  cpp::Smoothing how;
  how.strength = 1;
  const std::vector<float> scales = gram.smooth_scales({{weight.data(), {1, 2}}}, how);
  CHECK(scales == std::vector<float>{16, 2});  // range(x)
  cpp::smooth_apply({weight.data(), {1, 2}}, scales, LLMC_SMOOTH_MULTIPLY);
  cpp::smooth_apply({norm.data(), {2}}, scales, LLMC_SMOOTH_DIVIDE);
  CHECK((weight == std::vector<float>{16, 2} && norm == std::vector<float>{2, 3}));
  CHECK(status_of([&] {
          cpp::smooth_apply({norm.data(), {2}}, {1, 1, 1}, LLMC_SMOOTH_DIVIDE_PLUS_ONE);
        }) == LLMC_INVALID_ARGUMENT);
  how.strength = 2;
  CHECK(status_of([&] { gram.smooth_scales({{weight.data(), {1, 2}}}, how); }) == LLMC_INVALID_ARGUMENT);
}

TEST_CASE("C++: rounding to nearest, packing and back; views stay where the matrix moves") {
  auto session = cpp_session(1);
  const float weight[] = {-7, 7, 1, -1, -14, 14, 2, 0};  // the largest of a row becomes 7.5 steps of int4
  const cpp::Scheme scheme = cpp::Scheme::rtn(kChannel);
  CHECK(scheme.format() == "pack-quantized");
  cpp::Matrix first = cpp::Matrix::quantize(session, scheme, {weight, {2, 4}});
  const cpp::TensorRef view = first.codes();
  const cpp::Matrix matrix = std::move(first);
  const std::vector<int8_t> codes = values<int8_t>(view);
  const cpp::TensorRef scales = matrix.scales();
  CHECK((scales.shape() == std::vector<int64_t>{2, 1} && scales.dtype() == LLMC_DTYPE_FLOAT32 &&
         codes.size() == 8));
  for (size_t i = 0; i < 8; ++i)
    CHECK(codes[i] ==
          std::clamp(static_cast<int>(std::nearbyint(weight[i] / scales.data<float>()[i / 4])), -8, 7));
  CHECK((!matrix.zero_points() && !matrix.order()));
  const cpp::MatrixFacts facts = matrix.facts();
  CHECK((facts.method == LLMC_METHOD_RTN && facts.rows == 2 && facts.columns == 4 &&
         facts.format == "pack-quantized" && facts.model_dtype == LLMC_DTYPE_FLOAT32 &&
         facts.global_scale == 0));

  const cpp::Packed packed = matrix.pack(session);
  CHECK(bytes(packed)[0].first == "weight_packed");
  for (const cpp::Matrix& other :
       {cpp::Matrix::unpack(session, scheme, packed.tensors(), LLMC_DTYPE_FLOAT32),
        cpp::Matrix::from_parts(scheme, matrix.codes(), scales, {}, {}, LLMC_DTYPE_FLOAT32)}) {
    CHECK(values<int8_t>(other.codes()) == codes);
    CHECK(bytes(other.pack(session)) == bytes(packed));
    CHECK(other.facts().method == 0);
  }
  std::vector<float> served(8);
  matrix.dequantize(session, {served.data(), {2, 4}});
  CHECK(served[5] == static_cast<float>(codes[5]) * scales.data<float>()[1]);
}

TEST_CASE("C++: GPTQ with settings, asymmetric parts, and a scale that fused weights share") {
  auto session = cpp_session(2);
  const std::vector<float> weight = wild(8 * 64), inputs = wild(256 * 64);
  cpp::Gram gram(64);
  gram.add(session, {inputs.data(), {256, 64}});
  cpp::SchemeOptions options;
  options.scheme = "{num_bits: 4, group_size: 32, strategy: group, symmetric: false}";
  options.method = LLMC_METHOD_GPTQ;
  options.activation_order = true;
  options.dampening_frac = 0.02;
  options.block_size = 32;
  const cpp::Scheme scheme(options);
  const cpp::Matrix matrix = cpp::Matrix::quantize(session, scheme, {weight.data(), {8, 64}}, &gram);
  const cpp::MatrixFacts facts = matrix.facts();
  CHECK((facts.method == LLMC_METHOD_GPTQ && facts.dampening == 0.02 && facts.loss > 0));
  std::vector<int32_t> order = values<int32_t>(matrix.order().value());
  std::sort(order.begin(), order.end());
  for (int32_t i = 0; i < 64; ++i) CHECK(order[static_cast<size_t>(i)] == i);
  REQUIRE(matrix.zero_points());
  const cpp::Matrix again = cpp::Matrix::from_parts(scheme, matrix.codes(), matrix.scales(),
                                                    matrix.zero_points(), {}, LLMC_DTYPE_FLOAT32);
  CHECK(values<int8_t>(*again.zero_points()) == values<int8_t>(*matrix.zero_points()));
  CHECK(status_of([&] {
          cpp::Matrix::quantize(session, scheme, {weight.data(), {8, 64}});
        }) == LLMC_INVALID_ARGUMENT);
  options.method = LLMC_METHOD_RTN;
  CHECK(status_of([&] { cpp::Scheme{options}; }) == LLMC_INVALID_ARGUMENT);  // settings of GPTQ's alone

  const std::vector<float> small(4 * 32, 0.5f), large(4 * 32, 2);
  const cpp::Scheme fp4 = cpp::Scheme::rtn("NVFP4A16");
  const std::vector<cpp::TensorRef> fused{{small.data(), {4, 32}}, {large.data(), {4, 32}}};
  const float shared = fp4.global_scale(session, fused);
  CHECK(shared == fp4.global_scale(session, {fused[1]}));
  CHECK(cpp::Matrix::quantize(session, fp4, fused[0], nullptr, shared).facts().global_scale ==
        static_cast<double>(shared));
  CHECK(status_of([&] { scheme.global_scale(session, fused); }) == LLMC_INVALID_ARGUMENT);
}

TEST_CASE("C++: a writer gives the bytes of a whole run, or nothing") {
  const ScratchFolder scratch;
  auto session = cpp_session(2);
  const MicroLlama model;
  const cpp::Scheme scheme = cpp::Scheme::rtn("W4A16");
  const auto quantized = [](const std::string& name) {
    return name.size() > 12 && name.compare(name.size() - 12, 12, "_proj.weight") == 0;
  };
  const auto module = [](const std::string& name) { return name.substr(0, name.size() - 7); };
  {
    cpp::Writer writer(scratch / "own", model.config);
    for (size_t i = 0; i < model.names.size(); ++i) {
      const std::vector<int64_t>& shape = model.values[i].shape();
      if (quantized(model.names[i]))
        writer.plan_matrix(module(model.names[i]), scheme, LLMC_DTYPE_BFLOAT16, shape[0], shape[1]);
      else writer.plan_tensor(model.names[i], LLMC_DTYPE_BFLOAT16, shape);
    }
    for (size_t i = 1; i < model.names.size(); ++i) {
      if (quantized(model.names[i]))
        writer.add_matrix(session, module(model.names[i]),
                          cpp::Matrix::quantize(session, scheme, model.tensor(i)));
      else writer.add_tensor(session, model.names[i], model.tensor(i));
    }
    CHECK(status_of([&] { writer.finish(session); }) == LLMC_INVALID_ARGUMENT);  // the first is missing
    CHECK(!std::filesystem::exists(scratch / "own"));
    REQUIRE(!quantized(model.names[0]));
    writer.add_tensor(session, model.names[0], model.tensor(0));
    CHECK(status_of([&] { writer.add_range("none", LLMC_ACTIVATION_INPUT, -1, 1); }) != LLMC_OK);
    writer.add_file("generation_config.json", "hello");
    cpp::Writer moved = std::move(writer);
    moved.finish(session);
  }
  CHECK(read_text(scratch / "own/generation_config.json") == "hello");
  cpp::Oneshot job;
  job.model = golden("micro-llama");
  job.scheme = "W4A16";
  job.output = scratch / "whole";
  session.oneshot(job);
  for (const char* file : {"/model.safetensors", "/config.json"})
    CHECK(read_text(scratch / "own" + file) == read_text(scratch / "whole" + file));

  CHECK(status_of([&] { cpp::Writer(scratch / "own", "{}"); }) == LLMC_EXISTS);
  const std::string before = read_text(scratch / "own/model.safetensors");
  {
    cpp::Writer unfinished(cpp::WriterOptions{scratch / "own", "{}", 0, 0, true});
    unfinished.plan_tensor("x", LLMC_DTYPE_FLOAT32, {1});
    const float x = 1;
    unfinished.add_tensor(session, "x", {&x, {1}});
  }
  CHECK(read_text(scratch / "own/model.safetensors") == before);
  CHECK(std::distance(std::filesystem::directory_iterator(scratch.path()), {}) == 2);
}

TEST_CASE("C++: elements are handed out as their own type or as bits of their size, and nothing else") {
  const float numbers[] = {1, 2, 3, 4, 5, 6};
  const cpp::TensorRef tensor(numbers, {2, 3});
  CHECK((tensor.data<float>() == numbers && tensor.data<uint32_t>()[0] == 0x3f800000 && tensor.size() == 6));
  CHECK(status_of([&] { tensor.data<int32_t>(); }) == LLMC_INVALID_ARGUMENT);
  CHECK(status_of([&] { tensor.data<uint16_t>(); }) == LLMC_INVALID_ARGUMENT);
  CHECK(status_of([&] { cpp::TensorRef(numbers, {3, 2}, {1, 3}).data<float>(); }) == LLMC_INVALID_ARGUMENT);
  CHECK(status_of([&] { cpp::TensorRef(numbers, {3, 2}, {1}); }) == LLMC_INVALID_ARGUMENT);
  CHECK(status_of([&] {
          cpp::source_of("{}", {{"x", cpp::TensorRef(numbers, {3, 2}, {1, 3})}});
        }) == LLMC_INVALID_ARGUMENT);
  cpp::TensorRef lent(numbers, {2, 3});
  lent.on_cuda(1);
  CHECK(status_of([&] { lent.data<float>(); }) == LLMC_INVALID_ARGUMENT);
  CHECK(status_of([&] { cpp::source_of("{}", {{"x", lent}}); }) == LLMC_INVALID_ARGUMENT);
  auto session = cpp_session(1);
  CHECK(status_of([&] { cpp::Gram(3).add(session, lent); }) == LLMC_UNSUPPORTED);
  CHECK(status_of([&] { cpp::Scheme::rtn("W3A99"); }) == LLMC_INVALID_ARGUMENT);
}
