#include "core/inspection/recipe_traits.hpp"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iterator>

#include "core/files/file_io.hpp"
#include "core/formats/quantization_config.hpp"
#include "core/files/quantization_method.hpp"
#include "core/json/json_value.hpp"

namespace llmc {
namespace {

constexpr std::pair<std::string_view, bool RecipeTraits::*> kModifiers[] = {
    {"QuantizationModifier", &RecipeTraits::rounds},
    {"GPTQModifier", &RecipeTraits::tunes},
    {"AutoRoundModifier", &RecipeTraits::tunes},
    {"SmoothQuantModifier", &RecipeTraits::smooths},
    {"AWQModifier", &RecipeTraits::smooths_linears},
    {"LogarithmicEqualizationModifier", &RecipeTraits::smooths},
    {"SpinQuantModifier", &RecipeTraits::rotates},
    {"QuIPModifier", &RecipeTraits::rotates},
    {"SparseGPTModifier", &RecipeTraits::prunes},
    {"WandaPruningModifier", &RecipeTraits::prunes},
    {"MagnitudePruningModifier", &RecipeTraits::prunes},
    {"ConstantPruningModifier", &RecipeTraits::prunes},
    {"IMatrixGatherer", nullptr},
};

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

}  // namespace

RecipeTraits scan_recipe(std::string_view text) {
  RecipeTraits traits;
  for (size_t i = 0; i < text.size();) {
    if (text[i] == '#' && (i == 0 || std::isspace(static_cast<unsigned char>(text[i - 1])))) {
      i = std::min(text.find('\n', i), text.size());
      continue;
    }
    if (!is_word(text[i])) {
      ++i;
      continue;
    }
    const size_t begin = i;
    while (i < text.size() && is_word(text[i])) ++i;
    const std::string_view word = text.substr(begin, i - begin);
    size_t colon = i;  // after the quotes of a key, and blanks
    while (colon < text.size() && (text[colon] == '"' || text[colon] == '\'' || text[colon] == ' ')) ++colon;
    const bool is_key = colon < text.size() && text[colon] == ':' &&
        std::isupper(static_cast<unsigned char>(word[0])) &&
        (word.ends_with("Modifier") || word.ends_with("Gatherer"));
    if (!is_key) continue;
    traits.modifiers.emplace_back(word);
    const auto* row = std::find_if(std::begin(kModifiers), std::end(kModifiers),
                                   [&](const auto& known) { return known.first == word; });
    if (row == std::end(kModifiers)) traits.unknown.emplace_back(word);
    else if (row->second) traits.*row->second = true;
  }
  // mappings of a SmoothQuantModifier that name what reads Linears' channels
  const auto says = [&](std::string_view word) { return text.find(word) != std::string_view::npos; };
  traits.smooths_linears |= traits.smooths && says("mappings") && (says("o_proj") || says("down_proj"));
  traits.smooths |= traits.smooths_linears;
  traits.known = !traits.modifiers.empty() && traits.unknown.empty();
  return traits;
}

RecipeTraits traits_of_folder(const std::string& directory, std::string_view config_json) {
  const std::filesystem::path path = std::filesystem::path(directory) / "recipe.yaml";
  std::error_code error;
  RecipeTraits traits = std::filesystem::is_regular_file(path, error)
      ? scan_recipe(read_text_file(path.string()))
      : RecipeTraits{};
  const JsonValue config = parse_json(config_json, "config.json");
  const JsonValue* quantization = find_quantization_config(config);
  const JsonValue* transforms = quantization ? quantization->find("transform_config") : nullptr;
  if (transforms && !transforms->members.empty()) traits.rotates = true;
  return traits;
}

}  // namespace llmc
