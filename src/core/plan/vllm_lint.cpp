// Read from vLLM's compressed_tensors.py (_get_scheme_from_parts, get_quant_method), its schemes/ and
// kernels/linear/mixed_precision/.
#include "core/plan/vllm_lint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <unordered_set>

#include "core/quantize/row_tiles.hpp"

namespace llmc {

namespace {

using Args = QuantizationArgs;

bool per_channel_or_group(const Args& args) {
  return args.strategy == Strategy::channel || args.strategy == Strategy::group;
}
bool integer(const Args& args) { return args.type == NumberType::integer; }
bool is_mx(const Args& args) {
  return args.type == NumberType::floating && args.strategy == Strategy::group && args.group_size == 32 &&
      args.scale_dtype == DType::u8;
}
bool is_nvfp4(const Args& args) {
  return args.strategy == Strategy::tensor_group && args.num_bits == 4 && args.group_size == 16;
}
bool packed(const LintCase& c) { return c.format == Format::pack_quantized; }
bool embedding(const LintCase& c) { return c.class_name == "Embedding"; }
bool dynamic_rows(const Args& args) {
  return args.dynamic == Dynamic::yes &&
      (args.strategy == Strategy::token || args.strategy == Strategy::group);
}
bool static_tensor(const Args& args) {
  return args.dynamic == Dynamic::no && args.strategy == Strategy::tensor;
}
bool w4_fp8(const LintCase& c) {
  return integer(*c.scheme->weights) && c.scheme->input_activations && !integer(*c.scheme->input_activations);
}

// Whether integer weights in one byte each, with quantized inputs, have a scheme there.
bool int8_pair(const Args& weights, const Args& inputs) {
  return weights.num_bits == 8 && inputs.num_bits == 8 && weights.symmetric &&
      (weights.strategy == Strategy::channel || weights.strategy == Strategy::tensor) &&
      (inputs.strategy == Strategy::token || static_tensor(inputs));
}

struct Rule {
  const char* text;
  bool (*broken)(const LintCase& c, const Args& weights, const Args* inputs);
};
constexpr Rule kRules[] = {
    {"packed weights load with strategy group or channel only",
     [](const LintCase& c, const Args& w, const Args*) { return packed(c) && !per_channel_or_group(w); }},
    {"packed weights load with 2 to 8 bits only",
     [](const LintCase& c, const Args& w, const Args*) { return packed(c) && w.num_bits < 2; }},
    {"asymmetric weights load with 4 or 8 bits only",
     [](const LintCase& c, const Args& w, const Args*) {
       return packed(c) && !w.symmetric && w.num_bits != 4 && w.num_bits != 8;
     }},
    {"packed zero points need rows * bits to be a multiple of 32",
     [](const LintCase& c, const Args& w, const Args*) {
       return packed(c) && !w.symmetric && c.rows * w.num_bits % 32 != 0;
     }},
    {"2-, 3-, 5-, 6- and 7-bit weights run on fallback kernels only, which not every GPU has",
     [](const LintCase& c, const Args& w, const Args* in) {
       return packed(c) && !embedding(c) && !in && w.num_bits >= 2 && w.num_bits != 4 && w.num_bits != 8;
     }},
    {"Marlin and Machete take group sizes 32 (Marlin), 64, 128 and whole channels: other sizes run on "
     "fallback kernels or not at all",
     [](const LintCase& c, const Args& w, const Args*) {
       return packed(c) && !embedding(c) && w.strategy == Strategy::group && w.group_size != 32 &&
           w.group_size != 64 && w.group_size != 128;
     }},
    {"asymmetric 8-bit weights have no Marlin kernel: Machete (Hopper) or a fallback runs them",
     [](const LintCase& c, const Args& w, const Args* in) {
       return packed(c) && !embedding(c) && !in && !w.symmetric && w.num_bits == 8;
     }},
    {"int-quantized weights without quantized inputs are refused (AssertionError); pack-quantized ones load",
     [](const LintCase& c, const Args&, const Args* in) { return c.format == Format::int_quantized && !in; }},
    {"int-quantized weights load as symmetric int8, per channel or tensor, with int8 inputs per token or "
     "static; others raise NotImplementedError (W4A8: except on CPU and XPU)",
     [](const LintCase& c, const Args& w, const Args* in) {
       return c.format == Format::int_quantized && in && !int8_pair(w, *in);
     }},
    {"packed weights with integer inputs need symmetric dynamic inputs of 4 or 8 bits, per token or group",
     [](const LintCase& c, const Args&, const Args* in) {
       return packed(c) && in && integer(*in) &&
           !(in->symmetric && dynamic_rows(*in) && (in->num_bits == 4 || in->num_bits == 8));
     }},
    {"integer weights with float8 inputs run on Hopper (SM 9.0) only",
     [](const LintCase& c, const Args& w, const Args*) { return w4_fp8(c) && w.num_bits == 4; }},
    {"integer weights with float8 inputs must be packed symmetric 4-bit groups of 128, rows and columns "
     "multiples of 128",
     [](const LintCase& c, const Args& w, const Args*) {
       return w4_fp8(c) &&
           !(packed(c) && w.num_bits == 4 && w.symmetric && w.strategy == Strategy::group &&
             w.group_size == 128 && c.rows % 128 == 0 && c.columns % 128 == 0);
     }},
    {"float8 weights load per tensor, channel or block, or as MXFP8; others raise NotImplementedError",
     [](const LintCase&, const Args& w, const Args*) {
       return !integer(w) && w.num_bits == 8 && !is_mx(w) && w.strategy != Strategy::tensor &&
           w.strategy != Strategy::channel && w.strategy != Strategy::block;
     }},
    {"float4 weights load as NVFP4 (tensor_group of 16) or MXFP4 (group of 32) only",
     [](const LintCase&, const Args& w, const Args*) {
       return !integer(w) && w.num_bits == 4 && !is_mx(w) && !is_nvfp4(w);
     }},
    {"float8 weights need float8 inputs, dynamic or static per tensor, or none",
     [](const LintCase&, const Args& w, const Args* in) {
       return !integer(w) && w.num_bits == 8 && in &&
           (integer(*in) || !(in->dynamic == Dynamic::yes || (static_tensor(*in) && in->symmetric)));
     }},
    {"float8 blocks with static inputs are refused",
     [](const LintCase&, const Args& w, const Args* in) {
       return !integer(w) && w.strategy == Strategy::block && in && in->dynamic == Dynamic::no;
     }},
    {"float8 blocks must be 128 x 128",
     [](const LintCase&, const Args& w, const Args*) {
       return !integer(w) && w.strategy == Strategy::block &&
           w.block_structure != std::array<int64_t, 2>{128, 128};
     }},
    {"float8 blocks of a fused layer need rows that fill whole blocks in every part but the last "
     "(ValueError)",
     [](const LintCase& c, const Args& w, const Args*) {
       return !integer(w) && w.strategy == Strategy::block && !c.last_of_fused &&
           c.rows % (*w.block_structure)[0] != 0;
     }},
    {"float8 blocks need columns that fill whole blocks",
     [](const LintCase& c, const Args& w, const Args*) {
       return !integer(w) && w.strategy == Strategy::block && c.columns % (*w.block_structure)[1] != 0;
     }},
    {"NVFP4 weights need NVFP4 inputs or none (ValueError)",
     [](const LintCase&, const Args& w, const Args* in) { return is_nvfp4(w) && in && !is_nvfp4(*in); }},
    {"output activations load only as static int8 beside static int8 inputs",
     [](const LintCase& c, const Args& w, const Args* in) {
       const auto& out = c.scheme->output_activations;
       return out &&
           !(integer(w) && per_channel_or_group(w) && in && integer(*in) && in->num_bits == 8 &&
             static_tensor(*in) && integer(*out) && out->num_bits == 8 && static_tensor(*out));
     }},
    {"embeddings load as packed symmetric 2-, 4- or 8-bit integers, per channel or group, without inputs "
     "(ValueError)",
     [](const LintCase& c, const Args& w, const Args* in) {
       return embedding(c) &&
           !(packed(c) && integer(w) && w.symmetric && per_channel_or_group(w) && !in &&
             (w.num_bits == 2 || w.num_bits == 4 || w.num_bits == 8));
     }},
};

// What a reader sees of two schemes is the same.
Args as_read(Args args) {
  args.observer.reset();
  args.observer_kwargs.clear();
  args.actorder.reset();
  args.actorder_text.clear();
  return args;
}
bool same_part(const std::optional<Args>& a, const std::optional<Args>& b) {
  return a.has_value() == b.has_value() && (!a || as_read(*a) == as_read(*b));
}
bool same_for_reader(const Assignment& a, const Assignment& b) {
  return a.format == b.format && same_part(a.scheme->weights, b.scheme->weights) &&
      same_part(a.scheme->input_activations, b.scheme->input_activations) &&
      same_part(a.scheme->output_activations, b.scheme->output_activations);
}

std::string leaf_of(const std::string& module) { return module.substr(module.rfind('.') + 1); }

std::string some_names(const std::vector<std::string>& names) {
  const std::string rest = names.size() > 1 ? fmt::format(" and {} more", names.size() - 1) : "";
  return names.front() + rest;
}

// Some releases look for the class before the names of a fused layer's parts.
std::vector<std::string> captured_by_class(const RunPlan& plan) {
  const bool by_class = std::any_of(
      plan.config.groups.begin(), plan.config.groups.end(), [](const auto& group) {
        return std::count(group.scheme.targets.begin(), group.scheme.targets.end(), "Linear") > 0;
      });
  if (!by_class || plan.config.groups.size() < 2) return {};
  return {
      "vllm: target 'Linear' stands beside groups that name modules: older releases match fused layers by "
      "class first and read them all with the scheme of 'Linear'; name every group's modules to be safe"};
}

}  // namespace

std::vector<std::string> broken_rules(const LintCase& module) {
  std::vector<std::string> texts;
  const Args* inputs = module.scheme->input_activations ? &*module.scheme->input_activations : nullptr;
  for (const Rule& rule : kRules)
    if (module.scheme->weights && rule.broken(module, *module.scheme->weights, inputs))
      texts.emplace_back(rule.text);
  return texts;
}

std::vector<std::string> vllm_notes(const RunPlan& plan, const ModelOutline& model) {
  std::unordered_set<std::string> not_last;
  for (const auto& parts : model.fused)
    not_last.insert(parts.begin(), parts.empty() ? parts.end() : parts.end() - 1);
  // (rule, scheme) -> modules, in model order
  std::vector<std::pair<std::pair<std::string, const Scheme*>, std::vector<std::string>>> found;
  for (const std::string& name : plan.order) {
    const Assignment& assignment = plan.assignments.at(name);
    const Shape& shape = assignment.weight.shape;
    for (std::string& text :
         broken_rules({assignment.scheme, assignment.format, assignment.weight.module.class_name, shape[0],
                       shape[1], !not_last.count(name)})) {
      const std::pair key{std::move(text), assignment.scheme};
      auto at = std::find_if(found.begin(), found.end(),
                             [&](const auto& entry) { return entry.first == key; });
      if (at == found.end()) at = found.insert(found.end(), {key, {}});
      at->second.push_back(name);
    }
  }
  std::vector<std::string> notes;
  for (const auto& [key, modules] : found)
    notes.push_back(
        fmt::format("vllm: {} ({}): {}", some_names(modules), describe(*key.second->weights), key.first));
  for (std::string& note : captured_by_class(plan)) notes.push_back(std::move(note));
  return notes;
}

std::vector<std::string> unequal_fused_parts(const RunPlan& plan, const ModelOutline& model) {
  std::vector<std::string> lines;
  for (const auto& parts : model.fused) {
    const Assignment* first = plan.find(parts.front());
    std::string list;
    bool equal = true, partly = false, one_call = true;
    for (const std::string& part : parts) {
      const Assignment* assignment = plan.find(part);
      partly = partly || !first != !assignment;
      equal = equal && !partly && (!first || same_for_reader(*first, *assignment));
      // one global scale
      one_call = one_call &&
          (partly || !first ||
           (assignment->quantizer == first->quantizer && assignment->scheme == first->scheme));
      list += fmt::format("{}{} is {}", list.empty() ? "" : ", ", leaf_of(part),
                          assignment ? describe(*assignment->scheme->weights) : "not quantized");
    }
    if (equal && (one_call || first->scheme->weights->strategy != Strategy::tensor_group)) continue;
    const std::string& name = parts.front();
    const std::string does = partly
        ? "stops (ValueError: Found different quantization schemes for the shards)"
        : equal ? "uses one global scale for all, but parts of several groups get one each"
                : fmt::format("reads them all with the scheme of {}", leaf_of(name));
    lines.push_back(fmt::format("{}: {}; vLLM runs them as one layer and {}; wanted one group for them",
                                name.substr(0, name.rfind('.')), list, does));
  }
  return lines;
}

}  // namespace llmc
