// The object behind llmc_session.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "llmc.h"
#include "llmc/backend.hpp"
#include "llmc/error.hpp"
#include "llmc/oneshot.hpp"

struct llmc_session {
  std::unique_ptr<llmc::Backend> backend;
  std::string device;
  std::vector<llmc::CustomQuantizer> modifiers;  // the caller's own
  std::vector<std::string> notes;                // about the device, for every report
  llmc_progress_fn progress = nullptr;
  void* progress_user_data = nullptr;
  llmc_log_fn log = nullptr;
  void* log_user_data = nullptr;
  const llmc::MemoryAccount memory;  // of every tensor that this session's calls made
  int64_t memory_limit = 0;
  std::atomic<bool> cancel{false};
  std::atomic<bool> busy{false};

  llmc::Callbacks callbacks();
};

namespace llmc::capi {

// Holds a session for the length of one call. However the call ends, a request to cancel is used up.
class SessionLock {
 public:
  explicit SessionLock(llmc_session* session);
  ~SessionLock();
  SessionLock(const SessionLock&) = delete;
  SessionLock& operator=(const SessionLock&) = delete;

 private:
  llmc_session* session_;
  const MemoryScope memory_;
};

}  // namespace llmc::capi
