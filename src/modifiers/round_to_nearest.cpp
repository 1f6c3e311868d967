#include "modifiers/round_to_nearest.hpp"

#include <fmt/format.h>

#include <cmath>

#include "core/quantize/finite.hpp"
#include "core/quantize/row_tiles.hpp"
#include "llmc/error.hpp"
#include "modifiers/joint_scales.hpp"

namespace llmc {

std::vector<QuantizedMatrix> round_to_nearest(const MatrixSet& set,
                                              Rounding rounding,
                                              Backend& backend,
                                              std::vector<LinearReport>& rows) {
  const QuantizationArgs& args = *set.scheme->weights;
  std::vector<QuantizedMatrix> results;
  std::string note;
  std::vector<QuantizationParameters> parameters = joint_scales(set.jobs, args, set.statistics, backend,
                                                                &note);
  for (size_t j = 0; j < set.jobs.size(); ++j) {
    const MatrixJob& job = set.jobs[j];
    QuantizedMatrix result{args, job.weight.shape, backend.zeros(code_dtype(args), job.weight.shape),
                           std::move(parameters[j])};
    RowQuantization rounded;
    rounded.weight = job.weight;
    rounded.args = &args;
    rounded.rounding = rounding;
    rounded.global_scale = result.parameters.global_scale;
    rounded.scales_given = true;
    rounded.codes = result.codes.data();
    rounded.codes_device = result.codes.device();
    rounded.scales = result.parameters.scales.data();
    if (!args.symmetric) rounded.zero_points = result.parameters.zero_points.as<int8_t>();
    const RowsQuantized sums = quantize_row_tile(rounded, backend);
    if (sums.first_non_finite)
      throw Error(
          ErrorCode::numeric,
          fmt::format("'{}': value {} of the weight is not finite", job.module, *sums.first_non_finite));
    LinearReport row;
    row.name = job.module;
    row.scheme = describe(args);
    row.method = "RTN";
    row.note = note;
    row.relative_error = sums.energy > 0 ? std::sqrt(sums.error / sums.energy) : 0.0;
    rows.push_back(std::move(row));
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace llmc
