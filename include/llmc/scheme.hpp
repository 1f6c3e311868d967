// What "W4A16" means: how one set of modules is quantized and how it lies on disk.
// Names, defaults and validation follow compressed-tensors' QuantizationArgs and QuantizationScheme.
#pragma once
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "llmc/tensor.hpp"

namespace llmc {

enum class NumberType { integer, floating };
enum class Strategy { tensor, channel, group, block, token, tensor_group, attn_head };
enum class Dynamic { no, yes, local };
// How a weight becomes a code: float32 quotient against the stored scale, or (as llm-compressor does) the
// quotient rounded to the weight dtype first.
enum class Rounding { exact, reference };

enum class ActOrder { none, weight, group };  // "static" is an alias of weight, "dynamic" of group

struct QuantizationArgs {
  int num_bits = 8;
  NumberType type = NumberType::integer;
  bool symmetric = true;
  std::optional<int64_t> group_size;
  Strategy strategy = Strategy::tensor;
  std::optional<std::array<int64_t, 2>> block_structure;  // rows, columns
  Dynamic dynamic = Dynamic::no;
  std::optional<ActOrder> actorder;  // nullopt: not said
  std::string actorder_text;         // as the config spells it: "static", "weight", "group"; empty = null
  std::optional<DType> scale_dtype, zp_dtype;
  std::optional<std::string> observer = "memoryless_minmax";
  std::string observer_kwargs = "{}";  // JSON object

  double quant_min() const;  // -8, -128, -448, -6
  double quant_max() const;  //  7,  127,  448,  6
  // of activations: a scale, or NVFP4's global scale, is found at calibration time and stored
  bool is_static() const { return dynamic != Dynamic::yes; }
  bool operator==(const QuantizationArgs&) const = default;
};

enum class Format {
  dense,
  pack_quantized,
  int_quantized,
  float_quantized,
  naive_quantized,
  nvfp4_pack_quantized,
  mxfp4_pack_quantized,
  mxfp8_quantized
};

// How config.json and recipes spell Strategy, NumberType, Dynamic, ActOrder and Format.
template <class E>
std::string_view name_of(E value);  // zero-terminated; empty for ActOrder::none, which is null there
template <class E>
std::optional<E> parse_name(std::string_view text);  // aliases, too: "dynamic" is ActOrder::group
template <class E>
std::string known_names();  // "int, float", for messages

struct Scheme {
  std::vector<std::string> targets;
  std::optional<QuantizationArgs> weights, input_activations, output_activations;
  std::optional<Format> format;  // nullopt: inferred
};

// Case-insensitive preset: "W4A16", "FP8_DYNAMIC", ... `targets` is left empty. Throws
// Error(invalid_argument) listing the presets.
Scheme preset_scheme(std::string_view name);
std::vector<std::string> preset_names();

// compressed-tensors' rules: which on-disk format a scheme gets when none is given.
Format infer_format(const Scheme& scheme);

// Fills what may be left out (strategy from group_size, ...) and throws Error(invalid_argument) on
// contradictions. `where` prefixes the message.
void complete_and_check(QuantizationArgs& args, bool strategy_given, std::string_view where);

// Number of scale columns and the column -> scale-column map of a weight with `columns` input channels.
int64_t scale_columns(const QuantizationArgs& args, int64_t columns);

}  // namespace llmc
