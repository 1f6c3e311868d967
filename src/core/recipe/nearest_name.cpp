#include "core/recipe/nearest_name.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <set>
#include <vector>

namespace llmc {

namespace {

constexpr size_t kLongestWord = 256, kShortestWord = 3;

bool is_word_letter(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    while (i < text.size() && is_word_letter(text[i])) ++i;
    if (i > begin) words.push_back(text.substr(begin, i - begin));
    else ++i;
  }
  return words;
}

// The candidate with the smallest distance, if that is small beside the word's length.
std::string_view nearest(std::string_view word, const std::set<std::string_view>& candidates) {
  std::string_view best;
  size_t least = std::max<size_t>(1, std::min<size_t>(3, word.size() / 3)) + 1;
  if (word.size() > kLongestWord) return best;
  for (const std::string_view candidate : candidates) {
    const size_t longer = std::max(candidate.size(), word.size()),
                 shorter = std::min(candidate.size(), word.size());
    if (longer - shorter >= least || candidate.size() > kLongestWord) continue;
    if (const size_t distance = edit_distance(word, candidate); distance < least) {
      least = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  // rows i - 2, i - 1 and i of the table of distances between prefixes
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

std::string nearest_name_hint(std::string_view entry, std::span<const Module> modules) {
  const bool expression = entry.starts_with("re:");
  std::set<std::string_view> names, parts;
  for (const Module& module : modules) {
    names.insert(module.name);
    names.insert(module.class_name);
    for (const std::string_view part : words_of(module.name)) parts.insert(part);
    parts.insert(module.class_name);
  }
  std::string_view found;
  if (!expression) found = nearest(entry, names);
  if (found.empty())
    for (const std::string_view word : words_of(expression ? entry.substr(3) : entry)) {
      const bool number = std::all_of(word.begin(), word.end(),
                                      [](unsigned char c) { return std::isdigit(c); });
      if (number || word.size() < kShortestWord || parts.count(word)) continue;
      found = nearest(word, parts);
      break;
    }
  return found.empty() ? "" : fmt::format(", did you mean '{}'?", found);
}

}  // namespace llmc
