#include "llmc/scheme.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>

#include "llmc/error.hpp"

namespace llmc {
namespace {

QuantizationArgs make_args(int num_bits,
                           NumberType type,
                           Strategy strategy,
                           std::optional<int64_t> group_size = {},
                           std::optional<DType> scale_dtype = {}) {
  QuantizationArgs args;
  args.num_bits = num_bits;
  args.type = type;
  args.strategy = strategy;
  args.group_size = group_size;
  args.scale_dtype = scale_dtype;
  return args;
}

QuantizationArgs dynamic(QuantizationArgs args) {
  args.dynamic = Dynamic::yes;
  args.observer.reset();
  return args;
}

QuantizationArgs observed_once(QuantizationArgs args, Dynamic when) {
  args.dynamic = when;
  args.observer = "static_minmax";
  return args;
}

using enum NumberType;

QuantizationArgs int_group(int bits) { return make_args(bits, integer, Strategy::group, 128); }
QuantizationArgs int_group_asymmetric(int bits) {
  QuantizationArgs args = int_group(bits);
  args.symmetric = false;
  args.zp_dtype = DType::i8;
  return args;
}
QuantizationArgs int_channel(int bits) { return make_args(bits, integer, Strategy::channel); }
QuantizationArgs int_token(int bits) { return dynamic(make_args(bits, integer, Strategy::token)); }
QuantizationArgs fp8_token(int) { return dynamic(make_args(8, floating, Strategy::token)); }
QuantizationArgs fp8_tensor(int) { return make_args(8, floating, Strategy::tensor); }
QuantizationArgs fp8_static(int) { return observed_once(fp8_tensor(8), Dynamic::no); }
QuantizationArgs fp8_channel(int) { return make_args(8, floating, Strategy::channel); }
QuantizationArgs fp8_block(int) {
  QuantizationArgs args = make_args(8, floating, Strategy::block);
  args.block_structure = {128, 128};
  return args;
}
QuantizationArgs fp8_group(int) { return dynamic(make_args(8, floating, Strategy::group, 128)); }
QuantizationArgs nvfp4(int) { return make_args(4, floating, Strategy::tensor_group, 16, DType::f8_e4m3); }
QuantizationArgs nvfp4_local(int) { return observed_once(nvfp4(4), Dynamic::local); }
QuantizationArgs mx(int bits) { return make_args(bits, floating, Strategy::group, 32, DType::u8); }
QuantizationArgs mx_dynamic(int bits) { return dynamic(mx(bits)); }

using MakeArgs = QuantizationArgs (*)(int bits);
struct PresetRow {
  std::string_view name;
  MakeArgs weights;  // null: not quantized
  int weight_bits;
  MakeArgs inputs;
  int input_bits;
};

constexpr PresetRow kPresets[] = {
    {"UNQUANTIZED", nullptr, 0, nullptr, 0},
    {"W8A16", int_group, 8, nullptr, 0},
    {"W7A16", int_group, 7, nullptr, 0},
    {"W6A16", int_group, 6, nullptr, 0},
    {"W5A16", int_group, 5, nullptr, 0},
    {"W4A16", int_group, 4, nullptr, 0},
    {"W4A16_ASYM", int_group_asymmetric, 4, nullptr, 0},
    {"W3A16", int_group, 3, nullptr, 0},
    {"W2A16", int_group, 2, nullptr, 0},
    {"W8A8", int_channel, 8, int_token, 8},
    {"INT8", int_channel, 8, int_token, 8},
    {"W7A8", int_group, 7, int_token, 8},
    {"W6A8", int_group, 6, int_token, 8},
    {"W5A8", int_group, 5, int_token, 8},
    {"W4A8", int_group, 4, int_token, 8},
    {"W3A8", int_group, 3, int_token, 8},
    {"W2A8", int_group, 2, int_token, 8},
    {"W4A4", int_group, 4, int_token, 4},
    {"W3A4", int_group, 3, int_token, 4},
    {"W2A4", int_group, 2, int_token, 4},
    {"W4AFP8", int_group, 4, fp8_token, 8},
    {"FP8", fp8_tensor, 8, fp8_static, 8},
    {"FP8_DYNAMIC", fp8_channel, 8, fp8_token, 8},
    {"FP8_BLOCK", fp8_block, 8, fp8_group, 8},
    {"NVFP4A16", nvfp4, 4, nullptr, 0},
    {"NVFP4", nvfp4, 4, nvfp4_local, 4},
    {"MXFP4A16", mx, 4, nullptr, 0},
    {"MXFP4", mx, 4, mx_dynamic, 4},
    {"MXFP8A16", mx, 8, nullptr, 0},
    {"MXFP8", mx, 8, mx_dynamic, 8},
};

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

bool is_grouped(const QuantizationArgs& args) {
  return args.strategy == Strategy::group || args.strategy == Strategy::tensor_group;
}

Strategy infer_strategy(const QuantizationArgs& args) {
  if (!args.group_size) return Strategy::tensor;
  return *args.group_size > 0 ? Strategy::group : Strategy::channel;
}

void check_numbers(const QuantizationArgs& args, std::string_view where) {
  const auto require = [&](bool condition, std::string_view text) {
    if (!condition) throw Error(ErrorCode::invalid_argument, fmt::format("{}: {}", where, text));
  };
  if (args.type == NumberType::integer)
    require(args.num_bits >= 1 && args.num_bits <= 8,
            fmt::format("num_bits is {}, integers have 1 to 8", args.num_bits));
  else
    require(args.num_bits == 4 || args.num_bits == 8,
            fmt::format("num_bits is {}, floats have 4 or 8", args.num_bits));
  require(args.symmetric || args.type == NumberType::integer,
          "symmetric is false, floats are always symmetric");
  require(!args.group_size || *args.group_size == -1 || *args.group_size > 0,
          fmt::format("group_size is {}, wanted -1 or more than 0", args.group_size.value_or(0)));
  require(!args.block_structure || ((*args.block_structure)[0] > 0 && (*args.block_structure)[1] > 0),
          "block_structure has a side that is not positive");
  const bool small_float = args.type == NumberType::floating && is_grouped(args) && args.group_size == 32;
  require(args.scale_dtype != DType::u8 || small_float,
          "scale_dtype torch.uint8 needs type float, strategy group and group_size 32");
  require(!(small_float && args.num_bits == 4) || args.scale_dtype == DType::u8,
          "float 4-bit groups of 32 need scale_dtype torch.uint8");
  require(args.scale_dtype != DType::f8_e4m3 || args.strategy == Strategy::tensor_group,
          "scale_dtype torch.float8_e4m3fn needs strategy tensor_group");
  require(args.strategy != Strategy::tensor_group || args.scale_dtype == DType::f8_e4m3,
          "strategy tensor_group needs scale_dtype torch.float8_e4m3fn");
}

void check_structure(const QuantizationArgs& args, std::string_view where) {
  const auto require = [&](bool condition, std::string_view text) {
    if (!condition) throw Error(ErrorCode::invalid_argument, fmt::format("{}: {}", where, text));
  };
  const std::string_view strategy = name_of(args.strategy);
  require(args.strategy != Strategy::token || args.dynamic != Dynamic::no,
          "strategy token needs dynamic true");
  require(!is_grouped(args) || (args.group_size && *args.group_size > 0),
          fmt::format("strategy {} needs a group_size above 0", strategy));
  require(
      !args.group_size || *args.group_size <= 0 || is_grouped(args),
      fmt::format("group_size is {}, but strategy {} has no groups", args.group_size.value_or(0), strategy));
  require((args.strategy == Strategy::block) == args.block_structure.has_value(),
          "strategy block and block_structure need each other");
  require(args.actorder != ActOrder::group || is_grouped(args),
          fmt::format("actorder group needs strategy group, got {}", strategy));
  require(args.dynamic == Dynamic::no || args.strategy == Strategy::token ||
              args.strategy == Strategy::tensor || is_grouped(args),
          fmt::format("dynamic quantization cannot have strategy {}", strategy));
  require(args.dynamic != Dynamic::local || args.strategy == Strategy::tensor_group,
          fmt::format("dynamic local needs strategy tensor_group, got {}", strategy));
}

}  // namespace

double QuantizationArgs::quant_max() const {
  if (type == NumberType::integer) return static_cast<double>((int64_t{1} << (num_bits - 1)) - 1);
  return num_bits == 8 ? 448.0 : 6.0;
}

double QuantizationArgs::quant_min() const {
  return type == NumberType::integer ? -quant_max() - 1 : -quant_max();
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const PresetRow& row : kPresets) names.emplace_back(row.name);
  return names;
}

Scheme preset_scheme(std::string_view name) {
  for (const PresetRow& row : kPresets) {
    if (!equal_ignoring_case(row.name, name)) continue;
    Scheme scheme;
    if (row.weights) scheme.weights = row.weights(row.weight_bits);
    if (row.inputs) scheme.input_activations = row.inputs(row.input_bits);
    return scheme;
  }
  std::string known;
  for (const PresetRow& row : kPresets) known += fmt::format("{}{}", known.empty() ? "" : ", ", row.name);
  throw Error(ErrorCode::invalid_argument,
              fmt::format("scheme '{}' is unknown, wanted one of {}", name, known));
}

Format infer_format(const Scheme& scheme) {
  if (!scheme.weights) return Format::dense;
  const QuantizationArgs& weights = *scheme.weights;
  if (weights.type == NumberType::integer)
    return scheme.input_activations ? Format::int_quantized : Format::pack_quantized;
  if (weights.num_bits == 4 && weights.group_size == 32) return Format::mxfp4_pack_quantized;
  if (weights.num_bits == 8 && weights.group_size == 32 && weights.scale_dtype == DType::u8)
    return Format::mxfp8_quantized;
  if (weights.num_bits == 4 && weights.group_size == 16) return Format::nvfp4_pack_quantized;
  return scheme.input_activations ? Format::float_quantized : Format::naive_quantized;
}

void complete_and_check(QuantizationArgs& args, bool strategy_given, std::string_view where) {
  if (!strategy_given) args.strategy = infer_strategy(args);
  // the only one there is
  if (args.strategy == Strategy::tensor_group && !args.scale_dtype) args.scale_dtype = DType::f8_e4m3;
  check_structure(args, where);
  check_numbers(args, where);
  if (args.dynamic == Dynamic::yes) args.observer.reset();
  if (args.dynamic == Dynamic::local && !args.observer) args.observer = "minmax";
  if (!args.symmetric && !args.zp_dtype) args.zp_dtype = DType::i8;
  if (args.symmetric) args.zp_dtype.reset();
}

int64_t scale_columns(const QuantizationArgs& args, int64_t columns) {
  if (is_grouped(args)) {
    const int64_t group = args.group_size.value();
    if (columns % group != 0)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("weight: {} input channels are no multiple of group_size {}", columns, group));
    return columns / group;
  }
  if (args.strategy != Strategy::block) return 1;
  const int64_t width = args.block_structure.value()[1];
  return columns / width + (columns % width != 0);
}

}  // namespace llmc
