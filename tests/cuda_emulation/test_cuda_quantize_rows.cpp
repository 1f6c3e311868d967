// Rounding to nearest on the device: the same bytes as the definition, whatever the scheme, dtype and shape.
#include <cstring>

#include "core/quantize/number_formats.hpp"
#include "core/quantize/row_tiles.hpp"
#include "cuda_test_tools.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

struct Outputs {
  std::vector<std::byte> codes, scales;
  std::vector<int8_t> zero_points;
  bool operator==(const Outputs&) const = default;
};

QuantizationArgs random_args(Dice& dice) {
  if (dice.below(2)) {
    const auto names = preset_names();
    return *preset_scheme(names[static_cast<size_t>(1 + dice.below(static_cast<int64_t>(names.size()) - 1))])
                .weights;
  }
  QuantizationArgs args;
  args.type = dice.below(3) ? NumberType::integer : NumberType::floating;
  args.num_bits = args.type == NumberType::integer ? static_cast<int>(dice.between(2, 8)) : 8;
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
      args.group_size = dice.one_of<int64_t>({1, 10, 33, 64});
      break;
    default:
      args.strategy = Strategy::block;
      args.block_structure = {dice.between(1, 12), dice.between(1, 50)};
  }
  return args;
}

}  // namespace

TEST_CASE("device: rows are quantized and packed bit for bit as defined") {
  Dice dice(1);
  const auto cuda = cuda_backend();
  for (int round = 0; round < 400; ++round) {
    const QuantizationArgs args = random_args(dice);
    const DType dtype = dice.one_of({DType::bf16, DType::bf16, DType::f32, DType::f16});
    const int64_t unit = args.strategy == Strategy::group || args.strategy == Strategy::tensor_group
        ? *args.group_size
        : args.type == NumberType::floating && args.num_bits == 4 ? 2
                                                                  : 1;
    const int64_t rows = dice.between(1, 20),
                  columns = unit *
        dice.between(1, std::max<int64_t>(1, dice.one_of<int64_t>({150, 2500}) / unit));
    const Tensor weight = random_weight(dice, dtype, rows, columns);
    CAPTURE(round, describe(args), dtype_name(dtype), rows, columns);
    RowQuantization job;
    job.weight = weight;
    job.args = &args;
    job.rounding = dice.one_of({Rounding::exact, Rounding::reference});
    job.layout = dice.one_of({CodeLayout::bytes, CodeLayout::packed});
    if (args.strategy == Strategy::tensor_group)
      job.global_scale = nvfp4_global_scale(absolute_maximum(weight), dtype);
    const Tensor given = args.strategy == Strategy::tensor ? std::move(compute_qparams(weight, args).scales)
                                                           : Tensor();
    const Tensor given_zero = !given.empty() && !args.symmetric
        ? std::move(compute_qparams(weight, args).zero_points)
        : Tensor();
    RowsQuantized results[2];
    const auto run = [&](int which) {
      const auto cells = static_cast<size_t>(element_count(scale_shape(args, weight.shape())).value());
      Outputs out;
      out.codes.resize(static_cast<size_t>(rows * code_row_bytes(args, job.layout, columns)));
      out.scales.resize(cells * item_size(scale_storage_dtype(args, dtype)));
      if (!args.symmetric) out.zero_points.resize(cells);
      job.scales_given = !given.empty();
      if (job.scales_given) std::memcpy(out.scales.data(), given.data(), out.scales.size());
      if (!given_zero.empty()) std::memcpy(out.zero_points.data(), given_zero.data(), out.zero_points.size());
      job.codes = out.codes.data();
      job.scales = out.scales.data();
      job.zero_points = args.symmetric ? nullptr : out.zero_points.data();
      results[which] = which == 0 ? quantize_rows_by_definition(job)
                                  : cuda->row_kernels()->quantize_rows(job).value();
      return out;
    };
    const Outputs want = run(0), got = run(1);
    CHECK((got.codes == want.codes));
    CHECK((got.scales == want.scales));
    CHECK((got.zero_points == want.zero_points));
    if (std::isfinite(results[0].error))
      CHECK(results[1].error == Approx(results[0].error).epsilon(1e-9).margin(1e-300));
    CHECK(results[1].energy == Approx(results[0].energy).epsilon(1e-9).margin(1e-300));
    if (round % 40 == 0) CHECK((in_every_order([&] { return run(1); }) == want));
  }
}

TEST_CASE("device: codes become the values that their reader sees, bit for bit") {
  Dice dice(2);
  const auto cuda = cuda_backend();
  for (int round = 0; round < 100; ++round) {
    const QuantizationArgs args = random_args(dice);
    const DType model = dice.one_of({DType::bf16, DType::f16, DType::f32}),
                out = dice.one_of({DType::bf16, DType::f16, DType::f32});
    const int64_t unit = args.strategy == Strategy::group || args.strategy == Strategy::tensor_group
        ? *args.group_size
        : 1;
    const Tensor weight = random_weight(dice, model, dice.between(1, 20),
                                        unit * dice.between(1, std::max<int64_t>(1, 300 / unit)));
    QuantizedMatrix matrix{args, weight.shape(), {}, compute_qparams(weight, args)};
    matrix.codes = quantize_matrix(weight, matrix.parameters, args, Rounding::exact);
    CAPTURE(round, describe(args), dtype_name(model), dtype_name(out));
    const Tensor want = dequantize_matrix(matrix, out), device = dequantize_for_forward(matrix, out, *cuda),
                 got = cuda->to_host(device);
    CHECK((got.dtype() == want.dtype() &&
           std::memcmp(got.data(), want.data(), static_cast<size_t>(want.bytes())) == 0));
  }
}

TEST_CASE("device: a weight that is not finite is said with its place") {
  Tensor weight = tensor_of(DType::bf16, {4, 256}, random_floats(1024, 1));
  weight.as<uint16_t>()[700] = 0x7FC0;
  weight.as<uint16_t>()[900] = 0xFF80;
  const QuantizationArgs args = *preset_scheme("W4A16").weights;
  std::vector<std::byte> codes(4 * 128), scales(4 * 2 * 2);
  RowQuantization job;
  job.weight = weight;
  job.args = &args;
  job.layout = CodeLayout::packed;
  job.codes = codes.data();
  job.scales = scales.data();
  CHECK(cuda_backend()->row_kernels()->quantize_rows(job)->first_non_finite == 700);
}
