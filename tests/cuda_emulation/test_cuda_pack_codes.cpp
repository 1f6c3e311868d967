// Codes packed on the device are the words that core/quantize/packing.hpp makes.
#include <cstring>

#include "llmc/backend/rows.hpp"
#include "core/quantize/packing.hpp"
#include "cuda_test_tools.hpp"

using namespace llmc;
using namespace llmc::test;

TEST_CASE("device: codes of every width are packed as the file holds them") {
  Dice dice(1);
  const auto cuda = cuda_backend();
  for (int bits = 2; bits <= 9; ++bits)
    for (int round = 0; round < 6; ++round) {
      QuantizationArgs args;
      args.num_bits = bits < 9 ? bits : 4;
      args.type = bits < 9 ? NumberType::integer : NumberType::floating;
      const int64_t rows = dice.between(1, 40),
                    columns = args.type == NumberType::floating ? 2 * dice.between(1, 150)
          : round % 2                                           ? 32 * dice.between(1, 9)
                                                                : dice.between(1, 300);
      Tensor codes(args.type == NumberType::integer ? DType::i8 : DType::u8, {rows, columns});
      for (int64_t i = 0; i < codes.size(); ++i)
        codes.as<uint8_t>()[i] = static_cast<uint8_t>(
            args.type == NumberType::integer ? dice.below(1 << bits) - (1 << (bits - 1)) : dice.below(16));
      const Tensor want = args.type == NumberType::integer ? pack_int_rows(codes, bits)
                                                           : pack_fp4_rows(codes);
      CAPTURE(bits, rows, columns);
      const Tensor there = on_device(*cuda, codes);
      in_every_order([&] {
        const Tensor got = cuda->row_kernels()->pack_codes(there, args).value();
        REQUIRE(got.bytes() == want.bytes());
        CHECK(std::memcmp(got.data(), want.data(), static_cast<size_t>(want.bytes())) == 0);
        return std::vector<std::byte>(got.data(), got.data() + got.bytes());
      });
      CHECK_FALSE(cuda->row_kernels()->pack_codes(codes, args));
    }
}
