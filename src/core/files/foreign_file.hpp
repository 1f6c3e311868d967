// What a file really is whose first bytes are not what its name promises: a git-lfs pointer, a web page.
#pragma once
#include <string>
#include <string_view>

#include "core/files/file_io.hpp"

namespace llmc {

// "is a git-lfs pointer, not the file it stands for; `git lfs pull` fetches it"; empty: nothing known.
std::string describe_foreign(std::string_view first_bytes);

// As many as describe_foreign needs, or all there are.
std::string first_bytes(const File& file);

// Throws Error(bad_file) naming the file where it is a git-lfs pointer or a web page: what a broken download
// leaves under any name.
void refuse_pointer(const std::string& path);

}  // namespace llmc
