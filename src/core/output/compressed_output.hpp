// The output folder while it is being filled: quantized modules, rewritten tensors, and in the end everything
// else unchanged.
#pragma once
#include <functional>
#include <set>
#include <string>

#include "core/files/checkpoint_writer.hpp"
#include "core/plan/run_plan.hpp"
#include "core/values/write_behind.hpp"

namespace llmc {

struct QuantizedMatrix;
struct QuantizationParameters;

class CompressedOutput {
 public:
  // `poll` is called between pieces of work, from any thread; what it throws (a cancellation) ends the run.
  // read_back_from_disk: see CheckpointWriter.
  CompressedOutput(const Checkpoint& source,
                   const RunPlan& plan,
                   const OneshotOptions& options,
                   Backend& backend,
                   bool read_back_from_disk,
                   std::function<void()> poll);

  // codes that lie on a device are packed there, and written while it goes on
  void put_quantized(const ModuleDecision& decision, const QuantizedMatrix& matrix);
  // write_activation's names
  void put_activation(const std::string& name, const QuantizationParameters& parameters);
  // once per name; later calls and names not planned are ignored
  void put_tensor(const std::string& name, const TensorView& values);
  // every planned tensor nobody has put: to be copied from the source
  std::vector<TensorCopy> take_rest();
  // config.json, recipe.yaml and the side files; then checks the folder and moves it to its final name.
  // values_checked: whoever wrote the quantized tensors looked at every scale and code; names, shapes and
  // config.json are checked in any case.
  void finish(const Recipe& recipe, bool values_checked = false);
  // What a reader of the report should know: what was found under the output's name, what stays behind.
  std::vector<std::string> notes() const;
  // the backend's, with a poll before each task: a ParallelFor may refer to an output
  void parallel_for(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body) const;
  CheckpointWriter& writer() { return writer_; }
  int64_t total_bytes() const { return writer_.total_bytes(); }

 private:
  void put_from_device(const ModuleDecision& decision, const QuantizedMatrix& matrix);

  const Checkpoint& source_;
  const RunPlan& plan_;
  const OneshotOptions& options_;
  Backend& backend_;
  std::function<void()> poll_;
  const SideFiles side_files_;
  CheckpointWriter writer_;
  std::set<std::string> put_, copyable_;
  WriteBehind behind_;  // the last member: its thread uses the others
};

}  // namespace llmc
