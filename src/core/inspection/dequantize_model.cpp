// llmc oneshot --dequantize: a compressed folder back to a plain one.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "core/files/checkpoint_writer.hpp"
#include "core/formats/output_format.hpp"
#include "core/files/quantization_method.hpp"
#include "core/json/json_value.hpp"
#include "core/inspection/module_table.hpp"
#include "core/model/sound_folder.hpp"
#include "llmc/error.hpp"
#include "llmc/inspection.hpp"

namespace llmc {
namespace {

// The dtype the model computes in: config.json's, or that of the scales.
DType model_dtype(const Checkpoint& folder, const JsonValue& config, const std::string& module) {
  for (const JsonValue* place : {&config, config.find("text_config")})
    for (const char* key : {"dtype", "torch_dtype"}) {
      const JsonValue* value = place ? place->find(key) : nullptr;
      const auto dtype = value && value->is(JsonValue::Kind::string) ? parse_torch_dtype(value->text)
                                                                     : std::nullopt;
      if (dtype == DType::bf16 || dtype == DType::f16 || dtype == DType::f32) return *dtype;
    }
  const std::string scale = module + ".weight_scale";
  const DType stored = folder.contains(scale) ? folder.info(scale).dtype : DType::bf16;
  return is_floating(stored) && item_size(stored) > 1 ? stored : DType::bf16;
}

// Rotations that a server applies while it runs are no part of the weights: a plain folder would lose them.
void check_transforms(const JsonValue& quantization, const std::string& directory) {
  const JsonValue* transforms = quantization.find("transform_config");
  const JsonValue* groups = transforms ? transforms->find("config_groups") : nullptr;
  if (!groups) return;
  for (const auto& [name, group] : groups->members)
    if (const JsonValue* apply = group.find("apply"))
      for (const JsonValue& step : apply->items) {
        const JsonValue* location = step.find("location");
        const std::string where = location ? location->as_string().value_or("") : "";
        if (where.rfind("weight_", 0) != 0)
          throw Error(ErrorCode::unsupported,
                      fmt::format("'{}': transform '{}' works on '{}' while the model runs; wanted "
                                  "transforms that are in the weights already",
                                  directory, name, where));
      }
}

std::string plain_config(const Checkpoint& folder) {
  JsonValue config = parse_json(folder.config(), folder.directory() + "/config.json");
  if (const JsonValue* quantization = find_quantization_config(config))
    check_transforms(*quantization, folder.directory());
  erase_quantization_config(config);
  return dump_json_like_python(config);
}

class Dequantizer {
 public:
  Dequantizer(const DequantizeOptions& options, Backend& backend, const Callbacks& callbacks)
      : folder_(options.model_dir),
        table_(checked(folder_)),
        config_(plain_config(folder_)),
        backend_(backend),
        callbacks_(callbacks) {
    plan();
    writer_.emplace(CheckpointWriter::Options{.output_dir = options.output_dir,
                                              .inputs = {{"the model's folder", options.model_dir}},
                                              .overwrite = options.overwrite,
                                              .max_shard_bytes = options.max_shard_bytes});
    writer_->plan(planned_);
  }

  DequantizeReport run() {
    progress_.stage = "dequantize";
    progress_.steps = static_cast<int64_t>(planned_.size());
    for (const PlannedTensor& tensor : planned_) {
      const std::string module = module_of(tensor.name);
      last_part(tensor.name) == "weight" && table_.scheme_of(module)
          ? decode(module, tensor)
          : writer_->copy_tensor(folder_, tensor.name, tensor.name);
      step(module);
    }
    writer_->write_file("config.json", config_);
    for (const std::string& file : folder_.side_files().copied) writer_->copy_file(folder_.directory(), file);
    // By it verify knows that these weights were codes once.
    if (std::filesystem::exists(std::filesystem::path(folder_.directory()) / "recipe.yaml"))
      writer_->copy_file(folder_.directory(), "recipe.yaml");
    const DequantizeReport report{matrices_, static_cast<int64_t>(planned_.size()), folder_.total_bytes(),
                                  writer_->total_bytes()};
    writer_->finish(backend_);
    return report;
  }

 private:
  static ModuleTable checked(const Checkpoint& folder) {
    ModuleTable table(folder);
    if (table.method().empty())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("'{}': config.json has no quantization_config: nothing to dequantize",
                              folder.directory()));
    if (!table.reader())
      throw Error(ErrorCode::unsupported,
                  fmt::format("'{}': quant_method is '{}', wanted 'compressed-tensors'", folder.directory(),
                              table.method()));
    require_sound(folder, table.reader());
    return table;
  }

  // In the order of the folder; a module's weight stands where its first part stood.
  void plan() {
    const JsonValue config = parse_json(folder_.config(), "config.json");
    std::set<std::string> done;
    for (const std::string& name : folder_.names()) {
      const std::string module = module_of(name), part = last_part(name);
      const Scheme* scheme = table_.scheme_of(module);
      if (is_cache_part(part)) continue;
      if (!scheme || (part != "weight" && !is_quantization_part(part))) {
        const TensorInfo info = folder_.info(name);
        planned_.push_back({name, info.dtype, info.shape});
      } else if (done.insert(module).second) {
        planned_.push_back({module + ".weight", model_dtype(folder_, config, module),
                            table_.reader()->weight_shape(module, *scheme)});
      }
    }
  }

  void decode(const std::string& module, const PlannedTensor& tensor) {
    const Scheme& scheme = *table_.scheme_of(module);
    const QuantizedMatrix matrix = table_.reader()->read(module, scheme);
    dense_format().write_module(*writer_, {module, matrix.shape, tensor.dtype, scheme, Format::dense}, matrix,
                                backend_);
    ++matrices_;
  }

  void step(const std::string& module) {
    if (callbacks_.cancel && callbacks_.cancel->load(std::memory_order_relaxed))
      throw Error(ErrorCode::cancelled, "dequantize: cancelled");
    const size_t layer = module.find("layers."),
                 end = layer == std::string::npos ? layer : module.find('.', layer + 7);
    progress_.layer = module.substr(0, end);
    ++progress_.step;
    if (callbacks_.progress) callbacks_.progress(progress_);
  }

  Checkpoint folder_;
  ModuleTable table_;
  std::string config_;
  Backend& backend_;
  const Callbacks& callbacks_;
  std::vector<PlannedTensor> planned_;
  std::optional<CheckpointWriter> writer_;
  Progress progress_;
  int64_t matrices_ = 0;
};

}  // namespace

DequantizeReport dequantize_model(const DequantizeOptions& options,
                                  Backend& backend,
                                  const Callbacks& callbacks) {
  return Dequantizer(options, backend, callbacks).run();
}

std::string to_json(const DequantizeReport& report) {
  return dump_json_utf8(JsonValue::object({{"matrices", report.matrices},
                                           {"tensors", report.tensors},
                                           {"bytes_before", report.bytes_before},
                                           {"bytes_after", report.bytes_after}}));
}

}  // namespace llmc
