// llmc_tensor.h: statistics and smoothing.
#include <algorithm>
#include <mutex>

#include "guard.hpp"
#include "tensor_argument.hpp"
#include "tensor_objects.hpp"

using namespace llmc::capi;
using llmc::Error;
using llmc::ErrorCode;

namespace llmc::capi {

namespace {

void check_intact(const llmc_gram& gram, const char* what) {
  if (!gram.intact)
    throw Error(ErrorCode::invalid_argument,
                std::string(what) + ": an earlier llmc_gram_add failed half way; the gram can only be freed");
}

}  // namespace

std::shared_lock<std::shared_mutex> read_gram(const llmc_gram* gram, const char* what) {
  auto lock = use<std::shared_lock<std::shared_mutex>>(required_object(gram, what).busy, what);
  check_intact(*gram, what);
  return lock;
}

std::unique_lock<std::shared_mutex> change_gram(llmc_gram* gram, const char* what) {
  auto lock = use<std::unique_lock<std::shared_mutex>>(required_object(gram, what).busy, what);
  check_intact(*gram, what);
  return lock;
}

}  // namespace llmc::capi

llmc_status llmc_gram_create(int64_t channels, int32_t parts, llmc_gram** gram, llmc_error** error) {
  if (gram) *gram = nullptr;
  return guard(error, [&] {
    required_object(gram, "llmc_gram_create: gram");
    if (parts != LLMC_GRAM_ALL && parts != LLMC_GRAM_CHANNELS)
      throw Error(ErrorCode::invalid_argument,
                  "llmc_gram_create: parts is " + std::to_string(parts) +
                      "; wanted LLMC_GRAM_ALL or LLMC_GRAM_CHANNELS");
    auto made = std::make_unique<llmc_gram>();
    made->statistics = llmc::new_statistics(
        channels, parts == LLMC_GRAM_ALL ? llmc::StatisticsParts::all : llmc::StatisticsParts::channels);
    *gram = made.release();
  });
}

void llmc_gram_free(llmc_gram* gram) { delete gram; }

llmc_status llmc_gram_add(llmc_session* session,
                          llmc_gram* gram,
                          const llmc_tensor* values,
                          llmc_error** error) {
  return guard(error, [&] {
    const SessionLock lock(session);
    const auto gram_lock = change_gram(gram, "llmc_gram_add: gram");
    const auto look = [&] { poll(*session, "llmc_gram_add"); };
    look();
    const TensorArgument x(values, "llmc_gram_add: values", session->backend.get(),
                           TensorArgument::OnDevice::stays);
    if (x.view().shape.empty())
      throw Error(ErrorCode::invalid_argument,
                  "llmc_gram_add: values has no dimensions; wanted [.., channels]");
    const llmc::TensorView rows = x.as_rows();
    llmc::check_values(gram->statistics, rows, *session->backend);
    if (rows.rows() == 0) return;
    const int64_t samples = x.view().shape.size() > 2 ? x.view().shape[0] : 1;
    gram->intact = false;
    llmc::add_values(gram->statistics, rows, samples, *session->backend, look);
    gram->intact = true;
  });
}

llmc_status llmc_gram_merge(llmc_gram* into, const llmc_gram* from, llmc_error** error) {
  return guard(error, [&] {
    if (into && into == from)
      throw Error(ErrorCode::invalid_argument, "llmc_gram_merge: into and from are one gram; wanted two");
    const auto into_lock = change_gram(into, "llmc_gram_merge: into");
    const auto from_lock = read_gram(from, "llmc_gram_merge: from");
    llmc::merge_statistics(into->statistics, from->statistics);
  });
}

llmc_status llmc_gram_save(const llmc_gram* gram, const char* path, llmc_error** error) {
  return guard(error, [&] {
    const auto lock = read_gram(gram, "llmc_gram_save: gram");
    llmc::save_statistics(gram->statistics, required(path, "llmc_gram_save: path"));
  });
}

llmc_status llmc_gram_load(const char* path, llmc_gram** gram, llmc_error** error) {
  if (gram) *gram = nullptr;
  return guard(error, [&] {
    required_object(gram, "llmc_gram_load: gram");
    auto made = std::make_unique<llmc_gram>();
    made->statistics = llmc::load_statistics(required(path, "llmc_gram_load: path"));
    *gram = made.release();
  });
}

llmc_status llmc_gram_read(const llmc_gram* gram, llmc_gram_data* to, llmc_error** error) {
  return guard(error, [&] {
    const auto lock = read_gram(gram, "llmc_gram_read: gram");
    required_object(to, "llmc_gram_read: data");
    llmc_gram_data data = read_options(to, "llmc_gram_data");
    const llmc::Statistics& seen = gram->statistics;
    const auto n = static_cast<int64_t>(seen.channels.min.size());
    const bool wanted = data.gram || data.minimum || data.maximum || data.sum_absolute || data.sum_squares;
    if (wanted && data.channels != n)
      throw Error(ErrorCode::invalid_argument,
                  "llmc_gram_data.channels is " + std::to_string(data.channels) + "; the gram has " +
                      std::to_string(n));
    if (data.gram && seen.gram.empty())
      throw Error(ErrorCode::invalid_argument,
                  "llmc_gram_data.gram is asked of a gram that keeps the channels' statistics alone");
    if (data.gram) {
      const float* from = seen.gram.as<float>();
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j <= i; ++j) data.gram[i * n + j] = data.gram[j * n + i] = from[i * n + j];
    }
    const auto copy = [](const auto& values, auto* destination) {
      if (destination) std::copy(values.begin(), values.end(), destination);
    };
    copy(seen.channels.min, data.minimum);
    copy(seen.channels.max, data.maximum);
    copy(seen.channels.sum_abs, data.sum_absolute);
    copy(seen.channels.sum_squares, data.sum_squares);
    data.has_gram = seen.gram.empty() ? LLMC_OFF : LLMC_ON;
    data.channels = n;
    data.tokens = seen.tokens;
    data.samples = seen.samples;
    write_struct(data, to, "llmc_gram_data");
  });
}

llmc_status llmc_smooth_scales(const llmc_gram* gram,
                               const llmc_tensor* weights,
                               int32_t count,
                               const llmc_smooth_options* given,
                               float* scales,
                               int64_t channels,
                               llmc_error** error) {
  return guard(error, [&] {
    const auto lock = read_gram(gram, "llmc_smooth_scales: gram");
    required_object(scales, "llmc_smooth_scales: scales");
    const auto c_options = read_options(given, "llmc_smooth_options");
    const auto n = static_cast<int64_t>(gram->statistics.channels.min.size());
    if (channels != n)
      throw Error(ErrorCode::invalid_argument,
                  "llmc_smooth_scales: channels is " + std::to_string(channels) + "; the gram has " +
                      std::to_string(n));
    llmc::SmoothingOptions options;
    options.logarithmic = choice(c_options.algorithm, false, true, "llmc_smooth_options.algorithm")
                              .value_or(false);
    options.compat = choice(c_options.compat, llmc::Compat::vllm, llmc::Compat::reference,
                            "llmc_smooth_options.compat")
                         .value_or(llmc::Compat::vllm);
    if (tri_state(c_options.strength_set, false, "llmc_smooth_options.strength_set"))
      options.strength = c_options.strength;
    const TensorArguments tensors(weights, count, "llmc_smooth_scales: weights");
    const std::vector<float> found = llmc::smoothing_scales_of(gram->statistics, tensors.views(), options);
    std::copy(found.begin(), found.end(), scales);
  });
}

llmc_status llmc_smooth_apply(llmc_tensor* tensor,
                              const float* scales,
                              int64_t channels,
                              int32_t operation,
                              llmc_error** error) {
  return guard(error, [&] {
    required_object(scales, "llmc_smooth_apply: scales");
    const TensorArgument argument(tensor, "llmc_smooth_apply: tensor");
    const llmc::TensorView rows = argument.as_rows();
    if (argument.view().shape.empty() || channels < 1 || rows.shape[1] != channels)
      throw Error(ErrorCode::invalid_argument,
                  "llmc_smooth_apply: tensor has shape " + llmc::to_string(argument.view().shape) +
                      "; wanted [.., " + std::to_string(channels) + "]");
    if (!llmc::is_floating(rows.dtype) || llmc::item_size(rows.dtype) == 1 || rows.dtype == llmc::DType::f64)
      throw Error(ErrorCode::invalid_argument,
                  "llmc_smooth_apply: tensor is " + std::string(dtype_name(rows.dtype)) +
                      "; wanted F32, BF16 or F16");
    if (operation < LLMC_SMOOTH_MULTIPLY || operation > LLMC_SMOOTH_DIVIDE_PLUS_ONE)
      throw Error(ErrorCode::invalid_argument,
                  "llmc_smooth_apply: operation is " + std::to_string(operation) + "; wanted LLMC_SMOOTH_*");
    for (int64_t j = 0; j < channels; ++j)
      if (!(scales[j] > 0.0f && scales[j] <= 3.4e38f))
        throw Error(ErrorCode::invalid_argument,
                    "llmc_smooth_apply: scale " + std::to_string(j) + " is " + std::to_string(scales[j]) +
                        "; wanted finite numbers above 0");
    static constexpr llmc::SmoothingTarget kTargets[] = {
        llmc::SmoothingTarget::reader, llmc::SmoothingTarget::norm, llmc::SmoothingTarget::norm_plus_one};
    llmc::apply_smoothing(argument.writable("llmc_smooth_apply: tensor"), rows.dtype, rows.rows(),
                          std::span(scales, static_cast<size_t>(channels)), kTargets[operation - 1]);
  });
}
