// llmc inspect: what lies in a folder, from its headers.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/formats/compressed_tensors.hpp"
#include "core/json/json_value.hpp"
#include "core/inspection/module_table.hpp"
#include "core/model/sound_folder.hpp"
#include "core/quantize/row_tiles.hpp"
#include "llmc/error.hpp"
#include "llmc/inspection.hpp"

namespace llmc {
namespace {

constexpr const char* kPartOrder[] = {"embedding", "attention", "mlp", "experts", "norm", "head", "other"};

std::string part_of(const std::string& name) {
  const auto has = [&](std::string_view piece) { return name.find(piece) != std::string::npos; };
  if (has("embed") || has("wte") || has("wpe")) return "embedding";
  if (has("lm_head")) return "head";
  if (has("norm")) return "norm";
  if (has(".experts.") || has("expert")) return "experts";
  if (has("attn") || has("attention")) return "attention";
  if (has("mlp") || has("feed_forward") || has("moe") || has("ffn")) return "mlp";
  return "other";
}

int64_t elements(const Shape& shape) { return element_count(shape).value_or(0); }

// [N, K] without reading weight_shape: what the architecture says, else what scales and words leave possible.
Shape weight_shape(const Checkpoint& folder,
                   const ModuleTable& table,
                   const std::string& module,
                   const QuantizationArgs& args) {
  if (const auto known = table.known_shape(module)) return *known;
  const bool packed = folder.contains(module + ".weight_packed");
  const std::string codes = module + (packed ? ".weight_packed" : ".weight");
  if (!folder.contains(codes)) return {};
  const TensorInfo info = folder.info(codes);
  Shape shape = info.shape;
  if (!packed || shape.size() != 2) return shape;
  const bool grouped = args.group_size && *args.group_size > 0 && folder.contains(module + ".weight_scale");
  const Shape scales = grouped ? folder.info(module + ".weight_scale").shape : Shape{};
  const int64_t code_bits = static_cast<int64_t>(item_size(info.dtype)) * 8;
  shape[1] = scales.size() == 2 ? scales[1] * *args.group_size : shape[1] * code_bits / args.num_bits;
  return shape;
}

struct Collector {
  explicit Collector(InspectReport& target) : report(target) {}

  struct Sizes {
    Shape smallest, largest;
  };

  void add(const std::string& name, InspectReport::Row row, const Shape& shape) {
    row.name = with_stars(name);
    row.part = part_of(name);
    row.count = 1;
    const std::string key = fmt::format("{}|{}|{}|{}", row.name, row.scheme, fmt::join(row.dtypes, ","),
                                        row.format);
    auto [at, added] = index.try_emplace(key, rows.size());
    if (added) {
      rows.push_back(std::move(row));
      sizes.push_back({shape, shape});
      return;
    }
    InspectReport::Row& there = rows[at->second];
    there.count += 1;
    there.parameters += row.parameters;
    there.bytes += row.bytes;
    Sizes& range = sizes[at->second];
    if (elements(shape) < elements(range.smallest)) range.smallest = shape;
    if (elements(shape) > elements(range.largest)) range.largest = shape;
  }

  void finish() {
    std::map<std::string, InspectReport::Part> parts;
    for (size_t i = 0; i < rows.size(); ++i) {
      InspectReport::Row& row = rows[i];
      row.shape = sizes[i].smallest == sizes[i].largest
          ? to_string(sizes[i].largest)
          : fmt::format("{} .. {}", to_string(sizes[i].smallest), to_string(sizes[i].largest));
      auto& part = parts[row.part];
      part.name = row.part;
      part.parameters += row.parameters;
      part.bytes += row.bytes;
      report.parameters += row.parameters;
      report.bytes += row.bytes;
      if (!row.scheme.empty()) {
        report.quantized_parameters += row.parameters;
        report.quantized_bytes += row.bytes;
      }
    }
    for (const char* name : kPartOrder)
      if (parts.count(name)) report.parts.push_back(parts.at(name));
    report.rows = std::move(rows);
  }

  InspectReport& report;
  std::vector<InspectReport::Row> rows;
  std::vector<Sizes> sizes;
  std::map<std::string, size_t> index;
};

void add_quantized(Collector& collector,
                   const Checkpoint& folder,
                   const ModuleTable& table,
                   const std::string& module,
                   const ModuleTable::Entry& entry) {
  InspectReport::Row row;
  row.scheme = describe(*entry.scheme->weights);
  row.format = name_of(*entry.scheme->format);
  if (entry.scheme->input_activations)
    row.inputs = describe(*entry.scheme->input_activations) +
        (entry.scheme->input_activations->dynamic == Dynamic::no ? " static" : "");
  for (const char* codes : {"weight_packed", "weight"})
    if (entry.parts.count(codes))
      row.dtypes.emplace_back(dtype_name(folder.info(module + "." + codes).dtype));
  for (const std::string& part : entry.parts) {
    if (part == "bias") continue;
    const TensorInfo info = folder.info(module + "." + part);
    row.bytes += info.bytes;
    if (part == "weight_scale") row.dtypes.emplace_back(dtype_name(info.dtype));
  }
  const Shape shape = weight_shape(folder, table, module, *entry.scheme->weights);
  row.parameters = elements(shape);
  collector.add(module, std::move(row), shape);
}

void add_plain(Collector& collector, const TensorInfo& info, const std::string& name) {
  InspectReport::Row row;
  row.dtypes.emplace_back(dtype_name(info.dtype));
  row.bytes = info.bytes;
  row.parameters = is_quantization_part(last_part(name)) || is_cache_part(last_part(name))
      ? 0
      : elements(info.shape);
  collector.add(name, std::move(row), info.shape);
}

void read_head(InspectReport& report, const Checkpoint& folder, const ModuleTable& table) {
  const JsonValue config = parse_json(folder.config(), "config.json");
  if (const JsonValue* type = config.find("model_type")) report.model_type = type->as_string().value_or("");
  const JsonValue* classes = config.find("architectures");
  if (classes && !classes->items.empty()) report.architecture = classes->items[0].as_string().value_or("");
  report.method = table.method();
  if (!table.reader()) return;
  const QuantizationConfig& quantization = table.reader()->config();
  report.format = quantization.format;
  report.ignored = quantization.ignore;
  if (quantization.kv_cache_scheme) report.kv_cache = describe(*quantization.kv_cache_scheme);
}

}  // namespace

InspectReport inspect_model(const std::string& model_dir) {
  InspectReport report;
  const Checkpoint folder(model_dir);
  const ModuleTable table(folder);
  if (table.reader()) require_sound(folder, table.reader(), true);
  read_head(report, folder, table);
  report.files = static_cast<int64_t>(folder.files().size());
  report.tensors = static_cast<int64_t>(folder.names().size());
  Collector collector(report);
  for (const auto& [module, entry] : table.modules()) {
    if (entry.scheme) add_quantized(collector, folder, table, module, entry);
    for (const std::string& part : entry.parts)
      if (!entry.scheme || part == "bias")
        add_plain(collector, folder.info(module.empty() ? part : module + "." + part),
                  module.empty() ? part : module + "." + part);
  }
  collector.finish();
  return report;
}

std::string to_json(const InspectReport& report) {
  std::vector<JsonValue> rows, parts;
  for (const auto& row : report.rows)
    rows.push_back(JsonValue::object({{"name", row.name},
                                      {"part", row.part},
                                      {"scheme", row.scheme},
                                      {"format", row.format},
                                      {"inputs", row.inputs},
                                      {"dtypes", row.dtypes},
                                      {"shape", row.shape},
                                      {"count", row.count},
                                      {"parameters", row.parameters},
                                      {"bytes", row.bytes},
                                      {"bits_per_weight", row.bits_per_weight()}}));
  for (const auto& part : report.parts)
    parts.push_back(
        JsonValue::object({{"name", part.name}, {"parameters", part.parameters}, {"bytes", part.bytes}}));
  const auto bits = [](int64_t bytes, int64_t parameters) {
    return parameters ? 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters) : 0.0;
  };
  return dump_json_utf8(JsonValue::object(
      {{"model_type", report.model_type},
       {"architecture", report.architecture},
       {"quant_method", report.method},
       {"format", report.format},
       {"kv_cache", report.kv_cache},
       {"ignored", report.ignored},
       {"files", report.files},
       {"tensors", report.tensors},
       {"parameters", report.parameters},
       {"bytes", report.bytes},
       {"quantized_parameters", report.quantized_parameters},
       {"quantized_bytes", report.quantized_bytes},
       {"bits_per_weight", bits(report.bytes, report.parameters)},
       {"quantized_bits_per_weight", bits(report.quantized_bytes, report.quantized_parameters)},
       {"rows", JsonValue::array(std::move(rows))},
       {"parts", JsonValue::array(std::move(parts))}}));
}

}  // namespace llmc
