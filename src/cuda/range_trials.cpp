#include "cuda/range_trials.hpp"

#include <algorithm>
#include <limits>

#include "cuda/cells.hpp"
#include "cuda/kernels.hpp"

namespace llmc::cuda {
namespace {

bool serves(const RangeTrials& trials) {
  const QuantizationArgs& args = *trials.args;
  const TensorView& weight = trials.weight;
  if (weight.dtype != DType::bf16 && weight.dtype != DType::f32 && weight.dtype != DType::f16) return false;
  if (weight.size() == 0) return false;
  switch (args.strategy) {
    case Strategy::tensor:
    case Strategy::channel:
      return true;
    case Strategy::group:
    case Strategy::tensor_group:
      return weight.columns() % *args.group_size == 0;
    case Strategy::block:
      return (*args.block_structure)[0] <= std::numeric_limits<int32_t>::max() / (*args.block_structure)[1];
    default:
      return false;
  }
}

std::optional<RangesTried> try_cells(Engine& engine, const RangeTrials& trials, const RangeProblem& p) {
  DeviceHeap& heap = engine.heap;
  const int64_t cells = (p.rows + p.cell_rows - 1) / p.cell_rows * p.row_cells;
  const auto steps = static_cast<size_t>(p.steps);
  Tensor lows = heap.tensor(DType::f32, {cells}), highs = heap.tensor(DType::f32, {cells}),
         flags = heap.zeros(DType::i32, {p.steps + 1});
  CellSearch search;
  search.expand = trials.expand;
  search.largest = trials.largest;
  search.sums_rounded = trials.sums_rounded;
  search.min = lows.as<float>();
  search.max = highs.as<float>();
  search.improved = flags.as<int>();
  search.bad = search.improved + p.steps;
  search_ranges_of_cells(p, search, engine.stream);
  const auto found = heap.download<int>(flags, steps + 1);
  if (found[steps] != 0) return std::nullopt;
  return RangesTried{heap.download<float>(lows, static_cast<size_t>(cells)),
                     heap.download<float>(highs, static_cast<size_t>(cells)),
                     {found.begin(), found.end() - 1},
                     {}};
}

std::optional<RangesTried> try_tensor(Engine& engine, const RangeTrials& trials, const RangeProblem& p) {
  DeviceHeap& heap = engine.heap;
  const int64_t count = p.rows * p.columns, tiles = (p.rows + trials.tile_rows - 1) / trials.tile_rows;
  Tensor extents = heap.tensor(DType::f32, {2 * int64_t{extent_blocks(count)}}),
         errors = heap.tensor(DType::f32, {tiles, p.steps});
  const unsigned long long none = ~0ull;
  Tensor bad = heap.upload(std::vector{none}, DType::u8);
  collect_extents(p.weight, p.dtype, count, extents.as<float2>(), bad.as<unsigned long long>(),
                  engine.stream);
  RangesTried tried{{0.0f}, {0.0f}, {}, {}};
  for (const float2& part : heap.download<float2>(extents, extent_blocks(count))) {
    tried.min[0] = std::min(tried.min[0], part.x);
    tried.max[0] = std::max(tried.max[0], part.y);
  }
  if (heap.download<unsigned long long>(bad, 1)[0] != none) return std::nullopt;
  const auto expanded = [&](float bound) { return round_to_model(bound * trials.expand, p.grid.model); };
  if (p.steps > 0)
    sum_errors_of_tiles(p, expanded(tried.min[0]), expanded(tried.max[0]), trials.tile_rows,
                        errors.as<float>(), engine.stream);
  tried.errors = heap.download<float>(errors, static_cast<size_t>(errors.size()));
  return tried;
}

}  // namespace

std::optional<RangesTried> try_ranges(Engine& engine, const RangeTrials& trials) {
  if (!serves(trials)) return std::nullopt;
  DeviceHeap& heap = engine.heap;
  const auto moved = [&](std::span<const float> values) {
    return values.empty()
        ? Tensor()
        : heap.upload(TensorView(values.data(), DType::f32, {static_cast<int64_t>(values.size())}));
  };
  Tensor holder;
  const TensorView weight = heap.here(trials.weight, holder);
  const Tensor shrinks = moved(trials.shrinks), powers = moved(trials.powers),
               importance = moved(trials.importance);
  RangeProblem p;
  p.weight = weight.data;
  p.dtype = trials.weight.dtype;
  p.rows = trials.weight.rows();
  p.columns = trials.weight.columns();
  set_cells(p, *trials.args);
  p.grid = ScaleGrid(*trials.args, p.dtype, {});
  if (p.grid.storage == ScaleStorage::e4m3) p.grid.storage = ScaleStorage::model;  // no global scale yet
  p.shrinks = shrinks.as<float>();
  p.steps = static_cast<int>(trials.shrinks.size());
  p.powers = powers.empty() ? nullptr : powers.as<float>();
  p.norm = trials.norm;
  p.importance = importance.empty() ? nullptr : importance.as<float>();
  return p.one_scale ? try_tensor(engine, trials, p) : try_cells(engine, trials, p);
}

}  // namespace llmc::cuda
