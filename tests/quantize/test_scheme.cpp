#include <catch2/catch.hpp>

#include "llmc/error.hpp"
#include "llmc/scheme.hpp"

using namespace llmc;

TEST_CASE("there are 29 presets and one that leaves modules alone, found in any case") {
  CHECK(preset_names().size() == 30);
  for (const std::string& name : preset_names()) {
    const Scheme scheme = preset_scheme(name);
    CHECK(scheme.weights.has_value() == (name != "UNQUANTIZED"));
    for (auto args : {scheme.weights, scheme.input_activations}) {
      if (!args) continue;
      const QuantizationArgs before = *args;
      complete_and_check(*args, true, name);
      CHECK(*args == before);
    }
  }
  CHECK(preset_scheme("fp8_Dynamic").weights->strategy == Strategy::channel);
  CHECK_THROWS_AS(preset_scheme("W9A16"), Error);
}

TEST_CASE("the format follows from the scheme") {
  const std::pair<const char*, Format> rows[] = {
      {"W4A16", Format::pack_quantized},       {"W8A8", Format::int_quantized},
      {"W4A8", Format::int_quantized},         {"W4AFP8", Format::int_quantized},
      {"FP8", Format::float_quantized},        {"NVFP4", Format::nvfp4_pack_quantized},
      {"MXFP4", Format::mxfp4_pack_quantized}, {"MXFP8A16", Format::mxfp8_quantized},
      {"UNQUANTIZED", Format::dense},
  };
  for (const auto& [name, format] : rows) CHECK(infer_format(preset_scheme(name)) == format);
  Scheme weights_only = preset_scheme("FP8_DYNAMIC");
  weights_only.input_activations.reset();
  CHECK(infer_format(weights_only) == Format::naive_quantized);
}

TEST_CASE("a strategy that is not given follows from the group size") {
  const std::pair<std::optional<int64_t>, Strategy> rows[] = {
      {std::nullopt, Strategy::tensor}, {64, Strategy::group}, {-1, Strategy::channel}};
  for (const auto& [size, strategy] : rows) {
    QuantizationArgs args;
    args.group_size = size;
    complete_and_check(args, false, "test");
    CHECK(args.strategy == strategy);
  }
}

TEST_CASE("contradictions in a scheme are errors that say what contradicts") {
  struct Row {
    const char* message;
    void (*spoil)(QuantizationArgs&);
  };
  const Row rows[] = {
      {"g: strategy token needs dynamic true", [](QuantizationArgs& a) { a.strategy = Strategy::token; }},
      {"g: strategy group needs a group_size above 0",
       [](QuantizationArgs& a) { a.strategy = Strategy::group; }},
      {"g: group_size is 64, but strategy channel has no groups",
       [](QuantizationArgs& a) {
         a.strategy = Strategy::channel;
         a.group_size = 64;
       }},
      {"g: strategy block and block_structure need each other",
       [](QuantizationArgs& a) { a.strategy = Strategy::block; }},
      {"g: actorder group needs strategy group, got channel",
       [](QuantizationArgs& a) {
         a.strategy = Strategy::channel;
         a.actorder = ActOrder::group;
       }},
      {"g: dynamic quantization cannot have strategy channel",
       [](QuantizationArgs& a) {
         a.strategy = Strategy::channel;
         a.dynamic = Dynamic::yes;
       }},
      {"g: num_bits is 9, integers have 1 to 8", [](QuantizationArgs& a) { a.num_bits = 9; }},
      {"g: num_bits is 6, floats have 4 or 8",
       [](QuantizationArgs& a) {
         a.num_bits = 6;
         a.type = NumberType::floating;
       }},
      {"g: symmetric is false, floats are always symmetric",
       [](QuantizationArgs& a) {
         a.type = NumberType::floating;
         a.symmetric = false;
       }},
  };
  for (const Row& row : rows) {
    QuantizationArgs args;
    row.spoil(args);
    CHECK_THROWS_WITH(complete_and_check(args, true, "g"), row.message);
  }
}

namespace {

template <class E>
void check_names(E last) {
  for (int i = 0; i <= static_cast<int>(last); ++i) {
    const auto value = static_cast<E>(i);
    const std::string name(name_of(value));
    CAPTURE(i, name);
    CHECK(known_names<E>().find(name) != std::string::npos);
    CHECK(parse_name<E>(name) == value);
  }
  CHECK_FALSE(parse_name<E>("nonsense"));
  CHECK_FALSE(parse_name<E>(""));
}

}  // namespace

TEST_CASE("every enumerator has a name that is read back as it; aliases are read, too") {
  check_names(Strategy::attn_head);
  check_names(NumberType::floating);
  check_names(Dynamic::local);
  check_names(Format::mxfp8_quantized);
  CHECK(name_of(ActOrder::none).empty());
  CHECK(name_of(ActOrder::weight) == "static");
  CHECK(name_of(ActOrder::group) == "group");
  CHECK(parse_name<ActOrder>("weight") == ActOrder::weight);
  CHECK(parse_name<ActOrder>("dynamic") == ActOrder::group);
  CHECK(known_names<ActOrder>() == "static, weight, group, dynamic");
}
