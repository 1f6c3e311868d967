// How many threads can run at once: the processors this process may use, and the share of them that its control
// groups (containers) leave it.
#pragma once
#include <string>

namespace llmc::cpu {

// At least 1. root: "/" but in tests.
int usable_cores(const std::string& root = "/");

}  // namespace llmc::cpu
