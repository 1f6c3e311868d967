// llmc verify: everything that can be wrong with a folder, told at once.

#include "core/formats/folder_reader.hpp"
#include "core/model/known_modules.hpp"
#include "core/inspection/source_comparison.hpp"
#include "core/json/json_value.hpp"
#include "core/quantize/row_tiles.hpp"
#include "llmc/error.hpp"
#include "llmc/inspection.hpp"

namespace llmc {
namespace {

// A folder that is there but cannot be opened for what is in it has one fault, and it is that.
std::optional<Checkpoint> open(const std::string& directory, std::vector<Fault>& faults) {
  try {
    std::optional<Checkpoint> checkpoint(std::in_place, directory);
    checkpoint->config();
    return checkpoint;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::bad_file) throw;
    faults.push_back({directory, error.what(), ""});
    return std::nullopt;
  }
}

// Nothing when the config is broken: `faults` says how.
std::unique_ptr<FolderReader> open_reader(const Checkpoint& folder, std::vector<Fault>& faults) {
  try {
    return llmc::open_reader(folder, "quantization");
  } catch (const Error& error) {
    if (error.code() != ErrorCode::bad_file && error.code() != ErrorCode::invalid_argument) throw;
    faults.push_back({"config.json", error.what(), ""});
    return nullptr;
  }
}

void check(const Checkpoint& folder,
           const VerifyOptions& options,
           const ParallelFor& parallel,
           std::vector<Fault>& faults,
           VerifyReport& report) {
  const std::unique_ptr<FolderReader> reader = open_reader(folder, faults);
  if (!faults.empty()) return;
  if (!reader) report.notes.emplace_back("config.json has no quantization_config: a plain model folder");
  const auto poll = [&] {
    if (options.cancel && options.cancel->load(std::memory_order_relaxed))
      throw Error(ErrorCode::cancelled, "verify: cancelled");
  };
  std::optional<Checkpoint> source;
  std::optional<SourceComparison> comparison;
  if (!options.source_dir.empty()) {
    source.emplace(options.source_dir);
    if (source->is_quantized())
      throw Error(ErrorCode::invalid_argument,
                  "'" + options.source_dir + "': is quantized itself; wanted the model that was compressed");
    comparison.emplace(folder, *source, traits_of_folder(folder.directory(), folder.config()),
                       reader != nullptr, parallel);
  }
  const auto visit = [&](const std::string& module, const QuantizedMatrix& matrix,
                         std::vector<Fault>& found) {
    poll();
    ++report.quantized;
    if (comparison) comparison->compare(module, matrix, found);
  };
  const FolderCheck how{
      .folder = folder, .known = known_modules(folder), .parallel = parallel, .visit = visit};
  faults = reader ? reader->check(how) : check_folder(how);
  if (!comparison) return;
  poll();
  comparison->finish(faults);
  report.matrices = std::move(comparison->matrices);
  report.notes.insert(report.notes.end(), comparison->notes.begin(), comparison->notes.end());
}

}  // namespace

VerifyReport verify_model(const VerifyOptions& options, Backend& backend) {
  VerifyReport report;
  std::vector<Fault> faults;
  const ParallelFor parallel = backend;
  if (const auto folder = open(options.model_dir, faults)) {
    report.tensors = static_cast<int64_t>(folder->names().size());
    report.bytes = folder->total_bytes();
    check(*folder, options, parallel, faults, report);
  }
  for (Fault& fault : faults)
    report.faults.push_back({std::move(fault.tensor), std::move(fault.got), std::move(fault.wanted)});
  return report;
}

std::string to_json(const VerifyReport& report) {
  std::vector<JsonValue> faults, matrices;
  for (const auto& fault : report.faults)
    faults.push_back(
        JsonValue::object({{"tensor", fault.tensor}, {"got", fault.got}, {"wanted", fault.wanted}}));
  for (const MatrixCheck& row : report.matrices)
    matrices.push_back(JsonValue::object({{"module", row.module},
                                          {"scheme", row.scheme},
                                          {"compared", row.compared},
                                          {"relative_error", row.relative_error},
                                          {"rounding_error", row.rounding_error},
                                          {"allowed_error", row.allowed_error},
                                          {"cosine", row.cosine}}));
  return dump_json_utf8(JsonValue::object({{"sound", report.faults.empty()},
                                           {"faults", JsonValue::array(std::move(faults))},
                                           {"notes", report.notes},
                                           {"tensors", report.tensors},
                                           {"quantized", report.quantized},
                                           {"bytes", report.bytes},
                                           {"matrices", JsonValue::array(std::move(matrices))}}));
}

}  // namespace llmc
