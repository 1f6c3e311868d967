// The `quantization_config` object of config.json: built, parsed, merged.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "llmc/scheme.hpp"

namespace llmc {

struct QuantizationConfig {
  struct Group {
    std::string name;  // "group_0"; empty: numbered in order
    Scheme scheme;     // with targets; format set (or inferred when written)
  };
  std::vector<Group> groups;
  std::vector<std::string> ignore;
  std::optional<QuantizationArgs> kv_cache_scheme;
  std::string format;  // empty: the groups' one format, or "mixed-precision", or "dense"
  std::string status = "compressed";
  std::string version = "0.19.0";  // of compressed-tensors
};

// reference: every key and value as llm-compressor writes them. vllm: keys with their default value are left out
// (older readers refuse keys they do not know), and actorder is written only where g_idx is stored.
enum class ConfigFlavor { reference, vllm };

// JSON text of the object.
std::string write_quantization_config(const QuantizationConfig& config, ConfigFlavor flavor);

// `config_json`: a whole config.json. Nothing when it holds no quantization_config; Error(unsupported) when
// its quant_method is another one; Error(bad_file), starting with `place`, when it breaks the format's rules.
std::optional<QuantizationConfig> parse_quantization_config(std::string_view config_json,
                                                            std::string_view place = "config.json");

// The whole config.json with `quantization_config` set (replaced when there), as Python's
// json.dumps(indent=2, sort_keys=True) prints it.
std::string merge_quantization_config(std::string_view config_json,
                                      std::string_view quantization_config_json);

// The same re-dump with one top-level boolean changed, e.g. tie_word_embeddings.
std::string set_config_boolean(std::string_view config_json, const std::string& key, bool value);

// Which group a module belongs to: compressed-tensors' matching over all groups' targets; `ignore` wins.
// Keeps pointers into `config`.
class GroupMatcher {
 public:
  explicit GroupMatcher(const QuantizationConfig& config);
  ~GroupMatcher();
  GroupMatcher(GroupMatcher&&) noexcept;
  // null: not quantized
  const QuantizationConfig::Group* match(std::string_view module,
                                         std::string_view class_name = "Linear") const;
  bool ignored(std::string_view module, std::string_view class_name = "Linear") const;
  // as if nothing were ignored
  const QuantizationConfig::Group* targeted(std::string_view module,
                                            std::string_view class_name = "Linear") const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace llmc
