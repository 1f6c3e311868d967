// Makes the folder that StatisticsFolders reads.
#pragma once
#include <string>

#include "core/calibration/statistics_folder.hpp"
#include "core/files/checkpoint.hpp"
#include "core/progress/run_reporter.hpp"
#include "llmc/backend.hpp"

namespace llmc {

struct StatisticsRun {
  const Checkpoint& source;
  const Graph& graph;
  const TokenBatch* sequences;      // that walk through the unquantized model; null: none
  const StatisticsFolders& merged;  // what they show is added to these
  const std::string& target;        // a folder: appears whole at the end or not at all
  Backend& backend;
  RunReporter& reporter;
};
void save_model_statistics(const StatisticsRun& run);

}  // namespace llmc
