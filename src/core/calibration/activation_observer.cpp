#include "core/calibration/activation_observer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/json/json_value.hpp"
#include "core/quantize/mse_observer.hpp"
#include "core/quantize/number_formats.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

using Join = void (*)(ValueRanges& old, const ValueRanges& now, double weight, DType dtype);

void keep_last(ValueRanges& old, const ValueRanges& now, double, DType) { old = now; }
void keep_all(ValueRanges& old, const ValueRanges& now, double, DType) { merge_ranges(old, now); }

double averaging_constant(const QuantizationArgs& args) {
  const JsonValue kwargs = parse_json(args.observer_kwargs, "observer_kwargs");
  const JsonValue* constant = kwargs.find("averaging_constant");
  if (!constant) return 0.01;
  const auto number = constant->as_double();
  if (!number || !(*number >= 0 && *number <= 1))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("observer_kwargs: averaging_constant is {}, wanted 0 to 1",
                            dump_json_compact(*constant)));
  return *number;
}

// old * (1 - c) + now * c with every step in the model's dtype, as the reference's tensors do it.
void average(ValueRanges& old, const ValueRanges& now, double weight, DType dtype) {
  const auto blend = [&](float a, float b) {
    return round_to(round_to(a * static_cast<float>(1.0 - weight), dtype) +
                        round_to(b * static_cast<float>(weight), dtype),
                    dtype);
  };
  for (size_t i = 0; i < old.min.size(); ++i) {
    old.min[i] = blend(old.min[i], now.min[i]);
    old.max[i] = blend(old.max[i], now.max[i]);
  }
}

struct Row {
  const char* name;
  Join join;
  bool searches;  // for the range of least error within each sequence
};
constexpr Row kObservers[] = {{"memoryless_minmax", keep_last, false},
                              {"static_minmax", keep_all, false},
                              {"minmax", average, false},
                              {"memoryless_mse", keep_last, true},
                              {"mse", average, true}};

const Row& observer_of(const QuantizationArgs& args) {
  const std::string name = args.observer.value_or("minmax");
  const auto* row = std::find_if(std::begin(kObservers), std::end(kObservers),
                                 [&](const Row& candidate) { return candidate.name == name; });
  if (row == std::end(kObservers))
    throw Error(ErrorCode::unsupported,
                fmt::format("calibration: activation observer '{}'; there are memoryless_minmax, "
                            "static_minmax, minmax, memoryless_mse, mse",
                            name));
  return *row;
}

}  // namespace

ActivationObserver::ActivationObserver(const QuantizationArgs& args, int64_t heads, DType dtype)
    : args_(args),
      heads_(args.strategy == Strategy::attn_head ? heads : 1),
      dtype_(dtype),
      averaging_constant_(averaging_constant(args)) {
  observer_of(args);
  const bool fixed = args.dynamic == Dynamic::no &&
      (args.strategy == Strategy::tensor || args.strategy == Strategy::attn_head);
  const bool local = args.dynamic == Dynamic::local && args.strategy == Strategy::tensor_group;
  if (!fixed && !local)
    throw Error(ErrorCode::unsupported,
                "calibration: static activations have one scale per tensor (or per attention head); wanted "
                "strategy tensor or attn_head");
  if (observer_of(args).searches && args.strategy != Strategy::tensor)
    throw Error(
        ErrorCode::unsupported,
        fmt::format("calibration: observer '{}' of activations; it needs strategy tensor", *args.observer));
}

void ActivationObserver::add(const TensorView& sequence, Backend& backend) {
  const Row& observer = observer_of(args_);
  ValueRanges now = observer.searches ? searched(sequence, backend) : extent(sequence, backend);
  if (!seen_) ranges_ = std::move(now);
  else observer.join(ranges_, now, averaging_constant_, dtype_);
  seen_ = true;
}

ValueRanges ActivationObserver::searched(const TensorView& sequence, Backend& backend) const {
  return search_ranges(sequence, args_, *range_search(args_), {}, backend);
}

ValueRanges ActivationObserver::extent(const TensorView& sequence, Backend& backend) const {
  ChannelStatistics channels;
  backend.accumulate_channels(sequence, channels);
  ValueRanges now{args_.strategy == Strategy::attn_head ? Shape{heads_, 1, 1} : Shape{1}, {}, {}};
  const int64_t width = sequence.columns() / heads_;
  for (int64_t head = 0; head < heads_; ++head) {
    now.min.push_back(
        *std::min_element(channels.min.begin() + head * width, channels.min.begin() + (head + 1) * width));
    now.max.push_back(
        *std::max_element(channels.max.begin() + head * width, channels.max.begin() + (head + 1) * width));
  }
  return now;
}

QuantizationParameters ActivationObserver::parameters() const {
  if (!seen_) throw Error(ErrorCode::internal, "calibration: an activation was never observed");
  if (args_.dynamic == Dynamic::no) return qparams_from_ranges(ranges_, args_, dtype_);
  QuantizationParameters only_global;
  only_global.global_scale = nvfp4_global_scale(std::max(-ranges_.min[0], ranges_.max[0]), dtype_);
  return only_global;
}

}  // namespace llmc
