// Any bytes as the text of a recipe: parsed, every modifier built, written again.
#include <cstdint>
#include <string>

#include "llmc/error.hpp"
#include "llmc/modifier.hpp"
#include "llmc/recipe.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  // A line break in front: never taken for the name of a file.
  const std::string text = "\n" + std::string(reinterpret_cast<const char*>(bytes), size);
  try {
    const llmc::Recipe recipe = llmc::parse_recipe(text);
    llmc::write_recipe(recipe);
    for (const llmc::ModifierSpec& spec : recipe.modifiers) llmc::make_modifier(spec, {});
  } catch (const llmc::Error&) {
  }
  return 0;
}
