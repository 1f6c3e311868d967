#include "modifiers/arguments.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "llmc/error.hpp"

namespace llmc {

namespace {

// of llm-compressor's Modifier, without effect here: taken by all, and named to nobody
constexpr std::string_view kTakenByAll[] = {"index", "group",  "start",
                                            "end",   "update", "requires_calibration_data"};

}  // namespace

Arguments::Arguments(const ModifierSpec& spec) : spec_(spec) {}

bool Arguments::has(std::string_view key) {
  known_.emplace_back(key);
  return spec_.arguments.find(key) != nullptr;
}

const RecipeValue* Arguments::find(std::string_view key) {
  known_.emplace_back(key);
  const RecipeValue* value = spec_.arguments.find(key);
  return value && !value->is_null() ? value : nullptr;
}

double Arguments::number(std::string_view key, double otherwise, double low, double high) {
  const RecipeValue* value = find(key);
  return value ? number_in(*value, what(key), low, high) : otherwise;
}
int64_t Arguments::integer(std::string_view key, int64_t otherwise, int64_t low, int64_t high) {
  const RecipeValue* value = find(key);
  return value ? int_in(*value, what(key), low, high) : otherwise;
}
bool Arguments::boolean(std::string_view key, bool otherwise) {
  const RecipeValue* value = find(key);
  return value ? value->as_bool(what(key)) : otherwise;
}
std::string Arguments::text(std::string_view key, std::string otherwise) {
  const RecipeValue* value = find(key);
  return value ? value->as_string(what(key)) : std::move(otherwise);
}
std::vector<std::string> Arguments::texts(std::string_view key, std::vector<std::string> otherwise) {
  const RecipeValue* value = find(key);
  return value ? value->as_strings(what(key)) : std::move(otherwise);
}

std::string Arguments::what(std::string_view key) const { return fmt::format("{}.{}", spec_.type, key); }

void Arguments::fail(std::string_view key, const std::string& problem) const {
  const RecipeValue* value = spec_.arguments.find(key);
  throw Error(ErrorCode::invalid_argument,
              fmt::format("recipe line {}: {}: {}", value ? value->line : spec_.line, what(key), problem));
}

void Arguments::finish() const {
  for (const auto& [key, value] : spec_.arguments.entries) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    if (std::find(std::begin(kTakenByAll), std::end(kTakenByAll), key) != std::end(kTakenByAll)) continue;
    std::vector<std::string> names = known_;
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    std::string list;
    for (const auto& name : names) list += (list.empty() ? "" : ", ") + name;
    throw Error(ErrorCode::invalid_argument,
                fmt::format("recipe line {}: {} has no argument '{}'; it takes {}", value.line, spec_.type,
                            key, list));
  }
}

}  // namespace llmc
