// What the recipe.yaml inside a folder says was done to the weights besides rounding them: that decides what
// can be compared with the source.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace llmc {

struct RecipeTraits {
  bool known = false;            // there is a recipe and every modifier in it is known
  bool rounds = false;           // QuantizationModifier
  bool tunes = false;            // GPTQ: codes are not the nearest ones
  bool smooths = false;          // SmoothQuant: scale moved from norms to the input channels of their readers
  bool smooths_linears = false;  // AWQ: also from one Linear's outputs to the next one's inputs
  bool rotates = false;          // SpinQuant: weights are other ones altogether
  bool prunes = false;           // SparseGPT, Wanda
  std::vector<std::string> modifiers, unknown;  // names, in order

  bool quantizes() const { return rounds || tunes; }
};

// A scan for modifier names: recipes that llm-compressor writes hold Python tags that no plain YAML reader
// takes.
RecipeTraits scan_recipe(std::string_view text);
// Of DIR/recipe.yaml, together with config.json's transform_config; nothing known when there is no recipe.
RecipeTraits traits_of_folder(const std::string& directory, std::string_view config_json);

}  // namespace llmc
