// The table at the end of `llmc oneshot`: one line per layer, then the totals.
#pragma once
#include <string>

namespace cli {

std::string summary_table(const std::string& report_json, const std::string& output_dir);

}  // namespace cli
