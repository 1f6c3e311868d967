// Any bytes as a .safetensors file: opened, and every tensor that the header promises is read.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "core/files/safetensors_reader.hpp"
#include "llmc/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  const int memory = ::memfd_create("fuzz", 0);
  if (memory < 0 || ::write(memory, bytes, size) != static_cast<ssize_t>(size)) return ::close(memory), 0;
  try {
    const llmc::SafetensorsFile file("/proc/self/fd/" + std::to_string(memory));
    for (const auto& [name, entry] : file.entries()) file.read(name);
  } catch (const llmc::Error&) {
  }
  ::close(memory);
  return 0;
}
