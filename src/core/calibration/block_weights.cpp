#include "core/calibration/block_weights.hpp"

#include <system_error>

#include "core/files/weight_reader.hpp"
#include "core/quantize/finite.hpp"
#include "llmc/error.hpp"
#include "llmc/memory.hpp"

namespace llmc {

namespace {

template <class Use>
void for_each_weight(const Block& block, const Use& use) {
  for (const Node& node : block.nodes)
    for (const NodeWeight& weight : node.weights) use(weight);
}

}  // namespace

BlockLoader::~BlockLoader() { stop_ = true; }  // next_ waits for its thread

WeightTable BlockLoader::load(const Block& block) const {
  WeightTable weights;
  for_each_weight(block, [&](const NodeWeight& weight) {
    if (weights.contains(weight.name)) return;
    WeightReader reader(checkpoint_, weight.source);
    const TensorInfo& info = reader.info();
    weights.emplace(
        weight.name,
        backend_.load_weight(info.dtype, info.shape, [&](int64_t offset, int64_t bytes, std::byte* to) {
          if (stop_) throw Error(ErrorCode::cancelled, "cancelled");
          reader.read(offset, bytes, to);
          const auto item = static_cast<int64_t>(item_size(info.dtype));
          check_finite(checkpoint_.directory(), weight.source.tensor,
                       TensorView(to, info.dtype, {bytes / item}), offset / item);
        }));
  });
  return weights;
}

void BlockLoader::start(size_t b) {
  if (b >= end_) return;
  if (backend_.device() == Device{})
    return for_each_weight(blocks_[b],
                           [&](const NodeWeight& weight) { checkpoint_.read_ahead(weight.source.tensor); });
  try {
    next_ = std::async(std::launch::async,
                       [this, b, memory = MemoryTag::current().as(MemoryPurpose::weights)] {
                         const MemoryScope scope(memory);
                         return load(blocks_[b]);
                       });
    coming_ = b;
  } catch (const std::system_error&) {  // no thread to be had: take() will read it
  }
}

WeightTable BlockLoader::take(size_t b) {
  const MemoryScope scope(MemoryPurpose::weights);
  WeightTable weights = next_.valid() && coming_ == b ? next_.get() : load(blocks_[b]);
  start(b + 1);
  return weights;
}

}  // namespace llmc
