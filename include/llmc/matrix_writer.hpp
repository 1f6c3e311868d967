// A compressed-tensors folder made of tensors that a caller hands over one by one.
//   MatrixWriter writer({.output_dir = "out", .config_json = text});
//   writer.plan_matrix("fc1", scheme, DType::bf16, {rows, columns});  everything, in the order of the file
//   writer.plan_tensor("fc1.bias", DType::bf16, {rows});
//   writer.add_matrix("fc1", matrix, backend);                        in any order, each once
//   writer.add_tensor("fc1.bias", bias, backend);
//   writer.finish(backend, poll);                                     without it nothing appears
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "llmc/matrix.hpp"

namespace llmc {

class MatrixWriter {
 public:
  struct Options {
    std::string output_dir;
    std::string config_json;  // text of a JSON object; quantization_config is set in it
    Compat compat = Compat::vllm;
    bool overwrite = false;
    int64_t max_shard_bytes = 0;  // 0: 20,000,000,000
  };
  explicit MatrixWriter(const Options& options);  // Error(exists | invalid_argument | io)
  ~MatrixWriter();                                // not finished: removes what was written
  MatrixWriter(const MatrixWriter&) = delete;
  MatrixWriter& operator=(const MatrixWriter&) = delete;

  // Before anything is added. Names are checked against each other.
  void plan_tensor(const std::string& name, DType dtype, const Shape& shape);
  void plan_matrix(const std::string& module,
                   const MatrixScheme& scheme,
                   DType model_dtype,
                   const Shape& shape);

  // Error(numeric) for NaN and Inf
  void add_tensor(const std::string& name, const TensorView& values, Backend& backend);
  void add_matrix(const std::string& module, const CompressedMatrix& matrix, Backend& backend);
  // The fixed scale of a module's input (or output) for values in [minimum, maximum], where its scheme asks
  // for one.
  void add_activation_range(const std::string& module, bool output, float minimum, float maximum);
  void add_file(const std::string& file_name, std::string_view contents);  // tokenizer and the like

  // config.json, the checks, the final name
  void finish(Backend& backend, const std::function<void()>& poll);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace llmc
