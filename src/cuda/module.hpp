// The interface between libllmc.so and libllmc_cuda.so: one function. Both must come from one build, which build_id()
// checks: C++ classes cross this boundary.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "llmc/backend.hpp"
#include "llmc/error.hpp"

namespace llmc::cuda {

struct ModuleRequest {
  uint32_t struct_size = sizeof(ModuleRequest);
  int32_t device_index = 0;
  int64_t memory_limit = 0;                  // CudaOptions
  const char* build_id = nullptr;            // of the library that asks
  std::unique_ptr<Backend>* host = nullptr;  // the CPU backend for work done on the host; moved from
};
struct ModuleAnswer {
  std::unique_ptr<Backend> backend;  // null: `code` and `text` say why
  ErrorCode code = ErrorCode::internal;
  std::string text;
};
using OpenModule = void (*)(const ModuleRequest* request, ModuleAnswer* answer);
constexpr const char* kOpenModule = "llmc_cuda_open";

const char* build_id();  // of this half

}  // namespace llmc::cuda
