// One maker per modifier file; registry.cpp lists them by recipe name.
#pragma once
#include <memory>

#include "llmc/modifier.hpp"

namespace llmc {

std::unique_ptr<Modifier> make_rtn(const ModifierSpec& spec, const RunPolicy& policy);
std::unique_ptr<Modifier> make_gptq(const ModifierSpec& spec, const RunPolicy& policy);
std::unique_ptr<Modifier> make_smoothquant(const ModifierSpec& spec, const RunPolicy& policy);
std::unique_ptr<Modifier> make_custom(const ModifierSpec& spec,
                                      const CustomQuantizer& own,
                                      const RunPolicy& policy);

}  // namespace llmc
