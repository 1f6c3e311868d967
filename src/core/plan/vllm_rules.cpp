// The rules as a table: where in vLLM one stands, what it says, which modules it concerns, and what these must
// fulfil. Read from vLLM 0.32; docs/formats.md has them by scheme.
#include <array>

#include "core/plan/vllm_lint.hpp"

namespace llmc {
namespace {

struct Facts {
  const LintCase& module;
  const QuantizationArgs& weights;
  const QuantizationArgs* inputs;   // null: not quantized
  const QuantizationArgs* outputs;  // likewise
};
using Condition = bool (*)(const Facts&);

template <Condition... conditions>
bool all(const Facts& facts) {
  return (conditions(facts) && ...);
}
template <Condition... conditions>
bool any(const Facts& facts) {
  return (conditions(facts) || ...);
}
template <Condition condition>
bool no(const Facts& facts) {
  return !condition(facts);
}
bool never(const Facts&) { return false; }  // who is concerned breaks the rule

// of the module
template <Format format>
bool stored_as(const Facts& f) {
  return f.module.format == format;
}
constexpr Condition packed = stored_as<Format::pack_quantized>;
constexpr Condition byte_per_weight = stored_as<Format::int_quantized>;
bool embedding(const Facts& f) { return f.module.class_name == "Embedding"; }
bool last_of_fused(const Facts& f) { return f.module.last_of_fused; }
template <int64_t factor>
bool rows_and_columns_multiple_of(const Facts& f) {
  return f.module.rows % factor == 0 && f.module.columns % factor == 0;
}
bool zero_points_fill_words(const Facts& f) { return f.module.rows * f.weights.num_bits % 32 == 0; }

// of its weights
bool integers(const Facts& f) { return f.weights.type == NumberType::integer; }
bool symmetric(const Facts& f) { return f.weights.symmetric; }
template <int... choices>
bool bits(const Facts& f) {
  return ((f.weights.num_bits == choices) || ...);
}
bool two_bits_or_more(const Facts& f) { return f.weights.num_bits >= 2; }
template <Strategy... choices>
bool scales_per(const Facts& f) {
  return ((f.weights.strategy == choices) || ...);
}
constexpr Condition scales_per_channel_or_group = scales_per<Strategy::channel, Strategy::group>;
constexpr Condition in_groups = scales_per<Strategy::group>;
template <int64_t... sizes>
bool group_size(const Facts& f) {
  return ((f.weights.group_size == sizes) || ...);
}
bool is_mx(const Facts& f) {
  return all<no<integers>, in_groups, group_size<32>>(f) && f.weights.scale_dtype == DType::u8;
}
bool is_nvfp4(const QuantizationArgs& args) {
  return args.strategy == Strategy::tensor_group && args.num_bits == 4 && args.group_size == 16;
}
bool nvfp4(const Facts& f) { return is_nvfp4(f.weights); }
constexpr Condition float8 = all<no<integers>, bits<8>>;
constexpr Condition float4 = all<no<integers>, bits<4>>;
constexpr Condition float8_blocks = all<no<integers>, scales_per<Strategy::block>>;
bool blocks_of_128(const Facts& f) { return f.weights.block_structure == std::array<int64_t, 2>{128, 128}; }
bool rows_fill_blocks(const Facts& f) { return f.module.rows % (*f.weights.block_structure)[0] == 0; }
bool columns_fill_blocks(const Facts& f) { return f.module.columns % (*f.weights.block_structure)[1] == 0; }

// of its inputs and outputs
bool is_static_tensor(const QuantizationArgs& args) {
  return args.dynamic == Dynamic::no && args.strategy == Strategy::tensor;
}
bool is_static_int8(const QuantizationArgs* args) {
  return args && args->type == NumberType::integer && args->num_bits == 8 && is_static_tensor(*args);
}
bool inputs(const Facts& f) { return f.inputs != nullptr; }
bool integer_inputs(const Facts& f) { return f.inputs && f.inputs->type == NumberType::integer; }
bool float_inputs(const Facts& f) { return f.inputs && f.inputs->type == NumberType::floating; }
bool symmetric_inputs(const Facts& f) { return f.inputs->symmetric; }
template <int... choices>
bool input_bits(const Facts& f) {
  return ((f.inputs->num_bits == choices) || ...);
}
bool dynamic_inputs(const Facts& f) { return f.inputs->dynamic == Dynamic::yes; }
bool static_inputs(const Facts& f) { return f.inputs && f.inputs->dynamic == Dynamic::no; }
bool static_tensor_inputs(const Facts& f) { return is_static_tensor(*f.inputs); }
template <Strategy... choices>
bool inputs_per(const Facts& f) {
  return ((f.inputs->strategy == choices) || ...);
}
bool nvfp4_inputs(const Facts& f) { return is_nvfp4(*f.inputs); }
bool static_int8_inputs(const Facts& f) { return is_static_int8(f.inputs); }
bool outputs(const Facts& f) { return f.outputs != nullptr; }
bool static_int8_outputs(const Facts& f) { return is_static_int8(f.outputs); }

constexpr Condition packed_linear = all<packed, no<embedding>>;
constexpr Condition packed_asymmetric = all<packed, no<symmetric>>;
constexpr Condition integers_with_float_inputs = all<integers, float_inputs>;

constexpr const char *kDispatch = "compressed_tensors.py", *kWNa16 = "schemes/compressed_tensors_wNa16.py",
                     *kMixedKernels = "kernels/linear/mixed_precision",
                     *kW8A8Int8 = "schemes/compressed_tensors_w8a8_int8.py",
                     *kW4A8Fp8 = "schemes/compressed_tensors_w4a8_fp8.py",
                     *kW8A8Fp8 = "schemes/compressed_tensors_w8a8_fp8.py",
                     *kEmbedding = "compressed_tensors_embedding.py";

struct Rule {
  const char* source;  // in vLLM, for who checks the rule against a newer one
  const char* text;
  Condition concerns;
  Condition wanted;
};
constexpr Rule kRules[] = {
    {kDispatch, "packed weights load with strategy group or channel only",  //
     packed, scales_per_channel_or_group},
    {kWNa16, "packed weights load with 2 to 8 bits only",  //
     packed, two_bits_or_more},
    {kWNa16, "asymmetric weights load with 4 or 8 bits only",  //
     packed_asymmetric, bits<4, 8>},
    {kWNa16, "packed zero points need rows * bits to be a multiple of 32",  //
     packed_asymmetric, zero_points_fill_words},
    {kMixedKernels, "2-, 3-, 5-, 6- and 7-bit weights run on fallback kernels only, which not every GPU has",
     all<packed_linear, no<inputs>, two_bits_or_more>, bits<4, 8>},
    {kMixedKernels,
     "Marlin and Machete take group sizes 32 (Marlin), 64, 128 and whole channels: other sizes run on "
     "fallback kernels or not at all",
     all<packed_linear, in_groups>, group_size<32, 64, 128>},
    {kMixedKernels,
     "asymmetric 8-bit weights have no Marlin kernel: Machete (Hopper) or a fallback runs them",
     all<packed_linear, no<inputs>, bits<8>>, symmetric},
    {kDispatch,
     "int-quantized weights without quantized inputs are refused (AssertionError); pack-quantized ones load",
     byte_per_weight, inputs},
    {kW8A8Int8,
     "int-quantized weights load as symmetric int8, per channel or tensor, with int8 inputs per token or "
     "static; others raise NotImplementedError (W4A8: except on CPU and XPU)",
     all<byte_per_weight, inputs>,
     all<bits<8>,
         input_bits<8>,
         symmetric,
         scales_per<Strategy::channel, Strategy::tensor>,
         any<inputs_per<Strategy::token>, static_tensor_inputs>>},
    {kDispatch,
     "packed weights with integer inputs need symmetric dynamic inputs of 4 or 8 bits, per token or group",
     all<packed, integer_inputs>,
     all<symmetric_inputs, dynamic_inputs, inputs_per<Strategy::token, Strategy::group>, input_bits<4, 8>>},
    {kW4A8Fp8, "integer weights with float8 inputs run on Hopper (SM 9.0) only",
     all<integers_with_float_inputs, bits<4>>, never},
    {kW4A8Fp8,
     "integer weights with float8 inputs must be packed symmetric 4-bit groups of 128, rows and columns "
     "multiples of 128",
     integers_with_float_inputs,
     all<packed, bits<4>, symmetric, in_groups, group_size<128>, rows_and_columns_multiple_of<128>>},
    {kDispatch,
     "float8 weights load per tensor, channel or block, or as MXFP8; others raise NotImplementedError",
     float8, any<is_mx, scales_per<Strategy::tensor, Strategy::channel, Strategy::block>>},
    {kDispatch, "float4 weights load as NVFP4 (tensor_group of 16) or MXFP4 (group of 32) only",  //
     float4, any<is_mx, nvfp4>},
    {kDispatch, "float8 weights need float8 inputs, dynamic or static per tensor, or none",  //
     all<float8, inputs>,
     all<float_inputs, any<dynamic_inputs, all<static_tensor_inputs, symmetric_inputs>>>},
    {kDispatch, "float8 blocks with static inputs are refused",  //
     float8_blocks, no<static_inputs>},
    {kW8A8Fp8, "float8 blocks must be 128 x 128",  //
     float8_blocks, blocks_of_128},
    {kW8A8Fp8,
     "float8 blocks of a fused layer need rows that fill whole blocks in every part but the last "
     "(ValueError)",
     float8_blocks, any<last_of_fused, rows_fill_blocks>},
    {kW8A8Fp8, "float8 blocks need columns that fill whole blocks",  //
     float8_blocks, columns_fill_blocks},
    {kDispatch, "NVFP4 weights need NVFP4 inputs or none (ValueError)",  //
     all<nvfp4, inputs>, nvfp4_inputs},
    {kDispatch, "output activations load only as static int8 beside static int8 inputs",  //
     outputs, all<integers, scales_per_channel_or_group, static_int8_inputs, static_int8_outputs>},
    {kEmbedding,
     "embeddings load as packed symmetric 2-, 4- or 8-bit integers, per channel or group, without inputs "
     "(ValueError)",
     embedding, all<packed, integers, symmetric, scales_per_channel_or_group, no<inputs>, bits<2, 4, 8>>},
};

}  // namespace

std::vector<std::string> broken_rules(const LintCase& module) {
  const Scheme& scheme = *module.scheme;
  if (!scheme.weights) return {};
  const Facts facts{module, *scheme.weights, scheme.input_activations ? &*scheme.input_activations : nullptr,
                    scheme.output_activations ? &*scheme.output_activations : nullptr};
  std::vector<std::string> texts;
  for (const Rule& rule : kRules)
    if (rule.concerns(facts) && !rule.wanted(facts)) texts.emplace_back(rule.text);
  return texts;
}

}  // namespace llmc
