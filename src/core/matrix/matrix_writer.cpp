#include "llmc/matrix_writer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "core/formats/compressed_tensors.hpp"
#include "core/json/json_value.hpp"
#include "core/formats/verify.hpp"
#include "core/matrix/compressed_matrix_parts.hpp"
#include "core/quantize/finite.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

[[noreturn]] void refuse(const std::string& text) {
  throw Error(ErrorCode::invalid_argument, "writer: " + text);
}

struct PlannedMatrix {
  std::string module;
  Scheme scheme;  // with its format
  DType model_dtype = DType::bf16;
  Shape shape;
};

bool same_scheme(const Scheme& a, const Scheme& b) {
  return a.weights == b.weights && a.input_activations == b.input_activations &&
      a.output_activations == b.output_activations && a.format == b.format;
}

// Names that a reader of the file would refuse.
void check_utf8(const std::string& name) {
  if (!is_utf8(name)) refuse("a tensor's name is not valid UTF-8");
}

// One group per scheme, in the order of planning. The first that quantizes Linears is named after the class,
// as whole runs do it; others name their modules.
QuantizationConfig config_of(const std::vector<PlannedMatrix>& matrices,
                             const std::vector<PlannedTensor>& tensors,
                             Compat compat) {
  QuantizationConfig config;
  for (const PlannedMatrix& matrix : matrices) {
    auto group = std::find_if(config.groups.begin(), config.groups.end(),
                              [&](const auto& known) { return same_scheme(known.scheme, matrix.scheme); });
    if (group == config.groups.end()) {
      config.groups.push_back({fmt::format("group_{}", config.groups.size()), matrix.scheme});
      group = std::prev(config.groups.end());
      group->scheme.targets.clear();
    }
    auto& targets = group->scheme.targets;
    const bool by_class = group == config.groups.begin() && class_by_name(matrix.module) == "Linear";
    if (by_class && std::find(targets.begin(), targets.end(), "Linear") == targets.end())
      targets.insert(targets.begin(), "Linear");
    // vLLM's head is no "Linear" to its matching
    if (!by_class || (compat == Compat::vllm && matrix.module == "lm_head")) targets.push_back(matrix.module);
  }
  const GroupMatcher matcher(config);
  for (const PlannedTensor& tensor : tensors) {
    constexpr std::string_view kWeight = ".weight";
    if (!tensor.name.ends_with(kWeight) || tensor.shape.size() != 2) continue;
    const std::string module = tensor.name.substr(0, tensor.name.size() - kWeight.size());
    const bool quantized = std::any_of(matrices.begin(), matrices.end(),
                                       [&](const PlannedMatrix& matrix) { return matrix.module == module; });
    if (!quantized && matcher.targeted(module, class_by_name(module))) config.ignore.push_back(module);
  }
  return config;
}

}  // namespace

struct MatrixWriter::State {
  explicit State(const Options& given)
      : options(given),
        writer({.output_dir = given.output_dir,
                .overwrite = given.overwrite,
                .max_shard_bytes = given.max_shard_bytes ? given.max_shard_bytes
                                                         : CheckpointWriter::Options{}.max_shard_bytes}) {}

  void check_open(bool planning) const {
    if (finished) refuse("is finished; nothing can be added to it");
    if (broken) refuse("an earlier call failed half way; start again");
    if (planning && sealed)
      refuse("tensors were added already; wanted the whole plan before the first of them");
  }
  void plan(PlannedTensor tensor) {
    if (tensor.name.empty() || tensor.name == "__metadata__")
      refuse(fmt::format("'{}' cannot be the name of a tensor", tensor.name));
    if (!byte_count(tensor.shape, tensor.dtype))
      refuse(fmt::format("tensor '{}' has shape {}, which is negative or too large", tensor.name,
                         to_string(tensor.shape)));
    check_utf8(tensor.name);
    if (index.count(tensor.name)) refuse(fmt::format("tensor '{}' was planned twice", tensor.name));
    const bool part_of_matrix = std::exchange(broken, true);
    index.emplace(tensor.name, tensors.size());
    pending.insert(tensor.name);
    tensors.push_back(std::move(tensor));
    broken = part_of_matrix;
  }
  // Runs what writes the tensors `names`; all must be planned and not yet given.
  template <class Body>
  void write(const std::vector<std::string>& names, Body body) {
    for (const std::string& name : names)
      if (!pending.count(name))
        refuse(fmt::format("tensor '{}' was {}", name, index.count(name) ? "given twice" : "not planned"));
    broken = true;  // until all is well
    if (!sealed) writer.plan(tensors);
    sealed = true;
    body();
    for (const std::string& name : names) pending.erase(name);
    broken = false;
  }
  const PlannedMatrix& matrix(const std::string& module) const {
    const auto found = std::find_if(matrices.begin(), matrices.end(),
                                    [&](const PlannedMatrix& m) { return m.module == module; });
    if (found == matrices.end()) refuse(fmt::format("matrix '{}' was not planned", module));
    return *found;
  }

  Options options;
  CheckpointWriter writer;
  std::vector<PlannedMatrix> matrices;
  std::vector<PlannedTensor> tensors;
  std::map<std::string, size_t> index;  // of tensors, by name
  std::set<std::string> pending;        // planned, not given
  std::set<std::string> files;
  bool sealed = false, broken = false, finished = false;
};

MatrixWriter::MatrixWriter(const Options& options) {
  try {
    if (!parse_json(options.config_json, "config_json").is(JsonValue::Kind::object))
      refuse("config_json is not a JSON object");
  } catch (const Error& problem) {
    if (problem.code() == ErrorCode::bad_file) throw Error(ErrorCode::invalid_argument, problem.what());
    throw;
  }
  if (options.max_shard_bytes < 0)
    refuse(fmt::format("max_shard_bytes is {}, wanted 0 or more", options.max_shard_bytes));
  state_ = std::make_unique<State>(options);
}
MatrixWriter::~MatrixWriter() = default;

void MatrixWriter::plan_tensor(const std::string& name, DType dtype, const Shape& shape) {
  state_->check_open(true);
  state_->plan({name, dtype, shape});
}

void MatrixWriter::plan_matrix(const std::string& module,
                               const MatrixScheme& scheme,
                               DType model_dtype,
                               const Shape& shape) {
  state_->check_open(true);
  if (module.empty()) refuse("'' cannot be the name of a matrix");
  if (model_dtype != DType::f32 && model_dtype != DType::bf16 && model_dtype != DType::f16)
    refuse(fmt::format("matrix '{}' has model dtype {}, wanted F32, BF16 or F16", module,
                       dtype_name(model_dtype)));
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1 || !byte_count(shape, DType::f64))
    refuse(fmt::format("matrix '{}' has shape {}, wanted [rows, columns], both at least 1", module,
                       to_string(shape)));
  PlannedMatrix matrix{module, scheme.scheme(), model_dtype, shape};
  matrix.scheme.format = scheme.format();
  std::vector<PlannedTensor> planned = planned_tensors(module, shape, matrix.scheme, scheme.format(),
                                                       model_dtype);
  for (const PlannedTensor& tensor : planned)
    if (state_->index.count(tensor.name)) refuse(fmt::format("tensor '{}' was planned twice", tensor.name));
  check_utf8(module);
  state_->broken = true;  // until all parts of it are planned
  state_->matrices.push_back(std::move(matrix));
  for (PlannedTensor& tensor : planned) state_->plan(std::move(tensor));
  state_->broken = false;
}

void MatrixWriter::add_tensor(const std::string& name, const TensorView& values, Backend& backend) {
  State& state = *state_;
  state.check_open(false);
  const auto found = state.index.find(name);
  if (found == state.index.end()) refuse(fmt::format("tensor '{}' was not planned", name));
  const PlannedTensor* planned = &state.tensors[found->second];
  if (planned->dtype != values.dtype || planned->shape != values.shape)
    refuse(fmt::format("tensor '{}' is planned as {} {}, got {} {}", name, to_string(planned->shape),
                       dtype_name(planned->dtype), to_string(values.shape), dtype_name(values.dtype)));
  if (is_floating(values.dtype) && values.size() > 0)
    if (const auto bad = backend.scan(values).first_non_finite)
      throw Error(ErrorCode::numeric,
                  fmt::format("writer: tensor '{}' has NaN or Inf at element {}", name, *bad));
  state.write({name}, [&] { state.writer.write_tensor(name, values); });
}

void MatrixWriter::add_matrix(const std::string& module, const CompressedMatrix& matrix, Backend& backend) {
  State& state = *state_;
  state.check_open(false);
  const PlannedMatrix& planned = state.matrix(module);
  if (planned.shape != matrix.shape() || planned.model_dtype != matrix.model_dtype())
    refuse(fmt::format("matrix '{}' is planned as {} of {} weights, got {} of {}", module,
                       to_string(planned.shape), dtype_name(planned.model_dtype), to_string(matrix.shape()),
                       dtype_name(matrix.model_dtype())));
  if (!(planned.scheme.weights == matrix.scheme().weights) || planned.scheme.format != matrix.format())
    refuse(fmt::format("matrix '{}' is planned with another scheme or format", module));
  std::vector<std::string> names;
  for (const PlannedTensor& tensor :
       planned_tensors(module, planned.shape, {{}, planned.scheme.weights, {}, {}, {}}, matrix.format(),
                       planned.model_dtype))
    names.push_back(tensor.name);
  state.write(names,
              [&] { write_quantized(state.writer, module, matrix.matrix(), matrix.format(), backend); });
}

void MatrixWriter::add_activation_range(const std::string& module,
                                        bool output,
                                        float minimum,
                                        float maximum) {
  State& state = *state_;
  state.check_open(false);
  const PlannedMatrix& planned = state.matrix(module);
  const auto& args = output ? planned.scheme.output_activations : planned.scheme.input_activations;
  const std::string name = module + (output ? ".output" : ".input");
  std::vector<std::string> names;
  for (const PlannedTensor& tensor : planned_activation(name, args, 1, planned.model_dtype))
    names.push_back(tensor.name);
  if (names.empty()) refuse(fmt::format("the scheme of '{}' fixes no scale for '{}'", module, name));
  if (!std::isfinite(minimum) || !std::isfinite(maximum) || minimum > maximum)
    refuse(fmt::format("'{}' ranges from {} to {}, wanted finite numbers in this order", name, minimum,
                       maximum));
  QuantizationParameters parameters;
  if (args->dynamic == Dynamic::no)
    parameters = activation_qparams(minimum, maximum, *args, planned.model_dtype);
  else
    parameters.global_scale = nvfp4_global_scale(std::max(-std::min(minimum, 0.0f), std::max(maximum, 0.0f)),
                                                 planned.model_dtype);
  state.write(names, [&] { write_activation(state.writer, name, parameters); });
}

void MatrixWriter::add_file(const std::string& file_name, std::string_view contents) {
  State& state = *state_;
  state.check_open(false);
  if (file_name == "config.json" || file_name.ends_with(".safetensors") ||
      file_name.ends_with(".safetensors.index.json"))
    refuse(fmt::format("file '{}' is written by the writer itself", file_name));
  if (state.files.count(file_name)) refuse(fmt::format("file '{}' was given twice", file_name));
  if (file_name.empty() || file_name.find('/') != std::string::npos || file_name == "." || file_name == "..")
    refuse(fmt::format("'{}' is not a plain file name", file_name));
  state.broken = true;
  state.writer.write_file(file_name, contents);
  state.files.insert(file_name);
  state.broken = false;
}

void MatrixWriter::finish(Backend& backend, const std::function<void()>& poll) {
  State& state = *state_;
  state.check_open(false);
  if (!state.pending.empty())
    refuse(fmt::format("tensor '{}' was planned but never given ({} of {} missing)", *state.pending.begin(),
                       state.pending.size(), state.tensors.size()));
  if (state.tensors.empty()) refuse("nothing was planned; wanted at least one tensor");
  poll();
  const auto parallel = [&](int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
    backend.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
      poll();
      body(begin, end);
    });
  };
  state.broken = true;
  const ConfigFlavor flavor = state.options.compat == Compat::reference ? ConfigFlavor::reference
                                                                        : ConfigFlavor::vllm;
  const std::string& config = state.options.config_json;
  state.writer.write_file(
      "config.json",
      state.matrices.empty()
          ? config
          : merge_quantization_config(
                config,
                write_quantization_config(config_of(state.matrices, state.tensors, state.options.compat),
                                          flavor)));
  if (!state.matrices.empty()) {
    const auto faults = verify_folder(Checkpoint(state.writer.partial_directory()));
    if (!faults.empty())
      refuse(fmt::format("the folder would not be sound: {} ({} fault(s))", faults.front(), faults.size()));
  }
  state.writer.finish(parallel);
  state.broken = false;
  state.finished = true;
}

}  // namespace llmc
