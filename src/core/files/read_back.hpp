// Reads what was written back while more is being written. A piece waits until `lag` bytes came after it: by
// then the system has mostly written it out. It is read again and compared; from_disk: it is flushed and
// taken out of the page cache (where the system obliges) before.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "core/files/file_io.hpp"

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
  ~BackgroundReadBack();

  void add(const WrittenPiece& piece);  // any thread
  // ends after the piece at hand; pieces not reached are the caller's. Throws what was found wrong.
  void stop();

 private:
  void work();

  const int64_t lag_;
  const bool from_disk_;
  Callback differs_, done_;
  std::mutex mutex_;
  std::condition_variable more_;
  std::deque<WrittenPiece> waiting_;
  int64_t waiting_bytes_ = 0;
  bool stopping_ = false, started_ = false;
  std::exception_ptr error_;
  std::thread thread_;
};

}  // namespace llmc
