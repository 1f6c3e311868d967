// Statistics of a whole model on disk: a folder with one file of save_statistics (llmc/matrix.hpp) for each
// input that Linears share, named after the first Linear.
#pragma once
#include <string>
#include <vector>

#include "llmc/graph.hpp"
#include "llmc/modifier.hpp"

namespace llmc {

// "model.layers.0.self_attn.q_proj.safetensors"
std::string statistics_file(const Block& block, const SharedInput& input);

// Several such folders of one model, merged in their order when they are read.
class StatisticsFolders {
 public:
  // Looks at the headers of all files. Error(not_found | io | bad_file | invalid_argument): of another model.
  StatisticsFolders(std::vector<std::string> folders, const Graph& graph);
  bool empty() const { return folders_.empty(); }
  Statistics read(const Block& block, const SharedInput& input) const;  // not for an empty list

 private:
  std::vector<std::string> folders_;
};

}  // namespace llmc
