#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "core/quantize/finite.hpp"
#include "core/quantize/number_formats.hpp"

using namespace llmc;

TEST_CASE("every 16-bit and 8-bit float survives the way to float32 and back") {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if (!std::isnan(float_from_f16(half))) REQUIRE(f16_from_float(float_from_f16(half)) == half);
    if (!std::isnan(float_from_bf16(half))) REQUIRE(bf16_from_float(float_from_bf16(half)) == half);
  }
  for (uint32_t bits = 0; bits < 0x100; ++bits) {
    const auto byte = static_cast<uint8_t>(bits);
    if (!std::isnan(float_from_e4m3(byte))) REQUIRE(e4m3_from_float(float_from_e4m3(byte)) == byte);
    if (!std::isnan(float_from_e5m2(byte))) REQUIRE(e5m2_from_float(float_from_e5m2(byte)) == byte);
  }
}

TEST_CASE("a value half way between two e4m3 numbers goes to the one with the even code") {
  for (uint8_t code = 0; code < 0x7E; ++code) {
    const float low = float_from_e4m3(code), high = float_from_e4m3(static_cast<uint8_t>(code + 1)),
                middle = (low + high) / 2;
    const auto even = static_cast<uint8_t>(code % 2 == 0 ? code : code + 1);
    REQUIRE(e4m3_from_float(middle) == even);
    REQUIRE(e4m3_from_float(std::nextafter(middle, 0.0f)) == code);
    REQUIRE(e4m3_from_float(std::nextafter(middle, 1e9f)) == code + 1);
    REQUIRE(e4m3_from_float(-middle) == (even | 0x80));
  }
}

TEST_CASE("a value half way between two float16 numbers goes to the one with the even code") {
  for (uint32_t code = 0; code < 0x7BFF; ++code) {
    const float middle = (float_from_f16(static_cast<uint16_t>(code)) +
                          float_from_f16(static_cast<uint16_t>(code + 1))) /
        2;
    REQUIRE(f16_from_float(middle) == code + code % 2);
  }
  CHECK(f16_from_float(65519.0f) == 0x7BFF);
  CHECK(f16_from_float(65520.0f) == 0x7C00);
}

TEST_CASE("NaN stays NaN, and e4m3 has no infinity to overflow to") {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  CHECK(std::isnan(float_from_bf16(bf16_from_float(nan))));
  CHECK(std::isnan(float_from_bf16(bf16_from_float(std::bit_cast<float>(0x7F800001u)))));
  CHECK(std::isnan(float_from_f16(f16_from_float(nan))));
  CHECK(e4m3_from_float(nan) == 0x7F);
  CHECK(e4m3_from_float(infinity) == 0x7F);
  CHECK(e4m3_from_float(464.0f) == 0x7E);
  CHECK(e4m3_from_float(465.0f) == 0x7F);
  CHECK(e5m2_from_float(infinity) == 0x7C);
  CHECK(bf16_from_float(3.4e38f) == 0x7F80);
}

TEST_CASE("fp4 rounds ties to the even mantissa and keeps the sign of what rounds to zero") {
  const std::pair<float, int> rows[] = {{0.25f, 0}, {0.26f, 1}, {0.75f, 2}, {1.25f, 2}, {1.75f, 4},
                                        {2.5f, 4},  {3.5f, 6},  {5.0f, 6},  {5.1f, 7},  {100.0f, 7},
                                        {-0.1f, 8}, {-0.0f, 0}, {-6.0f, 15}};
  for (const auto& [value, code] : rows) CHECK(fp4_from_float(value) == code);
}

TEST_CASE("E8M0 bytes are powers of two, the smallest a float32 subnormal") {
  CHECK(float_from_e8m0(127) == 1.0f);
  CHECK(float_from_e8m0(0) == 0x1p-127f);
  CHECK(float_from_e8m0(254) == 0x1p127f);
}

TEST_CASE("the first NaN or infinity of a tensor is found by its index") {
  Tensor values = Tensor::zeros(DType::bf16, {100, 100});
  CHECK_FALSE(first_non_finite(values));
  values.as<uint16_t>()[7777] = 0xFF80;
  CHECK(first_non_finite(values) == 7777);
}
