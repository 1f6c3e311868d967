// llmc_tensor.h: modifiers that a caller brings.
#include <algorithm>

#include "guard.hpp"
#include "llmc/modifier.hpp"
#include "llmc_tensor.h"
#include "session.hpp"
#include "tensor_argument.hpp"

namespace llmc::capi {

namespace {

llmc_tensor lend(const TensorView& view) { return describe_view(view.data, view.dtype, view.shape); }

void call(const llmc_modifier& modifier, const std::string& type, const CustomMatrix& matrix) {
  const llmc_tensor weight = lend(matrix.weight), scales = lend(matrix.multipliers),
                    codes = lend(matrix.codes);
  const llmc_tensor zero_points = matrix.zero_points.data ? lend(matrix.zero_points) : llmc_tensor{};
  llmc_matrix_job job{};
  job.struct_size = sizeof job;
  job.num_bits = matrix.args.num_bits;
  job.module = matrix.module.c_str();
  job.weight = &weight;
  job.scales = &scales;
  job.codes = &codes;
  if (matrix.zero_points.data) job.zero_points = &zero_points;
  TensorView gram_view;
  llmc_tensor gram{};
  if (const Statistics* seen = matrix.statistics) {
    job.tokens = seen->tokens;
    if (!seen->gram.empty()) {
      gram_view = seen->gram;
      gram = lend(gram_view);
      job.gram = &gram;
    }
    if (!seen->channels.min.empty()) {
      job.channel_min = seen->channels.min.data();
      job.channel_max = seen->channels.max.data();
      job.sum_absolute = seen->channels.sum_abs.data();
      job.sum_squares = seen->channels.sum_squares.data();
    }
  }
  if (const int32_t status = modifier.quantize(modifier.user_data, &job))
    throw Error(
        ErrorCode::invalid_argument,
        "modifier '" + type + "': returned " + std::to_string(status) + " for '" + matrix.module + "'");
}

}  // namespace
}  // namespace llmc::capi

using namespace llmc::capi;

llmc_status llmc_session_add_modifier(llmc_session* session, const llmc_modifier* given, llmc_error** error) {
  return guard(error, [&] {
    const SessionLock lock(session);
    if (!given)
      throw llmc::Error(llmc::ErrorCode::invalid_argument, "llmc_session_add_modifier: modifier is NULL");
    const auto modifier = read_options(given, "llmc_modifier");
    const std::string type = required(modifier.type, "llmc_modifier.type");
    if (!modifier.quantize)
      throw llmc::Error(llmc::ErrorCode::invalid_argument, "llmc_modifier.quantize is NULL");
    if (modifier.needs & ~(LLMC_NEEDS_GRAM | LLMC_NEEDS_CHANNELS))
      throw llmc::Error(llmc::ErrorCode::invalid_argument,
                        "llmc_modifier.needs is " + std::to_string(modifier.needs) + "; wanted LLMC_NEEDS_*");
    const auto built_in = llmc::modifier_names();
    if (std::find(built_in.begin(), built_in.end(), type) != built_in.end())
      throw llmc::Error(llmc::ErrorCode::invalid_argument,
                        "llmc_modifier.type: '" + type + "' is built in; wanted a name of your own");
    for (const auto& there : session->modifiers)
      if (there.type == type)
        throw llmc::Error(llmc::ErrorCode::invalid_argument,
                          "llmc_modifier.type: the session has a modifier '" + type + "' already");
    llmc_modifier copy = modifier;
    copy.type = nullptr;  // the caller's text may go
    session->modifiers.push_back(
        {type, (modifier.needs & LLMC_NEEDS_GRAM) != 0, (modifier.needs & LLMC_NEEDS_CHANNELS) != 0,
         [copy, type](const llmc::CustomMatrix& matrix) { call(copy, type, matrix); }});
  });
}
