#include "llmc/report.hpp"

#include "core/json/json_value.hpp"

namespace llmc {

namespace {

JsonValue json_of(const std::string& text) { return JsonValue::from_string(text); }
JsonValue json_of(int64_t number) { return JsonValue::from_int(number); }
JsonValue json_of(double number) { return JsonValue::from_double(number); }

}  // namespace

std::string to_json(const Report& report) {
  std::vector<JsonValue> notes, rows;
  for (const std::string& note : report.notes) notes.push_back(json_of(note));
  for (const LinearReport& row : report.linears)
    rows.push_back(JsonValue::object({{"name", json_of(row.name)},
                                      {"scheme", json_of(row.scheme)},
                                      {"method", json_of(row.method)},
                                      {"relative_error", json_of(row.relative_error)},
                                      {"loss", json_of(row.loss)},
                                      {"dampening", json_of(row.dampening)},
                                      {"seconds", json_of(row.seconds)},
                                      {"note", json_of(row.note)}}));
  return dump_json_dense(JsonValue::object({{"model_type", json_of(report.model_type)},
                                            {"device", json_of(report.device)},
                                            {"compat", json_of(report.compat)},
                                            {"propagation", json_of(report.propagation)},
                                            {"template_date", json_of(report.template_date)},
                                            {"samples", json_of(report.samples)},
                                            {"tokens", json_of(report.tokens)},
                                            {"bytes_before", json_of(report.bytes_before)},
                                            {"bytes_after", json_of(report.bytes_after)},
                                            {"peak_memory", json_of(report.peak_memory)},
                                            {"seconds", json_of(report.seconds)},
                                            {"calibration_seconds", json_of(report.calibration_seconds)},
                                            {"quantization_seconds", json_of(report.quantization_seconds)},
                                            {"writing_seconds", json_of(report.writing_seconds)},
                                            {"notes", JsonValue::array(std::move(notes))},
                                            {"linears", JsonValue::array(std::move(rows))}}));
}

}  // namespace llmc
