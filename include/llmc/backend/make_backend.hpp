// The backends there are, and what they are told when they start.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "llmc/backend.hpp"

namespace llmc {

struct BackendOptions {
  int threads = 0;  // 0: the cores this process may use
  // "", or one of cpu_isa_names(): pins the instruction set, so that bytes repeat across machines
  std::string cpu_isa;
};
std::unique_ptr<Backend> make_cpu_backend(const BackendOptions& options);

struct CudaOptions {
  // of libllmc_cuda.so; empty: beside the library or program that holds make_cuda_backend
  std::string module_path;
  int32_t device_index = 0;
  // bytes of the device's memory; values beyond it wait on the host. 0: all there is
  int64_t memory_limit = 0;
};
// `host` does what is done on the host. Throws Error(unsupported) that says what is missing: the module, a
// library it needs, a driver, a device.
std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options, std::unique_ptr<Backend> host);
bool cuda_module_is_there();  // libllmc_cuda.so lies beside the library or program; nothing is loaded

}  // namespace llmc
