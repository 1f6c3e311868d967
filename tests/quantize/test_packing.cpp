#include <catch2/catch.hpp>
#include <vector>

#include "core/quantize/packing.hpp"
#include "llmc/error.hpp"

using namespace llmc;

namespace {

Tensor codes_of(const std::vector<int8_t>& values, Shape shape) {
  return Tensor::copy_of(TensorView(values.data(), DType::i8, std::move(shape)));
}

}  // namespace

TEST_CASE("4-bit codes are packed lowest nibble first, with 8 added") {
  const Tensor up = codes_of({1, 2, 3, 4, 5, 6, 7, 0}, {1, 8}),
               down = codes_of({-1, -2, -3, -4, -5, -6, -7, -8}, {1, 8});
  CHECK(pack_int_rows(up, 4).as<uint32_t>()[0] == 0x8FEDCBA9);
  CHECK(pack_int_rows(down, 4).as<uint32_t>()[0] == 0x01234567);
}

TEST_CASE("3-bit codes straddle words") {
  std::vector<int8_t> values;
  for (int i = 0; i < 32; ++i) values.push_back(static_cast<int8_t>(i % 8 - 4));
  const Tensor codes = codes_of(values, {1, 32});
  const Tensor words = pack_int_rows(codes, 3);
  REQUIRE(words.shape() == Shape{1, 3});
  CHECK(words.as<uint32_t>()[0] == 0x88FAC688);
  CHECK(words.as<uint32_t>()[1] == 0xC688FAC6);
  CHECK(words.as<uint32_t>()[2] == 0xFAC688FA);
}

TEST_CASE("packing any number of bits and any width comes back unchanged, by rows and by columns") {
  for (int bits = 1; bits <= 8; ++bits)
    for (int64_t columns : {1, 5, 31, 32, 33, 77}) {
      std::vector<int8_t> values;
      for (int64_t i = 0; i < 3 * columns; ++i)
        values.push_back(static_cast<int8_t>((i * 37 + 11) % (1 << bits) - (1 << (bits - 1))));
      const Tensor codes = codes_of(values, {3, columns});
      const Tensor rows = pack_int_rows(codes, bits), down = pack_int_columns(codes, bits);
      REQUIRE(down.shape() == Shape{1, columns});
      const Tensor a = unpack_int_rows(rows, bits, columns), b = unpack_int_columns(down, bits, 3);
      REQUIRE(std::equal(values.begin(), values.end(), a.as<int8_t>()));
      REQUIRE(std::equal(values.begin(), values.end(), b.as<int8_t>()));
    }
}

TEST_CASE("the missing tail of the last word is zero bits") {
  const Tensor one = codes_of({0}, {1, 1});
  CHECK(pack_int_rows(one, 4).as<uint32_t>()[0] == 8);
}

TEST_CASE("packed words of the wrong width are refused") {
  const Tensor words = Tensor::zeros(DType::i32, {2, 3});
  CHECK_THROWS_AS(unpack_int_rows(words, 4, 32), Error);
  CHECK_NOTHROW(unpack_int_rows(words, 4, 24));
}

TEST_CASE("fp4 codes lie two to a byte, the even one low") {
  const std::vector<uint8_t> values = {1, 2, 15, 8};
  const Tensor packed = pack_fp4_rows(TensorView(values.data(), DType::u8, {1, 4}));
  CHECK(packed.as<uint8_t>()[0] == 0x21);
  CHECK(packed.as<uint8_t>()[1] == 0x8F);
  const Tensor back = unpack_fp4_rows(packed);
  CHECK(std::equal(values.begin(), values.end(), back.as<uint8_t>()));
}
