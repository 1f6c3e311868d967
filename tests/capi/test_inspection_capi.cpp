// llmc_verify, llmc_inspect, llmc_diff and llmc_dequantize as a C caller sees them.
#include <catch2/catch.hpp>
#include <cstring>
#include <nlohmann/json.hpp>
#include <string>

#include "core/run_tools.hpp"
#include "llmc_tools.h"

using Catch::Contains;
using Json = nlohmann::json;
namespace test = llmc::test;

namespace {

struct Session {
  Session() { REQUIRE(llmc_session_create(nullptr, &handle, nullptr) == LLMC_OK); }
  ~Session() { llmc_session_free(handle); }
  llmc_session* handle = nullptr;
};

struct Outcome {
  llmc_status status = LLMC_OK;
  std::string message;
  Json json;
};
template <class Call>
Outcome outcome(Call call) {
  llmc_error* error = reinterpret_cast<llmc_error*>(16);
  char* json = reinterpret_cast<char*>(16);
  Outcome result{call(&json, &error), {}, {}};
  result.message = llmc_error_message(error);
  CHECK((result.status == LLMC_OK) == (json != nullptr));
  if (json) result.json = Json::parse(json);
  llmc_json_free(json);
  llmc_error_free(error);
  return result;
}

template <class Options>
Options options_of(const char* first, const char* second = nullptr) {
  Options options{};
  options.struct_size = sizeof options;
  if constexpr (requires { options.a_dir; }) {
    options.a_dir = first;
    options.b_dir = second;
  } else options.model_dir = first;
  if constexpr (requires { options.source_dir; }) options.source_dir = second;
  if constexpr (requires { options.output_dir; }) options.output_dir = second;
  return options;
}

}  // namespace

TEST_CASE("the tools tell of a folder in JSON: sound, what is in it, how it differs, and as a plain one") {
  const Session session;
  const test::ScratchFolder scratch;
  const std::string compressed = test::golden("rtn/W4A16"), source = test::golden("micro-llama"),
                    out = scratch / "plain";
  const auto verify = options_of<llmc_verify_options>(compressed.c_str(), source.c_str());
  const Outcome sound = outcome(
      [&](char** json, llmc_error** error) { return llmc_verify(session.handle, &verify, json, error); });
  CHECK(sound.json.at("sound") == true);
  CHECK(sound.json.at("faults").empty());
  CHECK(sound.json.at("matrices").size() == 14);
  CHECK(sound.json.at("matrices")[0].at("relative_error").get<double>() > 0.05);

  const auto inspect = options_of<llmc_inspect_options>(compressed.c_str());
  const Outcome table = outcome(
      [&](char** json, llmc_error** error) { return llmc_inspect(session.handle, &inspect, json, error); });
  CHECK(table.json.at("format") == "pack-quantized");
  CHECK(table.json.at("tensors") == 49);

  const auto diff = options_of<llmc_diff_options>(compressed.c_str(), compressed.c_str());
  CHECK(outcome([&](char** json, llmc_error** error) {
          return llmc_diff(session.handle, &diff, json, error);
        }).json.at("identical") == true);

  const auto dequantize = options_of<llmc_dequantize_options>(compressed.c_str(), out.c_str());
  CHECK(outcome([&](char** json, llmc_error** error) {
          return llmc_dequantize(session.handle, &dequantize, json, error);
        }).json.at("matrices") == 14);
  const Outcome again = outcome([&](char** json, llmc_error** error) {
    return llmc_dequantize(session.handle, &dequantize, json, error);
  });
  CHECK(again.status == LLMC_EXISTS);
  auto over = dequantize;
  over.overwrite = LLMC_ON;
  CHECK(llmc_dequantize(session.handle, &over, nullptr, nullptr) == LLMC_OK);  // the JSON is optional there
}

TEST_CASE("the tools refuse missing arguments, reserved values and folders that are none") {
  const Session session;
  const auto refused = [&](llmc_status status, const char* text, auto options, auto call) {
    const Outcome result = outcome(
        [&](char** json, llmc_error** error) { return call(session.handle, &options, json, error); });
    CHECK(result.status == status);
    CHECK_THAT(result.message, Contains(text));
  };
  refused(LLMC_INVALID_ARGUMENT, "model_dir", options_of<llmc_verify_options>(nullptr), llmc_verify);
  refused(LLMC_INVALID_ARGUMENT, "model_dir", options_of<llmc_inspect_options>(""), llmc_inspect);
  refused(LLMC_INVALID_ARGUMENT, "b_dir", options_of<llmc_diff_options>("x"), llmc_diff);
  refused(LLMC_INVALID_ARGUMENT, "output_dir", options_of<llmc_dequantize_options>("x"), llmc_dequantize);
  refused(LLMC_NOT_FOUND, "/nowhere", options_of<llmc_verify_options>("/nowhere"), llmc_verify);
  refused(LLMC_NOT_FOUND, "/nowhere", options_of<llmc_inspect_options>("/nowhere"), llmc_inspect);
  refused(LLMC_NOT_FOUND, "/nowhere", options_of<llmc_diff_options>("/nowhere", "/nowhere"), llmc_diff);
  refused(LLMC_NOT_FOUND, "/nowhere", options_of<llmc_dequantize_options>("/nowhere", "/tmp/llmc-never"),
          llmc_dequantize);
  auto reserved = options_of<llmc_verify_options>("x");
  reserved.reserved = 1;
  refused(LLMC_INVALID_ARGUMENT, "reserved", reserved, llmc_verify);
  auto odd = options_of<llmc_dequantize_options>("x", "y");
  odd.overwrite = 7;
  refused(LLMC_INVALID_ARGUMENT, "overwrite", odd, llmc_dequantize);
  auto negative = options_of<llmc_dequantize_options>("x", "y");
  negative.max_shard_bytes = -1;
  refused(LLMC_INVALID_ARGUMENT, "max_shard_bytes", negative, llmc_dequantize);
  CHECK(llmc_verify(session.handle, nullptr, nullptr, nullptr) == LLMC_INVALID_ARGUMENT);
}

TEST_CASE("a cancelled session ends verify, diff and dequantize") {
  const Session session;
  const test::ScratchFolder scratch;
  const std::string compressed = test::golden("rtn/W4A16"), out = scratch / "plain";
  const auto verify = options_of<llmc_verify_options>(compressed.c_str());
  const auto diff = options_of<llmc_diff_options>(compressed.c_str(), compressed.c_str());
  const auto dequantize = options_of<llmc_dequantize_options>(compressed.c_str(), out.c_str());
  char* json = nullptr;
  llmc_session_cancel(session.handle);
  CHECK(llmc_verify(session.handle, &verify, &json, nullptr) == LLMC_CANCELLED);
  llmc_session_cancel(session.handle);
  CHECK(llmc_diff(session.handle, &diff, &json, nullptr) == LLMC_CANCELLED);
  llmc_session_cancel(session.handle);
  CHECK(llmc_dequantize(session.handle, &dequantize, &json, nullptr) == LLMC_CANCELLED);
  CHECK_FALSE(std::filesystem::exists(out));
}
