// What tests of llmc_model.h share.
#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "capi/tensor_tools.hpp"
#include "core/run_tools.hpp"
#include "llmc_model.h"

namespace llmc::test {

struct FreeModel {
  void operator()(llmc_model* model) const { llmc_model_free(model); }
};
using OwnedModel = std::unique_ptr<llmc_model, FreeModel>;

struct Setting {
  OwnedSession session = new_session(2);
  ScratchFolder scratch;
  TokenBatch tokens = tokens_from(golden("micro-llama/calibration.safetensors"));
  std::string model_dir = golden("micro-llama");
  std::string paths[4] = {scratch / "a", scratch / "b", scratch / "c", scratch / "d"};

  OwnedModel open() {
    llmc_model* model = nullptr;
    must(llmc_model_open, session.get(), model_dir.c_str(), &model);
    return OwnedModel(model);
  }
  void add(const OwnedModel& model, int64_t first, int64_t last) {  // sequences [first, last)
    std::vector<int64_t> starts;
    for (int64_t s = first; s <= last; ++s)
      starts.push_back(tokens.sequence_starts[static_cast<size_t>(s)] -
                       tokens.sequence_starts[static_cast<size_t>(first)]);
    const int32_t* ids = tokens.token_ids.data() + tokens.sequence_starts[static_cast<size_t>(first)];
    must(llmc_model_add_token_ids, model.get(), ids, starts.data(), last - first);
  }
  llmc_oneshot_options to(int path, const char* recipe) {
    llmc_oneshot_options options{};
    options.struct_size = sizeof options;
    options.output_dir = paths[path].c_str();
    options.recipe = recipe;
    return options;
  }
  std::string weights(int path) { return read_text(paths[path] + "/model.safetensors"); }
  size_t entries() {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(scratch.path()), {}));
  }
};

inline void quantize(const OwnedModel& model, const llmc_oneshot_options& options) {
  must(llmc_model_quantize, model.get(), &options);
}
inline void save(const OwnedModel& model) { must(llmc_model_save, model.get(), nullptr); }

}  // namespace llmc::test
