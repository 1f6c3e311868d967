#include <fmt/format.h>

#include "core/families/decoder_spec.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

[[noreturn]] void wrong(const char* key, const nlohmann::json& got, const char* wanted) {
  throw Error(ErrorCode::bad_file, fmt::format("config.json: '{}' is {}, wanted {}", key, got.dump().substr(0, 60), wanted));
}

const nlohmann::json* find(const nlohmann::json& config, const char* key) {
  const auto it = config.find(key);
  return it == config.end() || it->is_null() ? nullptr : &*it;
}

}  // namespace

bool ConfigReader::has(const char* key) const { return find(config_, key) != nullptr; }

int64_t ConfigReader::integer(const char* key) const {
  if (!has(key)) throw Error(ErrorCode::bad_file, fmt::format("config.json: '{}' is missing", key));
  const int64_t value = integer_or(key, 0);
  if (value < 1 || value > (int64_t{1} << 31)) wrong(key, config_.at(key), "a positive integer below 2^31");
  return value;
}

int64_t ConfigReader::integer_or(const char* key, int64_t otherwise) const {
  const nlohmann::json* value = find(config_, key);
  if (!value) return otherwise;
  if (!value->is_number_integer()) wrong(key, *value, "an integer");
  return value->get<int64_t>();
}

double ConfigReader::number_or(const char* key, double otherwise) const {
  const nlohmann::json* value = find(config_, key);
  if (!value) return otherwise;
  if (!value->is_number()) wrong(key, *value, "a number");
  return value->get<double>();
}

bool ConfigReader::boolean_or(const char* key, bool otherwise) const {
  const nlohmann::json* value = find(config_, key);
  if (!value) return otherwise;
  if (!value->is_boolean()) wrong(key, *value, "true or false");
  return value->get<bool>();
}

std::string ConfigReader::text_or(const char* key, std::string otherwise) const {
  const nlohmann::json* value = find(config_, key);
  if (!value) return otherwise;
  if (!value->is_string()) wrong(key, *value, "a string");
  return value->get<std::string>();
}

}  // namespace llmc
