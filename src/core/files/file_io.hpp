// Positioned reads and writes that finish or throw Error(io). Any thread; never mmap: a truncated file is an
// error, not a SIGBUS.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "llmc/parallel.hpp"

namespace llmc {

inline constexpr int64_t kIoPiece = int64_t{8} << 20;  // bytes per system call and per task

class File {
 public:
  static File open_for_reading(const std::string& path);  // Error(not_found) when absent, else Error(io)
  static File create(const std::string& path);            // must not exist
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  const std::string& path() const { return path_; }
  int64_t size() const;
  void read_at(int64_t offset, std::byte* destination, int64_t bytes, const ParallelFor& parallel = {}) const;
  void write_at(int64_t offset, const std::byte* source, int64_t bytes) const;
  void reserve(int64_t bytes) const;  // allocates the blocks, so that a full disk is reported now
  void sync() const;
  // Of a range; bytes 0: all. Hints: a system that lacks them does nothing. flush() throws when the disk
  // refused the bytes. begins to write out, so that a later sync() is short
  void start_flush(int64_t offset, int64_t bytes) const;
  void flush(int64_t offset, int64_t bytes) const;  // waits for it
  // the next read finds it in memory, if there is time
  void read_ahead(int64_t offset, int64_t bytes) const;
  void drop_cache(int64_t offset = 0, int64_t bytes = 0) const;  // the next read comes from the disk

 private:
  File(int descriptor, std::string path) : descriptor_(descriptor), path_(std::move(path)) {}
  int descriptor_ = -1;
  std::string path_;
};

// Names in a folder, sorted. (std::filesystem ends the process when memory runs out in the middle of one.)
std::vector<std::string> list_folder(const std::string& path);
std::string read_text_file(const std::string& path, int64_t max_bytes = int64_t{1} << 30);
void write_text_file(const std::string& path, std::string_view contents);  // must not exist
void copy_whole_file(const std::string& from, const std::string& to);      // in pieces; `to` must not exist
void sync_folder(const std::string& path);

}  // namespace llmc
