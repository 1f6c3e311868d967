// A model folder small enough to be compressed, read and run thousands of times a second.
#pragma once
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "core/files/checkpoint_writer.hpp"
#include "core/quantize/number_formats.hpp"

namespace llmc::fuzz {

constexpr const char* kTinyConfig =
    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "vocab_size": 16,
"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
"head_dim": 8, "max_position_embeddings": 64, "rms_norm_eps": 1e-06, "tie_word_embeddings": false,
"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}})";

// In memory where there is a file system for it; removed when the process ends in its own time.
inline const std::filesystem::path& scratch() {
  static const struct Folder {
    Folder() {
      const char* root = std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : "/tmp";
      path = fmt::format("{}/llmc-fuzz-{}", root, ::getpid());
      std::filesystem::create_directories(path);
    }
    ~Folder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
  } folder;
  return folder.path;
}

inline void write_tiny_model(const std::string& output) {
  std::vector<PlannedTensor> plan{{"model.embed_tokens.weight", DType::bf16, {16, 16}},
                                  {"model.norm.weight", DType::bf16, {16}},
                                  {"lm_head.weight", DType::bf16, {16, 16}}};
  const auto layer = [&](const char* name, Shape shape) {
    plan.push_back({fmt::format("model.layers.0.{}.weight", name), DType::bf16, std::move(shape)});
  };
  for (const char* norm : {"input_layernorm", "post_attention_layernorm"}) layer(norm, {16});
  for (const char* wide : {"self_attn.q_proj", "self_attn.o_proj"}) layer(wide, {16, 16});
  for (const char* narrow : {"self_attn.k_proj", "self_attn.v_proj"}) layer(narrow, {8, 16});
  for (const char* up : {"mlp.gate_proj", "mlp.up_proj"}) layer(up, {32, 16});
  layer("mlp.down_proj", {16, 32});

  CheckpointWriter writer({.output_dir = output});
  writer.plan(plan);
  for (const PlannedTensor& planned : plan) {
    Tensor tensor(planned.dtype, planned.shape);
    std::vector<float> values(static_cast<size_t>(tensor.size()));
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 37 % 41) * 0.05f - 1.0f;
    from_float(values.data(), tensor.size(), tensor.dtype(), tensor.data());
    writer.write_tensor(planned.name, tensor);
  }
  writer.write_file("config.json", kTinyConfig);
  writer.finish();
}

}  // namespace llmc::fuzz
