#include "llmc/report.hpp"

#include "core/json/json_value.hpp"

namespace llmc {

std::string to_json(const Report& report) {
  std::vector<JsonValue> rows;
  for (const LinearReport& row : report.linears)
    rows.push_back(JsonValue::object({{"name", row.name},
                                      {"scheme", row.scheme},
                                      {"method", row.method},
                                      {"relative_error", row.relative_error},
                                      {"loss", row.loss},
                                      {"dampening", row.dampening},
                                      {"seconds", row.seconds},
                                      {"note", row.note}}));
  return dump_json_dense(JsonValue::object({{"model_type", report.model_type},
                                            {"device", report.device},
                                            {"compat", report.compat},
                                            {"propagation", report.propagation},
                                            {"template_date", report.template_date},
                                            {"samples", report.samples},
                                            {"tokens", report.tokens},
                                            {"bytes_before", report.bytes_before},
                                            {"bytes_after", report.bytes_after},
                                            {"peak_memory", report.peak_memory},
                                            {"seconds", report.seconds},
                                            {"calibration_seconds", report.calibration_seconds},
                                            {"quantization_seconds", report.quantization_seconds},
                                            {"writing_seconds", report.writing_seconds},
                                            {"notes", report.notes},
                                            {"linears", JsonValue::array(std::move(rows))}}));
}

}  // namespace llmc
