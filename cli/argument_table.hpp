// Every argument of llm-compressor's oneshot(): accepted, accepted and ignored, or refused. The table is
// printed by `llmc oneshot --arguments` and stands in docs/oneshot-arguments.md; a test keeps the two equal.
#pragma once
#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

namespace cli {

enum class Disposition { accepted, ignored, refused };
struct ArgumentRow {
  const char* name;  // with underscores, as in Python
  Disposition disposition;
  const char* note;  // what it does here, why it is ignored, or what to use instead
};
const std::vector<ArgumentRow>& argument_table();
std::string argument_table_markdown();

// Adds the ignored and refused rows to `app`: ignored ones swallow their value, refused ones fail with their
// note.
// `given` receives name -> value of those that were used.
void add_foreign_arguments(CLI::App& app, std::map<std::string, std::string>& given);

// argv for CLI11: "--max_seq_length" becomes "--max-seq-length", "--output_dir" "--output".
std::vector<std::string> normalized_arguments(int argc, char** argv);

}  // namespace cli
