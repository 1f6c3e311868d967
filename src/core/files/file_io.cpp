#include "core/files/file_io.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

#include "core/files/foreign_file.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

std::string reason(int number) { return std::generic_category().message(number); }

[[noreturn]] void fail(const std::string& path, std::string_view action, int number) {
  const ErrorCode code = number == ENOENT ? ErrorCode::not_found
      : number == EEXIST                  ? ErrorCode::exists
                                          : ErrorCode::io;
  throw Error(code, fmt::format("{}: cannot {}: {}", path, action, reason(number)));
}

}  // namespace

File File::open_for_reading(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path, "open", errno);
  File file(descriptor, path);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) fail(path, "read its size", errno);
  if (!S_ISREG(status.st_mode))
    throw Error(ErrorCode::bad_file, fmt::format("{}: is not a regular file", path));
  return file;
}

File File::create(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) fail(path, "create", errno);
  return File(descriptor, path);
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      path_(std::move(other.path_)) {}
File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(path_, other.path_);
  return *this;
}
File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

int64_t File::size() const {
  struct stat status {};
  if (::fstat(descriptor_, &status) != 0) fail(path_, "read its size", errno);
  return status.st_size;
}

void File::read_at(int64_t offset, std::byte* destination, int64_t bytes, const ParallelFor& parallel) const {
  const auto read_range = [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const ssize_t got = ::pread(descriptor_, destination + begin,
                                  static_cast<size_t>(std::min(end - begin, kIoPiece)), offset + begin);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) fail(path_, fmt::format("read {} bytes at {}", end - begin, offset + begin), errno);
      if (got == 0)
        throw Error(ErrorCode::io,
                    fmt::format("{}: ends at byte {}, wanted {} more; was it cut short while being read?",
                                path_, offset + begin, end - begin));
      begin += got;
    }
  };
  const int64_t pieces = (bytes + kIoPiece - 1) / kIoPiece;
  if (!parallel || pieces < 2) return read_range(0, bytes);
  parallel(pieces, 1, [&](int64_t begin, int64_t end) {
    read_range(begin * kIoPiece, std::min(end * kIoPiece, bytes));
  });
}

void File::write_at(int64_t offset, const std::byte* source, int64_t bytes) const {
  for (int64_t done = 0; done < bytes;) {
    const ssize_t put = ::pwrite(descriptor_, source + done,
                                 static_cast<size_t>(std::min(bytes - done, kIoPiece)), offset + done);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0)
      fail(path_, fmt::format("write {} bytes at {}", bytes - done, offset + done), put < 0 ? errno : ENOSPC);
    done += put;
  }
}

void File::reserve(int64_t bytes) const {
  if (bytes <= 0) return;
  int error;
  while ((error = ::posix_fallocate(descriptor_, 0, bytes)) == EINTR) {
  }
  if (error == EOPNOTSUPP || error == EINVAL) return;  // a filesystem without it tells at write time
  if (error != 0) fail(path_, fmt::format("allocate {} bytes", bytes), error);
}

void File::sync() const {
  if (::fsync(descriptor_) != 0) fail(path_, "sync to disk", errno);
}

void File::start_flush(int64_t offset, int64_t bytes) const {
  static_cast<void>(::sync_file_range(descriptor_, offset, bytes, SYNC_FILE_RANGE_WRITE));
}

void File::flush(int64_t offset, int64_t bytes) const {
  constexpr unsigned kAll = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
  if (::sync_file_range(descriptor_, offset, bytes, kAll) == 0) return;
  if (errno == EIO || errno == ENOSPC || errno == EDQUOT)
    fail(path_, fmt::format("write {} bytes at {} to disk", bytes, offset), errno);
}

void File::read_ahead(int64_t offset, int64_t bytes) const {
  ::posix_fadvise(descriptor_, offset, bytes, POSIX_FADV_WILLNEED);
}
void File::drop_cache(int64_t offset, int64_t bytes) const {
  ::posix_fadvise(descriptor_, offset, bytes, POSIX_FADV_DONTNEED);
}

std::vector<std::string> list_folder(const std::string& path) {
  struct Close {
    void operator()(DIR* folder) const { ::closedir(folder); }
  };
  const std::unique_ptr<DIR, Close> folder(::opendir(path.c_str()));
  if (!folder) fail(path, "list the folder", errno);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(folder.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  if (errno) fail(path, "list the folder", errno);
  std::sort(names.begin(), names.end());
  return names;
}

std::string read_text_file(const std::string& path, int64_t max_bytes) {
  const File file = File::open_for_reading(path);
  const int64_t bytes = file.size();
  if (bytes > max_bytes)
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: has {} bytes, wanted at most {}", path, bytes, max_bytes));
  std::string text(static_cast<size_t>(bytes), '\0');
  file.read_at(0, reinterpret_cast<std::byte*>(text.data()), bytes);
  if (const std::string what = describe_foreign(text); !what.empty())
    throw Error(ErrorCode::bad_file, fmt::format("{}: {}", path, what));
  return text;
}

void write_text_file(const std::string& path, std::string_view contents) {
  const File file = File::create(path);
  file.write_at(0, reinterpret_cast<const std::byte*>(contents.data()),
                static_cast<int64_t>(contents.size()));
  file.sync();
}

void copy_whole_file(const std::string& from, const std::string& to) {
  const File source = File::open_for_reading(from), target = File::create(to);
  const int64_t bytes = source.size();
  const auto piece = std::make_unique_for_overwrite<std::byte[]>(
      static_cast<size_t>(std::min(bytes, kIoPiece)));
  for (int64_t offset = 0; offset < bytes; offset += kIoPiece) {
    const int64_t part = std::min(kIoPiece, bytes - offset);
    source.read_at(offset, piece.get(), part);
    target.write_at(offset, piece.get(), part);
  }
  target.sync();
}

void sync_folder(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail(path, "open", errno);
  const int result = ::fsync(descriptor), number = errno;
  ::close(descriptor);
  if (result != 0 && number != EINVAL) fail(path, "sync to disk", number);
}

}  // namespace llmc
