#include <catch2/catch.hpp>
#include <cmath>

#include "llmc/graph.hpp"

using namespace llmc;

namespace {

RopeSpec spec(RopeKind kind, double factor) {
  RopeSpec rope;
  rope.kind = kind;
  rope.theta = 10000.0;
  rope.rotary_dim = 8;
  rope.factor = factor;
  rope.max_position = 128;
  rope.original_max_position = 32;
  return rope;
}

}  // namespace

TEST_CASE("plain rope turns channel i by theta^(-2i/d) per position") {
  const auto frequencies = rope_frequencies(spec(RopeKind::standard, 1.0), 16);
  REQUIRE(frequencies.inverse.size() == 4);
  CHECK(frequencies.inverse[0] == 1.0f);
  CHECK(frequencies.inverse[1] == Approx(0.1f));
  CHECK(frequencies.inverse[3] == Approx(0.001f));
}

TEST_CASE("linear rope divides every frequency by the factor") {
  CHECK(rope_frequencies(spec(RopeKind::linear, 4.0), 16).inverse[1] == Approx(0.025f));
}

TEST_CASE("dynamic rope stretches its base only for sequences beyond the model's length") {
  const RopeSpec rope = spec(RopeKind::dynamic, 2.0);
  CHECK(rope_frequencies(rope, 128).inverse[1] == Approx(0.1f));
  const double base = 10000.0 * std::pow(2.0 * 256 / 128 - 1.0, 8.0 / 6.0);
  CHECK(rope_frequencies(rope, 256).inverse[1] == Approx(std::pow(base, -0.25)));
}

TEST_CASE("yarn keeps fast channels, divides slow ones and raises the attention temperature") {
  const auto frequencies = rope_frequencies(spec(RopeKind::yarn, 4.0), 16);
  CHECK(frequencies.inverse[0] == Approx(1.0f));
  CHECK(frequencies.inverse[3] == Approx(0.00025f));
  CHECK(frequencies.attention_factor == Approx(0.1 * std::log(4.0) + 1.0));
}

TEST_CASE("llama3 rope divides wavelengths beyond the original context by the factor") {
  const auto frequencies = rope_frequencies(spec(RopeKind::llama3, 8.0), 16);
  CHECK(frequencies.inverse[0] == Approx(1.0f));           // wavelength 6.3 < 32 / 4
  CHECK(frequencies.inverse[3] == Approx(0.001f / 8.0f));  // wavelength 6283 > 32
}
