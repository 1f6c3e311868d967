// llmc from C++17: a header-only layer over the C interface (llmc.h and llmc_tools.h are the manual). Link libllmc, nothing else.
//
//   llmc::Session session;
//   llmc::Oneshot job;
//   job.model = "Llama-3-8B"; job.recipe = "w4a16.yaml"; job.dataset = "chats.jsonl"; job.output = "Llama-3-8B-W4A16";
//   llmc::Report report = session.oneshot(job);                // throws llmc::Error
//
// A callback may throw: the call is cancelled, and the exception goes on in the caller once the library has returned.
#ifndef LLMC_HPP
#define LLMC_HPP

#include <llmc.h>
#include <llmc_tools.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace llmc {
inline namespace c_interface {  // other names for the linker than the C++ core's

class Error : public std::runtime_error {
 public:
  Error(llmc_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  llmc_status status() const noexcept { return status_; }                         // LLMC_IO
  const char* name() const noexcept { return llmc_status_name(status_); }        // "LLMC_IO"

 private:
  llmc_status status_;
};

namespace detail {

struct Free {
  void operator()(llmc_session* session) const noexcept { llmc_session_free(session); }
  void operator()(llmc_report* report) const noexcept { llmc_report_free(report); }
  void operator()(llmc_error* error) const noexcept { llmc_error_free(error); }
  void operator()(char* json) const noexcept { llmc_json_free(json); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

inline void check(llmc_status status, llmc_error* error) {
  const Owned<llmc_error> owner(error);
  if (status != LLMC_OK) throw Error(status, llmc_error_message(error));
}

template <class Options>
Options options() {
  Options options{};
  options.struct_size = sizeof(Options);
  return options;
}

inline const char* text_or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }
inline int32_t tri_state(const std::optional<bool>& on) { return !on ? LLMC_DEFAULT : *on ? LLMC_ON : LLMC_OFF; }

}  // namespace detail

struct SessionOptions {
  int32_t device_type = LLMC_DEVICE_CPU, device_index = 0;
  int32_t threads = 0;   // 0: the cores this process may use
  std::string cpu_isa;      // empty: the best there is
  std::string cuda_module;  // empty: beside the library
  std::function<void(const llmc_progress&)> progress;
  std::function<void(int32_t level, const char* line)> log;
};

// The fields of llmc_oneshot_options; empty and zero mean default.
struct Oneshot {
  std::string model, output, recipe, scheme, stage, dataset, tokenizer, text_column, template_date;
  const llmc_tensor_source* source = nullptr;   // instead of model
  std::vector<std::vector<int32_t>> token_ids;  // instead of a data set
  int64_t num_calibration_samples = 0, max_seq_length = 0, max_shard_bytes = 0;
  std::optional<uint64_t> shuffle_seed;         // set: shuffled
  std::optional<bool> concatenate_data, save_compressed, tie_word_embeddings, overwrite;
  int32_t compat = 0, rounding = 0, propagation = 0;  // LLMC_COMPAT_*, LLMC_ROUNDING_*, LLMC_PROPAGATION_*
};

struct Evaluate {
  std::string model, text, reference, tokenizer;
  int64_t window = 0;
  int32_t dtype = 0;  // LLMC_DTYPE_*
};

class Report {
 public:
  explicit Report(llmc_report* report) : report_(report) {}
  const char* json() const noexcept { return llmc_report_json(report_.get()); }  // borrowed

 private:
  detail::Owned<llmc_report> report_;
};

class Session {
 public:
  explicit Session(SessionOptions options = {}) : state_(std::make_unique<State>()) {
    auto settings = detail::options<llmc_session_options>();
    settings.device_type = options.device_type;
    settings.device_index = options.device_index;
    settings.threads = options.threads;
    settings.cpu_isa = detail::text_or_null(options.cpu_isa);
    settings.cuda_module = detail::text_or_null(options.cuda_module);
    if (options.progress) settings.progress = on_progress;
    if (options.log) settings.log = on_log;
    settings.progress_user_data = settings.log_user_data = state_.get();
    state_->progress = std::move(options.progress);
    state_->log = std::move(options.log);
    llmc_session* session = nullptr;
    llmc_error* error = nullptr;
    const llmc_status status = llmc_session_create(&settings, &session, &error);
    state_->session.reset(session);
    detail::check(status, error);
  }

  llmc_session* get() const noexcept { return state_->session.get(); }
  std::string device() const { return llmc_session_device(get()); }
  // From any thread, any callback, a signal handler.
  void cancel() const noexcept { llmc_session_cancel(get()); }

  Report oneshot(const Oneshot& job) {
    auto options = detail::options<llmc_oneshot_options>();
    options.compat = job.compat;
    options.model_dir = job.model.c_str();
    options.output_dir = job.output.c_str();
    options.recipe = detail::text_or_null(job.recipe);
    options.scheme = detail::text_or_null(job.scheme);
    options.stage = detail::text_or_null(job.stage);
    options.dataset = detail::text_or_null(job.dataset);
    options.tokenizer_dir = detail::text_or_null(job.tokenizer);
    options.text_column = detail::text_or_null(job.text_column);
    options.template_date = detail::text_or_null(job.template_date);
    options.num_calibration_samples = job.num_calibration_samples;
    options.max_seq_length = job.max_seq_length;
    options.shuffle_seed = job.shuffle_seed.value_or(0);
    options.max_shard_bytes = job.max_shard_bytes;
    options.shuffle = job.shuffle_seed ? LLMC_ON : LLMC_DEFAULT;
    options.concatenate_data = detail::tri_state(job.concatenate_data);
    options.rounding = job.rounding;
    options.propagation = job.propagation;
    options.save_compressed = detail::tri_state(job.save_compressed);
    options.tie_word_embeddings = detail::tri_state(job.tie_word_embeddings);
    options.overwrite = detail::tri_state(job.overwrite);
    options.source = job.source;
    std::vector<int32_t> token_ids;           // [sequence_starts.back()]
    std::vector<int64_t> sequence_starts{0};  // [sequences + 1]
    for (const std::vector<int32_t>& sequence : job.token_ids) {
      token_ids.insert(token_ids.end(), sequence.begin(), sequence.end());
      sequence_starts.push_back(static_cast<int64_t>(token_ids.size()));
    }
    if (!job.token_ids.empty()) {
      token_ids.reserve(1);  // sequences that are all empty are the library's to refuse
      options.token_ids = token_ids.data();
      options.sequence_starts = sequence_starts.data();
      options.num_sequences = static_cast<int64_t>(job.token_ids.size());
    }
    llmc_report* report = nullptr;
    return Report(result_of(report, [&](llmc_error** error) { return llmc_oneshot(get(), &options, &report, error); }));
  }

  // JSON text, whose keys llmc_tools.h names.
  std::string evaluate(const Evaluate& job) {
    auto options = detail::options<llmc_eval_options>();
    options.dtype = job.dtype;
    options.model_dir = job.model.c_str();
    options.reference_dir = detail::text_or_null(job.reference);
    options.text = job.text.c_str();
    options.tokenizer_dir = detail::text_or_null(job.tokenizer);
    options.window = job.window;
    return json_of(llmc_eval, options);
  }
  std::string verify(const std::string& model, const std::string& source = {}) {
    auto options = detail::options<llmc_verify_options>();
    options.model_dir = model.c_str();
    options.source_dir = detail::text_or_null(source);
    return json_of(llmc_verify, options);
  }
  std::string inspect(const std::string& model) {
    auto options = detail::options<llmc_inspect_options>();
    options.model_dir = model.c_str();
    return json_of(llmc_inspect, options);
  }
  std::string diff(const std::string& a, const std::string& b) {
    auto options = detail::options<llmc_diff_options>();
    options.a_dir = a.c_str();
    options.b_dir = b.c_str();
    return json_of(llmc_diff, options);
  }
  std::string dequantize(const std::string& model, const std::string& output) {
    auto options = detail::options<llmc_dequantize_options>();
    options.model_dir = model.c_str();
    options.output_dir = output.c_str();
    return json_of(llmc_dequantize, options);
  }

 private:
  // Stays where it is when the Session moves: the C callbacks point to it.
  struct State {
    std::function<void(const llmc_progress&)> progress;
    std::function<void(int32_t, const char*)> log;
    std::exception_ptr thrown;
    detail::Owned<llmc_session> session;

    template <class Body>
    void guarded(Body&& body) noexcept {
      if (thrown) return;
      try {
        body();
      } catch (...) {
        thrown = std::current_exception();
        llmc_session_cancel(session.get());
      }
    }
  };

  static void on_progress(const llmc_progress* progress, void* state) {
    static_cast<State*>(state)->guarded([&] { static_cast<State*>(state)->progress(*progress); });
  }
  static void on_log(int32_t level, const char* line, void* state) {
    static_cast<State*>(state)->guarded([&] { static_cast<State*>(state)->log(level, line); });
  }

  // Makes the call; what it left in `result` is freed when it, or a callback within it, failed.
  template <class T, class Call>
  T* result_of(T*& result, Call&& call) {
    llmc_error* error = nullptr;
    const llmc_status status = call(&error);
    detail::Owned<T> owner(result);
    detail::Owned<llmc_error> error_owner(error);
    if (state_->thrown) std::rethrow_exception(std::exchange(state_->thrown, nullptr));
    detail::check(status, error_owner.release());
    return owner.release();
  }

  template <class Options>
  std::string json_of(llmc_status (*function)(llmc_session*, const Options*, char**, llmc_error**), const Options& options) {
    char* json = nullptr;
    const detail::Owned<char> owner(result_of(json, [&](llmc_error** error) { return function(get(), &options, &json, error); }));
    return owner.get();
  }

  std::unique_ptr<State> state_;
};

inline std::string version() { return llmc_version(); }
inline std::string features() { return llmc_features(); }

}  // namespace c_interface
}  // namespace llmc
#endif
