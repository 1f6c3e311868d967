#include "options.hpp"

#include <algorithm>
#include <cctype>

#include "command.hpp"

namespace cli {

bool parse_switch(const std::string& name, const std::string& value) {
  std::string lower = value;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* yes : {"true", "1", "yes", "on", ""})
    if (lower == yes) return true;
  for (const char* no : {"false", "0", "no", "off"})
    if (lower == no) return false;
  throw Failure(name + ": got '" + value + "', wanted true or false");
}

}  // namespace cli
