#include <fmt/format.h>

#include "core/families/decoder_spec.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

[[noreturn]] void missing(const char* key) {
  throw Error(ErrorCode::bad_file, fmt::format("config.json: '{}' is missing", key));
}

[[noreturn]] void wrong(const char* key, const JsonValue& got, const std::string& wanted) {
  throw Error(
      ErrorCode::bad_file,
      fmt::format("config.json: '{}' is {}, wanted {}", key, dump_json_compact(got).substr(0, 60), wanted));
}

const JsonValue* find(const JsonValue& config, const char* key) {
  const JsonValue* value = config.find(key);
  return value && !value->is(JsonValue::Kind::null) ? value : nullptr;
}

}  // namespace

bool ConfigReader::has(const char* key) const { return find(config_, key) != nullptr; }

int64_t ConfigReader::integer(const char* key, IntegerRange range) const {
  if (!has(key)) missing(key);
  return integer_or(key, range.low, range);
}

int64_t ConfigReader::integer_or(const char* key, int64_t otherwise, IntegerRange range) const {
  const JsonValue* value = find(config_, key);
  if (!value) return otherwise;
  const auto number = value->as_int();
  if (!number || *number < range.low || *number > range.high)
    wrong(key, *value, fmt::format("an integer from {} to {}", range.low, range.high));
  return *number;
}

double ConfigReader::number(const char* key, NumberRange range) const {
  if (!has(key)) missing(key);
  return number_or(key, range.low, range);
}

double ConfigReader::number_or(const char* key, double otherwise, NumberRange range) const {
  const JsonValue* value = find(config_, key);
  if (!value) return otherwise;
  const auto number = value->as_double();
  // a NaN is in no range
  if (!number || !(*number >= range.low) || !(*number <= range.high))
    wrong(key, *value, fmt::format("a number from {} to {}", range.low, range.high));
  return *number;
}

bool ConfigReader::boolean_or(const char* key, bool otherwise) const {
  const JsonValue* value = find(config_, key);
  if (!value) return otherwise;
  if (!value->is(JsonValue::Kind::boolean)) wrong(key, *value, "true or false");
  return value->truth;
}

std::string ConfigReader::text_or(const char* key, std::string otherwise) const {
  const JsonValue* value = find(config_, key);
  if (!value) return otherwise;
  if (!value->is(JsonValue::Kind::string)) wrong(key, *value, "a string");
  return value->text;
}

}  // namespace llmc
