// Writes a model folder beside its target and renames it when everything in it has been read back and found
// right.
//   CheckpointWriter writer({.output_dir = out, .inputs = {{"the model's folder", in}}});
//   writer.plan(tensors);
//   writer.write_rows(...), writer.copy_tensor(...)   any order, any thread, every row once
//   writer.write_file("config.json", text);
//   writer.finish();                                  without it the target is left as it was
//
// What finish() guarantees: every byte under the target's name was written out without an error (fsync), was
// read from its file again, and has the checksum it had when it was handed in. With read_back_from_disk it
// had left the page cache before that (where the system obliges), which costs the disk as much as the
// writing: runs that compute for long do so; runs that are as fast as the disk compare what the system holds
// and is writing out. Large pieces are read back by a thread of the writer's own while later ones are still
// being written; all others, and the last ones, by finish() itself. Nothing writes to a piece once it has
// been read back: each byte of a tensor may be written only once.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/files/checkpoint.hpp"
#include "core/files/output_folder.hpp"

namespace llmc {

class CheckpointWriter {
 public:
  struct Options {
    std::string output_dir;
    std::vector<InputPath> inputs = {};  // what is read: the output is none of them, in none and holds none
    bool overwrite = false;              // replaces a model's folder; one that holds other files is refused
    int64_t max_shard_bytes = 20'000'000'000;  // of tensors that name no file
    bool read_back = true;                     // every tensor is read again before finish() returns
    // after it left the page cache, where the system obliges; false: through the page cache
    bool read_back_from_disk = true;
    // bytes: pieces older than this are read back while others are written
    int64_t read_back_lag = int64_t{96} << 20;
  };
  explicit CheckpointWriter(Options options);  // Error(exists | invalid_argument | io)
  ~CheckpointWriter();                         // not finished: removes what was written
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Once, before any data. Lays out the shards, writes their headers and allocates their blocks. Tensors that
  // name a file go there; either all do or none.
  void plan(std::vector<PlannedTensor> tensors);

  void write_rows(const std::string& name, int64_t first_row, const TensorView& rows);
  void write_tensor(const std::string& name, const TensorView& whole) { write_rows(name, 0, whole); }
  // any stretch of a tensor
  void write_bytes(const std::string& name, int64_t offset, const std::byte* bytes, int64_t count);
  void copy_tensor(const Checkpoint& from, const std::string& name, const std::string& as);

  void write_file(const std::string& file_name, std::string_view contents);
  void copy_file(const std::string& directory, const std::string& name);  // name: may lie in a sub-folder

  void finish(const ParallelFor& parallel = {});

  const std::string& partial_directory() const;
  const std::vector<std::string>& notes() const;  // OutputFolder::notes
  int64_t total_bytes() const;                    // of the planned tensors

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace llmc
