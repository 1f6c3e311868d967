// The C++ layer over the installed library: GPTQ with the caller's own token ids, whole and in parts, a
// modifier, folders looked at, errors, callbacks that throw, cancelling. tests/capi/test_cpp_*.cpp has the
// rest.
// usage: consumer MODEL OUTPUT
#include <llmc_model.hpp>
#include <llmc_tensor.hpp>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <type_traits>

namespace {

template <class... T>
constexpr bool moves_alone = ((!std::is_copy_constructible_v<T> && std::is_nothrow_move_constructible_v<T> &&
                               std::is_nothrow_move_assignable_v<T>)&&...);
static_assert(moves_alone<llmc::Session,
                          llmc::Report,
                          llmc::Model,
                          llmc::Gram,
                          llmc::Scheme,
                          llmc::Matrix,
                          llmc::Packed,
                          llmc::Writer>);

struct Stop {};

void expect(bool ok, const std::string& what) {
  if (ok) return;
  std::fprintf(stderr, "consumer: %s\n", what.c_str());
  std::exit(1);
}

llmc::Oneshot gptq(const std::string& model, const std::string& output) {
  llmc::Oneshot job;
  job.model = model;
  job.output = output;
  job.recipe =
      "quant_stage: {quant_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";
  job.token_ids.resize(8);
  for (int i = 0; i < 8 * 32; ++i) job.token_ids[i / 32].push_back((i * i * 7 + i * 31 + 3) % 251);
  return job;
}

std::string weights(const std::string& folder) {
  std::ifstream file(folder + "/model.safetensors", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <class Body>
std::string status_of(Body&& body) {
  try {
    body();
    return "LLMC_OK";
  } catch (const llmc::Error& error) {
    return error.name() + std::string(*error.what() ? "" : " without a message");
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: %s MODEL OUTPUT\n", argv[0]), 1;
  const std::string model = argv[1], output = argv[2];
  enum { count, stop, cancel } mode = count;
  int steps = 0;
  llmc::Session* running = nullptr;
  llmc::SessionOptions options;
  options.progress = [&](const llmc_progress& progress) {
    steps += progress.steps > 0;
    if (mode == stop) throw Stop();
    if (mode == cancel) running->cancel();
  };
  llmc::Session first(options);
  llmc::Session session = std::move(first);  // the callbacks go along
  running = &session;

  mode = stop;
  bool thrown = false;
  try {
    session.oneshot(gptq(model, output));
  } catch (const Stop&) {
    thrown = true;
  }
  expect(thrown, "an exception of a callback did not come back");
  mode = cancel;
  expect(status_of([&] { session.oneshot(gptq(model, output)); }) == "LLMC_CANCELLED",
         "cancel() did not end the call");
  mode = count;
  steps = 0;
  const llmc::Report report = session.oneshot(gptq(model, output));
  expect(std::string(report.json()).find("\"method\":\"GPTQ\"") != std::string::npos,
         "no GPTQ row in the report: " + std::string(report.json()));
  expect(report.facts().tokens == 8 * 32 && report.linears().at(0).method == "GPTQ", "the report's fields");
  expect(steps > 0, "no progress");
  expect(status_of([&] { session.oneshot(gptq(model, output)); }) == "LLMC_EXISTS",
         "an output that is there was not LLMC_EXISTS");
  expect(status_of([&] { session.oneshot(gptq(model + "-that-is-not-there", output + "-2")); }) ==
             "LLMC_NOT_FOUND",
         "a missing folder was not LLMC_NOT_FOUND");
  expect(status_of([&] {
           llmc::SessionOptions cuda;
           cuda.cpu_isa = "none";
           llmc::Session bad(cuda);
         }) != "LLMC_OK",
         "an unknown cpu_isa was taken");
  llmc::Oneshot empty = gptq(model, output + "-2");
  empty.token_ids.assign(3, {});
  expect(status_of([&] { session.oneshot(empty); }) != "LLMC_OK", "empty sequences were taken");

  int matrices = 0;
  session.add_modifier("MyModifier", 0, [&](const llmc_matrix_job& job) {
    matrices += llmc::MutableTensorRef(*job.codes).data<int8_t>() != nullptr;
  });
  {
    llmc::Model parts(session, model);
    llmc::Oneshot job = gptq("", output + "-parts");
    parts.add_token_ids(std::exchange(job.token_ids, {}));
    parts.quantize(job);
    parts.save();
    expect(weights(job.output) == weights(output) && !weights(output).empty(),
           "a model in parts has other bytes");
    job.recipe =
        "quant_stage: {quant_modifiers: {MyModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";
    job.output = output + "-mine";
    parts.quantize(job);
    expect(parts.save().facts().linears == matrices && matrices > 0,
           "a modifier of the caller's did not see each matrix");
  }

  expect(session.inspect(output).find("compressed-tensors") != std::string::npos, "inspect");
  expect(session.verify(output).find("\"sound\":true") != std::string::npos, "verify");
  expect(session.diff(output, output).find("\"identical\":true") != std::string::npos, "diff");
  session.dequantize(output, output + "-plain");
  expect(session.verify(output + "-plain").find("\"sound\":true") != std::string::npos,
         "verify of a dequantized folder");
  std::printf("llmc %s on %s\n", llmc::version().c_str(), session.device().c_str());
}
