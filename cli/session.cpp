#include <atomic>
#include <csignal>

#include "command.hpp"
#include "llmc_tools.h"
#include "options.hpp"

namespace cli {

namespace {

std::atomic<llmc_session*> interrupted_session{nullptr};

void answer_interrupts(void (*handler)(int)) {
  std::signal(SIGINT, handler);
  std::signal(SIGTERM, handler);
}

void on_interrupt(int) {
  answer_interrupts(SIG_DFL);
  llmc_session_cancel(interrupted_session.load());
}

}  // namespace

void SessionSettings::add_to(CLI::App& app) {
  app.add_option("--threads", threads,
                 "Worker threads; 0: all cores this process may use. The output does not depend on it.")
      ->check(CLI::Range(0, 1024));
  add_choice(app, "--device", device,
             {{"cpu", LLMC_DEVICE_CPU}, {"cuda", LLMC_DEVICE_CUDA}, {"auto", LLMC_DEVICE_AUTO}},
             "cpu; cuda: a GPU; auto: a GPU where there is one");
  app.add_option("--device-index", device_index, "Which GPU")->check(CLI::NonNegativeNumber);
  app.add_option("--cuda-module", cuda_module,
                 "Path of libllmc_cuda.so; otherwise it is looked for beside the llmc library");
  app.add_option("--memory-limit", memory_limit,
                 "End a run that takes more memory, for example 16GB, before the system does")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--cpu-isa", cpu_isa,
                 "Pin the instruction set (sse4, avx2, avx512, avx512_bf16, amx_bf16), so that bytes repeat "
                 "on another machine");
}

void Session::Free::operator()(llmc_session* session) const { llmc_session_free(session); }

Session::Session(const SessionSettings& settings,
                 llmc_progress_fn progress,
                 llmc_log_fn log,
                 void* user_data) {
  llmc_session_options options{};
  options.struct_size = sizeof options;
  options.device_type = settings.device;
  options.device_index = settings.device_index;
  options.cuda_module = settings.cuda_module.empty() ? nullptr : settings.cuda_module.c_str();
  options.threads = settings.threads;
  options.memory_limit = settings.memory_limit;
  options.cpu_isa = settings.cpu_isa.empty() ? nullptr : settings.cpu_isa.c_str();
  options.progress = progress;
  options.progress_user_data = user_data;
  options.log = log;
  options.log_user_data = user_data;
  llmc_session* made = nullptr;
  llmc_error* error = nullptr;
  const llmc_status status = llmc_session_create(&options, &made, &error);
  check(status, error);
  session_.reset(made);
  interrupted_session = made;
  answer_interrupts(on_interrupt);
}

Session::~Session() {
  answer_interrupts(SIG_DFL);
  interrupted_session = nullptr;
}

std::string take_json(char* json) {
  std::string text = json ? json : "";
  llmc_json_free(json);
  return text;
}

void check(llmc_status status, llmc_error* error) {
  if (status == LLMC_OK) return;
  const std::string message = llmc_error_message(error);
  llmc_error_free(error);
  throw Failure(message.empty() ? llmc_status_name(status) : message,
                status == LLMC_CANCELLED ? kCancelled : kFailed);
}

}  // namespace cli
