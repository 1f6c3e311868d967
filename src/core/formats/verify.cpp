#include "core/formats/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>
#include <set>

#include "core/formats/compressed_tensors.hpp"
#include "core/formats/conv1d.hpp"
#include "core/quantize/finite.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/rounding.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

constexpr std::string_view kLinearParts[] = {"weight_packed", "weight_scale",        "weight_zero_point",
                                             "weight_shape",  "weight_global_scale", "weight_g_idx",
                                             "input_scale",   "input_zero_point",    "input_global_scale",
                                             "output_scale",  "output_zero_point",   "output_global_scale"};
constexpr std::string_view kCacheParts[] = {"k_scale",      "v_scale",      "q_scale",
                                            "k_zero_point", "v_zero_point", "q_zero_point"};
constexpr std::string_view kPositive = "finite numbers above 0";

template <size_t count>
bool contains(const std::string_view (&list)[count], std::string_view text) {
  return std::find(std::begin(list), std::end(list), text) != std::end(list);
}

std::string describe(const Shape& shape, std::string_view dtype) {
  return fmt::format("{} {}", to_string(shape), dtype);
}

bool is_exact_name(const std::string& entry) { return entry.rfind("re:", 0) != 0; }

class FolderChecker {
 public:
  explicit FolderChecker(const FolderCheck& check)
      : check_(check),
        folder_(check.folder),
        config_(check.config ? *check.config : nothing_),
        conv1d_(check.folder),
        matcher_(config_) {
    for (const std::string& name : folder_.names()) {
      const size_t dot = name.rfind('.');
      if (dot != std::string::npos) parts_[name.substr(0, dot)].insert(name.substr(dot + 1));
    }
  }

  std::vector<Fault> run() {
    if (!check_.decoded_only) check_names();
    for (const auto& [module, parts] : parts_) {
      const bool quantized = has_small_weight(module, parts) ||
          std::any_of(parts.begin(), parts.end(),
                      [](const std::string& part) { return contains(kLinearParts, part); });
      if (quantized) check_quantized(module, parts);
      else if (!check_.decoded_only) check_plain(module, parts);
      check_cache(module, parts);
    }
    for (const auto& [module, heads] : check_.known.heads) check_states(module);
    if (check_.read_plain) check_plain_values();
    return std::move(faults_);
  }

 private:
  void fault(std::string tensor, std::string got, std::string_view wanted = "") {
    faults_.push_back({std::move(tensor), std::move(got), std::string(wanted)});
  }

  std::string class_of(const std::string& module) const {
    const auto found = check_.known.class_of.find(module);
    return found == check_.known.class_of.end() ? class_by_name(module) : found->second;
  }

  bool has_small_weight(const std::string& module, const std::set<std::string>& parts) const {
    return parts.count("weight") && item_size(folder_.info(module + ".weight").dtype) == 1;
  }

  // ---- names ----------------------------------------------------------------------------------------------

  bool names_something(const std::string& entry) const {
    const auto below = parts_.lower_bound(entry);  // the module itself, or one inside it
    if (below != parts_.end() && (below->first == entry || below->first.starts_with(entry + ".")))
      return true;
    // a tied head has no tensor
    if (check_.known.class_of.count(entry) || entry.ends_with("lm_head")) return true;
    // a class
    return entry.find('.') == std::string::npos && !entry.empty() &&
        std::isupper(static_cast<unsigned char>(entry[0]));
  }

  void check_names() {
    for (const std::string& entry : config_.ignore)
      if (is_exact_name(entry) && !names_something(entry))
        fault("config.json", fmt::format("ignore entry '{}', which names no module", entry),
              "names of modules that are there");
    for (const auto& group : config_.groups)
      for (const std::string& target : group.scheme.targets)
        if (is_exact_name(target) && target.find('.') != std::string::npos && !names_something(target))
          fault("config.json", fmt::format("target '{}' of '{}', which names no module", target, group.name),
                "names of modules that are there");
    for (const auto& [module, shape] : check_.known.weight_shape)
      if (!parts_.count(module))
        fault(module + ".weight", "nothing", describe(shape, "or its quantized form"));
  }

  // ---- tensors that are not quantized ---------------------------------------------------------------------

  void check_plain(const std::string& module, const std::set<std::string>& parts) {
    const auto known = check_.known.weight_shape.find(module);
    if (!parts.count("weight")) {
      if (known != check_.known.weight_shape.end())
        fault(module + ".weight", "nothing", describe(known->second, "or its quantized form"));
      return;
    }
    const Shape shape = folder_.info(module + ".weight").shape;
    if (known != check_.known.weight_shape.end() && known->second != shape)
      fault(module + ".weight", to_string(shape), to_string(known->second));
    if (shape.size() != 2) return;
    const auto* group = matcher_.match(module, class_of(module));
    if (group && group->scheme.weights)
      fault(module,
            fmt::format("a plain weight, though it is a target of '{}' and is not ignored", group->name),
            "a quantized weight, or its name in ignore");
    else if (group && (group->scheme.input_activations || group->scheme.output_activations))
      fault(module, fmt::format("'{}', which quantizes activations and has no weights", group->name),
            "a group with weights, or attention modules as its targets");
  }

  void check_plain_values() {
    for (const std::string& name : folder_.names()) {
      const TensorInfo info = folder_.info(name);
      const size_t dot = name.rfind('.') + 1;
      const std::string_view part = std::string_view(name).substr(dot);
      if (!is_floating(info.dtype) || item_size(info.dtype) == 1 || contains(kLinearParts, part) ||
          contains(kCacheParts, part))
        continue;
      const int64_t rows = info.shape.empty() ? 1 : info.shape[0], row_bytes = rows ? info.bytes / rows : 0,
                    step = row_bytes ? std::max<int64_t>(1, kIoPiece / row_bytes) : rows;
      for (int64_t row = 0; row < rows && row_bytes; row += step) {
        Shape shape = info.shape.empty() ? Shape{1} : info.shape;
        shape[0] = std::min(step, rows - row);
        Tensor piece(info.dtype, shape);
        folder_.read_rows(name, row, shape[0], piece.data());
        if (const auto bad = first_non_finite(piece)) {
          fault(name,
                fmt::format("NaN or Inf at element {}",
                            row * (row_bytes / static_cast<int64_t>(item_size(info.dtype))) + *bad),
                "finite numbers");
          break;
        }
      }
    }
  }

  // ---- quantized modules ----------------------------------------------------------------------------------

  void check_quantized(const std::string& module, const std::set<std::string>& parts) {
    const std::string class_name = class_of(module);
    if (matcher_.ignored(module, class_name))
      return fault(module, "quantized tensors, though it is in ignore", "a plain weight");
    const auto* group = matcher_.targeted(module, class_name);
    if (!group || !group->scheme.weights)
      return fault(module, "quantized tensors, though no config group targets it",
                   "a plain weight, or a config group");
    if (conv1d_.contains(module))
      return fault(module, "a quantized Conv1D",
                   fmt::format("a plain weight: it is [in, out] by {}", conv1d_.why()));
    const Scheme& scheme = group->scheme;
    try {
      const Shape shape = stored_weight_shape(folder_, module, *scheme.weights, *scheme.format);
      const auto known = check_.known.weight_shape.find(module);
      if (known != check_.known.weight_shape.end() && known->second != shape)
        return fault(module + ".weight", fmt::format("a matrix {}", to_string(shape)),
                     to_string(known->second));
      if (check_tensors(module, parts, planned_tensors(module, shape, scheme, *scheme.format, DType::bf16)) &&
          check_.read_quantized)
        check_values(module, scheme);
    } catch (const Error& error) {
      // no fault of the folder's
      if (error.code() != ErrorCode::bad_file && error.code() != ErrorCode::invalid_argument &&
          error.code() != ErrorCode::unsupported)
        throw;
      fault(module, error.what());
    }
  }

  bool check_tensors(const std::string& module,
                     const std::set<std::string>& parts,
                     const std::vector<PlannedTensor>& planned) {
    const size_t before = faults_.size();
    std::set<std::string> expected = {"bias"};
    for (const PlannedTensor& tensor : planned) {
      const std::string part = tensor.name.substr(module.size() + 1);
      expected.insert(part);
      const bool any_float = tensor.dtype == DType::bf16;  // model dtype: readers cast
      const std::string wanted = describe(tensor.shape,
                                          any_float ? "of the model's dtype" : dtype_name(tensor.dtype));
      if (!parts.count(part)) {
        fault(tensor.name, "nothing", wanted);
        continue;
      }
      const TensorInfo info = folder_.info(tensor.name);
      const bool right_dtype = any_float ? is_floating(info.dtype) && item_size(info.dtype) > 1
                                         : info.dtype == tensor.dtype;
      const bool right_shape = info.shape == tensor.shape || (tensor.shape == Shape{1} && info.shape.empty());
      if (!right_dtype || !right_shape)
        fault(tensor.name, describe(info.shape, dtype_name(info.dtype)), wanted);
    }
    for (const std::string& part : parts)
      if (!expected.count(part) && (part == "weight" || contains(kLinearParts, part)))
        fault(fmt::format("{}.{}", module, part), "a tensor", "none: its scheme has no such part");
    return faults_.size() == before;
  }

  void check_values(const std::string& module, const Scheme& scheme) {
    const QuantizedMatrix matrix = read_quantized(folder_, module, *scheme.weights, *scheme.format,
                                                  check_.parallel);
    const size_t before = faults_.size();
    check_scales(module, matrix);
    if (faults_.size() == before) check_codes(module, matrix);
    for (const char* part : {"input_scale", "output_scale", "input_global_scale", "output_global_scale"})
      if (const std::string name = fmt::format("{}.{}", module, part); folder_.contains(name))
        check_positive(name, folder_.read(name));
    if (check_.visit && faults_.size() == before) check_.visit(module, matrix, faults_);
  }

  void check_scales(const std::string& module, const QuantizedMatrix& matrix) {
    const auto& global = matrix.parameters.global_scale;
    if (global && !(std::isfinite(*global) && *global > 0))
      return fault(module + ".weight_global_scale", fmt::format("{}", *global), kPositive);
    check_positive(module + ".weight_scale", scale_values(matrix.parameters, matrix.args));
  }

  void check_positive(const std::string& name, const Tensor& scales) {
    std::vector<float> values(static_cast<size_t>(scales.size()));
    to_float(scales, values.data());
    const auto bad = std::find_if(values.begin(), values.end(),
                                  [](float value) { return !(std::isfinite(value) && value > 0); });
    if (bad != values.end())
      fault(name, fmt::format("{} at index {}", *bad, bad - values.begin()), kPositive);
  }

  void check_codes(const std::string& module, const QuantizedMatrix& matrix) {
    const auto low = static_cast<int>(matrix.args.quant_min()),
               high = static_cast<int>(matrix.args.quant_max());
    const auto outside = [&](const Tensor& codes) {
      const int8_t *begin = codes.as<int8_t>(), *end = begin + codes.size();
      const int8_t* found = std::find_if(begin, end, [&](int8_t code) { return code < low || code > high; });
      return found == end ? std::nullopt : std::optional<int>(*found);
    };
    const std::string range = fmt::format("{} to {}", low, high);
    if (matrix.args.type == NumberType::integer) {
      if (const auto code = outside(matrix.codes))
        return fault(module + ".weight", fmt::format("the code {}", *code), range);
      if (const auto code = matrix.args.symmetric ? std::nullopt : outside(matrix.parameters.zero_points))
        return fault(module + ".weight_zero_point", fmt::format("{}", *code), range);
    }
    if (check_decoded(module, matrix)) check_not_blank(module, matrix);
  }

  // True when everything decodes to finite numbers; remembers whether all of them are zero.
  bool check_decoded(const std::string& module, const QuantizedMatrix& matrix) {
    const DType stored = matrix.parameters.scales.dtype(),
                out = is_floating(stored) && item_size(stored) > 1 ? stored : DType::bf16;
    const TensorView codes(matrix.codes);
    const int64_t tiles = (codes.rows() + kRowsPerTask - 1) / kRowsPerTask;
    std::vector<int64_t> bad(static_cast<size_t>(tiles), -1);
    std::vector<char> zero(static_cast<size_t>(tiles), 1);
    const auto body = [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t row = t * kRowsPerTask;
        const TensorView tile = codes.row_range(row, std::min(codes.rows(), row + kRowsPerTask));
        Tensor values(out, tile.shape);
        dequantize_rows(tile, row, matrix.parameters, matrix.args, out, values.data());
        if (const auto at = first_non_finite(values))
          bad[static_cast<size_t>(t)] = row * codes.columns() + *at;
        zero[static_cast<size_t>(t)] = all_zero(values) ? 1 : 0;
      }
    };
    check_.parallel(tiles, 1, body);
    const auto first = std::find_if(bad.begin(), bad.end(), [](int64_t at) { return at >= 0; });
    if (first != bad.end())
      fault(
          module + ".weight",
          fmt::format("NaN or Inf at [{}, {}], decoded", *first / codes.columns(), *first % codes.columns()),
          "finite numbers");
    blank_ = codes.size() > 0 && std::find(zero.begin(), zero.end(), 0) == zero.end();
    return first == bad.end();
  }

  static bool all_zero(const Tensor& values) {
    std::vector<float> row(static_cast<size_t>(values.size()));
    to_float(values, row.data());
    return std::all_of(row.begin(), row.end(), [](float value) { return value == 0; });
  }

  // Finds matrices that were never written. One that decodes to zeros alone is right only if its scales are those that
  // a weight of zeros gets. In packed formats bits of zero are the lowest code, which no whole weight consists of.
  void check_not_blank(const std::string& module, const QuantizedMatrix& matrix) {
    const Tensor scales = scale_values(matrix.parameters, matrix.args);
    const DType stored = matrix.parameters.scales.dtype(),
                model = is_floating(stored) && item_size(stored) > 1 ? stored : DType::bf16;
    const auto of_zeros = qparams_from_ranges({{1}, {0.0f}, {0.0f}}, matrix.args, model,
                                              matrix.parameters.global_scale);
    const float blank_scale = scale_values(of_zeros, matrix.args).as<float>()[0];
    const bool meant = std::all_of(scales.as<float>(), scales.as<float>() + scales.size(),
                                   [&](float scale) { return scale == blank_scale; });
    if (blank_ && !meant)
      return fault(module + ".weight", "zeros only, decoded",
                   "other values: its scales are not those of zeros");
    if (matrix.args.type != NumberType::integer || matrix.codes.size() < 2) return;
    const auto lowest = static_cast<int8_t>(matrix.args.quant_min());
    if (std::all_of(matrix.codes.as<int8_t>(), matrix.codes.as<int8_t>() + matrix.codes.size(),
                    [&](int8_t code) { return code == lowest; }))
      fault(module + ".weight", fmt::format("the code {} everywhere: all bits are zero", lowest),
            "codes of a weight");
  }

  // ---- KV cache and attention -----------------------------------------------------------------------------

  // What rounds the queries, keys and values of an attention module; null: nothing.
  const QuantizationArgs* states_of(const std::string& module) const {
    const auto* group = matcher_.match(module, class_of(module));
    if (!group && !check_.known.class_of.count(module)) group = attention_group();
    return group && !group->scheme.weights && group->scheme.input_activations
        ? &*group->scheme.input_activations
        : config_.kv_cache_scheme ? &*config_.kv_cache_scheme
                                  : nullptr;
  }

  // The group that may mean any attention module whose class is not known; null: none.
  const QuantizationConfig::Group* attention_group() const {
    for (const auto& group : config_.groups)
      for (const std::string& target : group.scheme.targets)
        if (target.find("Attention") != std::string::npos || target.find("attn") != std::string::npos)
          return &group;
    return nullptr;
  }

  void check_cache(const std::string& module, const std::set<std::string>& parts) {
    for (const std::string& part : parts) {
      if (!contains(kCacheParts, part)) continue;
      const std::string name = fmt::format("{}.{}", module, part);
      const QuantizationArgs* args = states_of(module);
      if (!args && !attention_group()) fault(name, "a tensor", "none: the config has no kv_cache_scheme");
      if (args) check_state(module, part, *args);
      if (part.ends_with("_scale") && check_.read_quantized) check_positive(name, folder_.read(name));
    }
    const size_t dot = module.rfind('.');
    const bool makes_keys = dot != std::string::npos &&
        (module.ends_with(".k_proj") || module.ends_with(".qkv_proj"));
    if (!config_.kv_cache_scheme || config_.kv_cache_scheme->dynamic != Dynamic::no || !makes_keys) return;
    for (const char* part : {"k_scale", "v_scale"})
      if (const std::string name = fmt::format("{}.{}", module.substr(0, dot), part); !folder_.contains(name))
        fault(name, "nothing", "the scale that kv_cache_scheme asks for");
  }

  // One scale for all, or [heads, 1, 1] with one per head; zero points as many as scales.
  void check_state(const std::string& module, const std::string& part, const QuantizationArgs& args) {
    const std::string name = fmt::format("{}.{}", module, part), state = part.substr(0, 1);
    const TensorInfo info = folder_.info(name);
    Shape wanted = {1};
    if (args.strategy == Strategy::attn_head) {
      const auto known = check_.known.heads.find(module);
      const std::string scale = fmt::format("{}.{}_scale", module, state);
      const Shape stored = folder_.contains(scale) ? folder_.info(scale).shape : info.shape;
      const int64_t heads = known == check_.known.heads.end() ? (stored.empty() ? 1 : stored[0])
          : state == "q"                                      ? known->second.queries
                                                              : known->second.keys;
      wanted = {heads, 1, 1};
    }
    const bool is_scale = part.ends_with("_scale");
    const bool right_dtype = !is_scale || (is_floating(info.dtype) && item_size(info.dtype) > 1);
    if ((info.shape != wanted && !(wanted == Shape{1} && info.shape.empty())) || !right_dtype)
      return fault(name, describe(info.shape, dtype_name(info.dtype)),
                   describe(wanted, is_scale ? "of the model's dtype" : "zero points"));
    const std::string partner = fmt::format("{}.{}_zero_point", module, state);
    if (is_scale && !args.symmetric && !folder_.contains(partner))
      fault(partner, "nothing", describe(wanted, "zero points"));
  }

  // Scales that a group of attention modules asks for; those of kv_cache_scheme are asked for beside k_proj.
  void check_states(const std::string& module) {
    const auto* group = matcher_.match(module, class_of(module));
    const bool fixed = group && !group->scheme.weights && group->scheme.input_activations &&
        group->scheme.input_activations->dynamic == Dynamic::no;
    if (!fixed) return;
    for (const std::string_view part : {"q_scale", "k_scale", "v_scale"}) {
      if (part != "q_scale" && config_.kv_cache_scheme) continue;
      if (const std::string name = fmt::format("{}.{}", module, part); !folder_.contains(name))
        fault(name, "nothing", fmt::format("the scale that '{}' asks for", group->name));
    }
  }

  const FolderCheck& check_;
  const Checkpoint& folder_;
  const QuantizationConfig nothing_;
  const QuantizationConfig& config_;
  const Conv1dModules conv1d_;
  GroupMatcher matcher_;
  std::map<std::string, std::set<std::string>> parts_;  // module -> last name components of its tensors
  std::vector<Fault> faults_;
  bool blank_ = false;  // the last matrix decoded to zeros only
};

}  // namespace

std::string to_line(const Fault& fault) {
  return fault.wanted.empty() ? fmt::format("{}: {}", fault.tensor, fault.got)
                              : fmt::format("{}: got {}, wanted {}", fault.tensor, fault.got, fault.wanted);
}

bool is_quantization_part(std::string_view part) { return contains(kLinearParts, part); }
bool is_cache_part(std::string_view part) { return contains(kCacheParts, part); }

std::string class_by_name(std::string_view module) {
  const std::string_view last = module.substr(module.rfind('.') + 1);
  if (last.ends_with("norm")) return "Norm";
  return last.find("embed") != std::string_view::npos || last == "wte" || last == "wpe" ? "Embedding"
                                                                                        : "Linear";
}

std::vector<Fault> check_folder(const FolderCheck& check) { return FolderChecker(check).run(); }

std::vector<std::string> verify_folder(const Checkpoint& compressed, bool values) {
  const auto config = parse_quantization_config(compressed.config(), compressed.directory() + "/config.json");
  std::vector<std::string> lines;
  for (const Fault& fault : check_folder({.folder = compressed,
                            .config = config ? &*config : nullptr,
                            .read_plain = false,
                            .read_quantized = values}))
    lines.push_back(to_line(fault));
  return lines;
}

}  // namespace llmc
