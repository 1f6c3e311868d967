#include "core/formats/quantization_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <iterator>
#include <map>
#include <set>

#include "core/files/quantization_method.hpp"
#include "core/json/json_value.hpp"
#include "llmc/error.hpp"
#include "llmc/recipe.hpp"

namespace llmc {
namespace {

using Kind = JsonValue::Kind;

JsonValue optional_text(const std::string& text) {
  return text.empty() ? JsonValue{} : JsonValue::from_string(text);
}
JsonValue dtype_text(std::optional<DType> dtype) {
  return dtype ? JsonValue::from_string(fmt::format("torch.{}", torch_name(*dtype))) : JsonValue{};
}
JsonValue string_list(const std::vector<std::string>& texts) {
  JsonValue list = JsonValue::array();
  for (const std::string& text : texts) list.items.push_back(JsonValue::from_string(text));
  return list;
}

// Removes members whose value is the default of an absent one. `observer` stays: null and absent differ.
void drop_defaults(JsonValue& object) {
  std::erase_if(object.members, [](const auto& member) {
    const JsonValue& value = member.second;
    return (value.is(Kind::null) && member.first != "observer") ||
        (value.is(Kind::object) && value.members.empty() && member.first != "config_groups") ||
        (member.first == "dynamic" && value.is(Kind::boolean) && !value.truth);
  });
}

JsonValue json_of(const QuantizationArgs& args, ConfigFlavor flavor) {
  const bool keep_order = flavor == ConfigFlavor::reference || args.actorder == ActOrder::group;
  JsonValue block;
  if (args.block_structure)
    block = JsonValue::array(
        {JsonValue::from_int((*args.block_structure)[0]), JsonValue::from_int((*args.block_structure)[1])});
  JsonValue json = JsonValue::object({
      {"actorder", keep_order ? optional_text(args.actorder_text) : JsonValue{}},
      {"block_structure", std::move(block)},
      {"dynamic",
       args.dynamic == Dynamic::local ? JsonValue::from_string(std::string(name_of(args.dynamic)))
                                      : JsonValue::from_bool(args.dynamic == Dynamic::yes)},
      {"group_size", args.group_size ? JsonValue::from_int(*args.group_size) : JsonValue{}},
      {"num_bits", JsonValue::from_int(args.num_bits)},
      {"observer", args.observer ? JsonValue::from_string(*args.observer) : JsonValue{}},
      {"observer_kwargs", parse_json(args.observer_kwargs, "observer_kwargs")},
      {"scale_dtype", dtype_text(args.scale_dtype)},
      {"strategy", JsonValue::from_string(std::string(name_of(args.strategy)))},
      {"symmetric", JsonValue::from_bool(args.symmetric)},
      {"type", JsonValue::from_string(std::string(name_of(args.type)))},
      {"zp_dtype", args.symmetric ? JsonValue{} : dtype_text(args.zp_dtype ? args.zp_dtype : DType::i8)},
  });
  if (flavor == ConfigFlavor::vllm) drop_defaults(json);
  return json;
}

JsonValue json_of(const std::optional<QuantizationArgs>& args, ConfigFlavor flavor) {
  return args ? json_of(*args, flavor) : JsonValue{};
}

Format format_of(const Scheme& scheme) { return scheme.format ? *scheme.format : infer_format(scheme); }

JsonValue json_of(const Scheme& scheme, ConfigFlavor flavor) {
  JsonValue json = JsonValue::object({
      {"format", JsonValue::from_string(std::string(name_of(format_of(scheme))))},
      {"input_activations", json_of(scheme.input_activations, flavor)},
      {"output_activations", json_of(scheme.output_activations, flavor)},
      {"targets", string_list(scheme.targets)},
      {"weights", json_of(scheme.weights, flavor)},
  });
  if (flavor == ConfigFlavor::vllm) drop_defaults(json);
  return json;
}

std::string overall_format(const QuantizationConfig& config) {
  std::set<Format> formats;
  for (const auto& group : config.groups) formats.insert(format_of(group.scheme));
  formats.erase(Format::dense);
  if (formats.empty()) return std::string(name_of(Format::dense));
  return formats.size() == 1 ? std::string(name_of(*formats.begin())) : "mixed-precision";
}

// A JSON object with the path that leads to it, for messages.
class Reader {
 public:
  Reader(const JsonValue& value, std::string where) : value_(value), where_(std::move(where)) {
    if (!value.is(Kind::object)) fail("is not a JSON object");
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw Error(ErrorCode::bad_file, fmt::format("{} {}", where_, message));
  }

  const JsonValue* find(std::string_view key) const {  // null also for JSON null
    const JsonValue* found = value_.find(key);
    return found && !found->is(Kind::null) ? found : nullptr;
  }
  std::optional<std::string> text(std::string_view key) const {
    const JsonValue* found = find(key);
    if (found && !found->is(Kind::string)) fail(fmt::format("has a '{}' that is not a string", key));
    return found ? std::optional(found->text) : std::nullopt;
  }
  std::optional<int64_t> integer_in(std::string_view key, int64_t low, int64_t high) const {
    const JsonValue* found = find(key);
    const auto number = found ? found->as_int() : std::nullopt;
    if (found && !number) fail(fmt::format("has a '{}' that is not a whole number", key));
    if (number && (*number < low || *number > high))
      fail(fmt::format("has the {} {}, wanted {} to {}", key, *number, low, high));
    return number;
  }
  std::optional<bool> boolean(std::string_view key) const {
    const JsonValue* found = find(key);
    if (found && !found->is(Kind::boolean))
      fail(fmt::format("has a '{}' that is neither true nor false", key));
    return found ? std::optional(found->truth) : std::nullopt;
  }
  std::vector<std::string> texts(std::string_view key) const {
    const JsonValue* found = find(key);
    return found ? texts_of(*found, key) : std::vector<std::string>{};
  }
  std::vector<std::string> texts_of(const JsonValue& list, std::string_view key) const {
    std::vector<std::string> result;
    if (!list.is(Kind::array)) fail(fmt::format("has a '{}' that is not a list", key));
    for (const JsonValue& item : list.items) {
      if (!item.is(Kind::string))
        fail(fmt::format("has a '{}' that holds something other than strings", key));
      result.push_back(item.text);
    }
    return result;
  }
  std::optional<DType> dtype(std::string_view key) const {
    const auto name = text(key);
    const auto dtype = name ? parse_torch_dtype(*name) : std::nullopt;
    if (name && !dtype) fail(fmt::format("has the {} '{}', which is unknown", key, *name));
    return dtype;
  }
  template <class E>
  std::optional<E> choice(std::string_view key) const {
    const auto name = text(key);
    const auto value = name ? parse_name<E>(*name) : std::nullopt;
    if (name && !value) fail(fmt::format("has the {} '{}', which is unknown", key, *name));
    return value;
  }
  template <size_t count>
  void allow_only(const std::string_view (&keys)[count]) const {
    for (const auto& [key, value] : value_.members)
      if (!value.is(Kind::null) && std::find(std::begin(keys), std::end(keys), key) == std::end(keys))
        fail(fmt::format("has the unknown key '{}'", key));
  }

 private:
  const JsonValue& value_;
  std::string where_;
};

constexpr int64_t kLargest = INT32_MAX;  // of group sizes and sides of blocks

constexpr std::string_view kArgsKeys[] = {
    "actorder",        "block_structure", "dynamic",  "group_size", "num_bits", "observer",
    "observer_kwargs", "scale_dtype",     "strategy", "symmetric",  "type",     "zp_dtype"};
constexpr std::string_view kSchemeKeys[] = {"format", "input_activations", "output_activations", "targets",
                                            "weights"};

std::optional<std::array<int64_t, 2>> parse_block(const JsonValue* value, const Reader& reader) {
  if (!value) return std::nullopt;
  const auto bounded = [&](std::array<int64_t, 2> sides) {
    for (const int64_t side : sides)
      if (side < 1 || side > kLargest)
        reader.fail(fmt::format("has the block_structure {} x {}, wanted sides of 1 to {}", sides[0],
                                sides[1], kLargest));
    return sides;
  };
  std::array<int64_t, 2> block{};
  if (value->is(Kind::array) && value->items.size() == 2 && value->items[0].as_int() &&
      value->items[1].as_int())
    return bounded({*value->items[0].as_int(), *value->items[1].as_int()});
  const char *begin = value->text.data(), *end = begin + value->text.size();
  const auto rows = std::from_chars(begin, end, block[0]);
  if (value->is(Kind::string) && rows.ec == std::errc{} && rows.ptr != end && *rows.ptr == 'x') {
    const auto columns = std::from_chars(rows.ptr + 1, end, block[1]);
    if (columns.ec == std::errc{} && columns.ptr == end) return bounded(block);
  }
  reader.fail("has a 'block_structure' that is neither [rows, columns] nor \"ROWSxCOLUMNS\"");
}

Dynamic parse_dynamic(const JsonValue* value, const Reader& reader) {
  if (!value) return Dynamic::no;
  if (value->is(Kind::boolean)) return value->truth ? Dynamic::yes : Dynamic::no;
  if (value->is(Kind::string) && value->text == name_of(Dynamic::local)) return Dynamic::local;
  reader.fail("has a 'dynamic' that is none of true, false, \"local\"");
}

std::optional<QuantizationArgs> parse_args(const JsonValue* value, const std::string& where) {
  if (!value || value->is(Kind::null)) return std::nullopt;
  const Reader reader(*value, where);
  reader.allow_only(kArgsKeys);
  QuantizationArgs args;
  args.num_bits = static_cast<int>(reader.integer_in("num_bits", 1, 8).value_or(8));
  args.type = reader.choice<NumberType>("type").value_or(NumberType::integer);
  args.symmetric = reader.boolean("symmetric").value_or(true);
  args.group_size = reader.integer_in("group_size", -1, kLargest);
  const auto strategy = reader.choice<Strategy>("strategy");
  args.strategy = strategy.value_or(Strategy::tensor);
  args.block_structure = parse_block(reader.find("block_structure"), reader);
  args.dynamic = parse_dynamic(reader.find("dynamic"), reader);
  // Old files have true for group and false for none.
  if (const JsonValue* order = reader.find("actorder")) {
    const bool is_boolean = order->is(Kind::boolean);
    args.actorder = is_boolean ? (order->truth ? ActOrder::group : ActOrder::none)
                               : reader.choice<ActOrder>("actorder").value();
    args.actorder_text = !is_boolean ? order->text : order->truth ? "group" : "";
  }
  args.scale_dtype = reader.dtype("scale_dtype");
  args.zp_dtype = reader.dtype("zp_dtype");
  args.observer = reader.text("observer");
  if (const JsonValue* kwargs = reader.find("observer_kwargs"))
    args.observer_kwargs = dump_json_compact(*kwargs);
  try {
    complete_and_check(args, strategy.has_value(), where);
  } catch (const Error& error) {
    throw Error(ErrorCode::bad_file, error.what());
  }
  // said to be none: not the default
  if (const JsonValue* observer = value->find("observer"); observer && observer->is(Kind::null))
    args.observer.reset();
  return args;
}

Scheme parse_scheme(const std::string& name, const JsonValue& value, const std::string& where) {
  if (value.is(Kind::array)) {  // "W4A16": ["Linear"]
    Scheme scheme = preset_scheme(name);
    for (const JsonValue& target : value.items) scheme.targets.push_back(target.as_string().value_or(""));
    return scheme;
  }
  const Reader reader(value, where);
  reader.allow_only(kSchemeKeys);
  Scheme scheme;
  scheme.targets = reader.texts("targets");
  scheme.weights = parse_args(reader.find("weights"), where + ".weights");
  scheme.input_activations = parse_args(reader.find("input_activations"), where + ".input_activations");
  scheme.output_activations = parse_args(reader.find("output_activations"), where + ".output_activations");
  if (const auto format = reader.text("format")) {
    scheme.format = parse_name<Format>(*format);
    if (!scheme.format) reader.fail(fmt::format("has the format '{}', which is unknown", *format));
  }
  return scheme;
}

JsonValue parse_config(std::string_view config_json) {
  JsonValue config = parse_json(config_json, "config.json");
  if (!config.is(Kind::object)) throw Error(ErrorCode::bad_file, "config.json: is not a JSON object");
  return config;
}

}  // namespace

std::string write_quantization_config(const QuantizationConfig& config, ConfigFlavor flavor) {
  JsonValue groups = JsonValue::object();
  for (size_t i = 0; i < config.groups.size(); ++i) {
    const auto& group = config.groups[i];
    groups.set(group.name.empty() ? fmt::format("group_{}", i) : group.name, json_of(group.scheme, flavor));
  }
  JsonValue json = JsonValue::object({
      {"config_groups", std::move(groups)},
      {"format", JsonValue::from_string(config.format.empty() ? overall_format(config) : config.format)},
      {"global_compression_ratio", {}},
      {"ignore", string_list(config.ignore)},
      {"kv_cache_scheme", json_of(config.kv_cache_scheme, flavor)},
      {"quant_method", JsonValue::from_string("compressed-tensors")},
      {"quantization_status", JsonValue::from_string(config.status)},
      {"sparsity_config", JsonValue::object()},
      {"transform_config", JsonValue::object()},
      {"version", JsonValue::from_string(config.version)},
  });
  if (flavor == ConfigFlavor::vllm) drop_defaults(json);
  return dump_json_like_python(json);
}

std::optional<QuantizationConfig> parse_quantization_config(std::string_view config_json,
                                                            std::string_view place) {
  const JsonValue whole = parse_json(config_json, place);
  const JsonValue* found = find_quantization_config(whole);
  if (!found) return std::nullopt;
  const std::string where = fmt::format("{}: quantization_config", place);
  const Reader reader(*found, where);
  const std::string method = reader.text("quant_method").value_or("");
  if (method != "compressed-tensors")
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: quant_method is '{}', wanted 'compressed-tensors'", where, method));

  QuantizationConfig config;
  config.ignore = reader.texts("ignore");
  config.kv_cache_scheme = parse_args(reader.find("kv_cache_scheme"), where + ".kv_cache_scheme");
  config.format = reader.text("format").value_or("");
  config.status = reader.text("quantization_status").value_or("compressed");
  config.version = reader.text("version").value_or("");
  const std::optional<Format> common = parse_name<Format>(config.format);
  if (const JsonValue* groups = reader.find("config_groups")) {
    if (!groups->is(Kind::object)) reader.fail("has a 'config_groups' that is not a JSON object");
    for (const auto& [name, value] : groups->members) {
      Scheme scheme = parse_scheme(name, value, fmt::format("{}.config_groups.{}", where, name));
      if (!scheme.format && common && common != Format::dense) scheme.format = common;
      if (!scheme.format) scheme.format = infer_format(scheme);
      config.groups.push_back({name, std::move(scheme)});
    }
  }
  return config;
}

std::string merge_quantization_config(std::string_view config_json,
                                      std::string_view quantization_config_json) {
  JsonValue config = parse_config(config_json);
  config.set("quantization_config", parse_json(quantization_config_json, "quantization_config"));
  return dump_json_like_python(config);
}

std::string set_config_boolean(std::string_view config_json, const std::string& key, bool value) {
  JsonValue config = parse_config(config_json);
  config.set(key, JsonValue::from_bool(value));
  return dump_json_like_python(config);
}

struct GroupMatcher::Impl {
  std::map<std::string, const QuantizationConfig::Group*> group_of;  // by target; the later group wins
  TargetMatcher targets, ignore;
};

namespace {

std::vector<std::string> all_targets(const QuantizationConfig& config) {
  std::set<std::string> targets;
  for (const auto& group : config.groups)
    targets.insert(group.scheme.targets.begin(), group.scheme.targets.end());
  return {targets.begin(), targets.end()};
}

}  // namespace

GroupMatcher::GroupMatcher(const QuantizationConfig& config)
    : impl_(new Impl{{}, TargetMatcher(all_targets(config)), TargetMatcher(config.ignore)}) {
  for (const auto& group : config.groups)
    for (const std::string& target : group.scheme.targets) impl_->group_of[target] = &group;
}
GroupMatcher::~GroupMatcher() = default;
GroupMatcher::GroupMatcher(GroupMatcher&&) noexcept = default;

const QuantizationConfig::Group* GroupMatcher::targeted(std::string_view module,
                                                        std::string_view class_name) const {
  const std::string* target = impl_->targets.match(module, class_name);
  return target ? impl_->group_of.at(*target) : nullptr;
}
bool GroupMatcher::ignored(std::string_view module, std::string_view class_name) const {
  return impl_->ignore.match(module, class_name) != nullptr;
}
const QuantizationConfig::Group* GroupMatcher::match(std::string_view module,
                                                     std::string_view class_name) const {
  return ignored(module, class_name) ? nullptr : targeted(module, class_name);
}

}  // namespace llmc
