#include "core/quantize/row_tiles.hpp"

#include <fmt/format.h>

#include <cmath>

#include "core/quantize/number_formats.hpp"

namespace llmc {

namespace {
constexpr int64_t kRowTile = 64;
}

Tensor quantize_in_tiles(const Tensor& weight, const QuantizationParameters& parameters, const QuantizationArgs& args, Rounding rounding, Backend& backend) {
  Tensor codes(code_dtype(args), weight.shape());
  const int64_t row_bytes = weight.columns() * static_cast<int64_t>(item_size(codes.dtype()));
  backend.parallel_for(weight.rows(), kRowTile, [&](int64_t begin, int64_t end) {
    quantize_rows(weight.view().row_range(begin, end), begin, parameters, args, rounding, codes.data() + begin * row_bytes);
  });
  return codes;
}

Tensor dequantize_in_tiles(const QuantizedMatrix& matrix, DType out, Backend& backend) {
  Tensor values(out, matrix.shape);
  const int64_t row_bytes = values.columns() * static_cast<int64_t>(item_size(out));
  backend.parallel_for(values.rows(), kRowTile, [&](int64_t begin, int64_t end) {
    dequantize_rows(matrix.codes.view().row_range(begin, end), begin, matrix.parameters, matrix.args, out, values.data() + begin * row_bytes);
  });
  return values;
}

double relative_weight_error(const Tensor& weight, const QuantizedMatrix& matrix, Backend& backend) {
  const int64_t rows = weight.rows(), columns = weight.columns(), tiles = (rows + kRowTile - 1) / kRowTile;
  std::vector<double> error(static_cast<size_t>(tiles)), energy(static_cast<size_t>(tiles));  // one sum per tile: the total does not depend on threads
  backend.parallel_for(tiles, 1, [&](int64_t first, int64_t last) {
    std::vector<float> original(static_cast<size_t>(columns)), decoded(static_cast<size_t>(columns));
    for (int64_t tile = first; tile < last; ++tile) {
      for (int64_t row = tile * kRowTile; row < std::min(rows, (tile + 1) * kRowTile); ++row) {
        to_float(weight.view().row_range(row, row + 1), original.data());
        dequantize_rows(matrix.codes.view().row_range(row, row + 1), row, matrix.parameters, matrix.args, DType::f32, reinterpret_cast<std::byte*>(decoded.data()));
        for (int64_t k = 0; k < columns; ++k) {
          const double difference = static_cast<double>(original[k]) - static_cast<double>(decoded[k]);
          error[tile] += difference * difference;
          energy[tile] += static_cast<double>(original[k]) * static_cast<double>(original[k]);
        }
      }
    }
  });
  double total_error = 0, total_energy = 0;
  for (int64_t tile = 0; tile < tiles; ++tile) total_error += error[tile], total_energy += energy[tile];
  return total_energy > 0 ? std::sqrt(total_error / total_energy) : 0.0;
}

std::string describe(const QuantizationArgs& args) {
  static constexpr const char* kStrategyNames[] = {"tensor", "channel", "group", "block", "token", "tensor group", "attention head"};
  std::string text = fmt::format("{}{}{} {}", args.type == NumberType::integer ? "int" : "fp", args.num_bits, args.symmetric ? "" : " asymmetric", kStrategyNames[static_cast<size_t>(args.strategy)]);
  if (args.strategy == Strategy::group && args.group_size) text += fmt::format(" {}", *args.group_size);
  return text;
}

}  // namespace llmc
