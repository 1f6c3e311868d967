#include <catch2/catch.hpp>
#include <cmath>

#include "core/json/json_value.hpp"

using namespace llmc;

namespace {

std::string round_trip(std::string_view text) { return dump_json_like_python(parse_json(text, "test")); }

}  // namespace

TEST_CASE("numbers are printed as Python prints them") {
  const std::pair<const char*, const char*> rows[] = {
      {"1e-6", "1e-06"},
      {"0.00001", "1e-05"},
      {"0.0001", "0.0001"},
      {"500000.0", "500000.0"},
      {"1e4", "10000.0"},
      {"1E16", "1e+16"},
      {"1.5e300", "1.5e+300"},
      {"0.1", "0.1"},
      {"-0.0", "-0.0"},
      {"12345678.9", "12345678.9"},
      {"1.0", "1.0"},
      {"123456789012345678901234567890", "123456789012345678901234567890"},
      {"9007199254740993", "9007199254740993"},
      {"-7", "-7"},
      {"0.044194173824159216", "0.044194173824159216"},
      {"18446744073709551615", "18446744073709551615"},
  };
  for (const auto& [text, printed] : rows) CHECK(round_trip(text) == printed);
}

TEST_CASE("keys are sorted, two blanks indent, empty lists stay on their line, and text is ASCII") {
  CHECK(round_trip(R"({"b":[1,{}],"a":[],"A":"\u00e9\n\"\ud83d\ude00/"})") ==
        "{\n  \"A\": \"\\u00e9\\n\\\"\\ud83d\\ude00/\",\n  \"a\": [],\n  \"b\": [\n    1,\n    {}\n  ]\n}");
}

TEST_CASE("of two equal keys the last one wins, unless they are refused") {
  CHECK(round_trip(R"({"a":1,"a":2})") == "{\n  \"a\": 2\n}");
  CHECK_THROWS_WITH(parse_json(R"({"a":1,"a":2})", "place", JsonDialect::strict),
                    "place: key 'a' is there twice");
}

TEST_CASE("broken or bottomless JSON is an error, not a crash") {
  for (const char* text : {"", "{", "[1,]", "{\"a\"}", "nul", "\"\xff\"", "{} {}", "1e"})
    CHECK_THROWS_AS(parse_json(text, "place"), Error);
  CHECK_THROWS_WITH(parse_json(std::string(100000, '['), "place"), "place: is nested deeper than 200 levels");
}

TEST_CASE(
    "NaN and Infinity are read and written back as Python does, outside of texts and strict JSON alone") {
  const std::string text = R"({"a": [0.0, Infinity], "b": -Infinity, "c": NaN, "d": "NaN \"Infinity\" \\"})";
  CHECK(dump_json_compact(parse_json(text, "place")) == text);
  CHECK(std::isinf(parse_json("Infinity", "place").as_double().value()));
  CHECK(std::isnan(parse_json("NaN", "place").as_double().value()));
  CHECK_FALSE(parse_json("-Infinity", "place").as_int());
  for (const char* broken : {"Infinit", "+Infinity", "NaNNaN", "{NaN: 1}", "InfinityNaN"})
    CHECK_THROWS_AS(parse_json(broken, "place"), Error);
  CHECK_THROWS_AS(parse_json("NaN", "place", JsonDialect::strict), Error);
  for (const char* broken : {"[1NaN]", "[NaN5]", "[Nan]", "[--Infinity]", "[- Infinity]", "[NaN NaN]",
                             "[Infinity\"\"]", "[infinity]"})
    CHECK_THROWS_AS(parse_json(broken, "place"), Error);
}

TEST_CASE("a fault behind a NaN is at its own byte, and no number of the file is taken for one") {
  CHECK_THROWS_WITH(parse_json("[NaN, Infinity, x]", "place"), "place: is not valid JSON at byte 17");
  const std::string twin = "0e00000000", longer = twin + "00000000";
  const JsonValue value = parse_json("[" + twin + "1, NaN, " + longer + "1]", "place");
  CHECK(value.items[0].as_double() == 0.0);
  CHECK(value.items[1].text == "NaN");
  CHECK(value.items[2].as_double() == 0.0);
  CHECK_THROWS_AS(parse_json("[0e" + std::string(5000, '0') + "1, NaN]", "place"), Error);
}

TEST_CASE("C++ values become the JSON they look like") {
  const std::vector<std::string> names{"a", "b"};
  const JsonValue json = JsonValue::object({{"name", "x"},
                                            {"yes", true},
                                            {"bytes", int64_t{9007199254740993}},
                                            {"count", size_t{3}},
                                            {"bits", 4.5},
                                            {"whole", 2.0},
                                            {"small", 1e-5},
                                            {"none", std::nan("")},
                                            {"names", names},
                                            {"no_names", std::vector<std::string>{}}});
  CHECK(dump_json_utf8(json) ==
        R"({"name":"x","yes":true,"bytes":9007199254740993,"count":3,"bits":4.5,"whole":2.0,"small":1e-05,)"
        R"("none":null,"names":["a","b"],"no_names":[]})");
}

TEST_CASE("UTF-8 is written as it is; what is none becomes U+FFFD, one for each broken sequence") {
  const auto written = [](std::string_view text) { return dump_json_utf8(JsonValue(text)); };
  CHECK(written("\xC3\xA9\xC2\xA0 \xF0\x9F\x98\x80") == "\"\xC3\xA9\xC2\xA0 \xF0\x9F\x98\x80\"");
  CHECK(written("\x7F\xC2\x9B") == R"("\u007f\u009b")");
  CHECK(written("a\n\x1B\"\\") == R"("a\n\u001b\"\\")");
  const std::string bad = "\xEF\xBF\xBD";
  const std::pair<std::string, std::string> rows[] = {
      {"\xFFz", bad + "z"},                            // no first byte
      {"\xC3", bad},                                   // cut short
      {"\xE2\x82z", bad + "z"},                        // cut short by a letter
      {"\xC0\x80", bad + bad},                         // longer than needed
      {"\xED\xA0\x80", bad + bad + bad},               // a surrogate
      {"\xF4\x90\x80\x80", bad + bad + bad + bad},     // above U+10FFFF
      {"\xE2\x82\xE2\x82\xAC", bad + "\xE2\x82\xAC"},  // a whole one after a part of one
  };
  for (const auto& [text, out] : rows) {
    CAPTURE(text);
    CHECK(written(text) == "\"" + out + "\"");
    CHECK_FALSE(is_utf8(text));
  }
  CHECK(is_utf8("\xE2\x82\xAC and ASCII"));
}
