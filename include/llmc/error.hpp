// The one exception type of llmc. Everything below the C ABI throws it; capi/guard.hpp alone catches it.
#pragma once
#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace llmc {

// The numbers are those of llmc_status in capi/llmc.h and are never reused.
enum class ErrorCode : int32_t {
  invalid_argument = 1,  // a caller's or recipe's mistake
  not_found = 2,         // a file, folder or tensor that is not there
  io = 3,                // the operating system refused: disk full, permission, read error
  bad_file = 4,          // a file that breaks its own format
  unsupported = 5,       // a valid request that this build cannot serve
  numeric = 6,           // NaN or Inf where a finite number is needed
  out_of_memory = 7,
  cancelled = 8,
  exists = 9,     // the output is already there
  internal = 10,  // a bug in llmc
};

// `message` is one line naming the place, the thing, what it got and what it wanted:
// "safetensors: tensor 'model.norm.weight' spans 100 bytes, its shape [64] BF16 needs 128"
class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  ErrorCode code() const noexcept { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
};

}  // namespace llmc
