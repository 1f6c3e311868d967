// One .safetensors file. Its header is checked in full when it is opened: whatever it promises afterwards is
// inside the file.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/files/file_io.hpp"
#include "llmc/tensor.hpp"

namespace llmc {

class SafetensorsFile {
 public:
  struct Entry {
    DType dtype = DType::f32;
    Shape shape;
    int64_t offset = 0;  // from the start of the file
    int64_t bytes = 0;
  };

  explicit SafetensorsFile(const std::string& path);  // Error(not_found | io | bad_file)

  const std::string& path() const { return file_.path(); }
  const std::map<std::string, Entry>& entries() const { return entries_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const Entry& entry(const std::string& name) const;  // Error(not_found)

  // Any thread. Rows are those of the first dimension; a scalar has one.
  Tensor read(const std::string& name, const ParallelFor& parallel = {}) const;
  void read_rows(const std::string& name,
                 int64_t first_row,
                 int64_t rows,
                 std::byte* destination,
                 const ParallelFor& parallel = {}) const;
  void read_bytes(const Entry& entry,
                  int64_t offset,
                  int64_t bytes,
                  std::byte* destination,
                  const ParallelFor& parallel = {}) const;
  void read_ahead(const Entry& entry) const { file_.read_ahead(entry.offset, entry.bytes); }

 private:
  File file_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

// Bytes of the header region (length word included, padded so that data starts at a multiple of 8) for these
// tensors in this order.
struct PlannedTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::string file = {};  // CheckpointWriter: the shard it goes to; empty: by size
};
std::string make_safetensors_header(const std::vector<PlannedTensor>& tensors);

}  // namespace llmc
