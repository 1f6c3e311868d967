#include "modifiers/round_to_nearest.hpp"

#include "core/quantize/row_tiles.hpp"
#include "modifiers/joint_scales.hpp"

namespace llmc {

std::vector<QuantizedMatrix> round_to_nearest(std::span<const MatrixJob> jobs, const QuantizationArgs& args, const Statistics* statistics, Rounding rounding, Backend& backend,
                                              std::vector<LinearReport>& rows) {
  std::vector<QuantizedMatrix> results;
  std::string note;
  std::vector<QuantizationParameters> parameters = joint_scales(jobs, args, statistics, backend, &note);
  for (size_t j = 0; j < jobs.size(); ++j) {
    const MatrixJob& job = jobs[j];
    QuantizedMatrix result{args, job.weight.shape, {}, std::move(parameters[j])};
    result.codes = quantize_in_tiles(job.weight, result.parameters, args, rounding, backend);
    LinearReport row;
    row.name = job.module;
    row.scheme = describe(args);
    row.method = "RTN";
    row.note = note;
    row.relative_error = relative_weight_error(job.weight, result, backend);
    rows.push_back(std::move(row));
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace llmc
