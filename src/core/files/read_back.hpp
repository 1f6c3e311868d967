// Reads what was written back while more is being written. A piece waits until `lag` bytes came after it: by
// then the system has mostly written it out. It is read again and compared; from_disk: it is flushed and
// taken out of the page cache (where the system obliges) before.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "core/files/file_io.hpp"
#include "core/values/byte_queue.hpp"

namespace llmc {

struct WrittenPiece {
  const File* file = nullptr;
  int64_t offset = 0, bytes = 0;  // in the file
  uint64_t sum = 0;
  const void* owner = nullptr;  // for the callbacks
  int64_t begin = 0;
};

// Throws through `differs` when the piece does not read back as it was written. `memory` is kept from piece
// to piece.
void read_back(const WrittenPiece& piece,
               std::vector<std::byte>& memory,
               const std::function<void(const WrittenPiece&)>& differs);

class BackgroundReadBack {
 public:
  using Callback = std::function<void(const WrittenPiece&)>;
  // both are called on its own thread; what `differs` throws comes out of add() and stop()
  BackgroundReadBack(int64_t lag, bool from_disk, Callback differs, Callback done);

  void add(const WrittenPiece& piece);  // any thread
  // ends after the piece at hand; pieces not reached are the caller's. Throws what was found wrong.
  void stop();

 private:
  void read_again(const WrittenPiece& piece);  // on the queue's thread

  const bool from_disk_;
  const Callback differs_, done_;
  std::vector<std::byte> memory_;  // of that thread
  ByteQueue queue_;                // the last member: its thread uses the others
};

}  // namespace llmc
