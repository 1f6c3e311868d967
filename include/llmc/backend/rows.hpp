// Rows of weights on their way to the file's codes and back, on the threads of a backend or on its device.
#pragma once
#include <cstdint>
#include <optional>

#include "llmc/scheme.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

// How codes lie in a row of the file. packed: num_bits each, lowest bits first; rows of integers end on a
// 32-bit word, rows of fp4 on a byte.
enum class CodeLayout { bytes, packed };
int64_t code_row_bytes(const QuantizationArgs& args, CodeLayout layout, int64_t columns);

// Rows of one weight on their way from the model's numbers to the file's bytes, rounded to nearest.
struct RowQuantization {
  // [rows, columns] bf16, f16 or f32; block scales: whole blocks, except at the matrix's end
  TensorView weight;
  const QuantizationArgs* args = nullptr;
  Rounding rounding = Rounding::exact;
  CodeLayout layout = CodeLayout::bytes;
  std::optional<float> global_scale;  // NVFP4's; given
  // true: scales and zero points are read; false: written, from the smallest and largest value of each cell
  bool scales_given = false;
  bool want_error = true;
  std::byte* codes = nullptr;  // [rows, code_row_bytes]
  Device codes_device;         // where they lie: the host, or this backend's device
  // of these rows' cells (per-tensor: [1], always given), in the dtype of the file
  std::byte* scales = nullptr;
  int8_t* zero_points = nullptr;  // the same shape, not packed; null when symmetric
};
struct RowsQuantized {
  // position in `weight` of a NaN or infinity; nothing else is valid then
  std::optional<int64_t> first_non_finite;
  double error = 0, energy = 0;  // sums of (w - q)^2 and w^2, when wanted
};

// Codes on their way back to numbers.
struct Dequantization {
  TensorView codes;  // [rows, columns] i8, f8_e4m3 or u8 fp4 codes; not packed
  const QuantizationArgs* args = nullptr;
  TensorView multipliers;  // f32, the scales' grid: exponents expanded, the global scale divided in
  TensorView zero_points;  // i8, the same grid; data null when symmetric
  // (code - zero point) * multiplier is rounded to the first and stored as the second
  DType product_dtype = DType::bf16, out = DType::bf16;
};

// Bit for bit as src/core/quantize defines it. A call that returns nothing has no fast way for this very job
// (a float16 weight, say): the caller computes it by that definition.
class RowKernels {
 public:
  virtual ~RowKernels() = default;

  // Ranges, scales, codes and packing in one pass over memory.
  virtual std::optional<RowsQuantized> quantize_rows(const RowQuantization& job) = 0;
  // Values of the weight as its reader will see it, where this backend's execute() wants them.
  virtual std::optional<Tensor> dequantize(const Dequantization&) { return std::nullopt; }
  // Rows of codes as they lie in the file (CodeLayout::packed), [rows, code_row_bytes] u8 on the host; for
  // codes that lie on a device.
  virtual std::optional<Tensor> pack_codes(const TensorView&, const QuantizationArgs&) {
    return std::nullopt;
  }
};

}  // namespace llmc
