#include "llmc/report.hpp"

#include <nlohmann/json.hpp>

namespace llmc {

std::string to_json(const Report& report) {
  nlohmann::ordered_json json;
  json["model_type"] = report.model_type;
  json["device"] = report.device;
  json["compat"] = report.compat;
  json["propagation"] = report.propagation;
  json["template_date"] = report.template_date;
  json["samples"] = report.samples;
  json["tokens"] = report.tokens;
  json["bytes_before"] = report.bytes_before;
  json["bytes_after"] = report.bytes_after;
  json["peak_memory"] = report.peak_memory;
  json["seconds"] = report.seconds;
  json["calibration_seconds"] = report.calibration_seconds;
  json["quantization_seconds"] = report.quantization_seconds;
  json["writing_seconds"] = report.writing_seconds;
  json["notes"] = report.notes;
  auto& rows = json["linears"] = nlohmann::ordered_json::array();
  for (const LinearReport& row : report.linears)
    rows.push_back({{"name", row.name}, {"scheme", row.scheme}, {"method", row.method}, {"relative_error", row.relative_error}, {"loss", row.loss}, {"dampening", row.dampening}, {"seconds", row.seconds}, {"note", row.note}});
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);  // a name that is no UTF-8 must not lose the report
}

}  // namespace llmc
