// What --overwrite may take the place of. One function decides; it is asked before the run and again just before
// the exchange.
#pragma once
#include <string>

namespace llmc {

// Why the folder is not to be replaced: "holds 'thesis.tex', which is no file of a model". Empty: it holds a model
// and nothing else: a config.json with model_type, architectures or quantization_config, the weights it goes with,
// and files that models have beside them (is_model_file). An empty folder may be replaced too.
std::string reason_to_keep(const std::string& folder);

}  // namespace llmc
