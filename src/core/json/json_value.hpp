// JSON for files that others wrote and that we write back: numbers keep their text, so nothing is lost on the
// way through.
#pragma once
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "llmc/error.hpp"

namespace llmc {

struct JsonValue {
  enum class Kind : uint8_t { null, boolean, number, string, array, object };
  Kind kind = Kind::null;
  bool truth = false;
  std::string text;  // of a string (UTF-8) or of a number, as it stood in the file
  std::vector<JsonValue> items;
  std::vector<std::pair<std::string, JsonValue>> members;  // in file order

  JsonValue() = default;
  // What a C++ value is in JSON, so that JsonValue::object({{"name", row.name}, {"bytes", row.bytes}}) reads
  // as what comes out. Numbers that are not finite are null.
  template <std::same_as<bool> T>
  JsonValue(T value) : JsonValue(from_bool(value)) {}
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  JsonValue(T value) : JsonValue(from_int(static_cast<int64_t>(value))) {}
  JsonValue(double value) : JsonValue(from_double(value)) {}
  JsonValue(std::string value) : JsonValue(from_string(std::move(value))) {}
  JsonValue(std::string_view value) : JsonValue(from_string(std::string(value))) {}
  JsonValue(const char* value) : JsonValue(from_string(value)) {}
  template <class T>
  JsonValue(const std::vector<T>& values) : JsonValue(array({values.begin(), values.end()})) {}

  static JsonValue from_bool(bool value);
  static JsonValue from_int(int64_t value);
  static JsonValue from_double(double value);  // null when it is not finite
  static JsonValue from_string(std::string value);
  static JsonValue array(std::vector<JsonValue> values = {});
  static JsonValue object(std::vector<std::pair<std::string, JsonValue>> values = {});

  bool is(Kind other) const { return kind == other; }
  const JsonValue* find(std::string_view key) const;  // null when absent or not an object
  void set(std::string key, JsonValue value);         // adds or replaces
  void erase(std::string_view key);
  std::optional<int64_t> as_int() const;    // a number without fraction or exponent that fits
  std::optional<double> as_double() const;  // any number
  std::optional<std::string> as_string() const;
};

// What of a file is JSON. python: as Python's json reads what transformers wrote: NaN and Infinity are numbers
// (written back as they stood), and of repeated keys the last wins. strict: neither.
enum class JsonDialect { strict, python };

// `place` starts the message of the Error(bad_file) thrown on broken JSON or nesting deeper than 200.
JsonValue parse_json(std::string_view text,
                     std::string_view place,
                     JsonDialect dialect = JsonDialect::python);

// Exactly Python's json.dumps(value, indent=2, sort_keys=True): ASCII only, floats as repr() prints them.
std::string dump_json_like_python(const JsonValue& value);
// One line, members in their own order; dense: without any space.
std::string dump_json_compact(const JsonValue& value);
std::string dump_json_dense(const JsonValue& value);
// The same with UTF-8 as it is, but for control characters; bytes that are none come out as U+FFFD.
std::string dump_json_utf8(const JsonValue& value);

bool is_utf8(std::string_view text);

}  // namespace llmc
