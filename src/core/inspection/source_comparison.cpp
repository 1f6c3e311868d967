#include "core/inspection/source_comparison.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "core/json/json_value.hpp"
#include "core/inspection/module_table.hpp"
#include "core/model/model_outline.hpp"
#include "core/quantize/finite.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/row_tiles.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

bool is_weight_dtype(DType dtype) {
  return dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f32;
}
bool is_norm(const std::string& name) { return module_of(name).find("norm") != std::string::npos; }

// "model.layers.3." of a name inside layer 3; "" elsewhere.
std::string layer_of(const std::string& name) {
  const size_t at = name.find("layers.");
  const size_t end = at == std::string::npos ? at : name.find('.', at + 7);
  return end == std::string::npos ? "" : name.substr(0, end + 1);
}

std::vector<float> floats_of(const Tensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.size()));
  to_float(tensor, values.data());
  return values;
}

bool ties_embeddings(const std::string& config_json) {
  const JsonValue config = parse_json(config_json, "config.json");
  const JsonValue* tie = config.find("tie_word_embeddings");
  return tie && tie->is(JsonValue::Kind::boolean) && tie->truth;
}

// AWQ divides the outputs of the Linears before o_proj and down_proj.
bool rows_are_rescaled(const std::string& module) {
  const std::string leaf = last_part(module);
  return leaf == "v_proj" || leaf == "up_proj" || leaf == "w3" || leaf == "qkv_proj" ||
      leaf == "gate_up_proj";
}

// before / after, per channel; empty when that is no positive number everywhere. Gemma's norms multiply by 1
// + weight: offset 1.
std::vector<float> norm_ratio(const std::vector<float>& before, const std::vector<float>& now, float offset) {
  std::vector<float> ratio(now.size());
  for (size_t k = 0; k < now.size(); ++k) {
    ratio[k] = (before[k] + offset) / (now[k] + offset);
    if (!(std::isfinite(ratio[k]) && ratio[k] > 0)) return {};
  }
  return ratio;
}

constexpr const char* word_for(Basis basis) {
  switch (basis) {
    case Basis::rounded:
      return "exactly";
    case Basis::tuned:
      return "as tuned codes";
    case Basis::smoothed:
    case Basis::smoothed_and_tuned:
      return "up to channel scales";
    case Basis::pruned:
      return "loosely";
  }
  return "";
}

// Columns in the order of their groups, for a matrix whose groups are no runs of columns; empty otherwise.
std::vector<int64_t> group_order(const QuantizedMatrix& matrix) {
  const std::vector<int32_t>& group = matrix.parameters.scale_column;
  std::vector<int64_t> order(group.size());
  for (size_t k = 0; k < order.size(); ++k) order[k] = static_cast<int64_t>(k);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return group[static_cast<size_t>(a)] < group[static_cast<size_t>(b)];
  });
  return order;
}

Tensor reordered(const Tensor& matrix, const std::vector<int64_t>& order) {
  Tensor out(matrix.dtype(), matrix.shape());
  const auto item = static_cast<int64_t>(item_size(matrix.dtype())), columns = matrix.columns();
  for (int64_t row = 0; row < matrix.rows(); ++row)
    for (int64_t k = 0; k < columns; ++k)
      std::copy_n(matrix.data() + (row * columns + order[static_cast<size_t>(k)]) * item, item,
                  out.data() + (row * columns + k) * item);
  return out;
}

// Each group is a run of columns then, if all of them are equally long.
QuantizedMatrix reordered(const QuantizedMatrix& matrix, const std::vector<int64_t>& order) {
  QuantizedMatrix out{matrix.args, matrix.shape, reordered(matrix.codes, order), matrix.parameters.copy()};
  std::vector<int32_t>& group = out.parameters.scale_column;
  std::sort(group.begin(), group.end());
  bool runs = true;
  for (size_t k = 0; k < group.size(); ++k)
    runs = runs && group[k] == static_cast<int32_t>(static_cast<int64_t>(k) / *matrix.args.group_size);
  if (runs) group.clear();
  return out;
}

std::vector<float> reordered(const std::vector<float>& values, const std::vector<int64_t>& order) {
  if (values.size() != order.size()) return values;
  std::vector<float> out(values.size());
  for (size_t k = 0; k < order.size(); ++k) out[k] = values[static_cast<size_t>(order[k])];
  return out;
}

std::vector<float> put_back(const std::vector<float>& values, const std::vector<int64_t>& order) {
  if (values.size() != order.size()) return values;
  std::vector<float> out(values.size());
  for (size_t k = 0; k < order.size(); ++k) out[static_cast<size_t>(order[k])] = values[k];
  return out;
}

}  // namespace

SourceComparison::SourceComparison(const Checkpoint& folder,
                                   const Checkpoint& source,
                                   RecipeTraits traits,
                                   bool compressed,
                                   ParallelFor parallel)
    : folder_(folder),
      source_(source),
      traits_(std::move(traits)),
      compressed_(compressed),
      parallel_(parallel),
      tied_(ties_embeddings(source.config())) {
  for (const std::string& name : traits_.unknown)
    notes.push_back(fmt::format(
        "recipe.yaml names {}, which llmc does not know: errors are held to the widest bounds", name));
  if (traits_.rotates)
    notes.push_back(
        "the weights were rotated: values could not be compared with the source, only names, dtypes and "
        "shapes");
  else find_changed_norms();
}

// Without a recipe, norms that changed tell that scale was moved out of them.
void SourceComparison::find_changed_norms() {
  for (const std::string& name : source_.names())
    if (is_norm(name) && folder_.contains(name) && folder_.info(name).shape == source_.info(name).shape &&
        folder_.info(name).dtype == source_.info(name).dtype && !same_bytes(name, name))
      changed_norms_.insert(name);
  if (traits_.modifiers.empty() && !changed_norms_.empty()) traits_.smooths = traits_.smooths_linears = true;
  if (traits_.smooths)
    notes.push_back(
        "scale was moved between channels before quantization: weights were compared up to one factor per "
        "input channel, scales by order of magnitude");
}

Rescaling SourceComparison::rescaling_of(const std::string& module, int64_t columns) const {
  Rescaling rescaling;
  rescaling.linears = traits_.smooths_linears;
  rescaling.rows = traits_.smooths_linears && rows_are_rescaled(module);
  for (const std::string& name : changed_norms_) {
    if (layer_of(name) != layer_of(module) || source_.info(name).shape != Shape{columns}) continue;
    const std::vector<float> before = floats_of(source_.read(name)), now = floats_of(folder_.read(name));
    for (const float offset : {0.0f, 1.0f})
      if (std::vector<float> ratio = norm_ratio(before, now, offset); !ratio.empty())
        rescaling.norms.push_back(std::move(ratio));
  }
  return rescaling;
}

Basis SourceComparison::basis() const {
  if (traits_.prunes || !traits_.unknown.empty()) return Basis::pruned;
  if (traits_.smooths) return traits_.known && !traits_.tunes ? Basis::smoothed : Basis::smoothed_and_tuned;
  return traits_.known && !traits_.tunes ? Basis::rounded : Basis::tuned;
}

// The module's own weight, the embedding of a tied head, or its slice of a stack of experts: [E, 2 I, H] gate
// above up, [E, H, I] down.
SourceComparison::SourceWeight SourceComparison::find_source(const std::string& module) const {
  if (source_.contains(module + ".weight")) return {module + ".weight"};
  if (module.ends_with("lm_head") && tied_) {
    for (const std::string& name : source_.names())
      if (name.ends_with("embed_tokens.weight")) return {name};
  }
  const size_t at = module.rfind(".experts."), number = at == std::string::npos ? at : at + 9;
  const size_t dot = at == std::string::npos ? at : module.find('.', number);
  if (dot == std::string::npos) return {};
  const std::string leaf = module.substr(dot + 1),
                    stack = module.substr(0, number) + (leaf == "down_proj" ? "down_proj" : "gate_up_proj");
  int64_t expert = -1;
  std::from_chars(module.data() + number, module.data() + dot, expert);
  if (!source_.contains(stack) || expert < 0) return {};
  const Shape shape = source_.info(stack).shape;
  if (shape.size() != 3 || expert >= shape[0]) return {};
  const int64_t rows = leaf == "down_proj" ? shape[1] : shape[1] / 2;
  return {stack, expert * shape[1] + (leaf == "up_proj" ? rows : 0), rows};
}

Tensor SourceComparison::read_source(const SourceWeight& weight) const {
  if (weight.rows < 0) return source_.read(weight.tensor, parallel_);
  const TensorInfo info = source_.info(weight.tensor);
  Tensor part(info.dtype, {weight.rows, info.shape[2]});
  source_.read_bytes(weight.tensor, weight.first_row * (part.bytes() / std::max<int64_t>(1, weight.rows)),
                     part.bytes(), part.data());
  return part;
}

void SourceComparison::compare(const std::string& module,
                               const QuantizedMatrix& matrix,
                               std::vector<Fault>& faults) {
  const SourceWeight weight = find_source(module);
  if (weight.tensor.empty())
    return faults.push_back(
        {module + ".weight", "a quantized matrix", "none: the source has no such weight"});
  claimed_.insert(weight.tensor);
  const TensorInfo info = source_.info(weight.tensor);
  if (!is_weight_dtype(info.dtype))
    return notes.push_back(
        fmt::format("{}: the source's weight is {}: not compared", module, dtype_name(info.dtype)));
  if (weight.rows < 0 && info.shape != matrix.shape)
    return faults.push_back({module + ".weight", fmt::format("a matrix {}", to_string(matrix.shape)),
                             fmt::format("{}, as in the source", to_string(info.shape))});
  MatrixCheck row{module, describe(matrix.args), "not (rotated)"};
  if (!traits_.rotates) {
    Tensor source = read_source(weight);
    if (source.shape() != matrix.shape)
      return faults.push_back({module + ".weight", fmt::format("a matrix {}", to_string(matrix.shape)),
                               fmt::format("{}, as in the source", to_string(source.shape()))});
    if (first_non_finite(source))
      return notes.push_back(fmt::format("{}: the source holds NaN or Inf: not compared", module));
    Rescaling rescaling = traits_.smooths ? rescaling_of(module, matrix.shape[1]) : Rescaling{};
    const std::vector<int64_t> order = group_order(matrix);
    std::optional<QuantizedMatrix> in_order;
    if (!order.empty()) {
      in_order = reordered(matrix, order);
      source = reordered(source, order);
      for (std::vector<float>& norm : rescaling.norms) norm = reordered(norm, order);
    }
    MatrixComparison result = compare_matrix(module, in_order ? *in_order : matrix, source, basis(),
                                             rescaling, parallel_);
    for (std::vector<float>* factors : {&result.channel_factors, &result.channel_errors})
      *factors = put_back(*factors, order);
    row = {module,
           row.scheme,
           word_for(basis()),
           result.relative_error,
           result.rounding_error,
           result.allowed_error,
           result.cosine};
    if (result.fault) faults.push_back(*result.fault);
    else if (result.scale_fault) odd_scales_[module] = *result.scale_fault;
    ++compared_;
    dead_columns_ += result.dead_columns;
    if (module.find(".experts.") == std::string::npos || module.find(".experts.0.") != std::string::npos)
      channel_factors_[module] = {std::move(result.channel_factors), std::move(result.channel_errors)};
    if (matrix.parameters.global_scale && !traits_.smooths && basis() != Basis::pruned)
      shared_[module] = {*matrix.parameters.global_scale, result.absmax, source.dtype()};
  }
  matrices.push_back(std::move(row));
}

// A recipe that llmc knows promises the scales of the range. Without a recipe the folder's own majority
// decides.
void SourceComparison::check_odd_scales(std::vector<Fault>& faults) {
  if (!traits_.known && static_cast<int64_t>(odd_scales_.size()) * 2 > compared_) {
    notes.push_back(
        fmt::format("{} of {} matrices have other scales than their observer's, and no recipe says why: "
                    "scales were compared by order of magnitude",
                    odd_scales_.size(), compared_));
    return;
  }
  for (auto& [module, fault] : odd_scales_) faults.push_back(fault);
}

// NVFP4's divisor is one for all weights that a server fuses: 2688 over the largest of them.
void SourceComparison::check_shared_scales(std::vector<Fault>& faults) {
  if (shared_.empty()) return;
  std::vector<std::vector<std::string>> sets;
  std::set<std::string> fused;
  try {
    for (const auto& modules : outline_model(source_, false).fused) {
      sets.emplace_back();
      for (const std::string& module : modules)
        if (shared_.count(module)) {
          sets.back().push_back(module);
          fused.insert(module);
        }
    }
  } catch (const Error&) {  // a source that is no model of its own: each by itself
  }
  for (const auto& [module, scale] : shared_)
    if (!fused.count(module)) sets.push_back({module});
  for (const auto& modules : sets) {
    float absmax = 0;
    for (const std::string& module : modules) absmax = std::max(absmax, shared_.at(module).absmax);
    for (const std::string& module : modules) {
      const SharedScale& got = shared_.at(module);
      const float wanted = nvfp4_global_scale(absmax, got.dtype);
      if (std::fabs(got.global_scale - wanted) > 0.01f * wanted)
        faults.push_back({module + ".weight_global_scale", fmt::format("{:.6g}", got.global_scale),
                          fmt::format("{:.6g}, from the values of {}", wanted, fmt::join(modules, ", "))});
    }
  }
}

bool SourceComparison::same_bytes(const std::string& name, const std::string& source_name) const {
  const int64_t bytes = folder_.info(name).bytes;
  if (bytes != source_.info(source_name).bytes) return false;
  std::vector<std::byte> a(static_cast<size_t>(std::min(bytes, kIoPiece))), b(a.size());
  for (int64_t at = 0; at < bytes; at += kIoPiece) {
    const int64_t count = std::min(kIoPiece, bytes - at);
    folder_.read_bytes(name, at, count, a.data());
    source_.read_bytes(source_name, at, count, b.data());
    if (std::memcmp(a.data(), b.data(), static_cast<size_t>(count)) != 0) return false;
  }
  return true;
}

// Did a reader of this norm in its layer take up what it gave away, in every channel?
bool SourceComparison::norm_moved_scale(const std::string& name) const {
  const std::vector<float> now = floats_of(folder_.read(name)), before = floats_of(source_.read(name));
  const auto agrees = [&](const ChannelFactors& fitted, float offset) {
    const std::vector<float> ratio = norm_ratio(before, now, offset);
    size_t changed = 0;
    for (size_t k = 0; k < ratio.size(); ++k) {
      if (std::fabs(fitted.factors[k] - ratio[k]) > 0.1f * ratio[k] + 8 * fitted.errors[k]) return false;
      changed += now[k] != before[k];
    }
    return changed * 2 > ratio.size();  // smoothing changes nearly all of them
  };
  for (const auto& [module, fitted] : channel_factors_)
    if (fitted.factors.size() == now.size() && layer_of(module) == layer_of(name) &&
        (agrees(fitted, 0) || agrees(fitted, 1)))
      return true;
  return false;
}

bool SourceComparison::explain_matrix(const std::string& name, std::vector<Fault>& faults) {
  const Tensor now = folder_.read(name);
  Tensor before = source_.read(name);
  if (traits_.smooths) {
    fit_channels(now, before, traits_.smooths_linears && rows_are_rescaled(module_of(name)));
    if (relative_difference(now, before) < 0.02) return true;
  }
  const double error = relative_difference(now, before);
  const bool loose = traits_.prunes || !traits_.unknown.empty(),
             rounded_in_place = !compressed_ && traits_.quantizes();
  const double most = loose ? 0.95 : rounded_in_place ? 0.8 : 0;
  if (error > most)
    faults.push_back({name, fmt::format("an error of {:.4f} to the source", error),
                      most > 0 ? fmt::format("at most {}", most) : "the source's bytes"});
  return true;
}

// A changed tensor is no fault where the recipe changes it. True: nothing more to say about it.
bool SourceComparison::explain_change(const std::string& name,
                                      const TensorInfo& info,
                                      std::vector<Fault>& faults) {
  if (!is_weight_dtype(info.dtype)) return false;
  if (traits_.rotates) return true;
  const bool changes_matrices = traits_.smooths || traits_.prunes || !traits_.unknown.empty() ||
      (!compressed_ && traits_.quantizes());
  if (info.shape.size() == 2 && changes_matrices) return explain_matrix(name, faults);
  if (!traits_.smooths) return false;
  if (changed_norms_.count(name) && last_part(name) == "weight") return norm_moved_scale(name);
  return last_part(name) == "bias";
}

void SourceComparison::compare_plain(const std::string& name, std::vector<Fault>& faults) {
  const TensorInfo wanted = source_.info(name);
  if (!folder_.contains(name)) {
    if (!(tied_ && name.ends_with("lm_head.weight")))
      faults.push_back(
          {name, "nothing",
           fmt::format("{} {}, as in the source", to_string(wanted.shape), dtype_name(wanted.dtype))});
    return;
  }
  const TensorInfo got = folder_.info(name);
  if (got.dtype != wanted.dtype || got.shape != wanted.shape)
    return faults.push_back(
        {name, fmt::format("{} {}", to_string(got.shape), dtype_name(got.dtype)),
         fmt::format("{} {}, as in the source", to_string(wanted.shape), dtype_name(wanted.dtype))});
  if (same_bytes(name, name)) return;
  ++unlike_;
  if (!explain_change(name, wanted, faults))
    faults.push_back({name, "other values than the source", "the source's bytes"});
}

void SourceComparison::finish(std::vector<Fault>& faults) {
  check_odd_scales(faults);
  check_shared_scales(faults);
  for (const std::string& name : source_.names())
    if (!claimed_.count(name)) {
      const std::string module = module_of(name);
      // told already
      const bool broken = !folder_.contains(name) &&
          (folder_.contains(module + ".weight_scale") || folder_.contains(module + ".weight_packed"));
      const bool holds_codes = compressed_ && folder_.contains(name) &&
          item_size(folder_.info(name).dtype) == 1;
      if (!broken && !holds_codes) compare_plain(name, faults);
    }
  for (const std::string& name : folder_.names()) {
    const std::string part = last_part(name), module = module_of(name);
    if (source_.contains(name) || is_quantization_part(part) || is_cache_part(part)) continue;
    if (part == "weight" && !find_source(module).tensor.empty()) {
      const std::string from = find_source(module).tensor;
      if (module.ends_with("lm_head") && item_size(folder_.info(name).dtype) > 1 && !traits_.rotates &&
          !same_bytes(name, from))
        faults.push_back({name, "other values than the source", fmt::format("the bytes of {}", from)});
      continue;
    }
    faults.push_back({name, "a tensor", "none: the source has no such tensor"});
  }
  if (dead_columns_)
    notes.push_back(
        fmt::format("{} input channel(s) decode to zeros where the source has values: GPTQ does that to "
                    "channels its data never used; they were left out of the errors",
                    dead_columns_));
  if (unlike_ && traits_.prunes)
    notes.push_back(fmt::format("{} tensor(s) were pruned: compared loosely", unlike_));
}

}  // namespace llmc
