// What the sub-commands share: a session from the common options, and failure as one line and exit code 2.
#pragma once
#include <CLI/CLI.hpp>
#include <memory>
#include <stdexcept>
#include <string>

#include "llmc.h"

namespace cli {

inline constexpr int kFailed = 2, kCancelled = 130;

// Ends the command: the message goes to standard error.
struct Failure : std::runtime_error {
  explicit Failure(const std::string& message, int exit_code = kFailed)
      : std::runtime_error(message),
        code(exit_code) {}
  int code;
};

// Ends the command quietly with an exit code of its own: 1 when a check found faults.
struct ExitCode {
  int code = 0;
};

struct SessionSettings {  // the options every sub-command has
  int threads = 0;
  int32_t device = LLMC_DEVICE_CPU;
  int device_index = 0;
  int64_t memory_limit = 0;
  std::string cpu_isa;
  std::string cuda_module;
  void add_to(CLI::App& app);
};

// While it lives, Ctrl-C and SIGTERM cancel its call; the next one ends the process at once.
class Session {
 public:
  Session(const SessionSettings& settings,
          llmc_progress_fn progress = nullptr,
          llmc_log_fn log = nullptr,
          void* user_data = nullptr);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  llmc_session* get() const { return session_.get(); }

 private:
  struct Free {
    void operator()(llmc_session* session) const;
  };
  std::unique_ptr<llmc_session, Free> session_;
};

// The text of a tools call; frees it.
std::string take_json(char* json);

// Throws Failure with the error's text, and frees the error, unless status is LLMC_OK.
void check(llmc_status status, llmc_error* error);

void add_oneshot_command(CLI::App& app);
void add_eval_command(CLI::App& app);
void add_forward_command(CLI::App& app);
void add_verify_command(CLI::App& app);
void add_inspect_command(CLI::App& app);
void add_diff_command(CLI::App& app);

}  // namespace cli
