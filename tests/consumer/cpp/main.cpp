// The C interface from C++: GPTQ with the caller's own token ids, and an error. usage: consumer MODEL OUTPUT
#include <llmc.h>
#include <llmc_tools.h>

#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace {

struct Free {
  void operator()(llmc_session* session) const { llmc_session_free(session); }
  void operator()(llmc_report* report) const { llmc_report_free(report); }
  void operator()(llmc_error* error) const { llmc_error_free(error); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

struct Result {
  llmc_status status;
  std::string report, message;
};

Result compress(llmc_session* session, const std::string& model, const std::string& output) {
  constexpr int kSequences = 8, kLength = 32;
  std::vector<int32_t> token_ids;           // [kSequences * kLength]
  std::vector<int64_t> sequence_starts{0};  // [kSequences + 1]
  for (int i = 0; i < kSequences * kLength; ++i) token_ids.push_back((i * i * 7 + i * 31 + 3) % 251);
  for (int s = 1; s <= kSequences; ++s) sequence_starts.push_back(s * kLength);

  llmc_oneshot_options options{};
  options.struct_size = sizeof options;
  options.model_dir = model.c_str();
  options.output_dir = output.c_str();
  options.recipe = "quant_stage: {quant_modifiers: {GPTQModifier: {scheme: W4A16, targets: [Linear], ignore: [lm_head]}}}";
  options.token_ids = token_ids.data();
  options.sequence_starts = sequence_starts.data();
  options.num_sequences = kSequences;

  llmc_report* report = nullptr;
  llmc_error* error = nullptr;
  const llmc_status status = llmc_oneshot(session, &options, &report, &error);
  const Owned<llmc_report> report_owner(report);
  const Owned<llmc_error> error_owner(error);
  return {status, llmc_report_json(report), llmc_error_message(error)};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: %s MODEL OUTPUT\n", argv[0]), 1;
  llmc_session* made = nullptr;
  if (llmc_session_create(nullptr, &made, nullptr) != LLMC_OK) return std::fprintf(stderr, "no session\n"), 1;
  const Owned<llmc_session> session(made);

  const Result done = compress(session.get(), argv[1], argv[2]);
  if (done.status != LLMC_OK) return std::fprintf(stderr, "%s: %s\n", llmc_status_name(done.status), done.message.c_str()), 1;
  if (done.report.find("\"method\":\"GPTQ\"") == std::string::npos) return std::fprintf(stderr, "no GPTQ row in the report: %s\n", done.report.c_str()), 1;

  const Result missing = compress(session.get(), std::string(argv[1]) + "-that-is-not-there", std::string(argv[2]) + "-2");
  if (missing.status != LLMC_NOT_FOUND || missing.message.empty())
    return std::fprintf(stderr, "a missing folder gave %s: '%s'\n", llmc_status_name(missing.status), missing.message.c_str()), 1;
  std::printf("%s\n", llmc_session_device(session.get()));
}
