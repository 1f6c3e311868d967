// The main job: model folder + recipe + calibration tokens -> compressed folder.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "llmc/backend.hpp"
#include "llmc/memory.hpp"
#include "llmc/modifier.hpp"
#include "llmc/report.hpp"
#include "llmc/tensor_source.hpp"

namespace llmc {

enum class Propagation { sublayer, layer };

struct Progress {
  std::string stage;            // "survey", "calibrate", "quantize"
  std::string layer;            // block name
  int64_t step = 0, steps = 0;  // over the whole run
  double loss = 0;              // mean relative error of the last finished block; 0 when unknown
};

struct Callbacks {
  std::function<void(const Progress&)> progress;
  std::function<void(int level, const std::string& line)> log;  // 1 warning, 2 note
  const std::atomic<bool>* cancel = nullptr;  // polled between steps; true -> Error(cancelled)
  // bytes that the tensors charged to `memory` may take, looked at between steps: beyond it
  // Error(out_of_memory). 0: no limit
  int64_t memory_limit = 0;
  const MemoryAccount* memory = nullptr;
};

// A file or folder that the calibration data came from: the output may not take its place.
struct DataPath {
  std::string what, path;  // "the data set", "the tokenizer's folder"
};

struct OneshotOptions {
  std::string model_dir, output_dir;
  const TensorSource* source = nullptr;            // instead of model_dir; borrowed
  std::string recipe;                              // file or text; empty with `scheme`
  std::vector<CustomQuantizer> custom_quantizers;  // that the recipe may name
  std::string stage;                               // run only stages starting with it
  std::string scheme;                              // shorthand recipe: RTN on Linear, lm_head ignored
  std::optional<TokenBatch> calibration;           // all sequences; tiles are cut from it in order
  // instead: called once, if the recipe needs data, when everything else has been checked; tells notes
  std::function<TokenBatch(const std::function<void(const std::string&)>& note)> load_calibration;
  // instead: folders of Model::save_statistics, merged in this order
  std::vector<std::string> statistics;
  std::string template_date;  // recorded in the report
  std::vector<DataPath> data_paths;

  Compat compat = Compat::vllm;
  std::optional<Rounding> rounding;        // default: by compat
  std::optional<Propagation> propagation;  // default: by compat
  bool save_compressed = true;             // false: write dequantized weights in the model's dtype
  bool tie_word_embeddings = true;         // false: always write lm_head on its own
  bool overwrite = false;
  // 0: tensors stay in the files of the input; otherwise files are cut anew, none larger unless one tensor is
  int64_t max_shard_bytes = 0;
};

Report oneshot(const OneshotOptions& options, Backend& backend, const Callbacks& callbacks);

}  // namespace llmc
