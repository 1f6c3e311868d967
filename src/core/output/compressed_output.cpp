#include "core/output/compressed_output.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "core/formats/compressed_tensors.hpp"
#include "core/formats/verify.hpp"
#include "core/quantize/finite.hpp"
#include "core/quantize/rounding.hpp"
#include "llmc/backend/host_view.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

constexpr int64_t kWriteBehindBytes = int64_t{1} << 30;

// Everything the run reads: none of it may be lost to its own output.
std::vector<InputPath> inputs_of(const Checkpoint& source, const OneshotOptions& options) {
  std::vector<InputPath> inputs;
  if (source.is_folder()) inputs.push_back({"the model's folder", source.directory()});
  for (const std::string& folder : options.statistics) inputs.push_back({"the statistics' folder", folder});
  for (const DataPath& data : options.data_paths) inputs.push_back({data.what, data.path});
  return inputs;
}

}  // namespace

CompressedOutput::CompressedOutput(const Checkpoint& source,
                                   const RunPlan& plan,
                                   const OneshotOptions& options,
                                   Backend& backend,
                                   bool read_back_from_disk,
                                   std::function<void()> poll)
    : source_(source),
      plan_(plan),
      options_(options),
      backend_(backend),
      poll_(std::move(poll)),
      side_files_(source.side_files()),
      writer_({.output_dir = options.output_dir,
               .inputs = inputs_of(source, options),
               .overwrite = options.overwrite,
               .max_shard_bytes = options.max_shard_bytes ? options.max_shard_bytes
                                                          : CheckpointWriter::Options{}.max_shard_bytes,
               .read_back_from_disk = read_back_from_disk}),
      behind_(kWriteBehindBytes) {
  for (const TensorCopy& copy : plan.copied) copyable_.insert(copy.to);
  writer_.plan(plan.tensors);
}

std::vector<std::string> CompressedOutput::notes() const {
  std::vector<std::string> notes = writer_.notes();
  if (std::string left = describe_left(side_files_); !left.empty()) notes.push_back(std::move(left));
  return notes;
}

void CompressedOutput::parallel_for(int64_t count,
                                    int64_t grain,
                                    const std::function<void(int64_t, int64_t)>& body) const {
  backend_.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    poll_();
    body(begin, end);
  });
}

void CompressedOutput::put_quantized(const ModuleDecision& decision, const QuantizedMatrix& matrix) {
  if (matrix.codes.device() != Device{}) return put_from_device(decision, matrix);
  plan_.output->write_module(writer_, decision.planned(), matrix, *this);
}

void CompressedOutput::put_from_device(const ModuleDecision& decision, const QuantizedMatrix& matrix) {
  const std::string& module = decision.weight.module.name;
  const auto layout = plan_.output->layout(module, matrix.args, decision.format);
  if (!layout) {
    QuantizedMatrix here{matrix.args, matrix.shape, backend_.to_host(matrix.codes), matrix.parameters.copy()};
    return put_quantized(decision, here);
  }
  std::optional<Tensor> packed = layout->code_layout == CodeLayout::packed
      ? backend_.row_kernels()->pack_codes(matrix.codes, matrix.args)  // whose gptq left codes on a device
      : backend_.to_host(matrix.codes);
  const auto bytes = std::make_shared<const Tensor>(std::move(packed).value());
  const auto parameters = std::make_shared<const QuantizationParameters>(matrix.parameters.copy());
  behind_.add(bytes->bytes(),
              [this, module, codes = layout->codes, bytes, parameters, args = matrix.args,
               format = decision.format, shape = matrix.shape] {
                writer_.write_bytes(codes, 0, bytes->data(), bytes->bytes());
                write_parameters(writer_, module, args, format, shape, *parameters);
              });
}

void CompressedOutput::put_activation(const std::string& name, const QuantizationParameters& parameters) {
  plan_.output->write_activation(writer_, name, parameters);
}

void CompressedOutput::put_tensor(const std::string& name, const TensorView& values) {
  if (!copyable_.count(name) || !put_.insert(name).second) return;
  const HostView host(values, backend_);
  check_finite(options_.output_dir, name, *host);
  writer_.write_tensor(name, *host);
}

std::vector<TensorCopy> CompressedOutput::take_rest() {
  std::vector<TensorCopy> rest;
  for (const TensorCopy& copy : plan_.copied)
    if (put_.insert(copy.to).second) rest.push_back(copy);
  return rest;
}

void CompressedOutput::finish(const Recipe& recipe, bool values_checked) {
  behind_.finish();
  writer_.write_file("config.json", planned_config(plan_, source_, options_));
  writer_.write_file("recipe.yaml", write_recipe(recipe));
  for (const std::string& file : side_files_.copied) writer_.copy_file(source_.directory(), file);
  const auto faults = verify_folder(Checkpoint(writer_.partial_directory()), !values_checked);
  if (!faults.empty())
    throw Error(ErrorCode::internal,
                fmt::format("the folder just written is wrong and was removed: {} ({} fault(s))",
                            faults.front(), faults.size()));
  writer_.finish(*this);
}

}  // namespace llmc
