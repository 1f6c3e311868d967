// A folder beside the unquantized model it came from: every quantized matrix against its weight, everything
// else byte for byte, except where the recipe says that weights were changed first. What it cannot compare it
// says in a note.
#pragma once
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/formats/verify.hpp"
#include "core/inspection/matrix_comparison.hpp"
#include "core/inspection/recipe_traits.hpp"
#include "llmc/inspection.hpp"

namespace llmc {

class SourceComparison {
 public:
  SourceComparison(const Checkpoint& folder,
                   const Checkpoint& source,
                   RecipeTraits traits,
                   bool compressed,
                   ParallelFor parallel);

  // FolderCheck::visit
  void compare(const std::string& module, const QuantizedMatrix& matrix, std::vector<Fault>& faults);
  // after the last matrix: the other tensors, and what only all matrices together tell
  void finish(std::vector<Fault>& faults);

  std::vector<MatrixCheck> matrices;
  std::vector<std::string> notes;

 private:
  struct SourceWeight {
    std::string tensor;                // empty: there is none
    int64_t first_row = 0, rows = -1;  // a part of [experts * rows, columns]; -1: the whole tensor
  };
  SourceWeight find_source(const std::string& module) const;
  Tensor read_source(const SourceWeight& weight) const;
  void find_changed_norms();
  Basis basis() const;
  Rescaling rescaling_of(const std::string& module, int64_t columns) const;
  void compare_plain(const std::string& name, std::vector<Fault>& faults);
  bool explain_change(const std::string& name, const TensorInfo& info, std::vector<Fault>& faults);
  bool explain_matrix(const std::string& name, std::vector<Fault>& faults);
  bool norm_moved_scale(const std::string& name) const;
  void check_shared_scales(std::vector<Fault>& faults);
  void check_odd_scales(std::vector<Fault>& faults);
  bool same_bytes(const std::string& name, const std::string& source_name) const;

  const Checkpoint &folder_, &source_;
  RecipeTraits traits_;
  bool compressed_;  // the folder's config says that weights are quantized
  ParallelFor parallel_;
  bool tied_ = false;  // in the source: lm_head is the embedding
  // tensors; `claimed_`: source weights that a quantized module was made from
  std::set<std::string> changed_norms_, claimed_;
  struct ChannelFactors {
    std::vector<float> factors, errors;  // [K]
  };
  std::map<std::string, ChannelFactors> channel_factors_;  // module -> fitted
  std::map<std::string, Fault> odd_scales_;                // module -> scales that are not the range's
  struct SharedScale {
    float global_scale = 0, absmax = 0;
    DType dtype = DType::bf16;
  };
  std::unordered_map<std::string, SharedScale> shared_;  // NVFP4
  int64_t compared_ = 0, dead_columns_ = 0, unlike_ = 0;
};

}  // namespace llmc
