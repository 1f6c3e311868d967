#include "core/files/foreign_file.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/files/file_io.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

struct Foreign {
  std::string_view begins_with;
  bool of_a_download;  // may lie under any name
  std::string_view text;
};
constexpr std::string_view kPointer =
    "is a git-lfs pointer, not the file it stands for; `git lfs pull` in its folder fetches that";
constexpr std::string_view kWebPage = "is a web page, not the file; download it again";
constexpr Foreign kForeign[] = {
    {"version https://git-lfs.github.com/spec/", true, kPointer},
    {"version https://hawser.github.com/spec/", true, kPointer},
    {"<!DOCTYPE html", true, kWebPage},
    {"<!doctype html", true, kWebPage},
    {"<html", true, kWebPage},
    {"GGUF", false, "is a GGUF file; wanted safetensors, the model as its makers published it"},
    {"PK\x03\x04", false,
     "is a zip file, as PyTorch saves .bin and .pt; wanted safetensors (transformers' save_pretrained)"},
    {"\x1f\x8b", false, "is compressed with gzip; unpack it first"},
    {"\x28\xb5\x2f\xfd", false, "is compressed with zstd; unpack it first"},
    {"\x89HDF\r\n", false, "is an HDF5 file, as Keras saves weights; wanted safetensors"},
};
constexpr int64_t kLongestBeginning = 64;

}  // namespace

std::string describe_foreign(std::string_view first_bytes) {
  for (const Foreign& kind : kForeign)
    if (first_bytes.starts_with(kind.begins_with)) return std::string(kind.text);
  return {};
}

std::string first_bytes(const File& file) {
  std::string first(static_cast<size_t>(std::min(file.size(), kLongestBeginning)), '\0');
  file.read_at(0, reinterpret_cast<std::byte*>(first.data()), static_cast<int64_t>(first.size()));
  return first;
}

void refuse_pointer(const std::string& path) {
  const std::string first = first_bytes(File::open_for_reading(path));
  for (const Foreign& kind : kForeign)
    if (kind.of_a_download && first.starts_with(kind.begins_with))
      throw Error(ErrorCode::bad_file, fmt::format("{}: {}", path, kind.text));
}

}  // namespace llmc
