#include "core/recipe/quantization_args_reader.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>

#include "core/json/json_value.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

[[noreturn]] void fail(const RecipeValue& value, const std::string& what, const std::string& problem) {
  throw Error(ErrorCode::invalid_argument, fmt::format("recipe line {}: {}: {}", value.line, what, problem));
}

constexpr int64_t kLargest = INT32_MAX;  // of sizes: rows and columns of a block or a group

template <class E>
E pick(const RecipeValue& value, const std::string& what) {
  const std::string text = value.as_string(what);
  if (const auto named = parse_name<E>(text)) return *named;
  fail(value, what, fmt::format("got '{}', wanted one of {}", text, known_names<E>()));
}

std::array<int64_t, 2> read_block(const RecipeValue& value, const std::string& what) {
  if (value.kind == RecipeValue::Kind::list && value.items.size() == 2)
    return {int_in(value.items[0], what, 1, kLargest), int_in(value.items[1], what, 1, kLargest)};
  const size_t cross = value.scalar.find('x');
  if (value.kind != RecipeValue::Kind::string || cross == std::string::npos)
    fail(value, what, "wanted [rows, columns] or 'RxC'");
  RecipeValue rows = value, columns = value;
  rows.scalar = value.scalar.substr(0, cross);
  columns.scalar = value.scalar.substr(cross + 1);
  return {int_in(rows, what, 1, kLargest), int_in(columns, what, 1, kLargest)};
}

DType read_dtype(const RecipeValue& value, const std::string& what) {
  const auto dtype = parse_torch_dtype(value.as_string(what));
  if (!dtype)
    fail(value, what, fmt::format("got '{}', wanted a dtype such as torch.float8_e4m3fn", value.scalar));
  return *dtype;
}

JsonValue json_of(const RecipeValue& value, const std::string& what) {
  switch (value.kind) {
    case RecipeValue::Kind::map: {
      JsonValue object = JsonValue::object();
      for (const auto& [key, item] : value.entries) object.set(key, json_of(item, what + "." + key));
      return object;
    }
    case RecipeValue::Kind::list: {
      JsonValue list = JsonValue::array();
      for (const auto& item : value.items) list.items.push_back(json_of(item, what));
      return list;
    }
    case RecipeValue::Kind::null:
      return {};
    case RecipeValue::Kind::string:
      return JsonValue::from_string(value.scalar);
    case RecipeValue::Kind::boolean:
      return JsonValue::from_bool(value.as_bool(what));
    case RecipeValue::Kind::integer:
      return JsonValue::from_int(value.as_int(what));
    case RecipeValue::Kind::number:
      break;
  }
  const double number = value.as_double(what);
  if (!std::isfinite(number))
    fail(value, what, fmt::format("got '{}', wanted a finite number", value.scalar));
  return JsonValue::from_double(number);
}

std::string read_observer_kwargs(const RecipeValue& value, const std::string& what) {
  if (value.kind != RecipeValue::Kind::map) fail(value, what, "wanted a mapping");
  return dump_json_dense(json_of(value, what));
}

}  // namespace

ActOrder parse_actorder(const RecipeValue& value, const std::string& what) {
  // as old recipes say it
  if (value.kind == RecipeValue::Kind::boolean) return value.as_bool(what) ? ActOrder::group : ActOrder::none;
  return pick<ActOrder>(value, what);
}

std::string actorder_text(const RecipeValue& value, ActOrder order) {
  if (value.kind != RecipeValue::Kind::boolean) return value.scalar;
  return std::string(order == ActOrder::group ? name_of(order) : "");
}

QuantizationArgs read_quantization_args(const RecipeValue& value,
                                        const std::string& what,
                                        std::optional<std::string> observer) {
  if (value.kind != RecipeValue::Kind::map)
    fail(value, what, "wanted a mapping with num_bits, type, strategy, ...");
  QuantizationArgs args;
  args.observer = std::move(observer);
  bool strategy_given = false;
  for (const auto& [key, item] : value.entries) {
    const std::string name = what + "." + key;
    if (item.is_null()) continue;
    if (key == "num_bits") args.num_bits = static_cast<int>(int_in(item, name, 1, 8));
    else if (key == "type") args.type = pick<NumberType>(item, name);
    else if (key == "symmetric") args.symmetric = item.as_bool(name);
    else if (key == "group_size") args.group_size = int_in(item, name, -1, kLargest);
    else if (key == "strategy") {
      args.strategy = pick<Strategy>(item, name);
      strategy_given = true;
    } else if (key == "block_structure") args.block_structure = read_block(item, name);
    else if (key == "dynamic")
      args.dynamic = item.scalar == name_of(Dynamic::local) ? Dynamic::local
          : item.as_bool(name)                              ? Dynamic::yes
                                                            : Dynamic::no;
    else if (key == "actorder") {
      args.actorder = parse_actorder(item, name);
      args.actorder_text = actorder_text(item, *args.actorder);
    } else if (key == "scale_dtype") args.scale_dtype = read_dtype(item, name);
    else if (key == "zp_dtype") args.zp_dtype = read_dtype(item, name);
    else if (key == "observer") args.observer = item.as_string(name);
    else if (key == "observer_kwargs") args.observer_kwargs = read_observer_kwargs(item, name);
    else fail(item, what, fmt::format("unknown key '{}'", key));
  }
  complete_and_check(args, strategy_given, fmt::format("recipe line {}: {}", value.line, what));
  return args;
}

Scheme read_scheme_value(const RecipeValue& value, const std::string& what) {
  if (value.kind != RecipeValue::Kind::map) fail(value, what, "wanted a mapping with targets and weights");
  Scheme scheme;
  for (const auto& [key, item] : value.entries) {
    const std::string name = what + "." + key;
    if (key == "targets") scheme.targets = item.as_strings(name);
    else if (item.is_null()) continue;
    else if (key == "weights") scheme.weights = read_quantization_args(item, name);
    else if (key == "input_activations")
      scheme.input_activations = read_quantization_args(item, name, "minmax");
    else if (key == "output_activations")
      scheme.output_activations = read_quantization_args(item, name, "minmax");
    else if (key == "format") {
      scheme.format = parse_name<Format>(item.as_string(name));
      if (!scheme.format) fail(item, name, fmt::format("unknown format '{}'", item.scalar));
    } else
      fail(item, what,
           fmt::format(
               "unknown key '{}'; wanted targets, weights, input_activations, output_activations, format",
               key));
  }
  if (scheme.targets.empty()) fail(value, what, "no targets");
  return scheme;
}

}  // namespace llmc
