// The promises of llmc_model.h, and of the report's fields.
#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "capi/model_tools.hpp"
#include "capi/trainer.hpp"

using Catch::Contains;
using namespace llmc::test;

namespace {

constexpr const char* kGptq =
    "quant_stage: {quant_modifiers: {SmoothQuantModifier: {smoothing_strength: 0.8}, GPTQModifier: {targets: "
    "[Linear], ignore: [lm_head], scheme: W4A16}}}";

}  // namespace

TEST_CASE("open, add, quantize and save write what one llmc_oneshot writes, again and again on one model") {
  Setting s;
  const OwnedModel model = s.open();
  s.add(model, 0, 5);
  s.add(model, 5, 24);
  quantize(model, s.to(0, kGptq));
  CHECK((!std::filesystem::exists(s.paths[0]) && s.entries() == 1));  // hidden beside its name
  save(model);
  CHECK(s.entries() == 1);
  llmc_oneshot_options plain = s.to(1, nullptr);
  plain.scheme = "FP8_BLOCK";
  quantize(model, plain);
  save(model);

  llmc_oneshot_options once = s.to(2, kGptq);
  once.model_dir = s.model_dir.c_str();
  once.token_ids = s.tokens.token_ids.data();
  once.sequence_starts = s.tokens.sequence_starts.data();
  once.num_sequences = 24;
  must(llmc_oneshot, s.session.get(), &once, nullptr);
  llmc_oneshot_options once_plain = s.to(3, nullptr);
  once_plain.model_dir = s.model_dir.c_str();
  once_plain.scheme = "FP8_BLOCK";
  must(llmc_oneshot, s.session.get(), &once_plain, nullptr);
  CHECK((s.weights(0) == s.weights(2) && s.weights(1) == s.weights(3)));
  CHECK(read_text(s.paths[0] + "/config.json") == read_text(s.paths[2] + "/config.json"));
}

TEST_CASE("a model opened from memory gives its folder's bytes, and its source is asked until it is freed") {
  Setting s;
  Trainer trainer;
  {
    llmc_tensor_source copy = trainer.source;  // the description need not outlive the call
    std::vector<llmc_source_tensor> tensors = trainer.tensors;
    copy.tensors = tensors.data();
    llmc_model* opened = nullptr;
    must(llmc_model_open_source, s.session.get(), &copy, &opened);
    const OwnedModel memory(opened), folder = s.open();
    tensors.assign(tensors.size(), {});
    copy = {};
    int path = 0;
    for (const OwnedModel* model : {&memory, &folder}) {
      s.add(*model, 0, 24);
      quantize(*model, s.to(path++, kGptq));
      save(*model);
    }
    llmc_oneshot_options data{};
    data.struct_size = sizeof data;
    const std::string texts = s.scratch / "texts.jsonl";
    std::ofstream(texts) << "{\"text\": \"Tom has 7 apples.\"}\n";
    data.dataset = texts.c_str();
    CHECK_THAT(refusal(llmc_model_add_data, memory.get(), &data).message,
               Contains("tokenizer") || Contains("built without LLMC_TEXT"));
    trainer.before_read = [] { return 5; };
    const llmc_oneshot_options again = s.to(2, kGptq);
    CHECK(refusal(llmc_model_quantize, memory.get(), &again).status == LLMC_IO);
  }
  CHECK(s.weights(0) == s.weights(1));
  CHECK(read_text(s.paths[0] + "/config.json") == read_text(s.paths[1] + "/config.json"));
  llmc_model* made = reinterpret_cast<llmc_model*>(16);
  CHECK(refusal(llmc_model_open_source, s.session.get(), nullptr, &made).status == LLMC_INVALID_ARGUMENT);
  CHECK(made == nullptr);
  CHECK(refusal(llmc_model_open_source, nullptr, &trainer.source, &made).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_model_open_source, s.session.get(), &trainer.source, nullptr).status ==
        LLMC_INVALID_ARGUMENT);
}

TEST_CASE("what was quantized and not saved goes with the model, or with the next quantize") {
  Setting s;
  {
    const OwnedModel model = s.open();
    s.add(model, 0, 4);
    quantize(model, s.to(0, kGptq));
    quantize(model, s.to(1, kGptq));
    CHECK(s.entries() == 1);
    llmc_oneshot_options bad = s.to(2, "quant_stage: {quant_modifiers: {NoModifier: {}}}");
    CHECK(refusal(llmc_model_quantize, model.get(), &bad).status == LLMC_INVALID_ARGUMENT);
    CHECK(s.entries() == 0);
    CHECK_THAT(refusal(llmc_model_save, model.get(), nullptr).message, Contains("nothing to save"));
    quantize(model, s.to(0, kGptq));
    save(model);
    CHECK_THAT(refusal(llmc_model_save, model.get(), nullptr).message, Contains("nothing to save"));
    quantize(model, s.to(1, kGptq));
    llmc_session_cancel(s.session.get());
    CHECK(refusal(llmc_model_save, model.get(), nullptr).status == LLMC_CANCELLED);
    CHECK(s.entries() == 1);
    quantize(model, s.to(1, kGptq));
  }
  CHECK(s.entries() == 1);
}

TEST_CASE("a session's memory limit ends a call that passes it, and nothing is left") {
  Setting s;
  const auto with_limit = [&](int64_t bytes, llmc_error** error) {
    llmc_session_options options{};
    options.struct_size = sizeof options;
    options.threads = 1;
    options.memory_limit = bytes;
    llmc_session* made = nullptr;
    const llmc_status status = llmc_session_create(&options, &made, error);
    s.session.reset(made);
    return status;
  };
  CHECK_THAT(refusal(with_limit, -1).message, Contains("memory_limit is -1"));
  llmc_oneshot_options once = s.to(0, nullptr);
  once.model_dir = s.model_dir.c_str();
  for (const bool calibrated : {true, false}) {
    CAPTURE(calibrated);
    once.recipe = calibrated ? kGptq : nullptr;
    once.scheme = calibrated ? nullptr : "FP8_BLOCK";
    once.token_ids = s.tokens.token_ids.data();
    once.sequence_starts = s.tokens.sequence_starts.data();
    once.num_sequences = 24;
    must(with_limit, 4096);
    const Refusal small = refusal(llmc_oneshot, s.session.get(), &once, nullptr);
    CHECK((small.status == LLMC_OUT_OF_MEMORY && s.entries() == 0));
    CHECK_THAT(small.message, Contains("the session's limit is 4096"));
  }
  // What the host program holds does not count: it is a limit of the guest's.
  const std::vector<char> of_the_host(size_t{256} << 20, 1);
  must([&](llmc_error** e) { return with_limit(int64_t{64} << 20, e); });
  must(llmc_oneshot, s.session.get(), &once, nullptr);
  CHECK(of_the_host.back() == 1);
}

TEST_CASE("no output of the model level is, holds or lies in the model's folder or its data's") {
  Setting s;
  namespace fs = std::filesystem;
  const std::string zoo = s.scratch / "zoo";
  fs::create_directories(zoo + "/a");
  fs::copy(s.model_dir, zoo + "/a/model", fs::copy_options::recursive);
  std::ofstream(zoo + "/config.json") << R"({"model_type": "llama"})";
  std::ofstream(zoo + "/a/keep.txt") << "mine";
  s.model_dir = zoo + "/a/model";
  const std::string before = read_text(s.model_dir + "/model.safetensors");
  const OwnedModel model = s.open();
  s.add(model, 0, 4);
  const std::pair<std::string, const char*> rows[] = {
      {s.model_dir, "is the model's folder"},
      {s.model_dir + "/out", "lies inside the model's folder"},
      {zoo, "contains the model's folder"},
      {zoo + "/a", "contains the model's folder"}};
  for (const auto& [output, reason] : rows) {
    llmc_oneshot_options options = s.to(0, kGptq);
    options.output_dir = output.c_str();
    options.overwrite = LLMC_ON;
    const Refusal refused = refusal(llmc_model_quantize, model.get(), &options);
    CHECK(refused.status == LLMC_INVALID_ARGUMENT);
    CHECK_THAT(refused.message, Contains(reason));
  }
  CHECK(read_text(s.model_dir + "/model.safetensors") == before);
  CHECK(read_text(zoo + "/a/keep.txt") == "mine");
}

TEST_CASE("the model level refuses what makes no sense and stays as it was") {
  Setting s;
  const OwnedModel model = s.open();
  const auto open = [&](llmc_session* session, const char* dir) {
    llmc_model* made = reinterpret_cast<llmc_model*>(16);
    const Refusal result = refusal(llmc_model_open, session, dir, &made);
    CHECK(made == nullptr);
    return result;
  };
  CHECK(open(nullptr, s.model_dir.c_str()).status == LLMC_INVALID_ARGUMENT);
  CHECK(open(s.session.get(), nullptr).status == LLMC_INVALID_ARGUMENT);
  CHECK(open(s.session.get(), "/no/such/model").status == LLMC_NOT_FOUND);
  CHECK(open(s.session.get(), golden("rtn/W4A16").c_str()).status == LLMC_UNSUPPORTED);
  CHECK(refusal(llmc_model_open, s.session.get(), s.model_dir.c_str(), nullptr).status ==
        LLMC_INVALID_ARGUMENT);
  llmc_model_free(nullptr);

  const int32_t ids[4] = {1, 2, 3, 4};
  const int64_t good[2] = {0, 4}, late[2] = {1, 4}, falling[3] = {0, 4, 2};
  const auto add = [&](llmc_model* to, const int32_t* tokens, const int64_t* starts, int64_t count) {
    return refusal(llmc_model_add_token_ids, to, tokens, starts, count);
  };
  CHECK(add(nullptr, ids, good, 1).status == LLMC_INVALID_ARGUMENT);
  CHECK(add(model.get(), nullptr, good, 1).status == LLMC_INVALID_ARGUMENT);
  CHECK(add(model.get(), ids, nullptr, 1).status == LLMC_INVALID_ARGUMENT);
  for (const int64_t count : {int64_t{0}, int64_t{-1}, INT64_MIN})
    CHECK(add(model.get(), ids, good, count).status == LLMC_INVALID_ARGUMENT);
  CHECK_THAT(add(model.get(), ids, late, 1).message, Contains("sequence_starts[0] is 1"));
  CHECK_THAT(add(model.get(), ids, falling, 2).message, Contains("decreases at index 2"));

  const auto quantized = [&](const std::function<void(llmc_oneshot_options&)>& change) {
    llmc_oneshot_options options = s.to(0, kGptq);
    change(options);
    const Refusal result = refusal(llmc_model_quantize, model.get(), &options);
    CHECK((result.status == LLMC_INVALID_ARGUMENT && s.entries() == 0));
    return result.message;
  };
  CHECK_THAT(quantized([&](llmc_oneshot_options& o) { o.model_dir = "x"; }), Contains("model_dir is given"));
  CHECK_THAT(quantized([&](llmc_oneshot_options& o) { o.token_ids = ids; }), Contains("token_ids is given"));
  CHECK_THAT(quantized([&](llmc_oneshot_options& o) { o.dataset = "x"; }), Contains("dataset is given"));
  CHECK_THAT(quantized([&](llmc_oneshot_options& o) { o.output_dir = nullptr; }),
             Contains("output_dir is missing"));
  CHECK_THAT(quantized([&](llmc_oneshot_options& o) { o.struct_size = 7; }), Contains("struct_size is 7"));
  CHECK_FALSE(quantized([](llmc_oneshot_options&) {}).empty());  // no calibration data yet
  CHECK(refusal(llmc_model_quantize, nullptr, nullptr).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_model_quantize, model.get(), nullptr).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_model_save, nullptr, nullptr).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_model_add_data, model.get(), nullptr).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_model_add_data, nullptr, nullptr).status == LLMC_INVALID_ARGUMENT);
  s.add(model, 0, 4);
  quantize(model, s.to(0, kGptq));
  save(model);
}

TEST_CASE("a report's fields are its JSON's") {
  Setting s;
  const OwnedModel model = s.open();
  s.add(model, 0, 4);
  quantize(model, s.to(0, kGptq));
  llmc_report* report = nullptr;
  must(llmc_model_save, model.get(), &report);
  const auto json = nlohmann::json::parse(llmc_report_json(report));
  llmc_report_facts facts{};
  facts.struct_size = sizeof facts;
  must(llmc_report_info, report, &facts);
  CHECK((facts.linears == 14 && llmc_report_count(report) == 14 && facts.samples == 4 &&
         facts.tokens == 4 * 48));
  CHECK((json["bytes_after"] == facts.bytes_after && json["bytes_before"] == facts.bytes_before &&
         json["seconds"] == facts.seconds));
  for (int64_t i = 0; i < 14; ++i) {
    llmc_linear_facts row{};
    row.struct_size = sizeof row;
    must(llmc_report_linear, report, i, &row);
    const auto& want = json["linears"][static_cast<size_t>(i)];
    CHECK((want["name"] == row.name && want["scheme"] == row.scheme && want["method"] == row.method &&
           want["note"] == row.note));
    CHECK((want["relative_error"] == row.relative_error && want["loss"] == row.loss &&
           want["dampening"] == row.dampening));
  }
  llmc_linear_facts row{};
  row.struct_size = sizeof row;
  for (const int64_t index : {int64_t{-1}, int64_t{14}, INT64_MAX})
    CHECK_THAT(refusal(llmc_report_linear, report, index, &row).message,
               Contains("index is " + std::to_string(index)));
  row.struct_size = 5;
  CHECK(refusal(llmc_report_linear, report, 0, &row).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_report_linear, report, 0, nullptr).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_report_info, report, nullptr).status == LLMC_INVALID_ARGUMENT);
  CHECK(refusal(llmc_report_info, nullptr, &facts).status == LLMC_INVALID_ARGUMENT);
  CHECK(llmc_report_count(nullptr) == 0);
  llmc_report_free(report);
}
