// From C++: the model level, sources, modifiers and reports; exceptions out of every callback.
#include "capi/cpp_layer.hpp"

#include <cstring>

using namespace llmc::test;

namespace {

struct Stop {
  int value;
};

std::string recipe(const std::string& modifier) {
  return "s_stage: {m_modifiers: {" + modifier + ": {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";
}

std::vector<std::vector<int32_t>> sequences() {
  std::vector<std::vector<int32_t>> all(8);
  for (int32_t s = 0; s < 8; ++s)
    for (int32_t i = 0; i < 32; ++i)
      all[static_cast<size_t>(s)].push_back((s * 37 + i * i * 7 + i * 31 + 3) % 251);
  return all;
}

cpp::Oneshot job_of(const std::string& modifier, const std::string& output) {
  cpp::Oneshot job;
  job.recipe = recipe(modifier);
  job.output = output;
  return job;
}
cpp::Oneshot whole_job(const std::string& modifier, const std::string& output) {
  cpp::Oneshot job = job_of(modifier, output);
  job.model = golden("micro-llama");
  job.token_ids = sequences();
  return job;
}
std::string weights(const std::string& folder) { return read_text(folder + "/model.safetensors"); }

template <class Body>
int stopped(Body&& body) {
  try {
    body();
    return 0;
  } catch (const Stop& stop) {
    return stop.value;
  }
}

}  // namespace

TEST_CASE("C++: a model in parts writes the bytes of whole runs, and outlives the Session it was opened on") {
  const ScratchFolder scratch;
  auto first = std::make_unique<cpp::Session>(cpp_session(2));
  const cpp::Report whole = first->oneshot(whole_job("GPTQModifier", scratch / "gptq"));
  first->oneshot(whole_job("QuantizationModifier", scratch / "rtn"));
  cpp::Model opened(*first, golden("micro-llama"));
  first.reset();
  const auto all = sequences();
  opened.add_token_ids({all.begin(), all.begin() + 3});
  cpp::Model model = std::move(opened);
  model.add_token_ids({all.begin() + 3, all.end()});
  CHECK(status_of([&] { model.save(); }) == LLMC_INVALID_ARGUMENT);  // nothing is quantized
  model.quantize(job_of("GPTQModifier", scratch / "a"));
  CHECK(!std::filesystem::exists(scratch / "a"));
  const cpp::Report report = model.save();
  model.quantize(job_of("QuantizationModifier", scratch / "b"));
  model.save();
  CHECK((weights(scratch / "a") == weights(scratch / "gptq") &&
         weights(scratch / "b") == weights(scratch / "rtn")));

  const llmc_report_facts facts = report.facts();
  const std::vector<cpp::Linear> linears = report.linears();
  CHECK((facts.linears == 14 && facts.samples == 8 && facts.tokens == 256 &&
         facts.bytes_after < facts.bytes_before && linears.size() == 14));
  CHECK((linears[0].name == "model.layers.0.self_attn.q_proj" && linears[0].scheme == "int4 group 128" &&
         linears[0].method == "GPTQ" && linears[0].note.empty() && linears[0].loss > 0));
  CHECK(whole.linears()[5].relative_error == linears[5].relative_error);
}

TEST_CASE(
    "C++: a model refuses what is not its own, and one that is assigned over lets go of what it wrote") {
  const ScratchFolder scratch;
  auto session = cpp_session(1);
  CHECK(status_of([&] { cpp::Model(session, scratch / "nowhere"); }) == LLMC_NOT_FOUND);
  cpp::Model model(session, golden("micro-llama"));
  CHECK(status_of([&] { model.add_token_ids({}); }) == LLMC_INVALID_ARGUMENT);
  CHECK(status_of([&] { model.quantize(whole_job("QuantizationModifier", scratch / "out")); }) ==
        LLMC_INVALID_ARGUMENT);
  cpp::Oneshot data;
  data.dataset = scratch / "none.jsonl";
  CHECK(status_of([&] { model.add_data(data); }) != LLMC_OK);
  model.add_token_ids(sequences());
  model.quantize(job_of("QuantizationModifier", scratch / "out"));
  CHECK(!std::filesystem::is_empty(scratch.path()));
  model = cpp::Model(cpp_session(1), golden("micro-llama"));
  CHECK(std::filesystem::is_empty(scratch.path()));
  model.add_token_ids(sequences());
}

TEST_CASE("C++: statistics are saved, loaded and merged, and stand for the data") {
  const ScratchFolder scratch;
  auto session = cpp_session(2);
  const auto all = sequences();
  for (int half = 0; half < 2; ++half) {
    cpp::Model model(session, golden("micro-llama"));
    model.add_token_ids({all.begin() + 4 * half, all.begin() + 4 * half + 4});
    model.save_statistics(scratch / std::to_string(half));
    CHECK(status_of([&] { model.save_statistics(scratch / std::to_string(half)); }) == LLMC_EXISTS);
  }
  CHECK(cpp::Gram::load(scratch / "0/model.layers.1.mlp.gate_proj.safetensors").tokens() == 128);
  const MicroLlama micro;
  cpp::Model model(session, micro.source());
  CHECK(status_of([&] { model.load_statistics(scratch / "nowhere"); }) == LLMC_NOT_FOUND);
  for (const char* half : {"0", "1"}) model.load_statistics(scratch / half);
  model.quantize(job_of("GPTQModifier", scratch / "out"));
  const cpp::Report report = model.save();
  CHECK((report.facts().tokens == 256 && report.linears()[0].method == "GPTQ"));
}

TEST_CASE("C++: a source gives the bytes of its folder, whole and in parts") {
  const ScratchFolder scratch;
  auto session = cpp_session(2);
  const MicroLlama micro;
  session.oneshot(whole_job("GPTQModifier", scratch / "folder"));
  const cpp::Source source = micro.source();
  cpp::Oneshot job = whole_job("GPTQModifier", scratch / "memory");
  job.model.clear();
  job.source = &source;
  session.oneshot(job);
  cpp::Model model(session, micro.source());
  cpp::Model moved = std::move(model);
  moved.add_token_ids(sequences());
  moved.quantize(job_of("GPTQModifier", scratch / "parts"));
  moved.save();
  CHECK((weights(scratch / "memory") == weights(scratch / "folder") &&
         weights(scratch / "parts") == weights(scratch / "folder")));
}

TEST_CASE("C++: a modifier that leaves the codes alone is rounding, and one that changes them is written") {
  const ScratchFolder scratch;
  auto session = cpp_session(2);
  bool change = false;
  std::vector<std::string> seen;
  session.add_modifier("MyModifier", LLMC_NEEDS_GRAM | LLMC_NEEDS_CHANNELS, [&](const llmc_matrix_job& job) {
    seen.push_back(job.module);
    const cpp::TensorRef weight(*job.weight), gram(*job.gram);
    const cpp::MutableTensorRef codes(*job.codes);
    CHECK((job.tokens == 256 && job.sum_squares && weight.dtype() == LLMC_DTYPE_BFLOAT16 &&
           codes.shape() == weight.shape() && gram.shape()[1] == weight.shape()[1]));
    if (change) std::fill_n(codes.data<int8_t>(), 8, static_cast<int8_t>(0));
  });
  auto moved = std::move(session);  // the modifier goes along
  moved.oneshot(whole_job("QuantizationModifier", scratch / "rtn"));
  moved.oneshot(whole_job("MyModifier", scratch / "same"));
  change = true;
  moved.oneshot(whole_job("MyModifier", scratch / "other"));
  CHECK((weights(scratch / "same") == weights(scratch / "rtn") &&
         weights(scratch / "other") != weights(scratch / "rtn")));
  CHECK((seen.size() == 28 && seen[0] == "model.layers.0.self_attn.q_proj"));
}

TEST_CASE(
    "C++: an exception thrown in a modifier, a source or a progress callback reaches the caller, and the "
    "session goes on") {
  const ScratchFolder scratch;
  int fail = 0;
  cpp::SessionOptions options;
  options.threads = 2;
  options.progress = [&](const llmc_progress&) {
    if (fail == 1) throw Stop{1};
  };
  cpp::Session session(options);
  session.add_modifier("MyModifier", 0, [&](const llmc_matrix_job& job) {
    if (fail == 2) throw Stop{2};
    if (fail == 3) static_cast<int8_t*>(job.codes->data)[0] = 100;
  });
  const MicroLlama micro;
  cpp::Source source = micro.source();
  const auto read = source.read;
  source.read = [&](int64_t tensor, int64_t offset, int64_t bytes, void* to) {
    if (fail == 4) throw Stop{4};
    read(tensor, offset, bytes, to);
  };
  cpp::Oneshot from_memory = whole_job("MyModifier", scratch / "out"), data_free;
  from_memory.model.clear();
  from_memory.source = &source;
  data_free.source = &source;
  data_free.scheme = "W8A8";
  data_free.output = scratch / "out";
  {
    cpp::Model model(session, source);
    model.add_token_ids(sequences());
    for (fail = 1; fail <= 4; ++fail) {
      CAPTURE(fail);
      if (fail != 3) {
        CHECK(stopped([&] { session.oneshot(from_memory); }) == fail);
        CHECK(stopped([&] { model.quantize(job_of("MyModifier", scratch / "out")); }) == fail);
      } else {
        CHECK(status_of([&] { session.oneshot(from_memory); }) == LLMC_INVALID_ARGUMENT);
      }
    }
    fail = 4;
    CHECK(stopped([&] { session.oneshot(data_free); }) == 4);  // read ahead by a thread of llmc's
    CHECK(std::filesystem::is_empty(scratch.path()));
    fail = 0;
    model.quantize(job_of("MyModifier", scratch / "out"));
  }
  CHECK(std::filesystem::is_empty(scratch.path()));  // not saved
  session.oneshot(data_free);

  for (const char* name : {"MyModifier", "GPTQModifier", ""})
    CHECK(status_of([&] { session.add_modifier(name, 0, [](const llmc_matrix_job&) {}); }) ==
          LLMC_INVALID_ARGUMENT);
  CHECK(status_of([&] { session.add_modifier("Other", 0, nullptr); }) == LLMC_INVALID_ARGUMENT);
}
