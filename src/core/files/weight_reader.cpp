#include "core/files/weight_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "llmc/error.hpp"

namespace llmc {
namespace {

// [columns, rows] -> [rows, columns], in squares that stay in the cache.
void transpose(const std::byte* from, int64_t rows, int64_t columns, int64_t item, std::byte* to) {
  constexpr int64_t kSide = 64;
  for (int64_t r0 = 0; r0 < rows; r0 += kSide)
    for (int64_t c0 = 0; c0 < columns; c0 += kSide)
      for (int64_t r = r0; r < std::min(rows, r0 + kSide); ++r)
        for (int64_t c = c0; c < std::min(columns, c0 + kSide); ++c)
          std::memcpy(to + (r * columns + c) * item, from + (c * rows + r) * item, static_cast<size_t>(item));
}

}  // namespace

WeightReader::WeightReader(const Checkpoint& checkpoint, const WeightRef& ref)
    : checkpoint_(checkpoint),
      ref_(ref),
      info_(checkpoint.info(ref.tensor)) {
  if (ref.is_whole()) return;
  const auto require = [&](bool there, const std::string& part) {
    if (!there)
      throw Error(ErrorCode::bad_file,
                  fmt::format("'{}': tensor '{}' of shape {} has no {}", checkpoint.directory(), ref.tensor,
                              to_string(info_.shape), part));
  };
  stored_ = info_.shape;
  const auto item = static_cast<int64_t>(item_size(info_.dtype));
  if (ref.index >= 0) {
    require(stored_.size() == 3 && ref.index < stored_[0], fmt::format("matrix {}", ref.index));
    stored_.erase(stored_.begin());
    first_byte_ = ref.index * element_count(stored_).value() * item;
  }
  Shape shape = stored_;
  if (ref.transposed) {
    require(shape.size() == 2, "rows and columns to exchange");
    std::swap(shape[0], shape[1]);
  }
  const int64_t all = shape.empty() ? 0 : shape[0];
  const bool begins = ref.first_row >= 0 && ref.first_row <= all;
  const int64_t rows = ref.rows >= 0 ? ref.rows : begins ? all - ref.first_row : 0;
  require(begins && rows <= all - ref.first_row, fmt::format("{} rows from row {} on", rows, ref.first_row));
  const int64_t row_bytes = all == 0 ? 0 : element_count(shape).value() / all * item;
  if (!ref.transposed) first_byte_ += ref.first_row * row_bytes;
  shape[0] = rows;
  info_.shape = std::move(shape);
  info_.bytes = rows * row_bytes;
}

void WeightReader::read(int64_t offset, int64_t bytes, std::byte* to) {
  if (!ref_.transposed) return checkpoint_.read_bytes(ref_.tensor, first_byte_ + offset, bytes, to);
  const int64_t rows = stored_[1], columns = stored_[0],
                row_bytes = columns * static_cast<int64_t>(item_size(info_.dtype));
  if (turned_.empty()) {
    Tensor lying(info_.dtype, stored_);
    checkpoint_.read_bytes(ref_.tensor, first_byte_, lying.bytes(), lying.data());
    turned_ = Tensor(info_.dtype, {rows, columns});
    transpose(lying.data(), rows, columns, static_cast<int64_t>(item_size(info_.dtype)), turned_.data());
  }
  std::memcpy(to, turned_.data() + ref_.first_row * row_bytes + offset, static_cast<size_t>(bytes));
}

Tensor WeightReader::read_all(const ParallelFor& parallel) {
  Tensor tensor(info_.dtype, info_.shape);
  if (ref_.transposed) read(0, tensor.bytes(), tensor.data());
  else checkpoint_.read_bytes(ref_.tensor, first_byte_, tensor.bytes(), tensor.data(), parallel);
  return tensor;
}

}  // namespace llmc
