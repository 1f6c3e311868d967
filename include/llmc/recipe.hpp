// A recipe: which modifiers run, in which order, with which arguments. Parsed from the YAML llm-compressor's
// users write.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace llmc {

// One YAML value with the line it stood on (1-based; 0 for values not from a file).
struct RecipeValue {
  RecipeValue() = default;  // clang needs it before the members below
  enum class Kind { null, boolean, integer, number, string, list, map };
  Kind kind = Kind::null;
  // the text of boolean, integer, number, string
  std::string scalar;
  std::vector<RecipeValue> items;                            // list
  std::vector<std::pair<std::string, RecipeValue>> entries;  // map, in file order
  int line = 0;

  const RecipeValue* find(std::string_view key) const;  // null when absent or not a map
  // Typed access; `what` names the argument in the error: "recipe line 6: GPTQModifier.dampening_frac: got
  // 'abc', wanted a number"
  bool as_bool(std::string_view what) const;
  int64_t as_int(std::string_view what) const;
  double as_double(std::string_view what) const;  // finite
  std::string as_string(std::string_view what) const;
  std::vector<std::string> as_strings(std::string_view what) const;  // a list of strings, or one string
  bool is_null() const { return kind == Kind::null; }
};

// The same within bounds, both included: "recipe line 6: GPTQModifier.block_size: got 0, wanted 1 to
// 2147483647".
int64_t int_in(const RecipeValue& value, std::string_view what, int64_t low, int64_t high);
double number_in(const RecipeValue& value, std::string_view what, double low, double high);

struct ModifierSpec {
  std::string type;          // "GPTQModifier"
  RecipeValue arguments;     // always a map
  std::string stage, group;  // "quant_stage", "quant_modifiers"
  int line = 0;
};

struct Recipe {
  std::vector<ModifierSpec> modifiers;  // in the order they run
  std::vector<std::string> notes;       // keys that were skipped, with their lines
  std::string text;  // the YAML it was read from; empty when only some stages of it were taken
};

// `text`: YAML or JSON text, Markdown with front matter, or (if such a file exists) a path. `stage`: run only
// stages whose key starts with it; empty = all.
Recipe parse_recipe(const std::string& file_or_text, std::string_view stage = {});

// Any YAML or JSON text as a value: a scalar, a list or a map.
RecipeValue parse_recipe_value(const std::string& text);

// The recipe.yaml written beside the model: the recipe's own text where there is one, else in llm-compressor's
// layout with every text quoted. parse_recipe reads it back to the same values.
std::string write_recipe(const Recipe& recipe);

// The recipe that `--scheme NAME` stands for: QuantizationModifier on Linear, lm_head ignored.
Recipe recipe_for_scheme(const std::string& scheme_name);

// A target or ignore entry: exact module name, "re:" + Python regular expression anchored at the start, or
// class name.
class TargetMatcher {
 public:
  // throws Error(invalid_argument) on a bad expression
  explicit TargetMatcher(const std::vector<std::string>& targets);
  ~TargetMatcher();
  TargetMatcher(TargetMatcher&&) noexcept;
  TargetMatcher& operator=(TargetMatcher&&) noexcept;
  // The best matching target (exact name, then expressions in alphabetical order, then class name), or null.
  const std::string* match(std::string_view module, std::string_view class_name) const;

 private:
  struct Impl;
  struct Deleter {
    void operator()(Impl*) const;
  };
  std::unique_ptr<Impl, Deleter> impl_;
};

}  // namespace llmc
