// "did you mean": the name a mistyped target or ignore entry may have meant.
#pragma once
#include <span>
#include <string>
#include <string_view>

#include "llmc/graph.hpp"

namespace llmc {

// ", did you mean 'lm_head'?" for "lm_hed" beside a module "lm_head"; for an expression, the first of its
// words that is no part of a module's name ("q_prj" of "re:.*q_prj$"). Empty when nothing is near.
std::string nearest_name_hint(std::string_view entry, std::span<const Module> modules);

// How many letters must be added, removed, changed or swapped with their neighbour to make `b` of `a`.
size_t edit_distance(std::string_view a, std::string_view b);

}  // namespace llmc
