// Fast quantization against the scalar definition: the same bytes on every instruction set.
#include <catch2/catch.hpp>
#include <cstring>
#include <random>

#include "core/quantize/number_formats.hpp"
#include "core/quantize/row_tiles.hpp"
#include "cpu/cpu_features.hpp"
#include "cpu/cpu_test_tools.hpp"

using namespace llmc;

namespace {

struct Outputs {
  std::vector<std::byte> codes, scales;
  std::vector<int8_t> zero_points;
  RowsQuantized result;
};

constexpr std::byte kUntouched{0xA5};

// What a job writes, with a guard behind each array.
Outputs outputs_for(const TensorView& weight, const QuantizationArgs& args, CodeLayout layout) {
  const auto cells = static_cast<size_t>(element_count(scale_shape(args, weight.shape)).value());
  Outputs out;
  out.codes.assign(static_cast<size_t>(weight.rows() * code_row_bytes(args, layout, weight.columns())) + 64,
                   kUntouched);
  out.scales.assign(cells * item_size(scale_storage_dtype(args, weight.dtype)) + 64, kUntouched);
  if (!args.symmetric) out.zero_points.assign(cells + 64, 0x55);
  return out;
}

RowQuantization job_for(const TensorView& weight,
                        const QuantizationArgs& args,
                        Rounding rounding,
                        CodeLayout layout,
                        Outputs& out) {
  RowQuantization job;
  job.weight = weight;
  job.args = &args;
  job.rounding = rounding;
  job.layout = layout;
  job.codes = out.codes.data();
  job.scales = out.scales.data();
  job.zero_points = args.symmetric ? nullptr : out.zero_points.data();
  return job;
}

QuantizationArgs random_args(std::mt19937& random) {
  const auto pick = [&](int count) { return static_cast<int>(random() % static_cast<unsigned>(count)); };
  QuantizationArgs args;
  args.type = pick(2) ? NumberType::integer : NumberType::floating;
  args.num_bits = args.type == NumberType::integer ? 2 + pick(7) : pick(2) ? 8 : 4;
  args.symmetric = args.type == NumberType::floating ? args.num_bits == 4 || pick(8) != 0 : pick(2) == 0;
  switch (pick(6)) {
    case 0:
      args.strategy = Strategy::channel;
      break;
    case 1:
      args.strategy = Strategy::tensor;
      break;
    case 2:
      args.strategy = Strategy::block;
      args.block_structure = {int64_t{1} << pick(6), 1 + pick(40)};
      break;
    case 3:
      if (args.type == NumberType::floating) {
        args.strategy = Strategy::group;
        args.symmetric = true;
        args.group_size = 32;
        args.scale_dtype = DType::u8;
        break;
      }
      [[fallthrough]];
    case 4:
      if (args.type == NumberType::floating && args.num_bits == 4) {
        args.strategy = Strategy::tensor_group;
        args.group_size = 16;
        args.scale_dtype = DType::f8_e4m3;
        break;
      }
      [[fallthrough]];
    default:
      args.strategy = Strategy::group;
      args.group_size = std::vector<int64_t>{2, 8, 10, 16, 24, 32, 64, 128}[static_cast<size_t>(pick(8))];
  }
  return args;
}

// Ordinary weights, and the ends of the number line: zeros of both signs, ties, subnormals, the largest
// numbers.
Tensor random_weight(std::mt19937& random, DType dtype, int64_t rows, int64_t columns) {
  std::normal_distribution<float> normal(0.0f, 0.05f);
  const unsigned kind = random() % 8;
  std::vector<float> values(static_cast<size_t>(rows * columns));
  const float scale = kind == 0 ? 1e-40f : kind == 1 ? 3e38f : kind == 2 ? 1e-30f : 1.0f;
  const float cap = dtype == DType::f16 ? 65504.0f : kind == 1 ? 3.3e38f : 1e30f;
  for (float& value : values) {
    value = normal(random) * scale * (kind == 1 ? 20.0f : 1.0f);
    if (kind == 3) value = std::nearbyint(value * 200.0f) * 0.5f;
    if (kind == 4 && random() % 3) value = 0.0f;
    if (kind == 5) value = std::fabs(value) + 1.0f;
    if (random() % 16 == 0) value = -0.0f;
    value = std::max(-cap, std::min(cap, value));
  }
  if (kind == 6) std::fill_n(values.begin(), values.size() / 2, 0.0f);
  Tensor weight(dtype, {rows, columns});
  from_float(values.data(), weight.size(), dtype, weight.data());
  return weight;
}

// A number that both sides share: true when a and b agree to `tolerance`, or are not numbers at all.
bool agree(double a, double b, double tolerance) {
  return a == b || std::fabs(a - b) <= tolerance * std::max(std::fabs(a), std::fabs(b)) ||
      !(std::isfinite(a) && std::isfinite(b));
}

struct Case {
  QuantizationArgs args;
  Rounding rounding;
  CodeLayout layout;
  DType dtype;
  int64_t rows, columns;
};

Case random_case(std::mt19937& random) {
  Case c;
  c.args = random_args(random);
  c.rounding = random() % 2 ? Rounding::exact : Rounding::reference;
  c.dtype = std::vector<DType>{DType::bf16, DType::bf16, DType::bf16, DType::f32, DType::f16}[random() % 5];
  c.rows = random() % 4 == 0 ? 1 : 1 + random() % 70;
  const bool grouped = c.args.strategy == Strategy::group || c.args.strategy == Strategy::tensor_group;
  c.columns = grouped ? *c.args.group_size * (1 + random() % 9) : 1 + random() % 300;
  c.layout = c.args.type == NumberType::floating && c.args.num_bits == 4 ? CodeLayout::packed
      : random() % 2                                                     ? CodeLayout::packed
                                                                         : CodeLayout::bytes;
  if (c.args.type == NumberType::floating) c.columns += c.columns % 2;
  return c;
}

std::string describe_case(const Case& c, int number, const std::string& isa) {
  return isa + " case " + std::to_string(number) + ": " + describe(c.args) + " of " +
      std::string(dtype_name(c.dtype)) + " " + to_string({c.rows, c.columns}) +
      (c.rounding == Rounding::exact ? " exact" : " reference") +
      (c.layout == CodeLayout::packed ? " packed" : " bytes");
}

// Scales that fit the strategies whose scale belongs to the whole tensor.
void give_tensor_scales(const Tensor& weight, RowQuantization& job) {
  const QuantizationParameters parameters = compute_qparams(weight, *job.args);
  std::memcpy(job.scales, parameters.scales.data(), static_cast<size_t>(parameters.scales.bytes()));
  if (job.zero_points) job.zero_points[0] = parameters.zero_points.as<int8_t>()[0];
  job.scales_given = true;
}

}  // namespace

TEST_CASE(
    "quantized rows have the bytes of the scalar definition, whatever the scheme, shape, values and "
    "instruction set") {
  const std::string isa = GENERATE(from_range(cpu::cpu_isa_names()));
  if (isa == "avx512_bf16" || isa == "amx_bf16") return;  // the same vectors as avx512
  const auto backend = test::backend(isa, 2);
  std::mt19937 random(7);
  int fast = 0;
  for (int number = 0; number < 4000; ++number) {
    const Case c = random_case(random);
    const Tensor weight = random_weight(random, c.dtype, c.rows, c.columns);
    Outputs want = outputs_for(weight, c.args, c.layout), got = want;
    RowQuantization definition = job_for(weight, c.args, c.rounding, c.layout, want),
                    job = job_for(weight, c.args, c.rounding, c.layout, got);
    for (RowQuantization* one : {&definition, &job}) {
      if (c.args.strategy == Strategy::tensor_group)
        one->global_scale = nvfp4_global_scale(absolute_maximum(weight), c.dtype);
      if (c.args.strategy == Strategy::tensor) give_tensor_scales(weight, *one);
    }
    want.result = quantize_rows_by_definition(definition);
    const auto done = backend->row_kernels()->quantize_rows(job);
    if (!done) continue;
    ++fast;
    got.result = *done;
    const bool same = want.codes == got.codes && want.scales == got.scales &&
        want.zero_points == got.zero_points && !want.result.first_non_finite &&
        !got.result.first_non_finite && agree(want.result.error, got.result.error, 1e-4) &&
        agree(want.result.energy, got.result.energy, 1e-4);
    if (same) continue;
    INFO(describe_case(c, number, isa));
    CHECK(want.scales == got.scales);
    CHECK(want.zero_points == got.zero_points);
    CHECK(want.codes == got.codes);
    CHECK(want.result.error == Approx(got.result.error));
    CHECK(want.result.energy == Approx(got.result.energy));
    CHECK_FALSE(got.result.first_non_finite);
    REQUIRE(same);
  }
  CHECK(fast > 2500);
}

TEST_CASE("given scales are used as they are, those of another row range or of a search for instance") {
  const std::string isa = GENERATE(from_range(cpu::cpu_isa_names()));
  const auto backend = test::backend(isa, 2);
  std::mt19937 random(11);
  for (int number = 0; number < 400; ++number) {
    Case c = random_case(random);
    if (c.args.strategy == Strategy::tensor || c.dtype == DType::f16) continue;
    const Tensor weight = random_weight(random, c.dtype, c.rows, c.columns),
                 other = random_weight(random, c.dtype, c.rows, c.columns);
    Outputs want = outputs_for(weight, c.args, c.layout);
    RowQuantization scales_of_other = job_for(other, c.args, c.rounding, c.layout, want);
    scales_of_other.global_scale = 3.5f;
    quantize_rows_by_definition(scales_of_other);
    Outputs got = want;
    RowQuantization definition = job_for(weight, c.args, c.rounding, c.layout, want),
                    job = job_for(weight, c.args, c.rounding, c.layout, got);
    definition.scales_given = job.scales_given = true;
    definition.global_scale = job.global_scale = 3.5f;
    quantize_rows_by_definition(definition);
    if (!backend->row_kernels()->quantize_rows(job)) continue;
    INFO(describe_case(c, number, isa));
    REQUIRE(want.codes == got.codes);
    REQUIRE(want.scales == got.scales);
  }
}

TEST_CASE("every bfloat16 gets its fp4 code under any scale, those halfway between two codes too") {
  const std::string isa = GENERATE(from_range(cpu::cpu_isa_names()));
  const auto backend = test::backend(isa, 2);
  Tensor weight(DType::bf16, {1020, 64});  // every finite number once, both zeros too
  for (int64_t i = 0; i < weight.size(); ++i)
    weight.as<uint16_t>()[i] = static_cast<uint16_t>(i < weight.size() / 2 ? i
                                                                           : 0x8000 + i - weight.size() / 2);
  const QuantizationArgs args = *preset_scheme("NVFP4A16").weights;
  std::mt19937 random(5);
  constexpr float kSteps[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  for (int number = 0; number < 200; ++number) {
    // By a power of two: quotients without a rest, so true ties. Or such that some value is a step times the
    // scale, but for the scale's last bits.
    const auto code = static_cast<uint8_t>(1 + random() % 126);
    const float value = 1.0f + static_cast<float>(random() % 128) / 128;
    const float global = number % 4 == 0 ? std::exp2(static_cast<float>(random() % 40))
                                         : float_from_e4m3(code) * kSteps[random() % 7] / value *
            std::exp2(static_cast<float>(9 + random() % 20));
    Outputs want = outputs_for(weight, args, CodeLayout::packed);
    std::fill(want.scales.begin(), want.scales.end(), static_cast<std::byte>(code));
    Outputs got = want;
    RowQuantization definition = job_for(weight, args, Rounding::exact, CodeLayout::packed, want),
                    job = job_for(weight, args, Rounding::exact, CodeLayout::packed, got);
    for (RowQuantization* one : {&definition, &job}) {
      one->scales_given = true;
      one->global_scale = global;
    }
    quantize_rows_by_definition(definition);
    REQUIRE(backend->row_kernels()->quantize_rows(job));
    INFO(isa << ", scale " << std::to_integer<int>(want.scales[0]) << " / " << global);
    REQUIRE(want.codes == got.codes);
  }
}

TEST_CASE("the first NaN or infinity of a tile is named, and a scan finds it too") {
  const float bad = GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                             -std::numeric_limits<float>::infinity());
  const DType dtype = GENERATE(DType::bf16, DType::f32, DType::f16);
  const bool symmetric = GENERATE(true, false);
  const auto backend = test::backend("", 2);
  std::vector<float> values = test::random_floats(200 * 300, 3);
  values[200 * 299 + 17] = values[150 * 300 + 5] = bad;
  Tensor weight(dtype, {200, 300});
  from_float(values.data(), weight.size(), dtype, weight.data());
  QuantizationArgs args;
  args.strategy = Strategy::channel;
  args.symmetric = symmetric;
  Outputs out = outputs_for(weight, args, CodeLayout::bytes);
  CHECK(quantize_row_tile(job_for(weight, args, Rounding::exact, CodeLayout::bytes, out), *backend)
            .first_non_finite == 150 * 300 + 5);
  CHECK(backend->scan(weight).first_non_finite == 150 * 300 + 5);
}

TEST_CASE("a scan gives the smallest and the largest value, with zero among them") {
  const DType dtype = GENERATE(DType::bf16, DType::f32, DType::f16, DType::f64);
  const auto backend = test::backend("", 3);
  std::vector<float> values(300'000, 0.5f);
  values[123'456] = 4.0f;
  values[299'999] = -2.0f;
  Tensor weight(dtype, {300'000});
  from_float(values.data(), weight.size(), dtype, weight.data());
  CHECK(backend->scan(weight).max == 4.0f);
  CHECK(backend->scan(weight).min == -2.0f);
  CHECK(backend->scan(TensorView(weight).row_range(0, 100)).min == 0.0f);
}
