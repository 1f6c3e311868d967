#include "core/files/output_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "core/files/file_io.hpp"
#include "core/files/replaceable.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

namespace fs = std::filesystem;

fs::path resolve(const std::string& path) {
  std::error_code error;
  fs::path whole = fs::weakly_canonical(fs::absolute(path), error);
  if (error)
    throw Error(ErrorCode::io, fmt::format("{}: cannot resolve the path: {}", path, error.message()));
  return whole.has_filename() ? whole : whole.parent_path();
}

// By the files themselves, not by their names alone: a bind mount or a file system that ignores case gives one
// folder two of them.
bool is_same(const fs::path& a, const fs::path& b) {
  std::error_code error;
  return a == b || fs::equivalent(a, b, error);
}

bool lies_within(fs::path inner, const fs::path& outer) {
  for (;; inner = inner.parent_path()) {
    if (is_same(inner, outer)) return true;
    if (inner == inner.parent_path()) return false;
  }
}

void check_apart(const fs::path& target, const InputPath& input) {
  if (input.path.empty()) return;
  const fs::path path = resolve(input.path);
  const auto refuse = [&](std::string_view relation) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("output '{}' {} {} '{}', wanted a folder apart from it", target.string(),
                            relation, input.what, path.string()));
  };
  if (is_same(target, path)) refuse("is");
  if (lies_within(target, path)) refuse("lies inside");
  if (lies_within(path, target)) refuse("contains");
}

void check_replaceable(const std::string& folder, const std::string& name) {
  if (const std::string reason = reason_to_keep(folder); !reason.empty())
    throw Error(
        ErrorCode::exists,
        fmt::format("output '{}' {}; --overwrite replaces a model's folder and nothing else", name, reason));
}

void check_target(const fs::path& target, bool overwrite) {
  const fs::file_status status = fs::status(target);
  if (!fs::exists(status)) return;
  if (!fs::is_directory(status))
    throw Error(ErrorCode::exists, fmt::format("output '{}' exists and is no folder", target.string()));
  if (fs::is_empty(target)) return;
  if (!overwrite)
    throw Error(ErrorCode::exists,
                fmt::format("output '{}' exists and is not empty; --overwrite replaces it", target.string()));
  check_replaceable(target.string(), target.string());
}

std::string text_of(int error) { return std::generic_category().message(error); }

int rename_with(const std::string& from, const std::string& to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

int remove_entry(const char* entry, const struct stat*, int, struct FTW*) {
  ::remove(entry);
  return 0;
}

// Works without memory, unlike std::filesystem: a run that ran out of it still tidies up.
void remove_tree(const std::string& path) noexcept {
  ::nftw(path.c_str(), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

}  // namespace

OutputFolder::Lock::Outcome OutputFolder::Lock::take(const std::string& folder) {
  release();
  descriptor_ = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (descriptor_ < 0) {
    error_ = errno;
    return error_ == ENOENT ? Outcome::gone : Outcome::refused;
  }
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    error_ = errno;
    release();
    return error_ == EWOULDBLOCK ? Outcome::held_by_another : Outcome::refused;
  }
  // The run that held the lock may have renamed the folder before it released the lock.
  struct stat locked {};
  struct stat named {};
  if (::fstat(descriptor_, &locked) == 0 && ::stat(folder.c_str(), &named) == 0 &&
      locked.st_ino == named.st_ino && locked.st_dev == named.st_dev)
    return Outcome::taken;
  release();
  return Outcome::gone;
}

void OutputFolder::Lock::release() {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

OutputFolder::OutputFolder(const std::string& target, const std::vector<InputPath>& inputs, bool overwrite)
    : overwrite_(overwrite) {
  if (target.empty()) throw Error(ErrorCode::invalid_argument, "output: got no folder name");
  const fs::path whole = resolve(target);
  target_ = whole.string();
  try {
    for (const InputPath& input : inputs) check_apart(whole, input);
    check_target(whole, overwrite);
    fs::create_directories(whole.parent_path());
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorCode::io, fmt::format("output '{}': {}", target_, error.code().message()));
  }
  partial_ = (whole.parent_path() / fmt::format(".{}.llmc-partial", whole.filename().string())).string();
  claim_partial();
}

void OutputFolder::claim_partial() {
  constexpr int kTries = 100;  // each ends with another run's folder going away in between
  for (int attempt = 0; attempt < kTries; ++attempt) {
    const bool made = ::mkdir(partial_.c_str(), 0777) == 0;
    if (!made && errno != EEXIST)
      throw Error(ErrorCode::io, fmt::format("{}: cannot create the folder: {}", partial_, text_of(errno)));
    const Lock::Outcome outcome = lock_.take(partial_);
    if (outcome == Lock::Outcome::held_by_another)
      throw Error(ErrorCode::exists,
                  fmt::format("output '{}': another run is writing it ('{}' is locked); wait for "
                              "it, or choose another folder",
                              target_, partial_));
    if (outcome == Lock::Outcome::gone) continue;
    if (outcome == Lock::Outcome::refused && !made)
      throw Error(ErrorCode::io,
                  fmt::format("{}: cannot be locked ({}), so whether a run is writing it is unknown; "
                              "remove it if none is",
                              partial_, text_of(lock_.error())));
    claimed_ = true;
    if (made) return;
    remove_tree(partial_);
    lock_.release();
    notes_ = {fmt::format("removed '{}', which a run that was killed had left", partial_)};
    claimed_ = false;
  }
  throw Error(ErrorCode::io,
              fmt::format("{}: cannot be claimed: other runs into this folder come and go", partial_));
}

OutputFolder::~OutputFolder() {
  if (claimed_) remove_tree(partial_);
}

void OutputFolder::publish() {
  sync_folder(partial_);
  int error = rename_with(partial_, target_, RENAME_NOREPLACE);
  // absent or an empty folder
  if (error == EEXIST || error == EINVAL)
    error = ::rename(partial_.c_str(), target_.c_str()) == 0 ? 0 : errno;
  if (error == 0) {
    claimed_ = false;
  } else if ((error == ENOTEMPTY || error == EEXIST) && overwrite_) {
    replace_target();
  } else if (error == ENOTEMPTY || error == EEXIST) {
    throw Error(
        ErrorCode::exists,
        fmt::format("output '{}' was filled by someone else meanwhile; --overwrite replaces it", target_));
  } else {
    throw Error(ErrorCode::io,
                fmt::format("{}: cannot rename to '{}': {}", partial_, target_, text_of(error)));
  }
  lock_.release();
  sync_folder(fs::path(target_).parent_path().string());
}

// The old folder keeps a lock of ours while it lies under the partial name, so that no other run takes it for
// leftovers while it is being removed.
void OutputFolder::replace_target() {
  check_replaceable(target_, target_);
  Lock old;
  static_cast<void>(old.take(target_));
  int error = rename_with(partial_, target_, RENAME_EXCHANGE);
  const bool exchanged = error == 0;
  if (error == EINVAL || error == ENOSYS) {  // a file system that cannot exchange: two steps
    const std::string aside = partial_ + "-old";
    error = ::rename(target_.c_str(), aside.c_str()) == 0 ? 0 : errno;
    if (error == 0 && ::rename(partial_.c_str(), target_.c_str()) != 0) {
      error = errno;
      ::rename(aside.c_str(), target_.c_str());
    }
    if (error == 0) partial_ = aside;
  }
  if (error != 0)
    throw Error(ErrorCode::io,
                fmt::format("{}: cannot take the place of '{}': {}", partial_, target_, text_of(error)));
  claimed_ = false;
  if (const std::string reason = reason_to_keep(partial_); !reason.empty()) {
    if (exchanged && rename_with(partial_, target_, RENAME_EXCHANGE) == 0) {
      claimed_ = true;  // back as it was: what was written is removed
      throw Error(ErrorCode::exists,
                  fmt::format("output '{}' {}, since a moment ago: it stays", target_, reason));
    }
    notes_.push_back(
        fmt::format("the old folder {}, since a moment ago: it is kept as '{}'", reason, partial_));
    return;
  }
  remove_tree(partial_);
}

}  // namespace llmc
