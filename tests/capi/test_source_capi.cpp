// The promises of llmc.h about models that lie in no folder.
#include <catch2/catch.hpp>

#include <filesystem>
#include <stdexcept>

#include "capi/tensor_tools.hpp"
#include "capi/trainer.hpp"
#include "core/run_tools.hpp"

using Catch::Contains;
using namespace llmc::test;

namespace {

constexpr const char* kGptq =
    "quant_stage: {quant_modifiers: {SmoothQuantModifier: {smoothing_strength: 0.8}, GPTQModifier: {targets: "
    "[Linear], ignore: [lm_head], scheme: W4A16}}}";

struct Run {
  ScratchFolder scratch;
  std::string output = scratch / "out", model = golden("micro-llama");
  llmc::TokenBatch tokens = tokens_from(golden("micro-llama/calibration.safetensors"));
  llmc_oneshot_options options{};

  explicit Run(const llmc_tensor_source* source, bool calibrated = true) {
    options.struct_size = sizeof options;
    options.output_dir = output.c_str();
    options.source = source;
    if (!source) options.model_dir = model.c_str();
    if (!calibrated) {
      options.scheme = "FP8_BLOCK";
      return;
    }
    options.recipe = kGptq;
    options.token_ids = tokens.token_ids.data();
    options.sequence_starts = tokens.sequence_starts.data();
    options.num_sequences = static_cast<int64_t>(tokens.sequence_starts.size()) - 1;
  }
  Refusal refused(llmc_session* session) const {
    const Refusal result = refusal(llmc_oneshot, session, &options, nullptr);
    CHECK(std::filesystem::is_empty(scratch.path()));
    return result;
  }
  std::string file(const char* name) const { return read_text(output + "/" + name); }
};

}  // namespace

TEST_CASE(
    "a model from memory is compressed to the bytes that its folder gives, with calibration and without") {
  const auto session = new_session(2);
  for (const bool calibrated : {true, false}) {
    CAPTURE(calibrated);
    Trainer trainer;
    const Run memory(&trainer.source, calibrated), folder(nullptr, calibrated);
    must(llmc_oneshot, session.get(), &memory.options, nullptr);
    must(llmc_oneshot, session.get(), &folder.options, nullptr);
    CHECK(trainer.reads > 0);
    CHECK(memory.file("model.safetensors") == folder.file("model.safetensors"));
    CHECK(memory.file("config.json") == folder.file("config.json"));
  }
}

TEST_CASE("a source that fails, throws or cancels ends the call and leaves nothing") {
  const auto session = new_session(2);
  for (const bool calibrated : {true, false}) {
    CAPTURE(calibrated);
    Trainer trainer;
    const Run run(&trainer.source, calibrated);
    trainer.before_read = [&] { return trainer.reads == 3 ? 7 : 0; };
    const Refusal failed = run.refused(session.get());
    CHECK(failed.status == LLMC_IO);
    CHECK_THAT(failed.message, Contains("tensor source: read of 'model.") && Contains("returned 7"));
    trainer.before_read = []() -> int32_t { throw std::runtime_error("the trainer is gone"); };
    CHECK_THAT(run.refused(session.get()).message, Contains("the trainer is gone"));
    trainer.before_read = []() -> int32_t { throw 5; };
    CHECK(run.refused(session.get()).status == LLMC_INTERNAL);
    trainer.before_read = [&] { return llmc_session_cancel(session.get()), 0; };
    CHECK(run.refused(session.get()).status == LLMC_CANCELLED);
  }
}

TEST_CASE("a source that makes no sense is refused before anything is read") {
  const auto session = new_session(1);
  const auto message = [&](const std::function<void(Trainer&, Run&)>& change) {
    Trainer trainer;
    Run run(&trainer.source, false);
    change(trainer, run);
    const Refusal result = run.refused(session.get());
    CHECK(trainer.reads == 0);
    CHECK((result.status == LLMC_INVALID_ARGUMENT || result.status == LLMC_BAD_FILE ||
           result.status == LLMC_UNSUPPORTED));
    return result.message;
  };
  CHECK_THAT(message([](Trainer&, Run& run) { run.options.model_dir = run.model.c_str(); }),
             Contains("model_dir and source were both given"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.source.read = nullptr; }),
             Contains("llmc_tensor_source.read is NULL"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.source.config_json = nullptr; }),
             Contains("llmc_tensor_source.config_json is missing"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.source.config_json = "{"; }), Contains("config.json"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.source.struct_size = 4; }), Contains("struct_size"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.source.reserved = 1; }), Contains("reserved"));
  for (const int64_t count : {int64_t{0}, int64_t{-1}, INT64_MAX})
    CHECK_THAT(message([&](Trainer& t, Run&) { t.source.num_tensors = count; }),
               Contains("num_tensors is " + std::to_string(count)));
  CHECK_THAT(message([](Trainer& t, Run&) { t.source.tensors = nullptr; }), Contains("tensors NULL"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.tensors[1].struct_size = 12; }),
             Contains("tensors[1].struct_size is 12"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.tensors[2].name = nullptr; }),
             Contains("tensors[2].name is missing"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.tensors[2].name = t.tensors[0].name; }),
             Contains("is there twice"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.tensors[2].dtype = 99; }), Contains("tensors[2].dtype is 99"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.tensors[2].ndim = 9; }), Contains("tensors[2].ndim is 9"));
  CHECK_THAT(message([](Trainer& t, Run&) { t.tensors[2].shape = nullptr; }), Contains("shape NULL"));
  static constexpr int64_t kHuge[] = {INT64_MAX, 4}, kNegative[] = {-1, 4};
  CHECK_THAT(message([](Trainer& t, Run&) {
               t.tensors[0].shape = kHuge;
               t.tensors[0].ndim = 2;
             }),
             Contains("too large size"));
  CHECK_THAT(message([](Trainer& t, Run&) {
               t.tensors[0].shape = kNegative;
               t.tensors[0].ndim = 2;
             }),
             Contains("negative"));
}
