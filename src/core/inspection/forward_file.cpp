#include <fmt/format.h>

#include <filesystem>

#include "core/quantize/number_formats.hpp"
#include "core/model/served_model.hpp"
#include "llmc/backend/host_view.hpp"
#include "llmc/error.hpp"
#include "llmc/evaluate.hpp"

namespace llmc {

namespace {

TokenBatch read_input_ids(const SafetensorsFile& file) {
  const Tensor ids = file.read("input_ids");
  if (ids.shape().size() != 2 || (ids.dtype() != DType::i64 && ids.dtype() != DType::i32))
    throw Error(ErrorCode::bad_file,
                fmt::format("'{}': input_ids is {} {}, wanted I64 or I32 [sequences, length]", file.path(),
                            dtype_name(ids.dtype()), to_string(ids.shape())));
  if (!ids.size())
    throw Error(ErrorCode::invalid_argument,
                fmt::format("'{}': input_ids {} holds no token", file.path(), to_string(ids.shape())));
  TokenBatch batch;
  for (int64_t i = 0; i < ids.size(); ++i) {
    const int64_t id = ids.dtype() == DType::i64 ? ids.as<int64_t>()[i] : ids.as<int32_t>()[i];
    if (id < 0 || id > INT32_MAX)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("'{}': token id {} at position {}", file.path(), id, i));
    batch.token_ids.push_back(static_cast<int32_t>(id));
  }
  for (int64_t row = 0; row <= ids.rows(); ++row) batch.sequence_starts.push_back(row * ids.columns());
  return batch;
}

Tensor as_float(const TensorView& values, Shape shape) {
  Tensor out(DType::f32, values.shape);
  to_float(values, out.as<float>());
  out.reshape(std::move(shape));
  return out;
}

// Gone with the run unless it was renamed.
struct PartialFile {
  std::string path;
  ~PartialFile() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
};

}  // namespace

void forward_file(const std::string& model_dir,
                  const std::string& input_path,
                  const std::string& output_path,
                  DType value_dtype,
                  Backend& backend) {
  if (std::filesystem::exists(output_path))
    throw Error(ErrorCode::exists,
                fmt::format("forward: output '{}' exists; wanted a new file name", output_path));
  const ServedModel model(model_dir);
  const std::vector<TokenBatch> tile{read_input_ids(SafetensorsFile(input_path))};
  const int64_t sequences = static_cast<int64_t>(tile[0].sequence_starts.size()) - 1,
                length = tile[0].tokens() / std::max<int64_t>(1, sequences);
  std::vector<std::pair<std::string, Tensor>> outputs;
  const auto keep = [&](std::string name, const Tensor& values) {
    outputs.emplace_back(std::move(name),
                         as_float(*HostView(values, backend), {sequences, length, values.columns()}));
  };

  // the last layer's output is published after the final norm
  const size_t layers = model.graph().blocks.size() - 2;
  const ForwardOptions options{value_dtype};
  std::vector<Tensor> hidden = model.run_body(backend, tile, options,
                                              [&](size_t block, size_t, const Tensor& output) {
                                                if (block < layers)
                                                  keep(fmt::format("hidden.{}", block), output);
                                              });
  const Block& head = model.graph().blocks.back();
  const WeightTable weights = model.load(head, value_dtype);
  ValueTable values(model.graph().values.size());
  values[static_cast<size_t>(head.input)] = std::move(hidden[0]);
  backend.execute(head.nodes,
                  {.weights = weights,
                   .batch = tile[0],
                   .values = values,
                   .options = options,
                   .rounding = &model.rounding()});
  keep(fmt::format("hidden.{}", layers), values[static_cast<size_t>(head.nodes.front().output)]);
  if (model.graph().has_head) keep("logits", values[static_cast<size_t>(head.output)]);

  std::vector<PlannedTensor> plan;
  for (const auto& [name, tensor] : outputs) plan.push_back({name, tensor.dtype(), tensor.shape()});
  const std::string header = make_safetensors_header(plan);
  const PartialFile partial{output_path + ".llmc-partial"};
  std::filesystem::remove(partial.path);
  const File file = File::create(partial.path);
  file.write_at(0, reinterpret_cast<const std::byte*>(header.data()), static_cast<int64_t>(header.size()));
  int64_t at = static_cast<int64_t>(header.size());
  for (const auto& [name, tensor] : outputs) {
    file.write_at(at, tensor.data(), tensor.bytes());
    at += tensor.bytes();
  }
  std::filesystem::rename(partial.path, output_path);
}

}  // namespace llmc
