// What every reader of a folder asks of it before it reads a value.
#pragma once
#include "core/files/checkpoint.hpp"
#include "core/formats/folder_reader.hpp"

namespace llmc {

// Error(bad_file) with the first line that `llmc verify` would print, when headers and config.json alone make
// the folder unsound. `reader` null: a plain folder. `decoded_only`: as FolderCheck's, for readers that show
// what is wrong with the rest.
void require_sound(const Checkpoint& folder, const FolderReader* reader, bool decoded_only = false);

}  // namespace llmc
