// Options that CLI11 has no form of its own for.
#pragma once
#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace cli {

// One word of a few: --compat vllm. `value` stays as it is when the option is not given.
inline CLI::Option* add_choice(CLI::App& app,
                               const std::string& name,
                               int32_t& value,
                               const std::vector<std::pair<std::string, int32_t>>& choices,
                               const std::string& help) {
  std::vector<std::string> words;
  for (const auto& [word, stands_for] : choices) words.push_back(word);
  const auto set = [&value, choices](const std::string& given) {
    for (const auto& [word, stands_for] : choices)
      if (word == given) value = stands_for;
  };
  return app.add_option_function<std::string>(name, set, help)->check(CLI::IsMember(words));
}

// true, 1, yes, on, nothing; false, 0, no, off; in any case. Throws Failure otherwise.
bool parse_switch(const std::string& name, const std::string& value);

// A bool with a word behind it, as llm-compressor's arguments are given: --save-compressed false.
inline CLI::Option* add_switch(CLI::App& app, const std::string& name, bool& value, const std::string& help) {
  const auto set = [&value, name](const std::string& given) { value = parse_switch(name, given); };
  return app.add_option_function<std::string>(name, set, help);
}

}  // namespace cli
