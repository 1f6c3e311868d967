// A llmc_tensor_source as the core sees it.
#pragma once
#include <string>
#include <vector>

#include "llmc.h"
#include "llmc/tensor_source.hpp"

namespace llmc::capi {

class CallbackSource final : public TensorSource {
 public:
  explicit CallbackSource(const llmc_tensor_source& given);  // Error(invalid_argument)
  const std::string& config() const override { return config_; }
  const std::vector<Entry>& tensors() const override { return entries_; }
  void read(size_t tensor, int64_t offset, int64_t bytes, std::byte* to) const override;

 private:
  llmc_read_fn read_;
  void* user_data_;
  std::string config_;
  std::vector<Entry> entries_;
};

}  // namespace llmc::capi
