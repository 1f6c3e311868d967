// GPT-2 and its like keep their matrices as transformers' Conv1D: [in, out], the other way round than a Linear.
// Scales along their rows would belong to inputs, and vLLM cannot load such a folder.
#pragma once
#include <string>

#include "core/files/checkpoint.hpp"

namespace llmc {

class Conv1dModules {
 public:
  // By the model_type of config.json (of the whole or of a part), or by a c_attn [n, 3 n].
  explicit Conv1dModules(const Checkpoint& folder);
  bool contains(const std::string& module) const;  // "transformer.h.0.attn.c_attn"
  const std::string& why() const { return why_; }  // "model_type 'gpt2'"

 private:
  std::string why_;  // empty: there are none
};

}  // namespace llmc
