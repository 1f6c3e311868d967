// llmc from C++17: a header-only layer over the C interface (llmc.h and llmc_tools.h are the manual). Link
// libllmc, nothing else.
// llmc_model.hpp has the model in parts, llmc_tensor.hpp the parts for a forward pass of your own.
//
//   llmc::Session session;
//   llmc::Oneshot job;
//   job.model = "Llama-3-8B"; job.recipe = "w4a16.yaml"; job.dataset = "chats.jsonl"; job.output =
//   "Llama-3-8B-W4A16";
//   llmc::Report report = session.oneshot(job);                // throws llmc::Error
//
// A callback may throw: the call ends, and the exception goes on in the caller once the library has returned.
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
  llmc_status status() const noexcept { return status_; }                  // LLMC_IO
  const char* name() const noexcept { return llmc_status_name(status_); }  // "LLMC_IO"

 private:
  llmc_status status_;
};

namespace detail {

template <class T, void (*free_object)(T*)>
struct Freed {
  void operator()(T* object) const noexcept { free_object(object); }
};
// An object of the C interface.
template <class T, void (*free_object)(T*)>
using Owned = std::unique_ptr<T, Freed<T, free_object>>;
using OwnedError = Owned<llmc_error, llmc_error_free>;
using OwnedReport = Owned<llmc_report, llmc_report_free>;
using OwnedJson = Owned<char, llmc_json_free>;

inline void check(llmc_status status, OwnedError error) {
  if (status != LLMC_OK) throw Error(status, llmc_error_message(error.get()));
}
// Makes a call that takes no session.
template <class Call>
void checked(Call&& call) {
  llmc_error* error = nullptr;
  const llmc_status status = call(&error);
  check(status, OwnedError(error));
}
// What a call writes through its first argument.
template <class Object, class Call>
Object made(Call&& call) {
  typename Object::pointer object = nullptr;
  checked([&](llmc_error** error) { return call(&object, error); });
  return Object(object);
}

template <class Options>
Options options() {
  Options options{};
  options.struct_size = sizeof(Options);
  return options;
}

inline const char* text_or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }
inline int32_t tri_state(const std::optional<bool>& on) {
  return !on ? LLMC_DEFAULT : *on ? LLMC_ON : LLMC_OFF;
}

}  // namespace detail

// A model that lies in no folder: in the memory of a trainer, say. llmc_tensor.hpp makes one of tensors.
struct Source {
  struct Tensor {
    std::string name;  // "model.layers.0.mlp.up_proj.weight"
    int32_t dtype = 0;
    std::vector<int64_t> shape;
  };
  std::string config_json;      // the text of config.json
  std::vector<Tensor> tensors;  // the output keeps their order
  // Writes bytes [offset, offset + bytes) of tensors[tensor] to `to`, as llmc_read_fn does; may throw. One
  // call at a time, perhaps on a thread of llmc's.
  std::function<void(int64_t tensor, int64_t offset, int64_t bytes, void* to)> read;
};

struct SessionOptions {
  int32_t device_type = LLMC_DEVICE_CPU, device_index = 0;
  int32_t threads = 0;                                // 0: the cores this process may use
  std::string cpu_isa;                                // empty: the best there is
  std::string cuda_module;                            // empty: beside the library
  int64_t memory_limit = 0, device_memory_limit = 0;  // bytes; 0: none
  std::function<void(const llmc_progress&)> progress;
  std::function<void(int32_t level, const char* line)> log;
};

// The fields of llmc_oneshot_options; empty and zero mean default.
struct Oneshot {
  std::string model, output, recipe, scheme, stage, dataset, tokenizer, text_column, template_date;
  const Source* source = nullptr;               // instead of model
  std::vector<std::vector<int32_t>> token_ids;  // instead of a data set
  int64_t num_calibration_samples = 0, max_seq_length = 0, max_shard_bytes = 0;
  std::optional<uint64_t> shuffle_seed;  // set: shuffled
  std::optional<bool> concatenate_data, save_compressed, tie_word_embeddings, overwrite;
  int32_t compat = 0, rounding = 0, propagation = 0;  // LLMC_COMPAT_*, LLMC_ROUNDING_*, LLMC_PROPAGATION_*
};

struct Evaluate {
  std::string model, text, reference, tokenizer;
  int64_t window = 0;
  int32_t dtype = 0;  // LLMC_DTYPE_*
};

// One quantized matrix of a report; llmc_linear_facts says what the fields are.
struct Linear {
  std::string name, scheme, method, note;
  double relative_error = 0, loss = 0, dampening = 0, seconds = 0;
};

class Report {
 public:
  explicit Report(llmc_report* report) : report_(report) {}
  const char* json() const noexcept { return llmc_report_json(report_.get()); }  // borrowed
  llmc_report_facts facts() const {
    auto facts = detail::options<llmc_report_facts>();
    detail::checked([&](llmc_error** error) { return llmc_report_info(report_.get(), &facts, error); });
    return facts;
  }
  std::vector<Linear> linears() const {  // in the order they were quantized
    std::vector<Linear> linears;
    for (int64_t i = 0; i < llmc_report_count(report_.get()); ++i) {
      auto f = detail::options<llmc_linear_facts>();
      detail::checked([&](llmc_error** error) { return llmc_report_linear(report_.get(), i, &f, error); });
      linears.push_back(
          {f.name, f.scheme, f.method, f.note, f.relative_error, f.loss, f.dampening, f.seconds});
    }
    return linears;
  }

 private:
  detail::OwnedReport report_;
};

namespace detail {

// A source as C sees it. Stays where it is while C holds it.
class LentSource {
 public:
  explicit LentSource(const Source& source) : source_(source) {
    for (const Source::Tensor& tensor : source_.tensors)
      tensors_.push_back({sizeof(llmc_source_tensor), tensor.dtype, tensor.name.c_str(), tensor.shape.data(),
                          static_cast<int32_t>(tensor.shape.size()), 0});
    raw_ = {sizeof raw_,
            0,
            source_.config_json.c_str(),
            tensors_.data(),
            static_cast<int64_t>(tensors_.size()),
            source_.read ? on_read : nullptr,
            this};
  }
  LentSource(const LentSource&) = delete;
  LentSource& operator=(const LentSource&) = delete;
  const llmc_tensor_source* get() const noexcept { return &raw_; }
  std::exception_ptr take_thrown() noexcept { return std::exchange(thrown_, nullptr); }

 private:
  static int32_t on_read(void* lent, int64_t tensor, int64_t offset, int64_t bytes, void* to) {
    auto& self = *static_cast<LentSource*>(lent);
    if (self.thrown_) return 1;
    try {
      self.source_.read(tensor, offset, bytes, to);
      return 0;
    } catch (...) {
      self.thrown_ = std::current_exception();
      return 1;
    }
  }

  const Source& source_;
  std::vector<llmc_source_tensor> tensors_;
  llmc_tensor_source raw_{};
  std::exception_ptr thrown_;  // apart from the session's: reading may run beside its callbacks
};

// llmc_oneshot_options with all it points to.
class OneshotArguments {
 public:
  explicit OneshotArguments(const Oneshot& job) : options_(detail::options<llmc_oneshot_options>()) {
    options_.compat = job.compat;
    options_.model_dir = text_or_null(job.model);
    options_.output_dir = text_or_null(job.output);
    options_.recipe = text_or_null(job.recipe);
    options_.scheme = text_or_null(job.scheme);
    options_.stage = text_or_null(job.stage);
    options_.dataset = text_or_null(job.dataset);
    options_.tokenizer_dir = text_or_null(job.tokenizer);
    options_.text_column = text_or_null(job.text_column);
    options_.template_date = text_or_null(job.template_date);
    options_.num_calibration_samples = job.num_calibration_samples;
    options_.max_seq_length = job.max_seq_length;
    options_.shuffle_seed = job.shuffle_seed.value_or(0);
    options_.max_shard_bytes = job.max_shard_bytes;
    options_.shuffle = job.shuffle_seed ? LLMC_ON : LLMC_DEFAULT;
    options_.concatenate_data = tri_state(job.concatenate_data);
    options_.rounding = job.rounding;
    options_.propagation = job.propagation;
    options_.save_compressed = tri_state(job.save_compressed);
    options_.tie_word_embeddings = tri_state(job.tie_word_embeddings);
    options_.overwrite = tri_state(job.overwrite);
    if (job.source) options_.source = source_.emplace(*job.source).get();
    if (job.token_ids.empty()) return;
    for (const std::vector<int32_t>& sequence : job.token_ids) {
      token_ids_.insert(token_ids_.end(), sequence.begin(), sequence.end());
      sequence_starts_.push_back(static_cast<int64_t>(token_ids_.size()));
    }
    token_ids_.reserve(1);  // sequences that are all empty are the library's to refuse
    options_.token_ids = token_ids_.data();
    options_.sequence_starts = sequence_starts_.data();
    options_.num_sequences = static_cast<int64_t>(job.token_ids.size());
  }
  OneshotArguments(const OneshotArguments&) = delete;
  OneshotArguments& operator=(const OneshotArguments&) = delete;
  const llmc_oneshot_options* get() const noexcept { return &options_; }
  LentSource* source() noexcept { return source_ ? &*source_ : nullptr; }

 private:
  llmc_oneshot_options options_;
  std::vector<int32_t> token_ids_;           // [sequence_starts_.back()]
  std::vector<int64_t> sequence_starts_{0};  // [sequences + 1]
  std::optional<LentSource> source_;
};

// What is behind a Session, and what a Model of it keeps alive. Stays where it is when they move: the C
// callbacks point to it.
struct SessionState {
  struct Modifier {
    SessionState* state;
    std::function<void(const llmc_matrix_job&)> quantize;
  };
  std::function<void(const llmc_progress&)> progress;
  std::function<void(int32_t, const char*)> log;
  std::vector<std::unique_ptr<Modifier>> modifiers;
  std::exception_ptr thrown;
  Owned<llmc_session, llmc_session_free> session;

  // false: this callback, or an earlier one of the call, threw.
  template <class Body>
  bool guarded(Body&& body) noexcept {
    if (thrown) return false;
    try {
      body();
      return true;
    } catch (...) {
      thrown = std::current_exception();
      llmc_session_cancel(session.get());
      return false;
    }
  }
  static void on_progress(const llmc_progress* progress, void* state) {
    static_cast<SessionState*>(state)->guarded(
        [&] { static_cast<SessionState*>(state)->progress(*progress); });
  }
  static void on_log(int32_t level, const char* line, void* state) {
    static_cast<SessionState*>(state)->guarded([&] { static_cast<SessionState*>(state)->log(level, line); });
  }
  static int32_t on_matrix(void* modifier, const llmc_matrix_job* job) {
    const auto& self = *static_cast<Modifier*>(modifier);
    return self.state->guarded([&] { self.quantize(*job); }) ? 0 : 1;
  }

  // Makes a call of this session; what a callback threw goes on here.
  template <class Call>
  void call(Call&& call, LentSource* source = nullptr) {
    llmc_error* error = nullptr;
    const llmc_status status = call(session.get(), &error);
    OwnedError owner(error);
    std::exception_ptr problem = std::exchange(thrown, nullptr);
    // taken in any case: the next call starts afresh
    std::exception_ptr unread = source ? source->take_thrown() : nullptr;
    if (!problem) problem = std::move(unread);
    if (problem) std::rethrow_exception(problem);
    check(status, std::move(owner));
  }
  // What a call writes through its second argument; freed when the call, or a callback within it, failed.
  template <class Object, class Call>
  Object made(Call&& call, LentSource* source = nullptr) {
    Object object;
    this->call(
        [&](llmc_session* on, llmc_error** error) {
          typename Object::pointer raw = nullptr;
          const llmc_status status = call(on, &raw, error);
          object.reset(raw);
          return status;
        },
        source);
    return object;
  }
};

}  // namespace detail

class Session {
 public:
  explicit Session(SessionOptions options = {}) : state_(std::make_shared<detail::SessionState>()) {
    auto settings = detail::options<llmc_session_options>();
    settings.device_type = options.device_type;
    settings.device_index = options.device_index;
    settings.threads = options.threads;
    settings.cpu_isa = detail::text_or_null(options.cpu_isa);
    settings.cuda_module = detail::text_or_null(options.cuda_module);
    settings.memory_limit = options.memory_limit;
    settings.device_memory_limit = options.device_memory_limit;
    if (options.progress) settings.progress = detail::SessionState::on_progress;
    if (options.log) settings.log = detail::SessionState::on_log;
    settings.progress_user_data = settings.log_user_data = state_.get();
    state_->progress = std::move(options.progress);
    state_->log = std::move(options.log);
    llmc_session* session = nullptr;
    llmc_error* error = nullptr;
    const llmc_status status = llmc_session_create(&settings, &session, &error);
    state_->session.reset(session);
    detail::check(status, detail::OwnedError(error));
  }
  Session(Session&&) noexcept = default;
  Session& operator=(Session&&) noexcept = default;

  llmc_session* get() const noexcept { return state_->session.get(); }
  std::string device() const { return llmc_session_device(get()); }
  // From any thread, any callback, a signal handler.
  void cancel() const noexcept { llmc_session_cancel(get()); }

  // Recipes of this session may name the modifier `type` from now on. `quantize` sees matrix by matrix and
  // changes job.codes in place (llmc_tensor.h); it may throw.
  void add_modifier(const std::string& type,
                    int32_t needs,
                    std::function<void(const llmc_matrix_job&)> quantize) {
    auto modifier = detail::options<llmc_modifier>();
    modifier.needs = needs;
    modifier.type = type.c_str();
    auto held = std::make_unique<detail::SessionState::Modifier>();
    held->state = state_.get();
    held->quantize = std::move(quantize);
    if (held->quantize) modifier.quantize = detail::SessionState::on_matrix;
    modifier.user_data = held.get();
    // what can throw comes before C has the pointer
    state_->modifiers.reserve(state_->modifiers.size() + 1);
    state_->call([&](llmc_session* session, llmc_error** error) {
      return llmc_session_add_modifier(session, &modifier, error);
    });
    state_->modifiers.push_back(std::move(held));
  }

  Report oneshot(const Oneshot& job) {
    detail::OneshotArguments options(job);
    return Report(state_
                      ->made<detail::OwnedReport>(
                          [&](llmc_session* session, llmc_report** report, llmc_error** error) {
                            return llmc_oneshot(session, options.get(), report, error);
                          },
                          options.source())
                      .release());
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

  // For calls of the C interface on this session: call(session, &error) returns its status. An error, or what
  // a callback threw, goes on here.
  template <class Call>
  void call(Call&& call) {
    state_->call(std::forward<Call>(call));
  }
  // for the other headers
  const std::shared_ptr<detail::SessionState>& state() const noexcept { return state_; }

 private:
  template <class Options>
  std::string json_of(llmc_status (*function)(llmc_session*, const Options*, char**, llmc_error**),
                      const Options& options) {
    return state_
        ->made<detail::OwnedJson>([&](llmc_session* session, char** json, llmc_error** error) {
          return function(session, &options, json, error);
        })
        .get();
  }

  std::shared_ptr<detail::SessionState> state_;  // never shared but with Models
};

inline std::string version() { return llmc_version(); }
inline std::string features() { return llmc_features(); }

}  // namespace c_interface
}  // namespace llmc
#endif
