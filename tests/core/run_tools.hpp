// What tests of whole runs share: a scratch folder, a backend, micro-llama's calibration tokens.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>

#include "core/files/checkpoint.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/backend.hpp"
#include "llmc/oneshot.hpp"

namespace llmc::test {

class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "llmc-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

inline std::string source_path(const std::string& name) { return std::string(LLMC_SOURCE_DIR) + "/" + name; }
inline std::string golden(const std::string& name) { return source_path("tests/golden/" + name); }

inline std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline TokenBatch tokens_from(const std::string& safetensors_path) {
  const Tensor ids = SafetensorsFile(safetensors_path).read("input_ids");
  TokenBatch batch;
  for (int64_t i = 0; i < ids.size(); ++i)
    batch.token_ids.push_back(static_cast<int32_t>(ids.as<int64_t>()[i]));
  for (int64_t row = 0; row <= ids.rows(); ++row) batch.sequence_starts.push_back(row * ids.columns());
  return batch;
}

inline OneshotOptions micro_llama(const std::string& output) {
  OneshotOptions options;
  options.model_dir = golden("micro-llama");
  options.output_dir = output;
  options.calibration = tokens_from(golden("micro-llama/calibration.safetensors"));
  return options;
}

}  // namespace llmc::test
