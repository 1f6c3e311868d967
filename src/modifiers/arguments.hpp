// Reads a modifier's recipe arguments; finish() refuses the ones nobody asked for.
//   Arguments args(spec);
//   alpha_ = args.number("smoothing_strength", 0.5);
//   args.finish();
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "llmc/recipe.hpp"

namespace llmc {

class Arguments {
 public:
  explicit Arguments(const ModifierSpec& spec);

  const RecipeValue* find(std::string_view key);  // null when absent or null
  bool has(std::string_view key);                 // present, even when null
  // low .. high, both included; an error that names them otherwise
  double number(std::string_view key, double otherwise, double low, double high);
  int64_t integer(std::string_view key, int64_t otherwise, int64_t low, int64_t high);
  bool boolean(std::string_view key, bool otherwise);
  std::string text(std::string_view key, std::string otherwise);
  std::vector<std::string> texts(std::string_view key, std::vector<std::string> otherwise);

  std::string what(std::string_view key) const;  // "GPTQModifier.block_size"
  [[noreturn]] void fail(std::string_view key, const std::string& problem) const;  // with the line
  void finish() const;

 private:
  ModifierSpec spec_;
  std::vector<std::string> known_;
};

}  // namespace llmc
