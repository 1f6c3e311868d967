// The parts of oneshot, for callers that do something between them: open a model once, compress it as often
// as wanted.
//   Model model("Llama-3-8B");
//   model.quantize(options, backend, callbacks);  // into a hidden folder beside options.output_dir
//   Report report = model.save();                 // which now gets its name
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "llmc/oneshot.hpp"

namespace llmc {

class Checkpoint;
struct PlannedRun;  // core/plan/planned_run.hpp

class Model {
 public:
  // Reads config.json and the headers, no weights. Error(unsupported): it is quantized already.
  explicit Model(const std::string& directory);
  explicit Model(const TensorSource& source);  // borrowed
  ~Model();                                    // what was quantized and not saved is removed
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  // What every set of Linears that share an input reads in the unquantized model, for
  // OneshotOptions::statistics: what `calibration` shows (null: nothing), after what lies in the folders
  // `merged`. Into a folder that must not exist, or be empty; it appears whole or not at all.
  void save_statistics(const TokenBatch* calibration,
                       const std::vector<std::string>& merged,
                       const std::string& folder,
                       Backend& backend,
                       const Callbacks& callbacks) const;
  // Whether the files of such a folder are there and of this model, as far as their headers tell.
  // Error(not_found | io | bad_file | invalid_argument).
  void check_statistics(const std::string& folder) const;

  // What a run would do, decided from headers and the recipe alone: no weight is read, nothing is written, and
  // what can be refused is refused. options.model_dir and .source are not looked at.
  std::shared_ptr<const PlannedRun> plan(OneshotOptions options) const;

  // Runs a plan of this model. The result is the hidden folder, in place of what an earlier call made and save
  // did not take. `backend` and what `callbacks` borrow are used until save has returned. When it throws,
  // nothing is left.
  void quantize(std::shared_ptr<const PlannedRun> planned, Backend& backend, const Callbacks& callbacks);
  void quantize(OneshotOptions options, Backend& backend, const Callbacks& callbacks);  // plan, then this

  // Copies what no Linear owns, checks the folder and gives it its name. Once per quantize, also when it
  // throws: nothing is left then.
  Report save();

 private:
  class Run;
  explicit Model(std::unique_ptr<const Checkpoint> checkpoint);

  const std::unique_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Run> run_;  // null: nothing to save
};

}  // namespace llmc
