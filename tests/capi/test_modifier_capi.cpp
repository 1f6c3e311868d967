// The promises of llmc_tensor.h about modifiers that a caller brings.
#include <catch2/catch.hpp>

#include <filesystem>
#include <functional>
#include <map>
#include <stdexcept>

#include "capi/tensor_tools.hpp"
#include "core/run_tools.hpp"

using Catch::Contains;
using namespace llmc::test;

namespace {

struct Own {
  std::function<int32_t(const llmc_matrix_job&)> work = [](const llmc_matrix_job&) { return 0; };
  int64_t calls = 0;
  llmc_modifier modifier{sizeof modifier, 0, "MyModifier", quantize, this};

  static int32_t quantize(void* user_data, const llmc_matrix_job* job) {
    auto& self = *static_cast<Own*>(user_data);
    ++self.calls;
    return self.work(*job);
  }
};

struct Run {
  ScratchFolder scratch;
  std::string output = scratch / "out", model = golden("micro-llama"), recipe;
  llmc::TokenBatch tokens = tokens_from(golden("micro-llama/calibration.safetensors"));
  llmc_oneshot_options options{};

  explicit Run(const std::string& modifier, const std::string& scheme = "W4A16")
      : recipe("quant_stage: {quant_modifiers: {" + modifier +
               ": {targets: [Linear], ignore: [lm_head], scheme: " + scheme + "}}}") {
    options.struct_size = sizeof options;
    options.model_dir = model.c_str();
    options.output_dir = output.c_str();
    options.recipe = recipe.c_str();
    options.token_ids = tokens.token_ids.data();
    options.sequence_starts = tokens.sequence_starts.data();
    options.num_sequences = static_cast<int64_t>(tokens.sequence_starts.size()) - 1;
  }
  std::string weights(llmc_session* session) const {
    must(llmc_oneshot, session, &options, nullptr);
    return read_text(output + "/model.safetensors");
  }
  Refusal refused(llmc_session* session) const {
    const Refusal result = refusal(llmc_oneshot, session, &options, nullptr);
    CHECK(std::filesystem::is_empty(scratch.path()));
    return result;
  }
};

void use(const OwnedSession& session, const Own& own) {
  must(llmc_session_add_modifier, session.get(), &own.modifier);
}

}  // namespace

TEST_CASE("a modifier that leaves the nearest codes alone writes what rounding to nearest writes") {
  for (const char* scheme : {"W4A16", "W4A16_ASYM", "FP8_DYNAMIC", "NVFP4A16"}) {
    CAPTURE(scheme);
    const auto session = new_session(2);
    Own own;
    use(session, own);
    CHECK(Run("MyModifier", scheme).weights(session.get()) ==
          Run("QuantizationModifier", scheme).weights(session.get()));
    CHECK(own.calls == 14);
  }
}

TEST_CASE("a modifier sees each matrix with what it asked for, and what it writes is what the folder holds") {
  const auto session = new_session(2), other = new_session(1);
  Own own;
  own.modifier.needs = LLMC_NEEDS_GRAM | LLMC_NEEDS_CHANNELS;
  std::map<std::string, int64_t> seen;
  own.work = [&](const llmc_matrix_job& job) {
    CHECK((job.struct_size == sizeof job && job.num_bits == 4 && job.tokens == 24 * 48));
    CHECK((job.weight->dtype == LLMC_DTYPE_BFLOAT16 && job.codes->dtype == LLMC_DTYPE_INT8 &&
           job.scales->dtype == LLMC_DTYPE_FLOAT32 && !job.zero_points));
    const int64_t rows = job.weight->shape[0], columns = job.weight->shape[1];
    CHECK((job.codes->shape[0] == rows && job.codes->shape[1] == columns &&
           job.scales->shape[1] == columns / 128));
    for (const llmc_tensor* tensor : {job.weight, job.scales, job.codes, job.gram})
      CHECK(tensor->struct_size == sizeof(llmc_tensor));
    const OwnedGram own_gram = new_gram(columns);  // what a job lends, other calls take
    must(llmc_gram_add, other.get(), own_gram.get(), job.weight);
    REQUIRE((job.gram && job.gram->shape[0] == columns && job.channel_min && job.sum_squares));
    const auto* gram = static_cast<const float*>(job.gram->data);
    for (int64_t i = 0; i < columns; ++i)
      CHECK(static_cast<double>(gram[i * columns + i]) == Approx(job.sum_squares[i]).epsilon(1e-4));
    seen[job.module] = rows;
    auto* codes = static_cast<int8_t*>(job.codes->data);
    for (int64_t i = 0; i < rows * columns; ++i) codes[i] = codes[i] > 0 ? 1 : codes[i] < 0 ? -1 : 0;
    return 0;
  };
  use(session, own);
  const Run run("MyModifier");
  run.weights(session.get());
  CHECK((seen.size() == 14 && seen.count("model.layers.1.mlp.down_proj") == 1));
  const llmc::Checkpoint folder(run.output);
  const llmc::Tensor words = folder.read("model.layers.0.mlp.up_proj.weight_packed");
  for (int64_t i = 0; i < words.bytes() * 2; ++i) {
    const int code = (static_cast<int>(words.data()[i / 2]) >> (4 * (i % 2))) & 15;
    REQUIRE((code >= 7 && code <= 9));
  }
}

TEST_CASE(
    "a modifier that fails, throws, cancels or writes what no file can hold ends the run and leaves "
    "nothing") {
  const auto session = new_session(2);
  Own own;
  use(session, own);
  const Run run("MyModifier");
  own.work = [&](const llmc_matrix_job&) { return own.calls == 3 ? 7 : 0; };
  const Refusal failed = run.refused(session.get());
  CHECK(failed.status == LLMC_INVALID_ARGUMENT);
  CHECK_THAT(failed.message, Contains("modifier 'MyModifier': returned 7 for 'model.layers.0.self_attn."));
  own.work = [](const llmc_matrix_job&) -> int32_t { throw std::runtime_error("no luck"); };
  CHECK_THAT(run.refused(session.get()).message, Contains("no luck"));
  own.work = [](const llmc_matrix_job&) -> int32_t { throw 5; };
  CHECK(run.refused(session.get()).status == LLMC_INTERNAL);
  own.work = [&](const llmc_matrix_job&) { return llmc_session_cancel(session.get()), 0; };
  CHECK(run.refused(session.get()).status == LLMC_CANCELLED);
  own.work = [](const llmc_matrix_job& job) { return static_cast<int8_t*>(job.codes->data)[5] = 9, 0; };
  CHECK_THAT(run.refused(session.get()).message,
             Contains("code 9 of 'model.layers.0.self_attn.") &&
                 Contains("at [0, 5], wanted one of int4 group 128"));
  for (const int code : {0, -8}) {
    own.work = [&](const llmc_matrix_job& job) {
      return std::memset(job.codes->data, code,
                         static_cast<size_t>(job.codes->shape[0] * job.codes->shape[1])),
             0;
    };
    const Refusal blank = run.refused(session.get());
    CHECK(blank.status == LLMC_INVALID_ARGUMENT);
    CHECK_THAT(blank.message, Contains("hold nothing of its weight"));
  }
}

TEST_CASE("modifiers that make no sense are refused") {
  const auto session = new_session(1);
  const auto message = [&](const std::function<void(llmc_modifier&)>& change) {
    Own own;
    change(own.modifier);
    const Refusal result = refusal(llmc_session_add_modifier, session.get(), &own.modifier);
    CHECK(result.status == LLMC_INVALID_ARGUMENT);
    return result.message;
  };
  CHECK_THAT(message([](llmc_modifier& m) { m.struct_size = 3; }), Contains("struct_size is 3"));
  CHECK_THAT(message([](llmc_modifier& m) { m.type = nullptr; }), Contains("llmc_modifier.type is missing"));
  CHECK_THAT(message([](llmc_modifier& m) { m.type = ""; }), Contains("llmc_modifier.type is missing"));
  CHECK_THAT(message([](llmc_modifier& m) { m.type = "GPTQModifier"; }),
             Contains("'GPTQModifier' is built in"));
  CHECK_THAT(message([](llmc_modifier& m) { m.quantize = nullptr; }), Contains("quantize is NULL"));
  for (const int32_t needs : {-1, 4, INT32_MAX})
    CHECK_THAT(message([&](llmc_modifier& m) { m.needs = needs; }),
               Contains("needs is " + std::to_string(needs)));
  CHECK(refusal(llmc_session_add_modifier, session.get(), nullptr).status == LLMC_INVALID_ARGUMENT);
  const Own own;
  CHECK(refusal(llmc_session_add_modifier, nullptr, &own.modifier).status == LLMC_INVALID_ARGUMENT);
  use(session, own);
  CHECK_THAT(message([](llmc_modifier&) {}), Contains("has a modifier 'MyModifier' already"));
  CHECK_THAT(Run("OtherModifier").refused(session.get()).message,
             Contains("unknown modifier 'OtherModifier'; there are ") && Contains(", MyModifier"));
}
