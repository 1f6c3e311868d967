// What a backend is asked to compute: operations whose shapes, dtypes and ids are checked, and whose tensors
// lie where it computes. Values are [tokens, width], all of one dtype, f32 or bf16.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <variant>
#include <vector>

#include "core/forward/rope_tables.hpp"
#include "llmc/backend/execution.hpp"
#include "llmc/graph.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

struct EmbeddingCall {
  std::span<const int32_t> token_ids;  // each inside the table
  const Tensor& table;
  Tensor& out;
};

// out = norm(x); with Fusion::add_norm total = x + residual and out = norm(total), otherwise both are null.
struct NormCall {
  const Norm& operation;
  const Tensor& x;
  const Tensor* residual;
  Tensor* total;
  const Tensor& scale;
  const Tensor* bias;  // null: none
  Tensor& out;
};

// out = x matrix^T + bias, once per Linear that reads x: one, or more with Fusion::linears.
struct LinearCall {
  struct Product {
    const Tensor& matrix;
    const Tensor* bias;  // null: none
    Tensor& out;
  };
  const Tensor& x;
  std::vector<Product> products;
};

struct RopeCall {
  const Rope& operation;
  const Tensor& x;
  Tensor& out;
  std::span<const int64_t> starts;  // [sequences + 1]
  std::span<const int64_t> past;    // [sequences]: the position of the first token
  std::vector<std::shared_ptr<const RopeTables::Table>> tables;  // [sequences]
};

// The last query of a sequence stands beside its last key: where earlier tokens are kept there are more keys.
struct AttentionCall {
  const Attention& operation;
  const Tensor &q, &k, &v;
  Tensor& out;
  std::span<const int64_t> starts, key_starts;  // [sequences + 1], rows of q and of k
};

// out = act(x), or with Fusion::activation_multiply act(x) * factor, rounded in between; otherwise null.
struct ActivationCall {
  const Activation& operation;
  const Tensor& x;
  const Tensor* factor;
  Tensor& out;
};

struct MultiplyCall {
  const Tensor &x, &y;
  Tensor& out;
};
struct AddCall {
  const Tensor &x, &y;
  Tensor& out;
};

struct SliceCall {
  const Slice& operation;
  const Tensor& x;
  Tensor& out;
};

// Rounding as the served model does it, of `heads` fixed scales or of a scale per `group` channels of a token.
// x and out may be the same.
struct RoundingCall {
  const ActivationQuantization& how;
  const Tensor& x;
  Tensor& out;
  int64_t group, heads;
};

using OperationCall = std::variant<EmbeddingCall,
                                   NormCall,
                                   LinearCall,
                                   RopeCall,
                                   AttentionCall,
                                   ActivationCall,
                                   MultiplyCall,
                                   AddCall,
                                   SliceCall,
                                   RoundingCall>;

}  // namespace llmc
