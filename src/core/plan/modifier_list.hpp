// A recipe's modifiers, made and put in order.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "llmc/modifier.hpp"
#include "llmc/recipe.hpp"

namespace llmc {

// The recipe's steps, sorted into their two kinds.
struct ModifierList {
  ModifierList(const Recipe& recipe, const RunPolicy& policy);
  bool need_calibration() const;

  std::vector<std::unique_ptr<Modifier>> all;  // owner, in recipe order
  std::vector<const Transform*> transforms;
  std::vector<const Quantizer*> quantizers;
  std::vector<std::string> notes;
};

}  // namespace llmc
