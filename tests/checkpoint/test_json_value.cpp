#include <catch2/catch.hpp>

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
  CHECK_THROWS_WITH(parse_json(R"({"a":1,"a":2})", "place", JsonRules::strict),
                    "place: key 'a' is there twice");
}

TEST_CASE("broken or bottomless JSON is an error, not a crash") {
  for (const char* text : {"", "{", "[1,]", "{\"a\"}", "nul", "\"\xff\"", "{} {}", "1e"})
    CHECK_THROWS_AS(parse_json(text, "place"), Error);
  CHECK_THROWS_WITH(parse_json(std::string(100000, '['), "place"), "place: is nested deeper than 200 levels");
}
