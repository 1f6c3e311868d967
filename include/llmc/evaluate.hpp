// Measures a model: perplexity of a text, and how far it is from a reference model. Forward passes for
// whoever adds a family.
#pragma once
#include <atomic>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "llmc/backend.hpp"

namespace llmc {

struct EvaluateOptions {
  std::string model_dir, reference_dir;  // the reference may be empty
  std::vector<int32_t> token_ids;        // the text, no special tokens added
  // tokens per independent sequence; the rest of the text is left out
  int64_t window = 512;
  DType value_dtype = DType::f32;
  const std::atomic<bool>* cancel = nullptr;
};
struct Evaluation {
  double perplexity = 0;
  int64_t tokens = 0;  // predicted: window - 1 per window
  // mean KL(reference || model) per token in nats; share of equal arg max
  std::optional<double> kl, top1;
};
Evaluation evaluate(const EvaluateOptions& options, Backend& backend);
std::string to_json(const Evaluation& result);  // kl and top1 only where there was a reference

// Reads `input_ids` [sequences, length] from a safetensors file; writes `logits` and `hidden.0` .. `hidden.N`
// ([sequences, length, width] f32; hidden.N is the final norm's output).
void forward_file(const std::string& model_dir,
                  const std::string& input_path,
                  const std::string& output_path,
                  DType value_dtype,
                  Backend& backend);

}  // namespace llmc
