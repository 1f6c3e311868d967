#include "core/quantize/mse_observer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/json/json_value.hpp"
#include "core/quantize/candidate_error.hpp"
#include "core/quantize/number_formats.hpp"
#include "core/quantize/row_tiles.hpp"
#include "core/quantize/scale_grid.hpp"
#include "llmc/backend/ranges.hpp"
#include "llmc/backend/host_view.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

struct ObserverRow {
  const char* name;
  std::optional<RangeSearch> search;
};
const ObserverRow kObservers[] = {
    {"memoryless_minmax", {}},
    {"static_minmax", {}},
    {"minmax", {}},
    {"memoryless_mse", RangeSearch{}},
    {"mse", RangeSearch{}},
    {"nvfp4_expanded_mse", RangeSearch{1 - 0.8 / 1.8, 200.0, 2.4, 1.8, 1000}},
    {"fouroversix", RangeSearch{1 - 0.8 / 1.8, 200.0, 2.4, 1.8, 1000}},
    {"imatrix_mse", RangeSearch{0.95, 20, 3.0, 1.0, 5, true}},
    {"nvfp4_expanded_imatrix", RangeSearch{1 - 0.8 / 1.8, 200, 2.4, 1.8, 1000, true}},
};

[[noreturn]] void fail(const std::string& text) { throw Error(ErrorCode::invalid_argument, text); }

// chunk_size and triton_error_buffer steer GPU kernels of llm-compressor, averaging_constant observers with
// memory: no effect on a weight here.
constexpr const char* kWithoutEffect[] = {"chunk_size", "triton_error_buffer", "averaging_constant"};

void read_arguments(RangeSearch& search, const std::string& observer, const std::string& kwargs) {
  const JsonValue json = parse_json(kwargs, "observer_kwargs of " + observer);
  if (!json.is(JsonValue::Kind::object))
    fail(fmt::format("observer_kwargs of {}: got '{}', wanted a mapping", observer, kwargs));
  for (const auto& [key, value] : json.members) {
    const auto number = [&] {
      const auto given = value.as_double();
      return given && std::isfinite(*given)
          ? *given
          : throw Error(ErrorCode::invalid_argument,
                        fmt::format("observer_kwargs of {}: {} is '{}', wanted a number", observer, key,
                                    dump_json_compact(value)));
    };
    if (key == "maxshrink") search.max_shrink = number();
    else if (key == "grid") search.grid = number();
    else if (key == "norm") search.norm = number();
    else if (key == "expand") search.expand = number();
    else if (key == "patience") search.patience = static_cast<int64_t>(std::clamp(number(), -1.0, 1e9));
    else if (key == "strict" && value.is(JsonValue::Kind::boolean)) search.strict = value.truth;
    else if (std::none_of(std::begin(kWithoutEffect), std::end(kWithoutEffect),
                          [&](const char* known) { return key == known; }))
      fail(
          fmt::format("observer_kwargs of {}: unknown key '{}'; there are maxshrink, patience, grid, norm, "
                      "expand and, for imatrix observers, strict",
                      observer, key));
  }
}

void check(const RangeSearch& search, const std::string& observer) {
  const auto require = [&](bool condition, const std::string& text) {
    if (!condition) fail(fmt::format("observer_kwargs of {}: {}", observer, text));
  };
  require(search.grid > 0 && search.grid <= 100'000,
          fmt::format("grid is {}, wanted more than 0 and at most 100000", search.grid));
  require(search.max_shrink >= 0 && search.max_shrink <= 1,
          fmt::format("maxshrink is {}, wanted 0 to 1", search.max_shrink));
  require(search.expand >= 1 && std::isfinite(search.expand),
          fmt::format("expand is {}, wanted at least 1", search.expand));
  require(search.norm > 0 && std::isfinite(search.norm),
          fmt::format("norm is {}, wanted a finite number above 0", search.norm));
  require(search.patience >= 0, fmt::format("patience is {}, wanted at least 0", search.patience));
}

// Candidate ranges of one scale, and what they cost.
class Candidates {
 public:
  Candidates(const QuantizationArgs& args, const RangeSearch& search, DType dtype)
      : args_(args),
        search_(search),
        dtype_(dtype == DType::f64 ? DType::f32 : dtype),
        power_(search.norm, dtype_, search.weighted) {
    // scales stay as they are while the range is looked for
    if (args_.strategy == Strategy::tensor_group) args_.scale_dtype.reset();
    shrinks_.resize(static_cast<size_t>(search.steps()));
    for (size_t i = 0; i < shrinks_.size(); ++i)
      shrinks_[i] = static_cast<float>(1.0 - static_cast<double>(i) / search.grid);
  }

  size_t steps() const { return shrinks_.size(); }
  float expanded(float bound) const { return round_to(bound * static_cast<float>(search_.expand), dtype_); }
  float shrunk(float bound, size_t step) const { return round_to(bound * shrinks_[step], dtype_); }
  float largest() const {
    return search_.weighted || dtype_ == DType::f32 ? std::numeric_limits<float>::max()
        : dtype_ == DType::bf16                     ? float_from_bf16(0x7F7F)
                                                    : float_from_f16(0x7BFF);
  }

  float raw_error(const float* values,
                  const float* importance,
                  int64_t count,
                  float minimum,
                  float maximum,
                  float* scratch) const {
    const RangeScale scale = scale_of_range(minimum, maximum, args_, dtype_);
    const Candidate candidate{values,
                              count,
                              dtype_,
                              args_.type,
                              args_.num_bits,
                              scale.scale,
                              static_cast<float>(scale.zero_point),
                              args_.symmetric,
                              importance};
    candidate_errors(candidate, power_, scratch);
    return torch_ordered_sum(scratch, count, !power_.table().empty());
  }
  RangeTrials trials(const TensorView& weight, std::span<const float> importance) const {
    RangeTrials trials;
    trials.weight = weight;
    trials.args = &args_;
    trials.expand = static_cast<float>(search_.expand);
    trials.shrinks = shrinks_;
    trials.powers = power_.table();
    trials.norm = power_.norm();
    trials.importance = importance;
    trials.largest = largest();
    trials.sums_rounded = !search_.weighted;
    trials.tile_rows = kRowsPerTask;
    return trials;
  }
  float rounded(double error) const {
    return search_.weighted ? static_cast<float>(error) : round_to(static_cast<float>(error), dtype_);
  }

 private:
  QuantizationArgs args_;
  RangeSearch search_;
  DType dtype_;
  ErrorPower power_;
  std::vector<float> shrinks_;
};

struct Tile {
  ValueRanges ranges;
  std::vector<uint8_t> improved;  // [steps]: whether a step improved any scale of this tile
};

// The values of one block, row after row, zeros where the block hangs over the edge.
void gather(const std::vector<float>& rows,
            int64_t columns,
            int64_t row,
            int64_t row_end,
            int64_t column,
            const ScaleLayout& layout,
            float* to) {
  const int64_t inside = std::min(layout.columns_per_scale, columns - column);
  for (int64_t r = row; r < row + layout.rows_per_scale; ++r, to += layout.columns_per_scale) {
    if (r < row_end) std::copy_n(rows.data() + r * columns + column, inside, to);
    std::fill(to + (r < row_end ? inside : 0), to + layout.columns_per_scale, 0.0f);
  }
}

class TileSearch {
 public:
  TileSearch(const TensorView& rows,
             const QuantizationArgs& args,
             const Candidates& candidates,
             std::span<const float> importance)
      : candidates_(candidates),
        importance_(importance),
        layout_(args, rows.columns()),
        tile_{observe_ranges(rows, args), std::vector<uint8_t>(candidates.steps(), 0)},
        rows_(rows.rows()),
        columns_(rows.columns()),
        values_(static_cast<size_t>(rows.size())) {
    to_float(rows, values_.data());
  }

  Tile run(size_t steps) {
    // of one row, it may hang over the edge as well
    const bool block = layout_.rows_per_scale > 1 || columns_ % layout_.columns_per_scale != 0;
    const int64_t count = layout_.rows_per_scale * layout_.columns_per_scale;
    cell_.resize(static_cast<size_t>(block ? count : 0));
    scratch_.resize(static_cast<size_t>(count));
    size_t index = 0;
    for (int64_t row = 0; row < rows_; row += layout_.rows_per_scale)
      for (int64_t column = 0; column < columns_; column += layout_.columns_per_scale, ++index) {
        if (block) gather(values_, columns_, row, rows_, column, layout_, cell_.data());
        const float* values = block ? cell_.data() : values_.data() + row * columns_ + column;
        search_cell(values, importance_.empty() ? nullptr : importance_.data() + column, count, steps,
                    tile_.ranges.min[index], tile_.ranges.max[index]);
      }
    return std::move(tile_);
  }

 private:
  void search_cell(const float* values,
                   const float* importance,
                   int64_t count,
                   size_t steps,
                   float& minimum,
                   float& maximum) {
    const float low = candidates_.expanded(minimum), high = candidates_.expanded(maximum);
    float best = candidates_.largest();
    minimum = low;
    maximum = high;
    for (size_t step = 0; step < steps; ++step) {
      const float smaller = candidates_.shrunk(low, step), larger = candidates_.shrunk(high, step);
      const float error = candidates_.rounded(
          candidates_.raw_error(values, importance, count, smaller, larger, scratch_.data()));
      if (!(error < best)) continue;
      best = error;
      minimum = smaller;
      maximum = larger;
      tile_.improved[step] = 1;
    }
  }

  const Candidates& candidates_;
  std::span<const float> importance_;
  ScaleLayout layout_;
  Tile tile_;
  int64_t rows_, columns_;
  std::vector<float> values_, cell_, scratch_;
};

// How many steps the search of a whole weight takes, when improved[step] says whether a step improved any scale:
// it ends when patience does. Where no later step improves anything, ending and going on give the same ranges,
// and all steps are counted.
size_t steps_taken(const RangeSearch& search, const std::vector<uint8_t>& improved) {
  int64_t without_gain = 0;
  for (size_t step = 0; step < improved.size(); ++step) {
    without_gain = improved[step] ? 0 : without_gain + 1;
    if (search.patient(without_gain)) continue;
    const bool missed = std::any_of(improved.begin() + static_cast<std::ptrdiff_t>(step) + 1, improved.end(),
                                    [](uint8_t gain) { return gain != 0; });
    return missed ? step + 1 : improved.size();
  }
  return improved.size();
}

// Tiles of whole rows: of blocks where a scale covers several.
int64_t tile_height(const QuantizationArgs& args) {
  return args.strategy == Strategy::block ? (*args.block_structure)[0] : kRowsPerTask;
}

template <class Body>
void for_each_tile(const TensorView& weight,
                   const QuantizationArgs& args,
                   const ParallelFor& parallel,
                   const Body& body) {
  const int64_t rows = weight.rows(), height = tile_height(args), tiles = (rows + height - 1) / height;
  parallel(tiles, 1, [&](int64_t first, int64_t last) {
    for (int64_t tile = first; tile < last; ++tile)
      body(static_cast<size_t>(tile), weight.row_range(tile * height, std::min(rows, (tile + 1) * height)));
  });
}

size_t tile_count(const TensorView& weight, const QuantizationArgs& args) {
  const int64_t height = tile_height(args);
  return static_cast<size_t>((weight.rows() + height - 1) / height);
}

ValueRanges joined(std::vector<ValueRanges>&& tiles, const Shape& shape) {
  ValueRanges all{shape, {}, {}};
  for (ValueRanges& tile : tiles) {
    all.min.insert(all.min.end(), tile.min.begin(), tile.min.end());
    all.max.insert(all.max.end(), tile.max.begin(), tile.max.end());
  }
  return all;
}

// One scale for all rows, whose values go from `minimum` to `maximum`: the search over the totals of every
// tile's errors [tiles, steps].
ValueRanges best_of_totals(const Candidates& candidates,
                           const RangeSearch& search,
                           float minimum,
                           float maximum,
                           const std::vector<float>& errors) {
  const float low = candidates.expanded(minimum), high = candidates.expanded(maximum);
  ValueRanges ranges{{1}, {low}, {high}};
  const size_t steps = candidates.steps();
  float best = candidates.largest();
  int64_t without_gain = 0;
  for (size_t step = 0; step < steps && search.patient(without_gain); ++step) {
    double total = 0;
    for (size_t at = step; at < errors.size(); at += steps) total += static_cast<double>(errors[at]);
    const float error = candidates.rounded(total);
    without_gain = error < best ? 0 : without_gain + 1;
    if (error < best) {
      best = error;
      ranges.min[0] = candidates.shrunk(low, step);
      ranges.max[0] = candidates.shrunk(high, step);
    }
  }
  return ranges;
}

ValueRanges search_tensor(const TensorView& weight,
                          const QuantizationArgs& args,
                          const RangeSearch& search,
                          const Candidates& candidates,
                          const ParallelFor& parallel) {
  const ValueRanges extent = observe_in_tiles(weight, args, parallel);
  const float low = candidates.expanded(extent.min[0]), high = candidates.expanded(extent.max[0]);
  const size_t steps = candidates.steps();
  std::vector<float> errors(tile_count(weight, args) * steps);
  for_each_tile(weight, args, parallel, [&](size_t tile, const TensorView& rows) {
    std::vector<float> values(static_cast<size_t>(rows.size())), scratch(values.size());
    to_float(rows, values.data());
    for (size_t step = 0; step < steps; ++step)
      errors[tile * steps + step] = candidates.raw_error(values.data(), nullptr, rows.size(),
                                                         candidates.shrunk(low, step),
                                                         candidates.shrunk(high, step), scratch.data());
  });
  return best_of_totals(candidates, search, extent.min[0], extent.max[0], errors);
}

// As the search weighs them: divided by their mean.
std::vector<float> normalized(std::span<const float> importance) {
  std::vector<float> weights(importance.begin(), importance.end());
  const float mean = torch_ordered_sum(weights.data(), static_cast<int64_t>(weights.size()), false) /
          static_cast<float>(weights.size()) +
      std::numeric_limits<float>::min();
  for (float& weight : weights) weight /= mean;
  return weights;
}

ValueRanges search_on_host(const TensorView& weight,
                           const QuantizationArgs& args,
                           const RangeSearch& search,
                           const Candidates& candidates,
                           std::span<const float> weights,
                           const ParallelFor& parallel) {
  if (args.strategy == Strategy::tensor) return search_tensor(weight, args, search, candidates, parallel);
  const Shape shape = scale_shape(args, weight.shape);
  const auto run = [&](size_t steps, std::vector<uint8_t>* improved) {
    std::vector<Tile> tiles(tile_count(weight, args));
    for_each_tile(weight, args, parallel, [&](size_t tile, const TensorView& rows) {
      tiles[tile] = TileSearch(rows, args, candidates, weights).run(steps);
    });
    std::vector<ValueRanges> ranges;
    for (Tile& tile : tiles) {
      for (size_t step = 0; improved && step < tile.improved.size(); ++step)
        (*improved)[step] |= tile.improved[step];
      ranges.push_back(std::move(tile.ranges));
    }
    return joined(std::move(ranges), shape);
  };
  // Whether patience ends the search is known when all tiles have been searched; it hardly ever does with
  // more than a few scales.
  std::vector<uint8_t> improved(candidates.steps(), 0);
  ValueRanges ranges = run(candidates.steps(), &improved);
  const size_t steps = steps_taken(search, improved);
  return steps < candidates.steps() ? run(steps, nullptr) : ranges;
}

std::optional<ValueRanges> search_by(Backend& backend,
                                     const TensorView& weight,
                                     const QuantizationArgs& args,
                                     const RangeSearch& search,
                                     const Candidates& candidates,
                                     std::span<const float> weights) {
  RangeKernels* const kernels = backend.range_kernels();
  if (!kernels) return std::nullopt;
  RangeTrials trials = candidates.trials(weight, weights);
  std::optional<RangesTried> tried = kernels->try_ranges(trials);
  if (!tried) return std::nullopt;
  if (args.strategy == Strategy::tensor)
    return best_of_totals(candidates, search, tried->min[0], tried->max[0], tried->errors);
  if (const size_t steps = steps_taken(search, tried->improved); steps < candidates.steps()) {
    trials.shrinks = trials.shrinks.first(steps);
    tried = kernels->try_ranges(trials);
    if (!tried) return std::nullopt;
  }
  return ValueRanges{scale_shape(args, weight.shape), std::move(tried->min), std::move(tried->max)};
}

// The importance of each channel as the search weighs it; empty where all count the same.
std::vector<float> channel_weights(const QuantizationArgs& args,
                                   const RangeSearch& search,
                                   int64_t columns,
                                   std::span<const float> importance) {
  const bool uniform = !importance_fallback(args, columns, importance).empty();
  return search.weighted && !uniform ? normalized(importance) : std::vector<float>{};
}

}  // namespace

int64_t RangeSearch::steps() const {
  const auto shrinks = static_cast<int64_t>(max_shrink * grid);
  return weighted ? std::max<int64_t>(1, shrinks) + 1 : shrinks;
}

bool RangeSearch::patient(int64_t steps_without_gain) const {
  if (steps_without_gain == 0 || (weighted && patience == 0)) return true;
  return steps_without_gain < patience;
}

std::optional<RangeSearch> range_search(const QuantizationArgs& args) {
  const std::string observer = args.observer.value_or("memoryless_minmax");
  const auto* row = std::find_if(std::begin(kObservers), std::end(kObservers),
                                 [&](const ObserverRow& candidate) { return observer == candidate.name; });
  if (row == std::end(kObservers)) {
    std::string names;
    for (const ObserverRow& known : kObservers)
      names += fmt::format("{}{}", names.empty() ? "" : ", ", known.name);
    fail(fmt::format("observer '{}' is unknown; there are {}", observer, names));
  }
  if (!row->search) return std::nullopt;
  RangeSearch search = *row->search;
  read_arguments(search, observer, args.observer_kwargs);
  check(search, observer);
  return search;
}

std::string importance_fallback(const QuantizationArgs& args,
                                int64_t columns,
                                std::span<const float> importance) {
  const auto search = range_search(args);
  if (!search || !search->weighted) return {};
  std::string why;
  if (args.strategy != Strategy::channel && args.strategy != Strategy::group &&
      args.strategy != Strategy::tensor_group)
    why = "the strategy is neither channel nor group";
  else if (importance.empty()) why = "no activations were observed";
  else if (static_cast<int64_t>(importance.size()) != columns)
    why = fmt::format("{} importances for {} columns", importance.size(), columns);
  else if (std::any_of(importance.begin(), importance.end(), [](float x) { return !std::isfinite(x); }))
    why = "the activations are not finite";
  else if (std::all_of(importance.begin(), importance.end(), [](float x) { return x == 0.0f; }))
    why = "all activations are zero";
  if (why.empty()) return {};
  std::string text = fmt::format("{}: {}: every channel counts the same", args.observer.value_or(""), why);
  if (search->strict) fail(text + ", which strict forbids");
  return text;
}

ValueRanges observe_in_tiles(const TensorView& weight,
                             const QuantizationArgs& args,
                             const ParallelFor& parallel) {
  const Shape shape = scale_shape(args, weight.shape);
  std::vector<ValueRanges> tiles(tile_count(weight, args));
  for_each_tile(weight, args, parallel,
                [&](size_t tile, const TensorView& rows) { tiles[tile] = observe_ranges(rows, args); });
  if (args.strategy != Strategy::tensor) return joined(std::move(tiles), shape);
  ValueRanges all{shape, {0.0f}, {0.0f}};
  for (const ValueRanges& tile : tiles) merge_ranges(all, tile);
  return all;
}

ValueRanges search_ranges(const TensorView& weight,
                          const QuantizationArgs& args,
                          const RangeSearch& search,
                          std::span<const float> importance,
                          const ParallelFor& parallel) {
  const std::vector<float> weights = channel_weights(args, search, weight.columns(), importance);
  return search_on_host(weight, args, search, Candidates(args, search, weight.dtype), weights, parallel);
}

ValueRanges search_ranges(const TensorView& weight,
                          const QuantizationArgs& args,
                          const RangeSearch& search,
                          std::span<const float> importance,
                          Backend& backend) {
  const std::vector<float> weights = channel_weights(args, search, weight.columns(), importance);
  const Candidates candidates(args, search, weight.dtype);
  if (auto found = search_by(backend, weight, args, search, candidates, weights)) return *std::move(found);
  return search_on_host(*HostView(weight, backend), args, search, candidates, weights, backend);
}

std::vector<float> mean_squares(std::span<const double> sum_squares, int64_t tokens) {
  std::vector<float> means;
  if (tokens == 0) return means;
  means.reserve(sum_squares.size());
  for (const double sum : sum_squares) means.push_back(static_cast<float>(sum / static_cast<double>(tokens)));
  return means;
}

}  // namespace llmc
