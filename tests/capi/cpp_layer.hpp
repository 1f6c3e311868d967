// What tests of the C++ layer share. The core's headers come first: the layer's names are then the nearer
// ones where both have one, and `cpp` says which is meant.
#pragma once
#include <catch2/catch.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include "core/run_tools.hpp"

#include <llmc_model.hpp>
#include <llmc_tensor.hpp>

namespace llmc::test {

namespace cpp = llmc::c_interface;

// The status of the llmc::Error that `body` throws; LLMC_OK when it throws none.
template <class Body>
llmc_status status_of(Body&& body) {
  try {
    body();
    return LLMC_OK;
  } catch (const cpp::Error& error) {
    CHECK(*error.what());
    return error.status();
  }
}

inline cpp::Session cpp_session(int32_t threads) {
  cpp::SessionOptions options;
  options.threads = threads;
  return cpp::Session(options);
}

// micro-llama's tensors in memory.
struct MicroLlama {
  std::string config;
  std::vector<std::string> names;
  std::vector<llmc::Tensor> values;

  MicroLlama() {
    const Checkpoint model(golden("micro-llama"));
    config = model.config();
    names = model.names();
    for (const std::string& name : names) values.push_back(model.read(name));
  }
  cpp::TensorRef tensor(size_t i) const {
    return {static_cast<const void*>(values[i].data()), LLMC_DTYPE_BFLOAT16, values[i].shape()};
  }
  cpp::Source source() const {
    std::vector<std::pair<std::string, cpp::TensorRef>> tensors;
    for (size_t i = 0; i < names.size(); ++i) tensors.emplace_back(names[i], tensor(i));
    return cpp::source_of(config, tensors);
  }
};

}  // namespace llmc::test
