// The promises of llmc.h about arguments: versions, NULL, struct sizes, ranges.
#include <catch2/catch.hpp>

#include <climits>
#include <cstddef>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "capi/session_tools.hpp"
#include "guard.hpp"
#include "llmc_tools.h"

using Catch::Contains;
using Json = nlohmann::json;
namespace test = llmc::test;
using namespace llmc::test::calls;

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
