// The promises of llmc.h and llmc_tools.h, one by one, as a caller sees them.
#include <catch2/catch.hpp>

#include <climits>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <functional>
#include <mutex>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "core/run_tools.hpp"
#include "guard.hpp"
#include "llmc.h"
#include "llmc_tools.h"

using Catch::Contains;
using Json = nlohmann::json;
namespace test = llmc::test;

namespace {

constexpr const char* kGptq =
    "q_stage: {q_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";

// What a call returned. `error` was written: it starts as a pointer that would crash if read.
struct Result {
  llmc_status status;
  std::string message, text;  // text: the report or JSON
};
template <class Call>
Result outcome(Call call) {
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
  test::ScratchFolder scratch;
  std::string model = test::golden("micro-llama"), output = scratch / "out";
  llmc::TokenBatch tokens = test::tokens_from(test::golden("micro-llama/calibration.safetensors"));
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
  std::string weights() const { return test::read_text(output + "/model.safetensors"); }
};

Result create(const void* options, llmc_session** session) {
  return outcome([&](llmc_error** error) {
    return llmc_session_create(static_cast<const llmc_session_options*>(options), session, error);
  });
}
llmc_status create_status(const void* options) {
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

}  // namespace

TEST_CASE("the version is the header's and the features name the CPU") {
  CHECK(llmc_version() ==
        std::to_string(LLMC_VERSION_MAJOR) + "." + std::to_string(LLMC_VERSION_MINOR) + "." +
            std::to_string(LLMC_VERSION_PATCH));
  CHECK_THAT(llmc_features(), Contains("cpu"));
}

TEST_CASE("every status has its name, and numbers from the future have one too") {
  CHECK(llmc_status_name(LLMC_OK) == std::string("LLMC_OK"));
  CHECK(llmc_status_name(LLMC_NOT_FOUND) == std::string("LLMC_NOT_FOUND"));
  CHECK(llmc_status_name(LLMC_INTERNAL) == std::string("LLMC_INTERNAL"));
  for (const llmc_status unknown : {-1, LLMC_INTERNAL + 1, 1000, INT_MIN, INT_MAX})
    CHECK(llmc_status_name(unknown) == std::string("LLMC_UNKNOWN"));
}

TEST_CASE("NULL may be freed, read and cancelled") {
  llmc_error_free(nullptr);
  llmc_report_free(nullptr);
  llmc_session_free(nullptr);
  llmc_json_free(nullptr);
  llmc_session_cancel(nullptr);
  CHECK(llmc_error_status(nullptr) == LLMC_OK);
  CHECK(llmc_error_message(nullptr) == std::string());
  CHECK(llmc_report_json(nullptr) == std::string());
  CHECK(llmc_session_device(nullptr) == std::string());
}

TEST_CASE("a missing session, options or output pointer is an argument error") {
  const Session session;
  Job job;
  CHECK(create(nullptr, nullptr).status == LLMC_INVALID_ARGUMENT);
  CHECK(job.run(nullptr).status == LLMC_INVALID_ARGUMENT);
  CHECK(outcome([&](llmc_error** e) { return llmc_oneshot(session, nullptr, nullptr, e); }).status ==
        LLMC_INVALID_ARGUMENT);
  char* json = nullptr;
  CHECK(outcome([&](llmc_error** e) { return llmc_eval(nullptr, nullptr, &json, e); }).status ==
        LLMC_INVALID_ARGUMENT);
  CHECK(outcome([&](llmc_error** e) { return llmc_eval(session, nullptr, &json, e); }).status ==
        LLMC_INVALID_ARGUMENT);
  CHECK(outcome([&](llmc_error** e) { return llmc_eval(session, nullptr, nullptr, e); }).status ==
        LLMC_INVALID_ARGUMENT);
  CHECK(outcome([&](llmc_error** e) { return llmc_forward(nullptr, nullptr, e); }).status ==
        LLMC_INVALID_ARGUMENT);
  CHECK(outcome([&](llmc_error** e) { return llmc_forward(session, nullptr, e); }).status ==
        LLMC_INVALID_ARGUMENT);
  CHECK(job.left_nothing());
}

TEST_CASE("no error pointer is needed, neither to succeed nor to fail") {
  const Session session;
  Job job;
  job.use_scheme("FP8_DYNAMIC");
  CHECK(llmc_oneshot(nullptr, &job.options, nullptr, nullptr) == LLMC_INVALID_ARGUMENT);
  CHECK(llmc_oneshot(session, &job.options, nullptr, nullptr) == LLMC_OK);
  CHECK(llmc_session_create(nullptr, nullptr, nullptr) == LLMC_INVALID_ARGUMENT);
}

TEST_CASE("a struct_size that no header has is refused") {
  for (const uint32_t size : {0u, 4u, 7u, 20u, 65537u, UINT32_MAX}) {  // 20 would cut a pointer in half
    CAPTURE(size);
    llmc_session_options session_options{};
    session_options.struct_size = size;
    CHECK(create_status(&session_options) == LLMC_INVALID_ARGUMENT);
  }
  const Session session;
  for (const uint32_t size : {0u, 4u, 7u, UINT32_MAX}) {
    Job job;
    job.options.struct_size = size;
    CHECK_THAT(job.run(session).message, Contains("struct_size"));
    llmc_eval_options eval{};
    eval.struct_size = size;
    char* json = nullptr;
    CHECK(outcome([&](llmc_error** e) { return llmc_eval(session, &eval, &json, e); }).status ==
          LLMC_INVALID_ARGUMENT);
    llmc_forward_options forward{};
    forward.struct_size = size;
    CHECK(outcome([&](llmc_error** e) { return llmc_forward(session, &forward, e); }).status ==
          LLMC_INVALID_ARGUMENT);
  }
}

TEST_CASE("a newer caller's struct works while its unknown tail is zero") {
  struct NewerSession {
    llmc_session_options known;
    uint64_t later[2];
  } newer{};
  newer.known.struct_size = sizeof newer;
  CHECK(create_status(&newer) == LLMC_OK);
  newer.later[1] = uint64_t{1} << 63;  // the last byte
  CHECK(create_status(&newer) == LLMC_UNSUPPORTED);

  const Session session;
  Job job;
  job.use_scheme("FP8_DYNAMIC");
  struct NewerOneshot {
    llmc_oneshot_options known;
    uint64_t later;
  } newer_job{job.options, 0};
  newer_job.known.struct_size = sizeof newer_job;
  newer_job.later = 1;
  CHECK(outcome([&](llmc_error** e) { return llmc_oneshot(session, &newer_job.known, nullptr, e); }).status ==
        LLMC_UNSUPPORTED);
  CHECK(job.left_nothing());
  newer_job.later = 0;
  CHECK(outcome([&](llmc_error** e) { return llmc_oneshot(session, &newer_job.known, nullptr, e); }).status ==
        LLMC_OK);
}

TEST_CASE("an older caller's smaller struct is read up to its size and no further") {
  const Session session;
  Job job;
  job.use_scheme("FP8_DYNAMIC");
  constexpr size_t kOld = offsetof(llmc_oneshot_options, stage);
  alignas(8) unsigned char memory[sizeof(llmc_oneshot_options)];
  std::memset(memory, 0xff, sizeof memory);  // what lies behind the older struct
  std::memcpy(memory, &job.options, kOld);
  const uint32_t size = kOld;
  std::memcpy(memory, &size, sizeof size);
  CHECK(outcome([&](llmc_error** e) {
          return llmc_oneshot(session, reinterpret_cast<llmc_oneshot_options*>(memory), nullptr, e);
        }).status == LLMC_OK);

  std::memset(memory, 0xff, sizeof memory);
  const llmc_session_options two_threads{offsetof(llmc_session_options, cpu_isa),
                                         LLMC_DEVICE_CPU,
                                         0,
                                         2,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         nullptr,
                                         0,
                                         0};
  std::memcpy(memory, &two_threads, two_threads.struct_size);
  llmc_session* made = nullptr;
  CHECK(create(memory, &made).status == LLMC_OK);
  CHECK_THAT(llmc_session_device(made), Contains("2 threads"));
  llmc_session_free(made);
}

TEST_CASE("enum values that this library does not know are refused, not guessed") {
  const Session session;
  using Options = llmc_oneshot_options;
  for (int32_t Options::*member :
       {&Options::compat, &Options::rounding, &Options::propagation, &Options::save_compressed,
        &Options::tie_word_embeddings, &Options::overwrite, &Options::shuffle, &Options::concatenate_data})
    for (const int32_t value : {-1, 3, INT_MAX}) {
      Job job;
      job.options.*member = value;
      const Result result = job.run(session);
      CHECK(result.status == LLMC_INVALID_ARGUMENT);
      CHECK_THAT(result.message, Contains(std::to_string(value)));
    }
  for (const int32_t value : {-1, 3, INT_MAX}) {
    llmc_session_options options{};
    options.struct_size = sizeof options;
    options.device_type = value;
    CHECK(create_status(&options) == LLMC_INVALID_ARGUMENT);
    llmc_forward_options forward{sizeof forward, value, "model", "in", "out"};
    CHECK_THAT(outcome([&](llmc_error** e) { return llmc_forward(session, &forward, e); }).message,
               Contains("dtype"));
  }
}

TEST_CASE("session options out of range are named") {
  llmc_session_options options{};
  options.struct_size = sizeof options;
  llmc_session* session = nullptr;
  options.device_index = 1;
  CHECK_THAT(create(&options, &session).message, Contains("device_index"));
  options.device_index = 0;
  options.threads = -1;
  CHECK_THAT(create(&options, &session).message, Contains("threads"));
  options.threads = 1;
  options.cpu_isa = "z80";
  CHECK_THAT(create(&options, &session).message, Contains("z80"));
  CHECK(session == nullptr);
}

TEST_CASE(
    "a CUDA session without its module says what is missing, and an automatic one runs on the CPU with a "
    "note") {
  llmc_session_options options{};
  options.struct_size = sizeof options;
  options.device_type = LLMC_DEVICE_CUDA;
  options.threads = 1;
  options.cuda_module = "/no/such/folder/libllmc_cuda.so";
  llmc_session* session = nullptr;
  const Result none = create(&options, &session);
  CHECK((none.status == LLMC_UNSUPPORTED && session == nullptr));
  CHECK_THAT(none.message, Contains("cannot load the CUDA module") && Contains("libllmc_cuda.so"));
  options.cuda_module = "libm.so.6";
  CHECK_THAT(create(&options, &session).message, Contains("'libm.so.6' is no CUDA module of llmc"));
  options.device_index = -1;
  CHECK_THAT(create(&options, &session).message, Contains("device_index"));
  options.device_index = 0;
  options.device_type = LLMC_DEVICE_AUTO;
  REQUIRE(create(&options, &session).status == LLMC_OK);
  CHECK_THAT(llmc_session_device(session), Contains("cpu "));
  Job job;
  llmc_report* report = nullptr;
  REQUIRE(llmc_oneshot(session, &job.options, &report, nullptr) == LLMC_OK);
  CHECK_THAT(llmc_report_json(report),
             Contains("ran on the CPU: device cuda: 'libm.so.6' is no CUDA module of llmc"));
  llmc_report_free(report);
  llmc_session_free(session);
}

TEST_CASE("what a job lacks or has twice is said") {
  const Session session;
  const auto message = [&](const std::function<void(llmc_oneshot_options&)>& change) {
    Job job;
    change(job.options);
    const Result result = job.run(session);
    CHECK(result.status == LLMC_INVALID_ARGUMENT);
    CHECK(job.left_nothing());
    return result.message;
  };
  CHECK_THAT(message([](auto& o) { o.model_dir = nullptr; }), Contains("model_dir"));
  CHECK_THAT(message([](auto& o) { o.output_dir = ""; }), Contains("output_dir"));
  CHECK_THAT(message([](auto& o) { o.recipe = nullptr; }), Contains("no recipe and no scheme"));
  CHECK_THAT(message([](auto& o) { o.scheme = "W4A16"; }), Contains("both"));
  CHECK_THAT(message([](auto& o) { o.dataset = "rows.jsonl"; }), Contains("dataset and token_ids"));
  CHECK_THAT(message([](auto& o) { o.sequence_starts = nullptr; }), Contains("sequence_starts"));
  CHECK_THAT(message([](auto& o) { o.num_sequences = 0; }), Contains("num_sequences"));
  CHECK_THAT(message([](auto& o) { o.num_sequences = -1; }), Contains("num_sequences"));
  CHECK_THAT(message([](auto& o) { o.max_seq_length = -1; }), Contains("max_seq_length"));
  CHECK_THAT(message([](auto& o) { o.num_calibration_samples = -1; }), Contains("num_calibration_samples"));
  CHECK_THAT(message([](auto& o) { o.max_shard_bytes = -1; }), Contains("max_shard_bytes"));
  CHECK_THAT(message([](auto& o) {
               o.scheme = "W5A5";
               o.recipe = nullptr;
             }),
             Contains("W5A5"));
  static const int64_t falling[] = {0, 10, 5}, late[] = {1, 10, 20};
  CHECK_THAT(message([](auto& o) {
               o.sequence_starts = falling;
               o.num_sequences = 2;
             }),
             Contains("sequence_starts"));
  CHECK_THAT(message([](auto& o) {
               o.sequence_starts = late;
               o.num_sequences = 2;
             }),
             Contains("sequence_starts"));
}

TEST_CASE("an error's text survives percent signs and has no line breaks") {
  const Session session;
  Job job;
  job.options.model_dir = "/nonexistent/100%s%n%d";
  const Result percent = job.run(session);
  CHECK(percent.status == LLMC_NOT_FOUND);
  CHECK_THAT(percent.message, Contains("100%s%n%d"));
  job.options.model_dir = "/nonexistent/two\nlines\r\n";
  const Result broken = job.run(session);
  CHECK(broken.status == LLMC_NOT_FOUND);
  CHECK_THAT(broken.message, Contains("two lines"));
}

TEST_CASE("out of memory has an error object that needs no memory") {
  llmc_error* error = nullptr;
  CHECK(llmc::capi::guard(&error, [] { throw std::bad_alloc(); }) == LLMC_OUT_OF_MEMORY);
  CHECK(llmc_error_message(error) == std::string("out of memory"));
  llmc_error_free(error);
  llmc_error_free(error);  // the static object: freeing is nothing
}

TEST_CASE("the report is JSON with every documented key") {
  const Session session;
  Job job;
  const Json report = Json::parse(job.run(session).text);
  for (const char* key :
       {"model_type", "device", "compat", "propagation", "template_date", "samples", "tokens", "bytes_before",
        "bytes_after", "peak_memory", "seconds", "calibration_seconds", "quantization_seconds",
        "writing_seconds", "notes", "linears"})
    CHECK(report.contains(key));
  CHECK(report["device"] == llmc_session_device(session));
  CHECK(report["tokens"] == 24 * 48);
  REQUIRE(report["linears"].size() == 14);  // 2 layers of 7
  for (const char* key :
       {"name", "scheme", "method", "relative_error", "loss", "dampening", "seconds", "note"})
    CHECK(report["linears"][0].contains(key));
}

TEST_CASE("progress counts up to its end, and notes of the recipe are logged") {
  std::vector<int64_t> steps;
  int64_t last = 0;
  std::vector<std::string> lines;
  Events events;
  events.progress = [&](const llmc_progress& p) {
    steps.push_back(p.step);
    last = p.steps;
  };
  events.log = [&](int32_t level, const char* line) { lines.push_back(std::to_string(level) + line); };
  const Session session(&events);
  Job job;
  const std::string recipe = "seed: 3\n" + std::string(kGptq);
  job.options.recipe = recipe.c_str();
  const Result result = job.run(session);
  REQUIRE(result.status == LLMC_OK);
  REQUIRE(!steps.empty());
  for (size_t i = 0; i < steps.size(); ++i) CHECK(steps[i] == static_cast<int64_t>(i) + 1);
  CHECK(steps.back() == last);
  REQUIRE(lines.size() == 1);
  CHECK_THAT(lines[0], Contains(std::to_string(LLMC_LOG_NOTE)) && Contains("seed"));
  CHECK_THAT(result.text, Contains("seed"));
}

TEST_CASE("text that is no UTF-8 never turns a finished run into an error") {
  const Session session;
  Job job;
  job.use_scheme("FP8_DYNAMIC");
  job.options.template_date = "\xff";
  const Result result = job.run(session);
  CHECK((result.status == LLMC_OK) == std::filesystem::exists(job.output));
}

TEST_CASE("two sessions in two threads do not disturb each other") {
  const Session first_session, second_session(nullptr, 2);
  const Job first, second;
  llmc_status first_status = LLMC_INTERNAL;
  std::thread other([&] { first_status = first.run_quietly(first_session); });
  const llmc_status second_status = second.run_quietly(second_session);
  other.join();
  CHECK(first_status == LLMC_OK);
  CHECK(second_status == LLMC_OK);
  CHECK((first.weights() == second.weights() && !first.weights().empty()));
}

TEST_CASE("a second call on a busy session is refused, and the first one goes on") {
  Gate entered, released;
  Events events;
  events.progress = [&](const llmc_progress&) {
    entered.open();
    released.pass();
  };
  const Session session(&events);
  const Job first;
  Job second;
  llmc_status first_status = LLMC_INTERNAL;
  std::thread other([&] { first_status = first.run_quietly(session); });
  entered.pass();
  const Result refused = second.run(session);
  released.open();
  other.join();
  CHECK(refused.status == LLMC_INVALID_ARGUMENT);
  CHECK_THAT(refused.message, Contains("one call at a time"));
  CHECK(second.left_nothing());
  CHECK(first_status == LLMC_OK);
  CHECK(second.run(session).status == LLMC_OK);
}

TEST_CASE("a call inside a callback: sessionless ones work, one on the same session is refused") {
  llmc_session* running = nullptr;
  llmc_status inner = LLMC_OK;
  Events events;
  const Job job;
  events.progress = [&](const llmc_progress&) {
    inner = job.run_quietly(running);
    llmc_version();
    llmc_status_name(inner);
  };
  const Session session(&events);
  running = session;
  CHECK(job.run(session).status == LLMC_OK);
  CHECK(inner == LLMC_INVALID_ARGUMENT);
}

TEST_CASE(
    "cancelling from a callback, from another thread or before the call leaves nothing, and is used up") {
  Events events;
  const Session session(&events);
  Job job;
  Gate entered, released;
  SECTION("from a callback") {
    events.progress = [&](const llmc_progress& p) {
      if (p.step == 2) llmc_session_cancel(session);
    };
  }
  std::thread other;
  SECTION("from another thread") {
    events.progress = [&](const llmc_progress&) {
      entered.open();
      released.pass();
    };
    other = std::thread([&] {
      entered.pass();
      llmc_session_cancel(session);
      released.open();
    });
  }
  SECTION("before the call") { llmc_session_cancel(session); }
  const Result result = job.run(session);
  if (other.joinable()) other.join();
  CHECK(result.status == LLMC_CANCELLED);
  CHECK(job.left_nothing());
  events.progress = [](const llmc_progress&) {};
  CHECK(job.run(session).status == LLMC_OK);
}

TEST_CASE("a callback that throws ends the call with LLMC_INTERNAL and nothing on disk") {
  Events events;
  SECTION("an int") {
    events.progress = [](const llmc_progress&) { throw 42; };
  }
  SECTION("a std::exception, late") {
    events.progress = [](const llmc_progress& p) {
      if (p.step == p.steps) throw std::runtime_error("50 %s\nof it");
    };
  }
  SECTION("from the log") {
    events.log = [](int32_t, const char*) { throw std::runtime_error("log"); };
  }
  const Session session(&events, 2);
  Job job;
  const std::string recipe = "seed: 3\n" + std::string(kGptq);
  job.options.recipe = recipe.c_str();
  CHECK(job.run(session).status == LLMC_INTERNAL);
  CHECK(job.left_nothing());
  events = Events();
  CHECK(job.run(session).status == LLMC_OK);
}

TEST_CASE("forward writes logits and hidden states beside a name that is free") {
  const Session session;
  const test::ScratchFolder scratch;
  const std::string model = test::golden("archs/llama"), input = model + "/expected.safetensors",
                    output = scratch / "out.safetensors";
  const llmc_forward_options options{sizeof options, LLMC_DTYPE_FLOAT32, model.c_str(), input.c_str(),
                                     output.c_str()};
  const auto forward = [&] {
    return outcome([&](llmc_error** e) { return llmc_forward(session, &options, e); });
  };
  CHECK(forward().status == LLMC_OK);
  CHECK(llmc::SafetensorsFile(output).entry("logits").shape ==
        llmc::SafetensorsFile(input).entry("logits").shape);
  const std::string before = test::read_text(output);
  CHECK(forward().status != LLMC_OK);  // it is there now
  CHECK(test::read_text(output) == before);
}

TEST_CASE("eval measures a text, and without the text module says what is missing") {
  const Session session;
  const test::ScratchFolder scratch;
  const std::string model = test::source_path("examples/tiny-llama"), text = scratch / "text.txt";
  std::ofstream(text) << test::read_text(model + "/eval.txt").substr(0, 4000);
  llmc_eval_options options{};
  options.struct_size = sizeof options;
  options.model_dir = options.reference_dir = model.c_str();
  options.text = text.c_str();
  options.window = 64;
  char* json = reinterpret_cast<char*>(16);
  const auto eval = [&] {
    return outcome([&](llmc_error** e) { return llmc_eval(session, &options, &json, e); });
  };
  if (std::string(llmc_features()).find("text") == std::string::npos) {
    CHECK(eval().status == LLMC_UNSUPPORTED);
    CHECK(json == nullptr);
    return;
  }
  REQUIRE(eval().status == LLMC_OK);
  const Json result = Json::parse(json);
  llmc_json_free(json);
  CHECK(result["perplexity"] > 1.0);
  CHECK(result["tokens"].get<int64_t>() % 63 == 0);  // 63 predictions in a window of 64
  CHECK(result["kl"].get<double>() == Approx(0).margin(1e-6));
  CHECK(result["top1"] == 1.0);

  json = reinterpret_cast<char*>(16);
  options.window = 1;
  CHECK(eval().status == LLMC_INVALID_ARGUMENT);
  CHECK(json == nullptr);
  options.window = 0;
  options.text = "/nonexistent/text";
  CHECK(eval().status == LLMC_NOT_FOUND);
  options.text = text.c_str();
  llmc_session_cancel(session);
  CHECK(eval().status == LLMC_CANCELLED);
}
