// Loads the CUDA module at run time; part of libllmc.so, which needs no CUDA.
#include <dlfcn.h>

#include <filesystem>

#include "cuda/module.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

constexpr const char* kModuleName = "libllmc_cuda.so";

std::string path_beside_us() {
  Dl_info info{};
  if (!dladdr(reinterpret_cast<const void*>(&cuda::build_id), &info) || !info.dli_fname) return kModuleName;
  return (std::filesystem::path(info.dli_fname).parent_path() / kModuleName).string();
}

}  // namespace

bool cuda_module_is_there() {
  std::error_code error;
  return std::filesystem::is_regular_file(path_beside_us(), error);
}

std::unique_ptr<Backend> make_cuda_backend(const CudaOptions& options, std::unique_ptr<Backend> host) {
  const std::string path = options.module_path.empty() ? path_beside_us() : options.module_path;
  // for good: CUDA's libraries do not unload cleanly
  void* const module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!module) {
    const char* const reason = dlerror();
    throw Error(ErrorCode::unsupported,
                "device cuda: cannot load the CUDA module: " + std::string(reason ? reason : path));
  }
  const auto open = reinterpret_cast<cuda::OpenModule>(dlsym(module, cuda::kOpenModule));
  dlclose(module);
  if (!open)
    throw Error(ErrorCode::unsupported,
                "device cuda: '" + path + "' is no CUDA module of llmc: it has no " + cuda::kOpenModule);
  cuda::ModuleRequest request;
  request.device_index = options.device_index;
  request.memory_limit = options.memory_limit;
  request.build_id = cuda::build_id();
  request.host = &host;
  cuda::ModuleAnswer answer;
  open(&request, &answer);
  if (!answer.backend) throw Error(answer.code, answer.text);
  return std::move(answer.backend);
}

}  // namespace llmc
