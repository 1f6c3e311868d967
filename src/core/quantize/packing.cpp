#include "core/quantize/packing.hpp"

#include <fmt/format.h>

#include <vector>

#include "llmc/error.hpp"

namespace llmc {
namespace {

void require(bool condition, const char* what, const TensorView& got, const std::string& wanted) {
  if (!condition)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("packing: {} got {} {}, wanted {}", what, to_string(got.shape),
                            dtype_name(got.dtype), wanted));
}

void require_bits(int num_bits) {
  if (num_bits < 1 || num_bits > 8)
    throw Error(ErrorCode::invalid_argument, fmt::format("packing: got {} bits, wanted 1 to 8", num_bits));
}

void pack_stream(const int8_t* codes, int64_t count, int num_bits, uint32_t* words) {
  const uint32_t offset = 1u << (num_bits - 1), mask = (1u << num_bits) - 1;
  uint64_t pending = 0;
  int filled = 0;
  for (int64_t i = 0; i < count; ++i) {
    pending |= static_cast<uint64_t>((static_cast<uint32_t>(codes[i]) + offset) & mask) << filled;
    filled += num_bits;
    if (filled >= 32) {
      *words++ = static_cast<uint32_t>(pending);
      pending >>= 32;
      filled -= 32;
    }
  }
  if (filled > 0) *words = static_cast<uint32_t>(pending);
}

void unpack_stream(const uint32_t* words, int64_t count, int num_bits, int8_t* codes) {
  const uint32_t mask = (1u << num_bits) - 1;
  const int offset = 1 << (num_bits - 1);
  uint64_t pending = 0;
  int filled = 0;
  for (int64_t i = 0; i < count; ++i) {
    if (filled < num_bits) {
      pending |= static_cast<uint64_t>(*words++) << filled;
      filled += 32;
    }
    codes[i] = static_cast<int8_t>(static_cast<int>(pending & mask) - offset);
    pending >>= num_bits;
    filled -= num_bits;
  }
}

}  // namespace

int64_t packed_words(int64_t elements, int num_bits) {
  return elements / 32 * num_bits + (elements % 32 * num_bits + 31) / 32;
}

Tensor pack_int_rows(const TensorView& codes, int num_bits) {
  require_bits(num_bits);
  require(codes.dtype == DType::i8 && codes.shape.size() == 2, "codes", codes, "[rows, columns] I8");
  const int64_t rows = codes.shape[0], columns = codes.shape[1], words = packed_words(columns, num_bits);
  Tensor packed(DType::i32, {rows, words});
  for (int64_t row = 0; row < rows; ++row)
    pack_stream(codes.as<int8_t>() + row * columns, columns, num_bits, packed.as<uint32_t>() + row * words);
  return packed;
}

Tensor unpack_int_rows(const TensorView& words, int num_bits, int64_t columns, const ParallelFor& parallel) {
  require_bits(num_bits);
  require(words.dtype == DType::i32 && words.shape.size() == 2 && columns >= 0 &&
              words.shape[1] == packed_words(columns, num_bits),
          "packed codes", words,
          fmt::format("[rows, {}] I32 for {} columns of {} bits", packed_words(columns, num_bits), columns,
                      num_bits));
  const int64_t rows = words.shape[0], row_words = words.shape[1];
  Tensor codes(DType::i8, {rows, columns});
  parallel(rows, kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      unpack_stream(words.as<uint32_t>() + row * row_words, columns, num_bits,
                    codes.as<int8_t>() + row * columns);
  });
  return codes;
}

Tensor pack_int_columns(const TensorView& codes, int num_bits) {
  require_bits(num_bits);
  require(codes.dtype == DType::i8 && codes.shape.size() == 2, "zero points", codes, "[rows, columns] I8");
  const int64_t rows = codes.shape[0], columns = codes.shape[1], words = packed_words(rows, num_bits);
  Tensor packed(DType::i32, {words, columns});
  std::vector<int8_t> column(static_cast<size_t>(rows));
  std::vector<uint32_t> stream(static_cast<size_t>(words));
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t row = 0; row < rows; ++row)
      column[static_cast<size_t>(row)] = codes.as<int8_t>()[row * columns + c];
    pack_stream(column.data(), rows, num_bits, stream.data());
    for (int64_t word = 0; word < words; ++word)
      packed.as<uint32_t>()[word * columns + c] = stream[static_cast<size_t>(word)];
  }
  return packed;
}

Tensor unpack_int_columns(const TensorView& words, int num_bits, int64_t rows) {
  require_bits(num_bits);
  require(
      words.dtype == DType::i32 && words.shape.size() == 2 && rows >= 0 &&
          words.shape[0] == packed_words(rows, num_bits),
      "packed zero points", words,
      fmt::format("[{}, columns] I32 for {} rows of {} bits", packed_words(rows, num_bits), rows, num_bits));
  const int64_t stream_words = words.shape[0], columns = words.shape[1];
  Tensor codes(DType::i8, {rows, columns});
  std::vector<int8_t> column(static_cast<size_t>(rows));
  std::vector<uint32_t> stream(static_cast<size_t>(stream_words));
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t word = 0; word < stream_words; ++word)
      stream[static_cast<size_t>(word)] = words.as<uint32_t>()[word * columns + c];
    unpack_stream(stream.data(), rows, num_bits, column.data());
    for (int64_t row = 0; row < rows; ++row)
      codes.as<int8_t>()[row * columns + c] = column[static_cast<size_t>(row)];
  }
  return codes;
}

Tensor pack_fp4_rows(const TensorView& codes) {
  require(codes.dtype == DType::u8 && codes.shape.size() == 2 && codes.shape[1] % 2 == 0, "fp4 codes", codes,
          "[rows, an even number] U8");
  Tensor packed(DType::u8, {codes.shape[0], codes.shape[1] / 2});
  const uint8_t* from = codes.as<uint8_t>();
  uint8_t* to = packed.as<uint8_t>();
  for (int64_t i = 0, count = packed.size(); i < count; ++i)
    to[i] = static_cast<uint8_t>((from[2 * i] & 15) | (from[2 * i + 1] << 4));
  return packed;
}

Tensor unpack_fp4_rows(const TensorView& bytes, const ParallelFor& parallel) {
  require(bytes.dtype == DType::u8 && bytes.shape.size() == 2, "packed fp4", bytes, "[rows, bytes] U8");
  Tensor codes(DType::u8, {bytes.shape[0], bytes.shape[1] * 2});
  const uint8_t* from = bytes.as<uint8_t>();
  uint8_t* to = codes.as<uint8_t>();
  parallel(bytes.shape[0], kRowsPerTask, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * bytes.shape[1]; i < end * bytes.shape[1]; ++i) {
      to[2 * i] = from[i] & 15;
      to[2 * i + 1] = from[i] >> 4;
    }
  });
  return codes;
}

}  // namespace llmc
