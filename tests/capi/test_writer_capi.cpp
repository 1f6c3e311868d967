// The promises of llmc_tensor.h about the writer.
#include <catch2/catch.hpp>

#include <atomic>
#include <climits>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <thread>

#include "capi/matrix_tools.hpp"
#include "llmc_tools.h"

using Catch::Contains;
using namespace llmc::test;
using llmc::DType;
using llmc::Tensor;

// ---- the writer -------------------------------------------------------------------------------------------

TEST_CASE("a written folder is sound, holds what was given and appears at the end alone") {
  WriterJob job;
  {
    const auto writer = job.planned();
    job.give_norm(writer.get());
    job.give_matrix(writer.get());
    must(llmc_writer_add_file, writer.get(), "tokenizer.json", "{}", 2);
    CHECK_FALSE(std::filesystem::exists(job.output));
    job.finish(writer.get());
  }
  CHECK(std::distance(std::filesystem::directory_iterator(job.scratch.path()), {}) == 1);
  CHECK(read_text(job.output + "/tokenizer.json") == "{}");
  const auto config = nlohmann::json::parse(read_text(job.output + "/config.json"));
  CHECK(config["model_type"] == "toy");
  CHECK(config["quantization_config"]["config_groups"]["group_0"]["targets"] == nlohmann::json{"Linear"});
  llmc_verify_options verify{};
  verify.struct_size = sizeof verify;
  verify.model_dir = job.output.c_str();
  char* json = nullptr;
  must(llmc_verify, job.session.get(), &verify, &json);
  CHECK(nlohmann::json::parse(json)["sound"] == true);
  llmc_json_free(json);
}

TEST_CASE("two schemes, an ignored matrix and a fixed activation scale get their place in the config") {
  WriterJob job;
  const auto fp8 = new_scheme("FP8");
  const auto second = quantize(job.session.get(), fp8.get(), tensor_of(job.weight));
  const auto writer = job.planned();
  must(llmc_writer_plan_matrix, writer.get(), "fc2", fp8.get(), LLMC_DTYPE_BFLOAT16, 6, 128);
  const int64_t shape[2] = {6, 128};
  must(llmc_writer_plan_tensor, writer.get(), "head.weight", LLMC_DTYPE_BFLOAT16, shape, 2);
  job.give_norm(writer.get());
  job.give_matrix(writer.get());
  must(llmc_writer_add_matrix, job.session.get(), writer.get(), "fc2", second.get());
  const llmc_tensor head = tensor_of(job.weight);
  must(llmc_writer_add_tensor, job.session.get(), writer.get(), "head.weight", &head);
  CHECK_THAT(refusal(llmc_writer_finish, job.session.get(), writer.get()).message,
             Contains("fc2.input_scale"));
  const auto range = [&](const char* module, int32_t activation, float low, float high) {
    return refusal(llmc_writer_add_range, writer.get(), module, activation, low, high).status;
  };
  CHECK(range("fc1", LLMC_ACTIVATION_INPUT, -1, 1) == LLMC_INVALID_ARGUMENT);  // W4A16 fixes none
  CHECK(range("fc2", LLMC_ACTIVATION_OUTPUT, -1, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(range("fc2", 3, -1, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(range("fc3", LLMC_ACTIVATION_INPUT, -1, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(range("fc2", LLMC_ACTIVATION_INPUT, 1, -1) == LLMC_INVALID_ARGUMENT);
  CHECK(range("fc2", LLMC_ACTIVATION_INPUT, kNan, 1) == LLMC_INVALID_ARGUMENT);
  must(llmc_writer_add_range, writer.get(), "fc2", LLMC_ACTIVATION_INPUT, -2, 4.48f);
  CHECK(range("fc2", LLMC_ACTIVATION_INPUT, -2, 4) == LLMC_INVALID_ARGUMENT);  // once
  job.finish(writer.get());
  const auto config = nlohmann::json::parse(read_text(job.output + "/config.json"))["quantization_config"];
  CHECK(config["ignore"] == nlohmann::json{"head"});
  CHECK(config["config_groups"]["group_1"]["targets"] == nlohmann::json{"fc2"});
  // bfloat16(4.48 / 448)
  CHECK(llmc::SafetensorsFile(job.output + "/model.safetensors").read("fc2.input_scale").as<uint16_t>()[0] ==
        0x3C24);
}

TEST_CASE("a writer refuses what contradicts its plan, and goes on") {
  WriterJob job;
  const auto writer = job.planned();
  llmc_session* const s = job.session.get();
  llmc_writer* const w = writer.get();
  const auto refused = [](auto function, auto... arguments) {
    return refusal(function, arguments...).status;
  };
  const int64_t shape[2] = {6, 128}, negative[1] = {-1}, huge[2] = {INT64_MAX, 8};
  CHECK(refused(llmc_writer_plan_tensor, w, "norm.weight", LLMC_DTYPE_BFLOAT16, shape, 1) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "fc1.weight_packed", LLMC_DTYPE_INT32, shape, 1) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "", LLMC_DTYPE_BFLOAT16, shape, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, nullptr, LLMC_DTYPE_BFLOAT16, shape, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "__metadata__", LLMC_DTYPE_BFLOAT16, shape, 1) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "\xff", LLMC_DTYPE_BFLOAT16, shape, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "a", 99, shape, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "a", LLMC_DTYPE_BFLOAT16, nullptr, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "a", LLMC_DTYPE_BFLOAT16, shape, -1) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "a", LLMC_DTYPE_BFLOAT16, shape, 9) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "a", LLMC_DTYPE_BFLOAT16, negative, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "a", LLMC_DTYPE_BFLOAT16, huge, 2) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_matrix, w, "fc1", job.scheme.get(), LLMC_DTYPE_BFLOAT16, 6, 128) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_matrix, w, "b", nullptr, LLMC_DTYPE_BFLOAT16, 6, 128) ==
        LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_matrix, w, "b", job.scheme.get(), LLMC_DTYPE_INT8, 6, 128) ==
        LLMC_INVALID_ARGUMENT);
  for (const int64_t rows : {int64_t{0}, int64_t{-1}, INT64_MIN, INT64_MAX})
    CHECK(refused(llmc_writer_plan_matrix, w, "b", job.scheme.get(), LLMC_DTYPE_BFLOAT16, rows, 128) ==
          LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_matrix, w, "b", job.scheme.get(), LLMC_DTYPE_BFLOAT16, 6, 100) ==
        LLMC_INVALID_ARGUMENT);

  const llmc_tensor norm = tensor_of(job.norm);
  CHECK(refused(llmc_writer_add_tensor, s, w, "other", &norm) == LLMC_INVALID_ARGUMENT);
  llmc_tensor wrong = norm;
  wrong.dtype = LLMC_DTYPE_FLOAT16;
  CHECK(refused(llmc_writer_add_tensor, s, w, "norm.weight", &wrong) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_add_matrix, s, w, "norm", job.matrix.get()) == LLMC_INVALID_ARGUMENT);
  const auto other = quantize(s, new_scheme("W8A16").get(), tensor_of(job.weight));
  CHECK(refused(llmc_writer_add_matrix, s, w, "fc1", other.get()) == LLMC_INVALID_ARGUMENT);
  Tensor bad = Tensor::copy_of(job.norm);
  bad.as<uint16_t>()[5] = 0x7F80;
  const llmc_tensor infinite = tensor_of(bad);
  CHECK(refused(llmc_writer_add_tensor, s, w, "norm.weight", &infinite) == LLMC_NUMERIC);
  for (const char* name :
       {"config.json", "model.safetensors", "../x", "a/b", "", "model.safetensors.index.json"})
    CHECK(refused(llmc_writer_add_file, w, name, "x", 1) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_add_file, w, "x", nullptr, 1) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_add_file, w, "x", "x", -1) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_finish, s, w) == LLMC_INVALID_ARGUMENT);

  job.give_norm(w);
  CHECK(refused(llmc_writer_add_tensor, s, w, "norm.weight", &norm) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_plan_tensor, w, "late", LLMC_DTYPE_BFLOAT16, shape, 1) == LLMC_INVALID_ARGUMENT);
  job.give_matrix(w);
  job.finish(w);
  CHECK(refused(llmc_writer_finish, s, w) == LLMC_INVALID_ARGUMENT);
  CHECK(refused(llmc_writer_add_file, w, "x", "x", 1) == LLMC_INVALID_ARGUMENT);
}

TEST_CASE("a writer that is freed before its end leaves nothing, and one that cannot start says why") {
  WriterJob job;
  {
    const auto writer = job.planned();
    job.give_matrix(writer.get());
  }
  CHECK(job.left_nothing());
  const auto status = [&](auto change) {
    llmc_writer_options options = job.options();
    change(options);
    llmc_writer* writer = reinterpret_cast<llmc_writer*>(16);
    const Refusal refused = refusal(llmc_writer_create, &options, &writer);
    CHECK(writer == nullptr);
    return refused.status;
  };
  CHECK(status([](auto& o) { o.struct_size = 4; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.output_dir = nullptr; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.config_json = nullptr; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.config_json = "{"; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.config_json = "[]"; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.compat = 9; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.overwrite = 9; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.reserved = 1; }) == LLMC_INVALID_ARGUMENT);
  CHECK(status([](auto& o) { o.max_shard_bytes = -1; }) == LLMC_INVALID_ARGUMENT);
  CHECK(job.left_nothing());
  std::filesystem::create_directories(job.output + "/full");
  CHECK(status([](auto&) {}) == LLMC_EXISTS);
}
