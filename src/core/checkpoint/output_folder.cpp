#include "core/checkpoint/output_folder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <random>
#include <system_error>

#include "core/checkpoint/file_io.hpp"
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

bool lies_within(const fs::path& inner, const fs::path& outer) {
  auto a = inner.begin();
  for (auto b = outer.begin(); b != outer.end(); ++a, ++b)
    if (a == inner.end() || *a != *b) return false;
  return true;
}

void check_apart(const fs::path& target, const fs::path& input) {
  const auto refuse = [&](std::string_view relation) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("output '{}' {} the input folder '{}', wanted a folder apart from it",
                            target.string(), relation, input.string()));
  };
  if (target == input) refuse("is");
  if (lies_within(target, input)) refuse("lies inside");
  if (lies_within(input, target)) refuse("contains");
}

bool holds_checkpoint(const fs::path& folder) {
  const std::vector<std::string> names = list_folder(folder.string());
  return std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name == "config.json" || name.ends_with(".safetensors");
  });
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
  if (!holds_checkpoint(target))
    throw Error(
        ErrorCode::exists,
        fmt::format("output '{}' holds files but no checkpoint; --overwrite replaces checkpoints only",
                    target.string()));
}

int rename_with(const std::string& from, const std::string& to, unsigned flags) {
  return ::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0 ? 0 : errno;
}

// Works without memory, unlike std::filesystem: a run that ran out of it still tidies up.
void remove_tree(const std::string& path) noexcept {
  ::nftw(
      path.c_str(),
      [](const char* entry, const struct stat*, int, struct FTW*) {
        return static_cast<void>(::remove(entry)), 0;
      },
      16, FTW_DEPTH | FTW_PHYS);
}

}  // namespace

OutputFolder::OutputFolder(const std::string& target, const std::string& input, bool overwrite)
    : overwrite_(overwrite) {
  if (target.empty()) throw Error(ErrorCode::invalid_argument, "output: got no folder name");
  const fs::path whole = resolve(target);
  target_ = whole.string();
  try {
    if (!input.empty()) check_apart(whole, resolve(input));
    check_target(whole, overwrite);
    fs::create_directories(whole.parent_path());
  } catch (const fs::filesystem_error& error) {
    throw Error(ErrorCode::io, fmt::format("output '{}': {}", target_, error.code().message()));
  }
  std::random_device random;
  for (int attempt = 0; attempt < 10; ++attempt) {
    partial_ = fmt::format("{}.llmc-partial-{}-{:08x}", target_, ::getpid(), random());
    if (::mkdir(partial_.c_str(), 0777) == 0) return;
    if (errno != EEXIST) break;
  }
  throw Error(
      ErrorCode::io,
      fmt::format("{}: cannot create the folder: {}", partial_, std::generic_category().message(errno)));
}

OutputFolder::~OutputFolder() {
  if (!published_) remove_tree(partial_);
}

void OutputFolder::publish() {
  sync_folder(partial_);
  int error = rename_with(partial_, target_, RENAME_NOREPLACE);
  // absent or an empty folder
  if (error == EEXIST || error == EINVAL)
    error = ::rename(partial_.c_str(), target_.c_str()) == 0 ? 0 : errno;
  if ((error == ENOTEMPTY || error == EEXIST) && overwrite_) {
    error = rename_with(partial_, target_, RENAME_EXCHANGE);
    if (error == EINVAL || error == ENOSYS) {  // a filesystem that cannot exchange: two steps
      const std::string old = partial_ + "-old";
      error = ::rename(target_.c_str(), old.c_str()) == 0 ? 0 : errno;
      if (error == 0 && (error = ::rename(partial_.c_str(), target_.c_str()) == 0 ? 0 : errno) != 0)
        ::rename(old.c_str(), target_.c_str());
      if (error == 0) partial_ = old;
    }
    if (error == 0) {
      published_ = true;
      remove_tree(partial_);  // the old folder
    }
  }
  if (error == ENOTEMPTY || error == EEXIST)
    throw Error(
        ErrorCode::exists,
        fmt::format("output '{}' was filled by someone else meanwhile; --overwrite replaces it", target_));
  if (error != 0)
    throw Error(ErrorCode::io,
                fmt::format("{}: cannot rename to '{}': {}", partial_, target_,
                            std::generic_category().message(error)));
  published_ = true;
  sync_folder(fs::path(target_).parent_path().string());
}

}  // namespace llmc
