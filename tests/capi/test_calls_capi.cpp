// The promises of llmc.h and llmc_tools.h about calls: errors, reports, callbacks, threads, cancelling.
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

TEST_CASE("an error's text carries no control characters of a stranger's names to a terminal") {
  llmc_error* error = nullptr;
  llmc::capi::report_error(&error, LLMC_BAD_FILE,
                           "tensor 'a\x1b[2Jb\x7f\tc\xc2\x9b"
                           "d\xc3\xa9'");
  CHECK(llmc_error_message(error) == std::string("tensor 'a?[2Jb? c?d\xc3\xa9'"));
  llmc_error_free(error);
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
