// Texts that hold names from files of strangers and go to terminals. Standard library alone: the command, too,
// includes it.
#pragma once
#include <string>

namespace llmc {

// Line breaks and tabs become spaces, other control characters (ESC, DEL, and those of C1 in UTF-8) a question
// mark.
inline std::string one_line(std::string text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c == '\n' || c == '\r' || c == '\t') text[i] = ' ';
    else if (c < 0x20 || c == 0x7f) text[i] = '?';
    else if (c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0)
      text.replace(i, 2, "?");
  }
  return text;
}

}  // namespace llmc
