// Many names in one line of a message.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

namespace llmc {

// "a, b and 3 more": the first eight and how many follow.
inline std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 8;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > kShown) text += " and " + std::to_string(names.size() - kShown) + " more";
  return text;
}

}  // namespace llmc
