// A model folder: config.json and the safetensors files. Opening it reads and checks every header, no data.
// Const methods work from any thread.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/files/safetensors_reader.hpp"
#include "core/files/side_files.hpp"
#include "llmc/tensor_source.hpp"

namespace llmc {

struct TensorInfo {
  DType dtype = DType::f32;
  Shape shape;
  std::string file;  // "model-00001-of-00002.safetensors"
  int64_t bytes = 0;
};

class Checkpoint {
 public:
  // What model.safetensors.index.json names, or model.safetensors, or every *.safetensors of the folder.
  explicit Checkpoint(const std::string& directory);
  // Tensors from elsewhere, as if they lay in one file; no side files. `source` is borrowed.
  explicit Checkpoint(const TensorSource& source);

  const std::string& directory() const { return directory_; }  // "tensor source" without a folder
  bool is_folder() const { return !borrowed_; }
  const std::vector<std::string>& names() const { return names_; }  // in file order, then name order
  const std::vector<std::string>& files() const { return file_names_; }
  bool contains(const std::string& name) const { return where_.count(name) != 0; }
  TensorInfo info(const std::string& name) const;  // Error(not_found)
  int64_t total_bytes() const { return total_bytes_; }

  Tensor read(const std::string& name, const ParallelFor& parallel = {}) const;
  void read_rows(const std::string& name,
                 int64_t first_row,
                 int64_t rows,
                 std::byte* destination,
                 const ParallelFor& parallel = {}) const;
  void read_bytes(const std::string& name,
                  int64_t offset,
                  int64_t bytes,
                  std::byte* destination,
                  const ParallelFor& parallel = {}) const;
  void read_ahead(const std::string& name) const;  // a hint: it will be read soon

  // The text of config.json; it parses as a JSON object. Error(not_found) when there is none.
  const std::string& config() const;
  // config.json says so, or, beside tensors of codes or scales, a file of the tool that made them
  bool is_quantized() const;
  // its quant_method; "unnamed method" when it has none
  const std::string& quantization_method() const { return quantization_method_; }
  SideFiles side_files() const;  // none of a tensor source
  // What a reader should know of how the folder was read: two sets of weights, an index of files that are gone.
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Borrowed {
    const TensorSource& source;
    std::mutex one_read;
  };
  size_t place_of(const std::string& name) const;
  SafetensorsFile::Entry entry_of(const std::string& name) const;
  void read_config(std::string text, const std::string& place);
  // Folders of GPTQ, AWQ and ModelOpt may say how they are quantized in a file of their own, or nowhere.
  void find_older_quantization();

  std::vector<std::string> choose_files(std::map<std::string, std::string>& index);

  std::string directory_;
  std::vector<std::string> notes_;
  std::vector<SafetensorsFile> shards_;
  std::vector<std::string> file_names_;  // of shards_
  std::unique_ptr<Borrowed> borrowed_;   // instead of shards
  std::vector<std::string> names_;
  std::unordered_map<std::string, size_t> where_;  // tensor -> index into shards_, or of the source
  int64_t total_bytes_ = 0;
  std::optional<std::string> config_;
  bool is_quantized_ = false;
  std::string quantization_method_;
};

}  // namespace llmc
