// The one place where C++ exceptions become status codes.
#pragma once
#include <cstring>
#include <new>
#include <optional>
#include <string>

#include "llmc.h"
#include "llmc/error.hpp"
#include "printable.hpp"

struct llmc_error {
  llmc_status status;
  std::string message;
};

namespace llmc::capi {

// Not freed: what is returned when there is no memory for an error object.
llmc_error* out_of_memory_error() noexcept;

inline llmc_status report_error(llmc_error** error, llmc_status status, const char* message) noexcept {
  if (error) {
    try {
      *error = new llmc_error{status, one_line(message)};
    } catch (...) {
      *error = out_of_memory_error();
    }
  }
  return status;
}

template <class Body>
llmc_status guard(llmc_error** error, Body&& body) noexcept {
  if (error) *error = nullptr;
  try {
    body();
    return LLMC_OK;
  } catch (const Error& problem) {
    return report_error(error, static_cast<llmc_status>(problem.code()), problem.what());
  } catch (const std::bad_alloc&) {
    if (error) *error = out_of_memory_error();
    return LLMC_OUT_OF_MEMORY;
  } catch (const std::exception& problem) {
    return report_error(error, LLMC_INTERNAL, problem.what());
  } catch (...) {
    return report_error(error, LLMC_INTERNAL,
                        "an exception of unknown type reached the C interface (a callback that throws?)");
  }
}

// Copies what both sides know; a caller's unknown tail must be zero.
template <class Options>
Options read_options(const Options* given, const char* name) {
  Options options{};
  options.struct_size = sizeof(Options);
  if (!given) return options;
  const uint32_t size = given->struct_size;
  if (size < 8 || size % 8 || size > 65536)
    throw Error(ErrorCode::invalid_argument,
                std::string(name) + ".struct_size is " + std::to_string(size) + "; wanted sizeof(" + name +
                    "), " + std::to_string(sizeof(Options)));
  const unsigned char* bytes = reinterpret_cast<const unsigned char*>(given);
  for (uint32_t i = sizeof(Options); i < size; ++i)
    if (bytes[i])
      throw Error(ErrorCode::unsupported,
                  std::string(name) + ": byte " + std::to_string(i) +
                      " is set, but this library knows only " + std::to_string(sizeof(Options)) +
                      " bytes of it; a newer library is needed");
  std::memcpy(&options, given, size < sizeof(Options) ? size : sizeof(Options));
  return options;
}

inline std::string text_or_empty(const char* text) { return text ? text : ""; }
inline std::string required(const char* text, const char* what) {
  if (!text || !*text) throw Error(ErrorCode::invalid_argument, std::string(what) + " is missing");
  return text;
}

// LLMC_DEFAULT | LLMC_ON | LLMC_OFF
inline bool tri_state(int32_t value, bool otherwise, const char* what) {
  if (value == LLMC_DEFAULT) return otherwise;
  if (value == LLMC_ON || value == LLMC_OFF) return value == LLMC_ON;
  throw Error(
      ErrorCode::invalid_argument,
      std::string(what) + " is " + std::to_string(value) + "; wanted LLMC_DEFAULT, LLMC_ON or LLMC_OFF");
}

// An option that is 1 or 2; nothing for 0, the default.
template <class T>
std::optional<T> choice(int32_t value, T first, T second, const char* what) {
  if (value == 0) return std::nullopt;
  if (value == 1) return first;
  if (value == 2) return second;
  throw Error(ErrorCode::invalid_argument,
              std::string(what) + " is " + std::to_string(value) + "; wanted 0, 1 or 2");
}

}  // namespace llmc::capi
