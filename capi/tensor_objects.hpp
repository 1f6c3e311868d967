// The objects behind llmc_tensor.h's handles.
#pragma once
#include <mutex>
#include <shared_mutex>

#include "llmc/matrix.hpp"
#include "llmc/matrix_writer.hpp"
#include "llmc_tensor.h"
#include "session.hpp"

struct llmc_gram {
  llmc::Statistics statistics;
  bool intact = true;              // false: a call failed half way
  mutable std::shared_mutex busy;  // tried, never waited for
};

struct llmc_scheme {
  llmc::MatrixScheme scheme;
};

struct llmc_matrix {
  llmc::CompressedMatrix matrix;
  llmc::Shape order_shape;  // of LLMC_PART_ORDER's view
};

struct llmc_packed {
  llmc::NamedTensors tensors;
};

struct llmc_writer {
  explicit llmc_writer(const llmc::MatrixWriter::Options& options) : writer(options) {}
  llmc::MatrixWriter writer;
  std::shared_mutex busy;
};

namespace llmc::capi {

// Holds a gram or writer for one call: alone, or with other readers. Lock is std::unique_lock or
// std::shared_lock.
template <class Lock>
Lock use(std::shared_mutex& busy, const char* what) {
  Lock lock(busy, std::try_to_lock);
  if (!lock)
    throw Error(ErrorCode::invalid_argument,
                std::string(what) + ": another call is using it; one call at a time");
  return lock;
}
// Error(invalid_argument) for NULL, busy, or half done
std::shared_lock<std::shared_mutex> read_gram(const llmc_gram* gram, const char* what);
std::unique_lock<std::shared_mutex> change_gram(llmc_gram* gram, const char* what);

template <class Handle>
Handle& required_object(Handle* handle, const char* what) {
  if (!handle) throw Error(ErrorCode::invalid_argument, std::string(what) + " is NULL");
  return *handle;
}

// For calls that look at the session's cancel flag.
inline void poll(const llmc_session& session, const char* call) {
  if (session.cancel.load(std::memory_order_relaxed))
    throw Error(ErrorCode::cancelled, std::string(call) + ": cancelled");
}

}  // namespace llmc::capi
