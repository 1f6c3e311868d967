// Calls of llmc.h as a test makes them: with a result that is checked for the promises every call keeps.
#pragma once
#include <catch2/catch.hpp>

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>

#include "core/run_tools.hpp"
#include "llmc.h"

namespace llmc::test::calls {

constexpr const char* kGptq =
    "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";

// What a call returned. `error` was written: it starts as a pointer that would crash if read.
struct Result {
  llmc_status status;
  std::string message, text;  // text: the report or JSON
};
template <class Call>
inline Result outcome(Call call) {
  llmc_error* error = reinterpret_cast<llmc_error*>(16);
  const llmc_status status = call(&error);
  Result result{status, llmc_error_message(error), {}};
  CHECK(llmc_error_status(error) == status);
  CHECK((error == nullptr) == (status == LLMC_OK));
  CHECK((status == LLMC_OK || !result.message.empty()));
  CHECK(result.message.find_first_of("\n\r") == std::string::npos);
  llmc_error_free(error);
  return result;
}

struct Events {
  std::function<void(const llmc_progress&)> progress = [](const llmc_progress&) {};
  std::function<void(int32_t, const char*)> log = [](int32_t, const char*) {};
};

class Session {
 public:
  explicit Session(Events* events = nullptr, int threads = 1) {
    llmc_session_options options{};
    options.struct_size = sizeof options;
    options.threads = threads;
    if (events) {
      options.progress = [](const llmc_progress* progress, void* data) {
        static_cast<Events*>(data)->progress(*progress);
      };
      options.log = [](int32_t level, const char* line, void* data) {
        static_cast<Events*>(data)->log(level, line);
      };
      options.progress_user_data = options.log_user_data = events;
    }
    if (llmc_session_create(&options, &session_, nullptr) != LLMC_OK) throw std::runtime_error("no session");
  }
  ~Session() { llmc_session_free(session_); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  operator llmc_session*() const { return session_; }

 private:
  llmc_session* session_ = nullptr;
};

// A calibrated job on micro-llama into a folder of its own.
struct Job {
  ScratchFolder scratch;
  std::string model = golden("micro-llama"), output = scratch / "out";
  llmc::TokenBatch tokens = tokens_from(golden("micro-llama/calibration.safetensors"));
  llmc_oneshot_options options{};

  Job() {
    options.struct_size = sizeof options;
    options.model_dir = model.c_str();
    options.output_dir = output.c_str();
    options.recipe = kGptq;
    options.token_ids = tokens.token_ids.data();
    options.sequence_starts = tokens.sequence_starts.data();
    options.num_sequences = static_cast<int64_t>(tokens.sequence_starts.size()) - 1;
  }
  // Rounded to nearest: no data, a few milliseconds.
  void use_scheme(const char* scheme) {
    options.recipe = nullptr;
    options.scheme = scheme;
    options.token_ids = nullptr;
    options.sequence_starts = nullptr;
    options.num_sequences = 0;
  }
  // Without Catch's macros: for other threads.
  llmc_status run_quietly(llmc_session* session) const {
    return llmc_oneshot(session, &options, nullptr, nullptr);
  }
  Result run(llmc_session* session) const {
    llmc_report* report = reinterpret_cast<llmc_report*>(16);
    Result result = outcome(
        [&](llmc_error** error) { return llmc_oneshot(session, &options, &report, error); });
    CHECK((report != nullptr) == (result.status == LLMC_OK));
    result.text = llmc_report_json(report);
    llmc_report_free(report);
    return result;
  }
  bool left_nothing() const { return std::filesystem::is_empty(scratch.path()); }
  std::string weights() const { return read_text(output + "/model.safetensors"); }
};

inline Result create(const void* options, llmc_session** session) {
  return outcome([&](llmc_error** error) {
    return llmc_session_create(static_cast<const llmc_session_options*>(options), session, error);
  });
}
inline llmc_status create_status(const void* options) {
  llmc_session* session = reinterpret_cast<llmc_session*>(16);
  const Result result = create(options, &session);
  CHECK((session != nullptr) == (result.status == LLMC_OK));
  llmc_session_free(session);
  return result.status;
}

// A gate that one thread opens for another.
class Gate {
 public:
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  void pass() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return open_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = false;
};

}  // namespace llmc::test::calls
