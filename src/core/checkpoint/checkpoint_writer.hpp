// Writes a model folder beside its target and renames it when everything in it has been read back and found right.
//   CheckpointWriter writer({.output_dir = out, .input_dir = in});
//   writer.plan(tensors);
//   writer.write_rows(...), writer.copy_tensor(...)   any order, any thread, every row once
//   writer.write_file("config.json", text);
//   writer.finish();                                  without it the target is left as it was
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/checkpoint/checkpoint.hpp"

namespace llmc {

class CheckpointWriter {
 public:
  struct Options {
    std::string output_dir;
    std::string input_dir = {};  // when given: neither folder may be, or lie inside, the other
    bool overwrite = false;      // replaces a folder that holds a checkpoint; one that holds something else is refused
    int64_t max_shard_bytes = 20'000'000'000;
    bool read_back = true;       // finish() re-reads every tensor
  };
  explicit CheckpointWriter(Options options);  // Error(exists | invalid_argument | io)
  ~CheckpointWriter();                         // not finished: removes what was written
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Once, before any data. Lays out the shards, writes their headers and allocates their blocks.
  void plan(std::vector<PlannedTensor> tensors);

  void write_rows(const std::string& name, int64_t first_row, const TensorView& rows);
  void write_tensor(const std::string& name, const TensorView& whole) { write_rows(name, 0, whole); }
  void copy_tensor(const Checkpoint& from, const std::string& name, const std::string& as);

  void write_file(const std::string& file_name, std::string_view contents);
  void copy_file(const std::string& source_path);

  void finish(const ParallelFor& parallel = {});

  const std::string& partial_directory() const;
  int64_t total_bytes() const;  // of the planned tensors

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace llmc
