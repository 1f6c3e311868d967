// What the architecture named in config.json tells about a folder's modules; nothing for a family llmc does
// not know.
#pragma once
#include <string>

#include "core/files/checkpoint.hpp"
#include "core/formats/verify.hpp"

namespace llmc {

KnownModules known_modules(const Checkpoint& folder);

}  // namespace llmc
