// Observers that search, on the device: the ranges that the definition finds, bit for bit.
#include "core/quantize/mse_observer.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/row_tiles.hpp"
#include "core/run_tools.hpp"
#include "cuda_test_tools.hpp"
#include "llmc/backend/ranges.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

// A device that does nothing but try ranges: whatever falls back to the host is an error.
class OnlyTries final : public Backend {
 public:
  Device device() const override { return cuda_->device(); }
  std::string description() const override { return {}; }
  int threads() const override { return 1; }
  Tensor to_host(const TensorView&) override { refuse(); }
  void execute(std::span<const Node>, const Execution&) override { refuse(); }
  void accumulate_gram(const TensorView&, Tensor&) override { refuse(); }
  void accumulate_channels(const TensorView&, ChannelStatistics&) override { refuse(); }
  std::vector<GptqSolution> gptq(std::span<const GptqProblem>) override { refuse(); }
  double output_energy(const TensorView&, int64_t, const TensorView&) override { refuse(); }
  void raise_column_maxima(const TensorView&, std::vector<float>&) override { refuse(); }
  void use_smoothing_scales(Tensor&, std::span<const float>, SmoothingUse) override { refuse(); }
  void divide_rows(Tensor&, std::span<const float>) override { refuse(); }
  RangeKernels* range_kernels() override { return cuda_->range_kernels(); }
  ValueExtent scan(const TensorView&) override { refuse(); }
  CrossEntropy cross_entropy(const TensorView&, const TensorView*, const TokenBatch&) override { refuse(); }
  void parallel_for(int64_t, int64_t, const std::function<void(int64_t, int64_t)>&) override { refuse(); }

 private:
  [[noreturn]] static void refuse() { throw Error(ErrorCode::internal, "the search left the device"); }
  const std::unique_ptr<Backend> cuda_ = cuda_backend();
};

QuantizationArgs random_args(Dice& dice) {
  QuantizationArgs args;
  if (dice.below(3) == 0)
    args = *preset_scheme(dice.one_of({"NVFP4A16", "MXFP4A16", "MXFP8A16", "FP8", "W8A8"})).weights;
  else {
    args.type = dice.below(3) ? NumberType::integer : NumberType::floating;
    args.num_bits = args.type == NumberType::integer ? static_cast<int>(dice.between(2, 8))
                                                     : dice.one_of({4, 8});
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
        args.group_size = dice.one_of<int64_t>({1, 10, 16, 33, 64, 128});
        break;
      default:
        args.strategy = Strategy::block;
        args.block_structure = {dice.between(1, 12), dice.between(1, 50)};
    }
  }
  args.observer = dice.one_of(
      {"memoryless_mse", "mse", "nvfp4_expanded_mse", "imatrix_mse", "nvfp4_expanded_imatrix"});
  args.observer_kwargs = dice.one_of(
      {"{}", "{}", R"({"patience": 1, "grid": 20})", R"({"norm": 2, "grid": 30})",
       R"({"norm": 3, "grid": 10, "maxshrink": 0.9})", R"({"norm": 0.7, "grid": 33.5, "expand": 1.3})"});
  return args;
}

using Ranges = std::pair<std::vector<float>, std::vector<float>>;

}  // namespace

TEST_CASE("device: searching observers find the ranges that the definition finds, bit for bit") {
  Dice dice(1);
  OnlyTries device;
  for (int round = 0; round < 150; ++round) {
    const QuantizationArgs args = random_args(dice);
    const DType dtype = dice.one_of({DType::bf16, DType::bf16, DType::f32, DType::f16});
    const int64_t unit = args.strategy == Strategy::group || args.strategy == Strategy::tensor_group
        ? *args.group_size
        : 1;
    const int64_t rows = args.strategy == Strategy::tensor ? dice.between(1, 150) : dice.between(1, 8),
                  columns = unit *
        dice.between(1, std::max<int64_t>(1, dice.one_of<int64_t>({40, 300}) / unit));
    const Tensor weight = random_weight(dice, dtype, rows, columns);
    std::vector<float> importance;
    if (dice.below(3))
      for (const float value : random_floats(static_cast<size_t>(columns), 9))
        importance.push_back(value * value);
    CAPTURE(round, describe(args), *args.observer, args.observer_kwargs, dtype_name(dtype), rows, columns);
    const ValueRanges want = weight_ranges(weight, args, importance);
    const Ranges got = in_every_order([&] {
      const ValueRanges ranges = weight_ranges(weight, args, importance, device);
      CHECK(ranges.shape == want.shape);
      return Ranges(ranges.min, ranges.max);
    });
    REQUIRE(got.first == want.min);
    REQUIRE(got.second == want.max);
  }
}

TEST_CASE("device: sums of long rows and tall tiles are added up in torch's order") {
  Dice dice(2);
  OnlyTries device;
  for (const DType dtype : {DType::bf16, DType::f16, DType::f32})
    // up to three levels of sums
    for (const auto& [strategy, rows, columns] :
         {std::tuple(Strategy::channel, 2, 9001), std::tuple(Strategy::tensor, 70, 700)}) {
      QuantizationArgs args;
      args.strategy = strategy;
      args.observer = "memoryless_mse";
      args.observer_kwargs = R"({"grid": 20})";
      CAPTURE(dtype_name(dtype), rows, columns);
      const Tensor weight = random_weight(dice, dtype, rows, columns);
      const ValueRanges want = weight_ranges(weight, args), got = weight_ranges(weight, args, {}, device);
      CHECK(got.min == want.min);
      CHECK(got.max == want.max);
    }
}

TEST_CASE("device: weights that lie there are searched there, and what it does not serve by the host") {
  const auto cuda = cuda_backend();
  QuantizationArgs args;
  args.strategy = Strategy::tensor;
  args.observer = "mse";
  const Tensor values = tensor_of(DType::bf16, {100, 48}, random_floats(4800, 3));
  const Tensor there = on_device(*cuda, values);
  CHECK(weight_ranges(there, args, {}, *cuda).max == weight_ranges(values, args).max);

  std::vector<float> numbers = random_floats(96, 4);
  Tensor wide(DType::f64, {4, 24});
  std::copy(numbers.begin(), numbers.end(), wide.as<double>());
  CHECK(weight_ranges(wide, args, {}, *cuda).max == weight_ranges(wide, args).max);
  args.strategy = Strategy::group;
  args.group_size = 24;
  numbers[50] = HUGE_VALF;  // in the third row alone
  const Tensor infinite = tensor_of(DType::f32, {4, 24}, numbers);
  const auto best = [&](const ValueRanges& ranges) {
    return std::vector{ranges.max[0], ranges.max[1], ranges.max[3]};
  };
  CHECK(best(weight_ranges(infinite, args, {}, *cuda)) == best(weight_ranges(infinite, args)));
  args.group_size = 7;
  CHECK_THROWS_WITH(weight_ranges(infinite, args, {}, *cuda), Catch::Contains("no multiple of group_size"));
}

TEST_CASE("device: the plain ranges of weights that lie there, for every kind of scale") {
  Dice dice(5);
  OnlyTries device;
  const auto cuda = cuda_backend();
  for (int round = 0; round < 60; ++round) {
    QuantizationArgs args = random_args(dice);
    args.observer = dice.one_of({"memoryless_minmax", "static_minmax", "minmax"});
    args.observer_kwargs = "{}";
    const int64_t unit = args.strategy == Strategy::group || args.strategy == Strategy::tensor_group
        ? *args.group_size
        : 1,
                  rows = dice.between(1, 70), columns = unit * dice.between(1, 300 / unit);
    const Tensor weight = random_weight(dice, dice.one_of({DType::bf16, DType::f32, DType::f16}), rows,
                                        columns),
                 there = on_device(*cuda, weight);
    CAPTURE(round, describe(args), dtype_name(weight.dtype()), rows, columns);
    const ValueRanges want = weight_ranges(weight, args);
    in_every_order([&] {
      const ValueRanges got = weight_ranges(there, args, {}, device);
      CHECK((got.shape == want.shape && got.min == want.min && got.max == want.max));
      return got.max;
    });
  }
}

TEST_CASE("device: a run with a searching observer writes the CPU's bytes") {
  const auto cpu = backend(), cuda = cuda_backend();
  for (const char* name : {"mse_w4a16", "fused_mix"}) {
    CAPTURE(name);
    const ScratchFolder scratch;
    for (Backend* device : {cpu.get(), cuda.get()}) {
      OneshotOptions options = micro_llama(scratch / (device == cpu.get() ? "cpu" : "cuda"));
      options.calibration.reset();
      options.compat = Compat::reference;
      options.recipe = read_text(golden(std::string("recipes/") + name + "/recipe_in.yaml"));
      oneshot(options, *device, {});
    }
    CHECK(read_text(scratch / "cuda/model.safetensors") == read_text(scratch / "cpu/model.safetensors"));
  }
}
