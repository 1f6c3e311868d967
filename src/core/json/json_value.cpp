#include "core/json/json_value.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>

namespace llmc {
namespace {

constexpr size_t kMaxDepth = 200;

JsonValue make_value(JsonValue::Kind kind, std::string text = {}) {
  JsonValue value;
  value.kind = kind;
  value.text = std::move(text);
  return value;
}

// NaN, Infinity and -Infinity, which Python writes and JSON does not have. The parser refuses them, so each is
// replaced by a number whose text occurs nowhere else in the file, and that text is turned back afterwards.
class PythonNumbers {
 public:
  explicit PythonNumbers(std::string_view text) : text_(text) {
    if (text.find("NaN") == text.npos && text.find("Infinity") == text.npos) return;
    std::string stem = "0e00000000";
    while (text.find(stem) != text.npos && stem.size() < kLongestStem) stem += stem.substr(2);
    if (text.find(stem) != text.npos) return;
    for (size_t w = 0; w < kWords.size(); ++w) stand_ins_[w] = stem + std::to_string(w + 1);
    replace_words(text);
    text_ = rewritten_;
  }
  PythonNumbers(const PythonNumbers&) = delete;
  PythonNumbers& operator=(const PythonNumbers&) = delete;

  std::string_view text() const { return text_; }
  std::string original(const std::string& number) const {
    for (size_t w = 0; w < kWords.size(); ++w)
      if (!stand_ins_[w].empty() && number == stand_ins_[w]) return std::string(kWords[w]);
    return number;
  }
  size_t original_position(size_t position) const {
    size_t grown = 0;
    for (const auto& [end, by] : grown_)
      if (end <= position) grown = by;
    return position - grown;
  }

 private:
  static constexpr std::array<std::string_view, 3> kWords{"NaN", "Infinity", "-Infinity"};
  static constexpr size_t kLongestStem = 1000;

  static bool ends_value(char c) {
    return std::string_view(",:[]{} \t\r\n").find(c) != std::string_view::npos;
  }

  void replace_words(std::string_view text) {
    bool in_string = false;
    for (size_t i = 0; i < text.size();) {
      const char c = text[i];
      if (in_string && c == '\\') {
        rewritten_ += text.substr(i, 2);
        i += 2;
        continue;
      }
      if (c == '"') in_string = !in_string;
      const size_t w = in_string || (i > 0 && !ends_value(text[i - 1])) ? kWords.size() : word_at(text, i);
      if (w == kWords.size()) {
        rewritten_ += c;
        ++i;
        continue;
      }
      rewritten_ += stand_ins_[w];
      i += kWords[w].size();
      grown_.emplace_back(rewritten_.size(), rewritten_.size() - i);
    }
  }
  static size_t word_at(std::string_view text, size_t at) {
    for (size_t w = 0; w < kWords.size(); ++w) {
      const size_t end = at + kWords[w].size();
      if (text.substr(at).starts_with(kWords[w]) && (end == text.size() || ends_value(text[end]))) return w;
    }
    return kWords.size();
  }

  std::string_view text_;
  std::string rewritten_;
  std::array<std::string, kWords.size()> stand_ins_;
  std::vector<std::pair<size_t, size_t>> grown_;  // (position after a stand-in, bytes added so far)
};

// nlohmann's parser events -> JsonValue. Its own document type would lose number texts and repeated keys, and
// its destructor allocates: without memory it ends the process.
class Builder {
 public:
  using number_integer_t = nlohmann::json::number_integer_t;
  using number_unsigned_t = nlohmann::json::number_unsigned_t;
  using number_float_t = nlohmann::json::number_float_t;
  using string_t = nlohmann::json::string_t;
  using binary_t = nlohmann::json::binary_t;

  Builder(JsonDialect dialect, const PythonNumbers* numbers) : dialect_(dialect), numbers_(numbers) {}

  bool null() { return add({}); }
  bool boolean(bool value) { return add(JsonValue::from_bool(value)); }
  bool number_integer(number_integer_t value) { return add(JsonValue::from_int(value)); }
  bool number_unsigned(number_unsigned_t value) {
    return add(make_value(JsonValue::Kind::number, fmt::to_string(value)));
  }
  bool number_float(number_float_t, const string_t& text) {
    return add(make_value(JsonValue::Kind::number, numbers_ ? numbers_->original(text) : text));
  }
  bool string(string_t& text) { return add(JsonValue::from_string(std::move(text))); }
  bool binary(binary_t&) { return false; }
  bool start_object(size_t) { return open(JsonValue::Kind::object); }
  bool start_array(size_t) { return open(JsonValue::Kind::array); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }

  bool key(string_t& text) {
    Frame& frame = stack_.back();
    if (!frame.keys.insert(text).second) {
      if (dialect_ == JsonDialect::strict) return fail(fmt::format("key '{}' is there twice", text));
      frame.value.erase(text);
    }
    frame.value.members.emplace_back(std::move(text), JsonValue{});
    return true;
  }

  bool parse_error(size_t position, const std::string&, const nlohmann::json::exception&) {
    return fail(fmt::format("is not valid JSON at byte {}",
                            numbers_ ? numbers_->original_position(position) : position));
  }

  JsonValue take() { return std::move(root_); }
  const std::string& error() const { return error_; }

 private:
  struct Frame {
    JsonValue value;
    std::unordered_set<std::string> keys;
  };

  bool fail(std::string message) {
    if (error_.empty()) error_ = std::move(message);
    return false;
  }
  bool open(JsonValue::Kind kind) {
    if (stack_.size() == kMaxDepth) return fail(fmt::format("is nested deeper than {} levels", kMaxDepth));
    stack_.push_back({make_value(kind), {}});
    return true;
  }
  bool close() {
    JsonValue value = std::move(stack_.back().value);
    stack_.pop_back();
    return add(std::move(value));
  }
  bool add(JsonValue value) {
    if (stack_.empty()) root_ = std::move(value);
    else if (JsonValue& parent = stack_.back().value; parent.is(JsonValue::Kind::array))
      parent.items.push_back(std::move(value));
    else parent.members.back().second = std::move(value);
    return true;
  }

  JsonDialect dialect_;
  const PythonNumbers* numbers_;  // null: none
  std::vector<Frame> stack_;
  JsonValue root_;
  std::string error_;
};

// Shortest digits that read back as the same double, laid out as Python's repr does: exponent form below 1e-4
// and from 1e16 on.
std::string python_float(double value) {
  if (value == 0) return std::signbit(value) ? "-0.0" : "0.0";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  std::string sign;
  if (text.front() == '-') {
    sign = "-";
    text.remove_prefix(1);
  }
  const size_t e = text.find('e');
  std::string digits(1, text[0]);
  if (e > 2) digits += text.substr(2, e - 2);
  int exponent = 0;
  const bool negative = text[e + 1] == '-';
  std::from_chars(text.data() + e + 2, text.data() + text.size(), exponent);
  if (negative) exponent = -exponent;

  const auto count = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    if (count > 1) digits.insert(1, ".");
    return fmt::format("{}{}e{}{:02}", sign, digits, negative ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0)
    return fmt::format("{}0.{}{}", sign, std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  if (count <= exponent + 1)
    return fmt::format("{}{}{}.0", sign, digits, std::string(static_cast<size_t>(exponent + 1 - count), '0'));
  return sign + digits.insert(static_cast<size_t>(exponent) + 1, ".");
}

std::string python_number(const std::string& text) {
  if (text.find_first_of(".eE") == std::string::npos) return text == "-0" ? "0" : text;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // Out of double's range: Python would print Infinity, which is no JSON; the original text says what was
  // meant.
  return error == std::errc{} && end == text.data() + text.size() ? python_float(value) : text;
}

// The code point at `position` of valid UTF-8, which the parser guarantees for files; stray bytes come out as
// themselves.
uint32_t next_code_point(std::string_view text, size_t& position) {
  const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<unsigned char>(text[i])); };
  const uint32_t first = byte(position);
  const size_t length = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (length == 1 || position + length > text.size()) {
    ++position;
    return first;
  }
  uint32_t point = first & (0xFFu >> (length + 1));
  for (size_t i = 1; i < length; ++i) point = point << 6 | (byte(position + i) & 0x3F);
  position += length;
  return point;
}

// The bytes of the UTF-8 sequence at `position`; of one that is broken, those before its first wrong byte (at
// least one), and `valid` is false.
size_t utf8_length(std::string_view text, size_t position, bool& valid) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[position + i]); };
  const unsigned char first = byte(0);
  valid = true;
  if (first < 0x80) return 1;
  const size_t length = first >= 0xC2 && first <= 0xDF ? 2
      : first >= 0xE0 && first <= 0xEF                 ? 3
      : first >= 0xF0 && first <= 0xF4                 ? 4
                                                       : 0;
  // the second byte is bounded where longer than needed, a surrogate or above U+10FFFF
  const unsigned char low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  for (size_t i = 1; i < length; ++i) {
    const bool fits = position + i < text.size() && byte(i) >= (i == 1 ? low : 0x80) &&
        byte(i) <= (i == 1 ? high : 0xBF);
    if (fits) continue;
    valid = false;
    return i;
  }
  valid = length > 0;
  return std::max<size_t>(length, 1);
}

enum class Escapes { ascii, control };  // what is not ASCII, or control characters alone

void append_string(std::string& out, std::string_view text, Escapes escapes) {
  constexpr std::pair<char, std::string_view> kShort[] = {{'"', "\\\""}, {'\\', "\\\\"}, {'\n', "\\n"},
                                                          {'\r', "\\r"}, {'\t', "\\t"},  {'\f', "\\f"},
                                                          {'\b', "\\b"}};
  out += '"';
  for (size_t position = 0; position < text.size();) {
    if (escapes == Escapes::control && static_cast<unsigned char>(text[position]) >= 0x7F) {
      bool valid = false;
      const size_t length = utf8_length(text, position, valid);
      // DEL and C1 are control characters, too: a terminal obeys them
      if (valid && (length == 1 || (length == 2 && text[position] == '\xC2' && text[position + 1] < '\xA0')))
        out += fmt::format("\\u{:04x}", static_cast<unsigned char>(text[position + length - 1]));
      else out += valid ? text.substr(position, length) : "\xEF\xBF\xBD";
      position += length;
      continue;
    }
    const uint32_t point = next_code_point(text, position);
    const auto* escape = std::find_if(std::begin(kShort), std::end(kShort), [&](const auto& row) {
      return static_cast<uint32_t>(row.first) == point;
    });
    if (escape != std::end(kShort)) out += escape->second;
    else if (point >= 0x20 && point < 0x7F) out += static_cast<char>(point);
    else if (point < 0x10000) out += fmt::format("\\u{:04x}", point);
    else
      out += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((point - 0x10000) >> 10),
                         0xDC00 + ((point - 0x10000) & 0x3FF));
  }
  out += '"';
}

struct Layout {
  bool indent, sort, spaces;
  Escapes escapes = Escapes::ascii;
  void newline(std::string& out, int depth) const {
    if (indent) out.append(1, '\n').append(static_cast<size_t>(depth) * 2, ' ');
  }
};

void append_value(std::string& out, const JsonValue& value, const Layout& layout, int depth) {
  const auto append_list = [&](char open, char close, size_t count, auto append_item) {
    out += open;
    for (size_t i = 0; i < count; ++i) {
      if (i > 0) out += layout.indent || !layout.spaces ? "," : ", ";
      layout.newline(out, depth + 1);
      append_item(i);
    }
    if (count > 0) layout.newline(out, depth);
    out += close;
  };
  switch (value.kind) {
    case JsonValue::Kind::null:
      out += "null";
      break;
    case JsonValue::Kind::boolean:
      out += value.truth ? "true" : "false";
      break;
    case JsonValue::Kind::number:
      out += python_number(value.text);
      break;
    case JsonValue::Kind::string:
      append_string(out, value.text, layout.escapes);
      break;
    case JsonValue::Kind::array:
      append_list('[', ']', value.items.size(),
                  [&](size_t i) { append_value(out, value.items[i], layout, depth + 1); });
      break;
    case JsonValue::Kind::object: {
      std::vector<const std::pair<std::string, JsonValue>*> members;
      for (const auto& member : value.members) members.push_back(&member);
      if (layout.sort)
        std::sort(members.begin(), members.end(),
                  [](const auto* a, const auto* b) { return a->first < b->first; });
      append_list('{', '}', members.size(), [&](size_t i) {
        append_string(out, members[i]->first, layout.escapes);
        out += layout.spaces ? ": " : ":";
        append_value(out, members[i]->second, layout, depth + 1);
      });
    }
  }
}

}  // namespace

JsonValue JsonValue::from_bool(bool value) {
  JsonValue result;
  result.kind = Kind::boolean;
  result.truth = value;
  return result;
}
JsonValue JsonValue::from_int(int64_t value) { return make_value(Kind::number, fmt::to_string(value)); }
JsonValue JsonValue::from_double(double value) {
  return std::isfinite(value) ? make_value(Kind::number, python_float(value)) : JsonValue();
}
JsonValue JsonValue::from_string(std::string value) { return make_value(Kind::string, std::move(value)); }
JsonValue JsonValue::array(std::vector<JsonValue> values) {
  JsonValue result = make_value(Kind::array);
  result.items = std::move(values);
  return result;
}
JsonValue JsonValue::object(std::vector<std::pair<std::string, JsonValue>> values) {
  JsonValue result = make_value(Kind::object);
  result.members = std::move(values);
  return result;
}

const JsonValue* JsonValue::find(std::string_view key) const {
  for (const auto& [name, value] : members)
    if (name == key) return &value;
  return nullptr;
}

void JsonValue::set(std::string key, JsonValue value) {
  if (const JsonValue* there = find(key)) {
    const_cast<JsonValue&>(*there) = std::move(value);
    return;
  }
  members.emplace_back(std::move(key), std::move(value));
}

void JsonValue::erase(std::string_view key) {
  std::erase_if(members, [&](const auto& member) { return member.first == key; });
}

std::optional<int64_t> JsonValue::as_int() const {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (kind != Kind::number || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> JsonValue::as_double() const {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (kind != Kind::number || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::string> JsonValue::as_string() const {
  if (kind != Kind::string) return std::nullopt;
  return text;
}

JsonValue parse_json(std::string_view text, std::string_view place, JsonDialect dialect) {
  std::optional<PythonNumbers> numbers;
  if (dialect == JsonDialect::python) text = numbers.emplace(text).text();
  Builder builder(dialect, numbers ? &*numbers : nullptr);
  const bool done = nlohmann::json::sax_parse(text, &builder);
  if (!done) throw Error(ErrorCode::bad_file, fmt::format("{}: {}", place, builder.error()));
  return builder.take();
}

std::string dump_json_like_python(const JsonValue& value) {
  std::string out;
  append_value(out, value, {true, true, true}, 0);
  return out;
}

std::string dump_json_compact(const JsonValue& value) {
  std::string out;
  append_value(out, value, {false, false, true}, 0);
  return out;
}

std::string dump_json_dense(const JsonValue& value) {
  std::string out;
  append_value(out, value, {false, false, false}, 0);
  return out;
}

std::string dump_json_utf8(const JsonValue& value) {
  std::string out;
  append_value(out, value, {false, false, false, Escapes::control}, 0);
  return out;
}

bool is_utf8(std::string_view text) {
  bool valid = true;
  for (size_t position = 0; valid && position < text.size();) position += utf8_length(text, position, valid);
  return valid;
}

}  // namespace llmc
