#include "session.hpp"

#include "guard.hpp"
#include "llmc/backend/make_backend.hpp"

llmc::Callbacks llmc_session::callbacks() {
  llmc::Callbacks callbacks;
  callbacks.cancel = &cancel;
  callbacks.memory_limit = memory_limit;
  callbacks.memory = &memory;
  if (progress)
    callbacks.progress = [this](const llmc::Progress& p) {
      const std::string layer = llmc::one_line(p.layer);
      const llmc_progress view{p.stage.c_str(), layer.c_str(), p.step, p.steps, p.loss};
      progress(&view, progress_user_data);
    };
  if (log)
    callbacks.log = [this](int level, const std::string& line) {
      log(level, llmc::one_line(line).c_str(), log_user_data);
    };
  return callbacks;
}

namespace llmc::capi {

namespace {

llmc_session& given(llmc_session* session) {
  if (!session) throw Error(ErrorCode::invalid_argument, "session is NULL");
  return *session;
}

}  // namespace

SessionLock::SessionLock(llmc_session* session)
    : session_(session),
      memory_(MemoryTag(given(session).memory, MemoryPurpose::other)) {
  if (session->busy.exchange(true))
    throw Error(ErrorCode::invalid_argument,
                "session: another call is running on it; one call at a time per session");
}

SessionLock::~SessionLock() {
  session_->cancel.store(false);
  session_->busy.store(false);
}

}  // namespace llmc::capi

using llmc::capi::guard;

namespace {

std::unique_ptr<llmc::Backend> make_backend(const llmc_session_options& options,
                                            std::vector<std::string>& notes) {
  const auto cpu = [&] {
    return llmc::make_cpu_backend({options.threads, llmc::capi::text_or_empty(options.cpu_isa)});
  };
  if (options.device_type == LLMC_DEVICE_CPU) return cpu();
  try {
    return llmc::make_cuda_backend(
        {llmc::capi::text_or_empty(options.cuda_module), options.device_index, options.device_memory_limit},
        cpu());
  } catch (const llmc::Error& error) {
    if (options.device_type == LLMC_DEVICE_CUDA ||
        (error.code() != llmc::ErrorCode::unsupported && error.code() != llmc::ErrorCode::out_of_memory))
      throw;
    notes.push_back("ran on the CPU: " + std::string(error.what()));
    return cpu();
  }
}

}  // namespace

llmc_status llmc_session_create(const llmc_session_options* given,
                                llmc_session** session,
                                llmc_error** error) {
  if (session) *session = nullptr;
  return guard(error, [&] {
    if (!session)
      throw llmc::Error(llmc::ErrorCode::invalid_argument, "llmc_session_create: session is NULL");
    const auto options = llmc::capi::read_options(given, "llmc_session_options");
    if (options.device_type < LLMC_DEVICE_CPU || options.device_type > LLMC_DEVICE_AUTO)
      throw llmc::Error(llmc::ErrorCode::invalid_argument,
                        "llmc_session_options.device_type is " + std::to_string(options.device_type) +
                            "; wanted LLMC_DEVICE_CPU, LLMC_DEVICE_CUDA or LLMC_DEVICE_AUTO");
    if (options.device_index < 0 || (options.device_type == LLMC_DEVICE_CPU && options.device_index != 0))
      throw llmc::Error(llmc::ErrorCode::invalid_argument,
                        "llmc_session_options.device_index is " + std::to_string(options.device_index) +
                            "; the CPU is device 0");
    if (options.threads < 0 || options.threads > 1024)
      throw llmc::Error(
          llmc::ErrorCode::invalid_argument,
          "llmc_session_options.threads is " + std::to_string(options.threads) + "; wanted 0 to 1024");
    for (const auto& [limit, name] : {std::pair(options.memory_limit, "memory_limit"),
                                      {options.device_memory_limit, "device_memory_limit"}})
      if (limit < 0)
        throw llmc::Error(llmc::ErrorCode::invalid_argument,
                          "llmc_session_options." + std::string(name) + " is " + std::to_string(limit) +
                              "; wanted bytes, or 0 for none");
    auto made = std::make_unique<llmc_session>();
    made->backend = make_backend(options, made->notes);
    made->backend->watch(&made->cancel);
    made->device = made->backend->description();
    made->progress = options.progress;
    made->progress_user_data = options.progress_user_data;
    made->log = options.log;
    made->log_user_data = options.log_user_data;
    made->memory_limit = options.memory_limit;
    *session = made.release();
  });
}

void llmc_session_free(llmc_session* session) { delete session; }
const char* llmc_session_device(const llmc_session* session) {
  return session ? session->device.c_str() : "";
}
void llmc_session_cancel(llmc_session* session) {
  if (session) session->cancel.store(true, std::memory_order_relaxed);
}
