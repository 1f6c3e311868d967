// The object behind llmc_report. The text is made at once: reading a report cannot fail.
#pragma once
#include <string>
#include <utility>

#include "llmc.h"
#include "llmc/report.hpp"

struct llmc_report {
  explicit llmc_report(llmc::Report&& made) : report(std::move(made)), json(llmc::to_json(report)) {}

  const llmc::Report report;
  const std::string json;
};
