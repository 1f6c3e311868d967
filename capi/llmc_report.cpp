// llmc.h: what a report says, as JSON and field by field.
#include "guard.hpp"
#include "report_object.hpp"
#include "tensor_argument.hpp"

using namespace llmc::capi;
using llmc::Error;
using llmc::ErrorCode;

const char* llmc_report_json(const llmc_report* report) { return report ? report->json.c_str() : ""; }
void llmc_report_free(llmc_report* report) { delete report; }

int64_t llmc_report_count(const llmc_report* report) {
  return report ? static_cast<int64_t>(report->report.linears.size()) : 0;
}

llmc_status llmc_report_linear(const llmc_report* report,
                               int64_t index,
                               llmc_linear_facts* to,
                               llmc_error** error) {
  return guard(error, [&] {
    if (!report) throw Error(ErrorCode::invalid_argument, "llmc_report_linear: report is NULL");
    const int64_t count = llmc_report_count(report);
    if (index < 0 || index >= count)
      throw Error(ErrorCode::invalid_argument,
                  "llmc_report_linear: index is " + std::to_string(index) + "; the report has " +
                      std::to_string(count) + " matrices");
    const llmc::LinearReport& row = report->report.linears[static_cast<size_t>(index)];
    llmc_linear_facts facts{};
    facts.name = row.name.c_str();
    facts.scheme = row.scheme.c_str();
    facts.method = row.method.c_str();
    facts.note = row.note.c_str();
    facts.relative_error = row.relative_error;
    facts.loss = row.loss;
    facts.dampening = row.dampening;
    facts.seconds = row.seconds;
    write_struct(facts, to, "llmc_linear_facts");
  });
}

llmc_status llmc_report_info(const llmc_report* report, llmc_report_facts* to, llmc_error** error) {
  return guard(error, [&] {
    if (!report) throw Error(ErrorCode::invalid_argument, "llmc_report_info: report is NULL");
    const llmc::Report& run = report->report;
    llmc_report_facts facts{};
    facts.linears = llmc_report_count(report);
    facts.samples = run.samples;
    facts.tokens = run.tokens;
    facts.bytes_before = run.bytes_before;
    facts.bytes_after = run.bytes_after;
    facts.peak_memory = run.peak_memory;
    facts.seconds = run.seconds;
    facts.calibration_seconds = run.calibration_seconds;
    facts.quantization_seconds = run.quantization_seconds;
    facts.writing_seconds = run.writing_seconds;
    write_struct(facts, to, "llmc_report_facts");
  });
}
