#include "core/plan/plan_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/files/name_list.hpp"
#include "core/files/weight_reader.hpp"
#include "core/formats/verify.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

// The output as far as it is known before the work: names, dtypes, shapes and config.json; all values are
// zeros, apart from each weight_shape.
class PlannedFolder final : public TensorSource {
 public:
  PlannedFolder(const RunPlan& plan, std::string config) : plan_(plan), config_(std::move(config)) {
    for (const PlannedTensor& tensor : plan.tensors)
      tensors_.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  const std::string& config() const override { return config_; }
  const std::vector<Entry>& tensors() const override { return tensors_; }
  void read(size_t tensor, int64_t offset, int64_t bytes, std::byte* to) const override {
    std::memset(to, 0, static_cast<size_t>(bytes));
    const std::string& name = tensors_[tensor].name;
    constexpr std::string_view kSuffix = ".weight_shape";
    if (!name.ends_with(kSuffix)) return;
    const ModuleDecision* decision = plan_.find(name.substr(0, name.size() - kSuffix.size()));
    if (decision && offset + bytes <= static_cast<int64_t>(2 * sizeof(int64_t)))
      std::memcpy(to, reinterpret_cast<const std::byte*>(decision->weight.shape.data()) + offset,
                  static_cast<size_t>(bytes));
  }

 private:
  const RunPlan& plan_;
  const std::string config_;
  std::vector<Entry> tensors_;
};

}  // namespace

void refuse_quantized_parts(const Checkpoint& source) {
  for (const std::string& name : source.names()) {
    const size_t dot = name.rfind('.');
    if (dot == std::string::npos) continue;
    const std::string_view part = std::string_view(name).substr(dot + 1);
    const DType dtype = source.info(name).dtype;
    const bool small = part == "weight" && item_size(dtype) == 1;
    if (!small && !is_quantization_part(part) && !is_cache_part(part)) continue;
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("'{}': tensor '{}'{} is a part of '{}' as quantized folders store it, though config.json "
                    "says nothing of it; wanted an unquantized model",
                    source.directory(), name, small ? fmt::format(" ({})", dtype_name(dtype)) : "",
                    name.substr(0, dot)));
  }
}

void check_shared_inputs(const RunPlan& plan, const ModelOutline& model) {
  if (!model.graph) return;
  for (const Block& block : model.graph->blocks)
    for (const SharedInput& input : shared_inputs(block)) {
      std::vector<const ModuleDecision*> firsts;  // one for each quantizer and scheme
      for (const size_t node : input.nodes) {
        const ModuleDecision* one = plan.find(block.nodes[node].name);
        if (!one || !one->quantizer->needs_gram()) continue;
        const auto same = std::find_if(firsts.begin(), firsts.end(), [&](const ModuleDecision* first) {
          return first->quantizer == one->quantizer && first->scheme == one->scheme;
        });
        if (same == firsts.end()) {
          firsts.push_back(one);
          continue;
        }
        const WeightModule &a = (*same)->weight, &b = one->weight;
        if (a.dtype != b.dtype)
          throw Error(
              ErrorCode::invalid_argument,
              fmt::format("'{}' is {} and '{}' is {}: {} solves Linears that read one input together; "
                          "wanted one dtype",
                          a.module.name, dtype_name(a.dtype), b.module.name, dtype_name(b.dtype),
                          one->quantizer->type()));
      }
    }
}

void ignore_copied_matrices(RunPlan& plan, const Checkpoint& source) {
  constexpr std::string_view kSuffix = ".weight";
  const GroupMatcher matcher(plan.config);
  std::vector<std::string> found;
  for (const TensorCopy& copy : plan.copied) {
    const std::string& name = copy.to;
    if (!name.ends_with(kSuffix) || WeightReader(source, copy.from).info().shape.size() != 2) continue;
    const std::string module = name.substr(0, name.size() - kSuffix.size());
    if (matcher.match(module, class_by_name(module))) found.push_back(module);
  }
  if (found.empty()) return;
  plan.config.ignore.insert(plan.config.ignore.end(), found.begin(), found.end());
  plan.notes.push_back(fmt::format(
      "copied, and named in ignore: {} matrices that config.json does not describe but the recipe's targets "
      "would name: {}",
      found.size(), some_of(found)));
}

void check_planned_folder(const RunPlan& plan, const Checkpoint& source, const OneshotOptions& options) {
  const PlannedFolder planned(plan, planned_config(plan, source, options));
  const std::vector<std::string> faults = verify_folder(Checkpoint(planned), false);
  if (!faults.empty())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("'{}': what this recipe makes of it would not be sound: {} ({} fault(s))",
                            source.directory(), faults.front(), faults.size()));
}

}  // namespace llmc
