#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "llmc/error.hpp"
#include "llmc/recipe.hpp"

namespace llmc {

namespace {

[[noreturn]] void wrong(const RecipeValue& value, std::string_view what, const std::string& wanted) {
  const char* shape = value.kind == RecipeValue::Kind::list ? "a list"
      : value.kind == RecipeValue::Kind::map                ? "a mapping"
                                                            : "null";
  const std::string got = value.scalar.empty() ? shape : fmt::format("'{}'", value.scalar.substr(0, 60));
  throw Error(ErrorCode::invalid_argument,
              fmt::format("recipe line {}: {}: got {}, wanted {}", value.line, what, got, wanted));
}

// As JSON escapes it, which YAML's double quotes read.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') out += std::string{'\\', c};
    else if (c == '\n') out += "\\n";
    else if (c == '\t') out += "\\t";
    else if (c == '\r') out += "\\r";
    else if (code < 0x20 || code == 0x7F) out += fmt::format("\\u{:04x}", code);
    else out += c;
  }
  return out + '"';
}

// Keys are nearly always names of modifiers and arguments: those stay bare.
std::string key_text(const std::string& key) {
  const auto is_letter = [](unsigned char c) { return std::isalpha(c) || c == '_'; };
  const bool is_name = !key.empty() && is_letter(static_cast<unsigned char>(key[0])) && key.size() > 5 &&
      std::all_of(key.begin(), key.end(), [&](unsigned char c) { return is_letter(c) || std::isdigit(c); });
  return is_name ? key : quoted(key);
}

std::string flow_text(const RecipeValue& value) {
  std::string out;
  switch (value.kind) {
    case RecipeValue::Kind::list:
      for (const auto& item : value.items) out += (out.empty() ? "" : ", ") + flow_text(item);
      return "[" + out + "]";
    case RecipeValue::Kind::map:
      for (const auto& [key, item] : value.entries)
        out += (out.empty() ? "" : ", ") + key_text(key) + ": " + flow_text(item);
      return "{" + out + "}";
    case RecipeValue::Kind::null:
      return "null";
    case RecipeValue::Kind::string:
      return quoted(value.scalar);
    default:
      return value.scalar;
  }
}

}  // namespace

const RecipeValue* RecipeValue::find(std::string_view key) const {
  for (const auto& [name, value] : entries)
    if (name == key) return &value;
  return nullptr;
}

bool RecipeValue::as_bool(std::string_view what) const {
  if (scalar == "true" || scalar == "True" || scalar == "yes" || scalar == "on" || scalar == "1") return true;
  if (scalar == "false" || scalar == "False" || scalar == "no" || scalar == "off" || scalar == "0")
    return false;
  wrong(*this, what, "true or false");
}

int64_t RecipeValue::as_int(std::string_view what) const {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(scalar.data(), scalar.data() + scalar.size(), value);
  if (error != std::errc() || end != scalar.data() + scalar.size() || scalar.empty())
    wrong(*this, what, "an integer");
  return value;
}

double RecipeValue::as_double(std::string_view what) const {
  double value = 0;
  const auto [end, error] = std::from_chars(scalar.data(), scalar.data() + scalar.size(), value);
  if (error == std::errc::invalid_argument || end != scalar.data() + scalar.size() || scalar.empty())
    wrong(*this, what, "a number");
  if (error != std::errc() || !std::isfinite(value)) wrong(*this, what, "a finite number");
  return value;
}

std::string RecipeValue::as_string(std::string_view what) const {
  if (kind == Kind::list || kind == Kind::map || kind == Kind::null) wrong(*this, what, "text");
  return scalar;
}

std::vector<std::string> RecipeValue::as_strings(std::string_view what) const {
  if (kind == Kind::null) return {};
  if (kind != Kind::list) return {as_string(what)};
  std::vector<std::string> out;
  for (const auto& item : items) out.push_back(item.as_string(what));
  return out;
}

int64_t int_in(const RecipeValue& value, std::string_view what, int64_t low, int64_t high) {
  const int64_t number = value.as_int(what);
  if (number < low || number > high) wrong(value, what, fmt::format("{} to {}", low, high));
  return number;
}

double number_in(const RecipeValue& value, std::string_view what, double low, double high) {
  const double number = value.as_double(what);
  if (number < low || number > high) wrong(value, what, fmt::format("{} to {}", low, high));
  return number;
}

std::string write_recipe(const Recipe& recipe) {
  if (!recipe.text.empty()) return recipe.text.ends_with('\n') ? recipe.text : recipe.text + '\n';
  std::string out, stage, group;
  for (const ModifierSpec& spec : recipe.modifiers) {
    if (spec.stage != stage) {
      out += key_text(stage = spec.stage) + ":\n";
      group.clear();
    }
    if (spec.group != group) out += "  " + key_text(group = spec.group) + ":\n";
    out += "    " + key_text(spec.type) + (spec.arguments.entries.empty() ? ": {}\n" : ":\n");
    for (const auto& [key, value] : spec.arguments.entries)
      out += "      " + key_text(key) + ": " + flow_text(value) + "\n";
  }
  return out;
}

}  // namespace llmc
