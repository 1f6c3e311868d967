// For tests of llmc_tensor_source.
#pragma once
#include <catch2/catch.hpp>

#include <cstring>
#include <functional>
#include <vector>

#include "core/files/checkpoint.hpp"
#include "core/run_tools.hpp"
#include "llmc_tensor.h"

namespace llmc::test {

// micro-llama in the memory of a trainer.
struct Trainer {
  const Checkpoint model{golden("micro-llama")};
  std::vector<Tensor> values;
  std::vector<llmc_source_tensor> tensors;
  llmc_tensor_source source{};
  int64_t reads = 0;
  std::function<int32_t()> before_read;

  Trainer() {
    for (const std::string& name : model.names()) values.push_back(model.read(name));
    for (size_t i = 0; i < values.size(); ++i) {
      REQUIRE(values[i].dtype() == DType::bf16);
      tensors.push_back({sizeof(llmc_source_tensor), LLMC_DTYPE_BFLOAT16, model.names()[i].c_str(),
                         values[i].shape().data(), static_cast<int32_t>(values[i].shape().size()), 0});
    }
    source = {
        sizeof source, 0,   model.config().c_str(), tensors.data(), static_cast<int64_t>(tensors.size()),
        read,          this};
  }
  static int32_t read(void* user_data, int64_t tensor, int64_t offset, int64_t bytes, void* to) {
    auto& self = *static_cast<Trainer*>(user_data);
    ++self.reads;
    if (self.before_read)
      if (const int32_t status = self.before_read()) return status;
    std::memcpy(to, self.values[static_cast<size_t>(tensor)].data() + offset, static_cast<size_t>(bytes));
    return 0;
  }
};

}  // namespace llmc::test
