// One weight on its way through the tile pipeline: rounded to nearest, row tile by row tile, each tile stored
// as soon as it is made. Where a scale belongs to the whole tensor (per-tensor schemes, NVFP4's global scale)
// a first reading finds the extent, a second one quantizes.
#pragma once
#include <optional>

#include "core/data_free/tile_pipeline.hpp"
#include "core/formats/output_format.hpp"
#include "core/plan/run_plan.hpp"

namespace llmc {

// What all weights of a run share.
struct MatrixRun {
  const Checkpoint& source;
  Backend& backend;
  TilePipeline& pipeline;
  CheckpointWriter& writer;
  Rounding rounding = Rounding::exact;
  const OutputFormat& output;
};

class MatrixTiles {
 public:
  MatrixTiles(const MatrixRun& run, const ModuleDecision& decision);

  const ModuleDecision& decision() const { return decision_; }
  int64_t rows() const { return decision_.weight.shape[0]; }
  int64_t tile_rows() const;  // blocks and packed zero points end with a tile
  TileRead read_of(int64_t begin, int64_t end) const;

  // A scale of the whole tensor: all tiles are scanned before the first is quantized.
  bool needs_scan() const {
    return args_.strategy == Strategy::tensor || args_.strategy == Strategy::tensor_group;
  }
  // True when it does not go through tiles: its observer searches instead of taking ranges, and how long it
  // searches may depend on all rows; or it lies in the file as [in, out].
  bool needs_whole() const;

  void scan(int64_t begin, int64_t end, const TileBuffer& input);
  float largest() const;  // magnitude, after the scan
  // after the scan, before the first tile; global_scale: of all partners, for tensor_group
  void settle(std::optional<float> global_scale);
  void quantize(int64_t begin, int64_t end, const TileBuffer& input);
  void finish();  // after the last tile

  double relative_error() const;
  double seconds = 0;

 private:
  struct Parts;  // scales and zero points of a tile
  TensorView view(int64_t begin, int64_t end, const TileBuffer& input) const;
  void check_decodes(const TensorView& tile, int64_t begin, const Parts& parts) const;
  void store(int64_t begin, const TensorView& tile, TileBuffer codes, Parts parts);
  void store_decoded(int64_t begin, const TensorView& tile, const TileBuffer& codes, const Parts& parts);

  const MatrixRun& run_;
  const ModuleDecision& decision_;
  const QuantizationArgs& args_;
  const int64_t first_byte_;            // of the weight in its tensor
  std::optional<StoredLayout> layout_;  // nothing: decoded rows are stored
  ValueExtent extent_;
  std::optional<float> global_scale_;
  QuantizationParameters tensor_parameters_;  // Strategy::tensor
  double error_ = 0, energy_ = 0;
};

}  // namespace llmc
