// Reports of the library, as values for tables.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "printable.hpp"

namespace cli {

// Every text of it on one line and without control characters: names of tensors come from files of strangers,
// and a terminal obeys what it is sent.
inline nlohmann::json parse_report(const std::string& json) {
  const auto make_printable = [](int, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    if (event == nlohmann::json::parse_event_t::value && value.is_string())
      value = llmc::one_line(value.get<std::string>());
    return true;
  };
  return nlohmann::json::parse(json, make_printable);
}

}  // namespace cli
