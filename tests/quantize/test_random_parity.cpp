// Thousands of random weights: scales, zero points, codes, packed words and decoded numbers equal a scalar
// reference's, bit for bit.
#include <catch2/catch.hpp>
#include <random>

#include "core/quantize/packing.hpp"
#include "core/quantize/qparams.hpp"
#include "core/quantize/rounding.hpp"
#include "quantize/scalar_reference.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

constexpr int kCases = 6000;

struct Dice {
  std::mt19937_64 engine;
  int64_t below(int64_t count) { return static_cast<int64_t>(engine() % static_cast<uint64_t>(count)); }
  double uniform() { return static_cast<double>(engine() >> 11) * 0x1p-53; }
  double normal() {
    return std::sqrt(-2 * std::log(uniform() + 1e-300)) * std::cos(6.283185307179586 * uniform());
  }
};

// Every preset's weights, and schemes that presets do not have.
QuantizationArgs random_args(Dice& dice) {
  if (dice.below(2)) {
    const auto names = preset_names();
    const Scheme scheme = preset_scheme(
        names[static_cast<size_t>(1 + dice.below(static_cast<int64_t>(names.size()) - 1))]);
    QuantizationArgs args = *scheme.weights;
    if (args.strategy == Strategy::group && !args.scale_dtype && dice.below(2))
      args.group_size = 16 << dice.below(3);
    return args;
  }
  QuantizationArgs args;
  args.type = dice.below(3) ? NumberType::integer : NumberType::floating;
  args.num_bits = args.type == NumberType::integer ? static_cast<int>(1 + dice.below(8)) : 8;
  args.symmetric = args.type == NumberType::floating || dice.below(2);
  switch (dice.below(4)) {
    case 0:
      args.strategy = Strategy::tensor;
      break;
    case 1:
      args.strategy = Strategy::channel;
      break;
    case 2:
      args.strategy = Strategy::group;
      args.group_size = 1 + dice.below(40);
      break;
    default:
      args.strategy = Strategy::block;
      args.block_structure = {1 + dice.below(12), 1 + dice.below(50)};
  }
  complete_and_check(args, true, "random");
  return args;
}

// Numbers of the dtype: ordinary, or on purpose ugly.
ScalarMatrix random_weight(Dice& dice, const QuantizationArgs& args, DType dtype) {
  const bool grouped = args.strategy == Strategy::group || args.strategy == Strategy::tensor_group;
  const int64_t unit = grouped ? *args.group_size : 1;
  ScalarMatrix w;
  w.rows = dice.below(5) ? 1 + dice.below(20) : 1;
  w.columns = std::max<int64_t>(1, unit * (1 + dice.below(std::max<int64_t>(1, 150 / unit))));
  const Binary& format = binary(dtype);
  const double smallest = std::ldexp(1.0, format.smallest_exponent - format.fraction);
  const double magnitudes[] = {0.02,
                               1.0,
                               1e-4,
                               300.0,
                               smallest * 40,
                               std::ldexp(1.0, format.smallest_exponent) * (dice.below(2) ? 3 : 0.3),
                               format.largest / 20};
  const double magnitude = magnitudes[dice.below(7)];
  const int64_t shape = dice.below(6);
  bool zeros = false;
  for (int64_t i = 0; i < w.rows * w.columns; ++i) {
    if (i % std::max<int64_t>(unit, 8) == 0) zeros = dice.below(12) == 0;  // whole groups of nothing
    double x = dice.normal();
    x = std::min(std::max(x, -4.0), 4.0);
    if (shape == 1) x = 2 * dice.uniform() - 1;
    if (shape == 2) x = std::fabs(x);
    if (shape == 3) x = -std::fabs(x);
    if (shape == 4) x = std::nearbyint(4 * x) / 4;  // many ties
    if (shape == 5 && dice.below(30) == 0) x *= 2;
    w.values.push_back(zeros ? (dice.below(2) ? 0.0 : -0.0) : nearest(float32(x * magnitude), format));
  }
  return w;
}

Tensor tensor_from(const ScalarMatrix& w, DType dtype) {
  Tensor tensor(dtype, {w.rows, w.columns});
  for (size_t i = 0; i < w.values.size(); ++i) {
    const uint32_t bits = bits_of(w.values[i], binary(dtype));
    if (dtype == DType::f32) tensor.as<uint32_t>()[i] = bits;
    else tensor.as<uint16_t>()[i] = static_cast<uint16_t>(bits);
  }
  return tensor;
}

std::vector<uint32_t> raw(const Tensor& tensor) {
  std::vector<uint32_t> bits(static_cast<size_t>(tensor.size()));
  const size_t item = item_size(tensor.dtype());
  for (size_t i = 0; i < bits.size(); ++i) std::memcpy(&bits[i], tensor.data() + i * item, item);
  return bits;
}

// "" when equal: printing both would bury the number of the case.
std::string first_difference(const std::vector<uint32_t>& got, const std::vector<uint32_t>& want) {
  if (got.size() != want.size())
    return "size " + std::to_string(got.size()) + ", wanted " + std::to_string(want.size());
  for (size_t i = 0; i < got.size(); ++i)
    if (got[i] != want[i])
      return "element " + std::to_string(i) + ": got " + std::to_string(got[i]) + ", wanted " +
          std::to_string(want[i]);
  return "";
}

std::vector<uint32_t> as_bytes(const std::vector<int>& numbers) {
  std::vector<uint32_t> bytes;
  for (const int number : numbers) bytes.push_back(static_cast<uint8_t>(number));
  return bytes;
}

std::vector<uint32_t> decoded_bits(const ScalarResult& result, DType dtype) {
  std::vector<uint32_t> bits;
  for (const double value : result.decoded) bits.push_back(bits_of(value, binary(dtype)));
  return bits;
}

void check_packing(const Tensor& codes,
                   const ScalarResult& want,
                   const QuantizationParameters& parameters,
                   const QuantizationArgs& args,
                   const ScalarMatrix& w) {
  const auto row = [&](int64_t r) {
    return std::vector<int>(want.codes.begin() + r * w.columns, want.codes.begin() + (r + 1) * w.columns);
  };
  std::vector<uint32_t> expected;
  if (args.type == NumberType::integer) {
    for (int64_t r = 0; r < w.rows; ++r)
      for (const uint32_t word : packed_bits(row(r), args.num_bits)) expected.push_back(word);
    const Tensor packed = pack_int_rows(codes, args.num_bits);
    REQUIRE(first_difference(raw(packed), expected) == "");
    REQUIRE(first_difference(raw(unpack_int_rows(packed, args.num_bits, w.columns)), raw(codes)) == "");
    if (args.symmetric || args.strategy == Strategy::tensor) return;
    const int64_t columns = parameters.zero_points.columns(), rows = parameters.zero_points.rows();
    const Tensor zeros = pack_int_columns(parameters.zero_points, args.num_bits);
    for (int64_t c = 0; c < columns; ++c) {
      std::vector<int> column;
      for (int64_t r = 0; r < rows; ++r)
        column.push_back(want.zero_points[static_cast<size_t>(r * columns + c)]);
      const auto words = packed_bits(column, args.num_bits);
      for (size_t k = 0; k < words.size(); ++k)
        REQUIRE(raw(zeros)[k * static_cast<size_t>(columns) + static_cast<size_t>(c)] == words[k]);
    }
  } else if (args.num_bits == 4) {
    for (size_t i = 0; i < want.codes.size(); i += 2)
      expected.push_back(static_cast<uint32_t>(want.codes[i] | want.codes[i + 1] << 4));
    REQUIRE(first_difference(raw(pack_fp4_rows(codes)), expected) == "");
  }
}

}  // namespace

TEST_CASE(
    "random weights of every scheme, dtype and shape get the scalar reference's scales, codes, packed words "
    "and decoded numbers") {
  Dice dice{std::mt19937_64(20240607)};
  for (int number = 0; number < kCases; ++number) {
    const QuantizationArgs args = random_args(dice);
    const DType dtype = std::array{DType::bf16, DType::f16, DType::f32}[static_cast<size_t>(dice.below(3))];
    const bool exact = dice.below(2);
    const ScalarMatrix w = random_weight(dice, args, dtype);
    CAPTURE(number, args.num_bits, static_cast<int>(args.type), static_cast<int>(args.strategy),
            args.symmetric, args.group_size.value_or(0), dtype_name(dtype), exact, w.rows, w.columns);
    const ScalarResult want = ScalarReference(args, dtype, exact).run(w);

    const Tensor weight = tensor_from(w, dtype);
    const QuantizationParameters parameters = compute_qparams(weight, args);
    REQUIRE(first_difference(raw(parameters.scales), want.scale_bits) == "");
    if (!args.symmetric)
      REQUIRE(first_difference(raw(parameters.zero_points), as_bytes(want.zero_points)) == "");
    if (args.strategy == Strategy::tensor_group)
      REQUIRE(static_cast<double>(*parameters.global_scale) == want.global_scale);

    const Rounding rounding = exact ? Rounding::exact : Rounding::reference;
    const Tensor codes = quantize_matrix(weight, parameters, args, rounding);
    REQUIRE(first_difference(raw(codes), as_bytes(want.codes)) == "");
    const int64_t split = dice.below(w.rows + 1);  // the same in two tiles
    Tensor tiled(codes.dtype(), codes.shape());
    if (split > 0)
      quantize_rows(weight.view().row_range(0, split), 0, parameters, args, rounding, tiled.data());
    if (split < w.rows)
      quantize_rows(weight.view().row_range(split, w.rows), split, parameters, args, rounding,
                    tiled.data() + split * w.columns);
    REQUIRE(first_difference(raw(tiled), raw(codes)) == "");

    check_packing(codes, want, parameters, args, w);
    REQUIRE(first_difference(raw(dequantize_matrix(codes, parameters, args, dtype)),
                             decoded_bits(want, dtype)) == "");
  }
}
