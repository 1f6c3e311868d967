#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>

#include "llmc/error.hpp"
#include "llmc/recipe.hpp"

namespace llmc {

namespace {

[[noreturn]] void wrong(const RecipeValue& value, std::string_view what, const char* wanted) {
  const char* shape = value.kind == RecipeValue::Kind::list ? "a list"
      : value.kind == RecipeValue::Kind::map                ? "a mapping"
                                                            : "null";
  const std::string got = value.scalar.empty() ? shape : fmt::format("'{}'", value.scalar.substr(0, 60));
  throw Error(ErrorCode::invalid_argument,
              fmt::format("recipe line {}: {}: got {}, wanted {}", value.line, what, got, wanted));
}

bool plain(const std::string& text) {
  return text.find_first_of(":#[]{},&*!|>'\"%@`\n") == std::string::npos && !text.empty() &&
      text.front() != ' ' && text.front() != '-' && text.back() != ' ';
}

std::string scalar_text(const RecipeValue& value) {
  if (value.kind == RecipeValue::Kind::null) return "null";
  if (value.kind != RecipeValue::Kind::string || plain(value.scalar)) return value.scalar;
  std::string quoted;
  for (char c : value.scalar) quoted.append(c == '\'' ? 2 : 1, c);
  return fmt::format("'{}'", quoted);
}

std::string flow_text(const RecipeValue& value) {
  std::string out;
  if (value.kind == RecipeValue::Kind::list) {
    for (const auto& item : value.items) out += (out.empty() ? "" : ", ") + flow_text(item);
    return "[" + out + "]";
  }
  if (value.kind == RecipeValue::Kind::map) {
    for (const auto& [key, item] : value.entries)
      out += (out.empty() ? "" : ", ") + key + ": " + flow_text(item);
    return "{" + out + "}";
  }
  return scalar_text(value);
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
  if (error != std::errc() || end != scalar.data() + scalar.size() || scalar.empty())
    wrong(*this, what, "a number");
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

std::string write_recipe(const Recipe& recipe) {
  std::string out, stage, group;
  for (const ModifierSpec& spec : recipe.modifiers) {
    if (spec.stage != stage) {
      out += (stage = spec.stage) + ":\n";
      group.clear();
    }
    if (spec.group != group) out += "  " + (group = spec.group) + ":\n";
    out += "    " + spec.type + (spec.arguments.entries.empty() ? ": {}\n" : ":\n");
    for (const auto& [key, value] : spec.arguments.entries)
      out += "      " + key + ": " + flow_text(value) + "\n";
  }
  return out;
}

}  // namespace llmc
