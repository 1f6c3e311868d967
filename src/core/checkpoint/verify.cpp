#include "core/checkpoint/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <set>

#include "core/checkpoint/compressed_tensors.hpp"
#include "core/checkpoint/quantization_config.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/rounding.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

constexpr std::string_view kLinearParts[] = {"weight_packed", "weight_scale", "weight_zero_point", "weight_shape", "weight_global_scale", "weight_g_idx",
                                             "input_scale",   "input_zero_point", "input_global_scale", "output_scale", "output_zero_point", "output_global_scale"};
constexpr std::string_view kCacheParts[] = {"k_scale", "v_scale", "q_scale", "k_zero_point", "v_zero_point", "q_zero_point"};

template <size_t count>
bool contains(const std::string_view (&list)[count], std::string_view text) {
  return std::find(std::begin(list), std::end(list), text) != std::end(list);
}

// Without a graph the class of a module can only be told from its name.
std::string_view guess_class(std::string_view module) {
  const std::string_view last = module.substr(module.rfind('.') + 1);
  return last.find("embed") != std::string_view::npos || last == "wte" || last == "wpe" ? "Embedding" : "Linear";
}

class Verifier {
 public:
  Verifier(const Checkpoint& checkpoint, const QuantizationConfig& config) : checkpoint_(checkpoint), config_(config), matcher_(config) {
    for (const std::string& name : checkpoint.names()) {
      const size_t dot = name.rfind('.');
      if (dot != std::string::npos) parts_[name.substr(0, dot)].insert(name.substr(dot + 1));
    }
  }

  std::vector<std::string> run() {
    for (const auto& [module, parts] : parts_) {
      const bool quantized = std::any_of(parts.begin(), parts.end(), [](const std::string& part) { return contains(kLinearParts, part); }) || has_small_weight(module, parts);
      if (quantized)
        check_quantized(module, parts);
      else
        check_plain(module, parts);
      check_cache(module, parts);
    }
    return std::move(faults_);
  }

 private:
  template <class... Args>
  void fault(fmt::format_string<Args...> text, Args&&... args) { faults_.push_back(fmt::format(text, std::forward<Args>(args)...)); }

  bool has_small_weight(const std::string& module, const std::set<std::string>& parts) const {
    return parts.count("weight") && item_size(checkpoint_.info(module + ".weight").dtype) == 1;
  }

  void check_plain(const std::string& module, const std::set<std::string>& parts) {
    if (!parts.count("weight") || checkpoint_.info(module + ".weight").shape.size() != 2) return;
    const auto* group = matcher_.match(module, guess_class(module));
    if (group && group->scheme.weights) fault("{}: is a target of '{}', but is neither quantized nor ignored", module, group->name);
  }

  void check_quantized(const std::string& module, const std::set<std::string>& parts) {
    const std::string_view class_name = guess_class(module);
    if (matcher_.ignored(module, class_name)) return fault("{}: has quantized tensors, but is ignored", module);
    const auto* group = matcher_.targeted(module, class_name);
    if (!group || !group->scheme.weights) return fault("{}: has quantized tensors, but no config group targets it", module);
    const Scheme& scheme = group->scheme;
    try {
      const Shape shape = stored_weight_shape(checkpoint_, module, *scheme.weights, *scheme.format);
      if (!check_tensors(module, parts, planned_tensors(module, shape, scheme, *scheme.format, DType::bf16))) return;
      check_values(module, scheme);
    } catch (const Error& error) {
      faults_.push_back(error.what());
    }
  }

  bool check_tensors(const std::string& module, const std::set<std::string>& parts, const std::vector<PlannedTensor>& planned) {
    const size_t before = faults_.size();
    std::set<std::string> expected = {"bias"};
    for (const PlannedTensor& tensor : planned) {
      const std::string part = tensor.name.substr(module.size() + 1);
      expected.insert(part);
      if (!parts.count(part)) {
        fault("{}: has no {}, wanted {} {}", module, part, to_string(tensor.shape), dtype_name(tensor.dtype));
        continue;
      }
      const TensorInfo info = checkpoint_.info(tensor.name);
      const bool any_float = tensor.dtype == DType::bf16;  // model dtype: readers cast
      const bool right_dtype = any_float ? is_floating(info.dtype) && item_size(info.dtype) > 1 : info.dtype == tensor.dtype;
      const bool right_shape = info.shape == tensor.shape || (tensor.shape == Shape{1} && info.shape.empty());
      if (!right_dtype || !right_shape)
        fault("{}: {} is {} {}, wanted {} {}", module, part, to_string(info.shape), dtype_name(info.dtype), to_string(tensor.shape), any_float ? "of the model's dtype" : dtype_name(tensor.dtype));
    }
    for (const std::string& part : parts)
      if (!expected.count(part) && (part == "weight" || contains(kLinearParts, part))) fault("{}: has a stray {}", module, part);
    return faults_.size() == before;
  }

  void check_values(const std::string& module, const Scheme& scheme) {
    const QuantizedMatrix matrix = read_quantized(checkpoint_, module, *scheme.weights, *scheme.format);
    check_scales(module, "weight_scale", matrix.parameters, matrix.args);
    check_codes(module, matrix);
    for (const auto& part : {"input_scale", "output_scale", "input_global_scale", "output_global_scale"})
      if (checkpoint_.contains(fmt::format("{}.{}", module, part))) check_read(module, part);
  }

  void check_scales(const std::string& module, std::string_view part, const QuantizationParameters& parameters, const QuantizationArgs& args) {
    if (parameters.global_scale && !(std::isfinite(*parameters.global_scale) && *parameters.global_scale > 0))
      return fault("{}: weight_global_scale is {}, wanted a finite number above 0", module, *parameters.global_scale);
    const Tensor values = scale_values(parameters, args);
    check_positive(module, part, values);
  }

  void check_read(const std::string& module, std::string_view part) {
    const Tensor scales = checkpoint_.read(fmt::format("{}.{}", module, part));
    check_positive(module, part, scales);
  }

  void check_positive(const std::string& module, std::string_view part, const TensorView& scales) {
    std::vector<float> values(static_cast<size_t>(scales.size()));
    to_float(scales, values.data());
    const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !(std::isfinite(value) && value > 0); });
    if (bad != values.end()) fault("{}: {} is {} at index {}, wanted a finite number above 0", module, part, *bad, bad - values.begin());
  }

  void check_codes(const std::string& module, const QuantizedMatrix& matrix) {
    const auto outside = [&](const Tensor& codes) -> const int8_t* {
      const int8_t *begin = codes.as<int8_t>(), *end = begin + codes.size();
      const auto low = static_cast<int>(matrix.args.quant_min()), high = static_cast<int>(matrix.args.quant_max());
      const int8_t* found = std::find_if(begin, end, [&](int8_t code) { return code < low || code > high; });
      return found == end ? nullptr : found;
    };
    if (matrix.args.type == NumberType::integer) {
      if (const int8_t* code = outside(matrix.codes)) fault("{}: weight holds the code {}, which {} bits cannot", module, *code, matrix.args.num_bits);
      if (const int8_t* code = matrix.args.symmetric ? nullptr : outside(matrix.parameters.zero_points)) fault("{}: weight_zero_point holds {}, which {} bits cannot", module, *code, matrix.args.num_bits);
    }
    const DType stored = matrix.parameters.scales.dtype(), out = is_floating(stored) && item_size(stored) > 1 ? stored : DType::bf16;
    const TensorView codes(matrix.codes);
    constexpr int64_t kTileRows = 256;
    Tensor values(out, {std::min(kTileRows, codes.rows()), codes.columns()});
    for (int64_t row = 0; row < codes.rows(); row += kTileRows) {
      const TensorView tile = codes.row_range(row, std::min(codes.rows(), row + kTileRows));
      dequantize_rows(tile, row, matrix.parameters, matrix.args, out, values.data());
      if (const auto bad = first_non_finite(TensorView(values.data(), out, tile.shape)))
        return fault("{}: weight [{}, {}] decodes to NaN or infinity", module, row + *bad / codes.columns(), *bad % codes.columns());
    }
  }

  void check_cache(const std::string& module, const std::set<std::string>& parts) {
    const bool attention_group = std::any_of(config_.groups.begin(), config_.groups.end(), [](const auto& group) {
      return std::any_of(group.scheme.targets.begin(), group.scheme.targets.end(), [](const std::string& target) { return target.ends_with("Attention") || target.ends_with("attn"); });
    });
    for (const std::string& part : parts) {
      if (!contains(kCacheParts, part)) continue;
      if (!config_.kv_cache_scheme && !attention_group) fault("{}: has a {}, but the config has no kv_cache_scheme", module, part);
      if (part.ends_with("_scale")) check_read(module, part);
    }
  }

  const Checkpoint& checkpoint_;
  const QuantizationConfig& config_;
  GroupMatcher matcher_;
  std::map<std::string, std::set<std::string>> parts_;  // module -> last name components of its tensors
  std::vector<std::string> faults_;
};

}  // namespace

std::vector<std::string> verify_folder(const Checkpoint& compressed) {
  const auto config = parse_quantization_config(compressed.config(), compressed.directory() + "/config.json");
  if (!config) return {fmt::format("{}/config.json: has no quantization_config", compressed.directory())};
  return Verifier(compressed, *config).run();
}

}  // namespace llmc
