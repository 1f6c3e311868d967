#include "calibration_data.hpp"

#include <filesystem>
#include <optional>

#include "guard.hpp"
#include "text/text.hpp"

namespace llmc::capi {

namespace {

constexpr int64_t kDefaultSamples = 512;
// never today: calibration tokens must not change from day to day
constexpr const char* kDefaultTemplateDate = "2024-07-26";

}  // namespace

TokenBatch copy_sequences(const int32_t* token_ids,
                          const int64_t* sequence_starts,
                          int64_t num_sequences,
                          const std::string& where) {
  if (!token_ids || !sequence_starts || num_sequences < 1)
    throw Error(ErrorCode::invalid_argument,
                where + "token_ids: wanted it, sequence_starts and num_sequences together");
  if (sequence_starts[0] != 0)
    throw Error(ErrorCode::invalid_argument,
                where + "sequence_starts[0] is " + std::to_string(sequence_starts[0]) + "; wanted 0");
  for (int64_t s = 0; s < num_sequences; ++s)
    if (sequence_starts[s + 1] < sequence_starts[s])
      throw Error(ErrorCode::invalid_argument,
                  where + "sequence_starts decreases at index " + std::to_string(s + 1));
  TokenBatch batch;
  batch.sequence_starts.assign(sequence_starts, sequence_starts + num_sequences + 1);
  batch.token_ids.assign(token_ids, token_ids + batch.sequence_starts.back());
  return batch;
}

std::vector<DataPath> data_paths(const llmc_oneshot_options& options) {
  std::vector<DataPath> paths;
  const auto add = [&](const char* what, const char* path) {
    if (path && *path) paths.push_back({what, path});
  };
  add("the data set", options.dataset);
  add("the tokenizer's folder", options.tokenizer_dir);
  return paths;
}

std::string template_date(const llmc_oneshot_options& options) {
  return options.template_date && *options.template_date ? options.template_date : kDefaultTemplateDate;
}

void check_data_options(const llmc_oneshot_options& options) {
  if (options.token_ids && !text_or_empty(options.dataset).empty())
    throw Error(ErrorCode::invalid_argument,
                "oneshot: dataset and token_ids were both given; wanted one of them");
  if (options.num_calibration_samples < 0 || options.max_seq_length < 0)
    throw Error(ErrorCode::invalid_argument,
                "oneshot: num_calibration_samples and max_seq_length must not be negative");
  if (!options.token_ids && (options.sequence_starts || options.num_sequences))
    throw Error(ErrorCode::invalid_argument,
                "llmc_oneshot_options: sequence_starts or num_sequences without token_ids");
  tri_state(options.shuffle, false, "llmc_oneshot_options.shuffle");
  tri_state(options.concatenate_data, false, "llmc_oneshot_options.concatenate_data");
}

TokenBatch load_dataset(const llmc_oneshot_options& options,
                        const Backend& backend,
                        const std::atomic<bool>* cancel,
                        const std::function<void(const std::string&)>& note) {
  text::DatasetOptions wanted;
  wanted.path = options.dataset;
  wanted.num_samples = options.num_calibration_samples ? options.num_calibration_samples : kDefaultSamples;
  wanted.max_seq_length = options.max_seq_length;
  if (options.shuffle == LLMC_ON) wanted.shuffle_seed = options.shuffle_seed;
  wanted.concatenate = options.concatenate_data == LLMC_ON;
  if (options.text_column) wanted.text_column = options.text_column;
  wanted.template_date = template_date(options);
  wanted.threads = backend.threads();
  wanted.tokenizer_dir = options.tokenizer_dir ? options.tokenizer_dir : text_or_empty(options.model_dir);
  wanted.cancel = cancel;
  // A folder without tokenizer.json still serves rows of input_ids.
  std::optional<text::Tokenizer> tokenizer;
  std::error_code ignored;
  if (!wanted.tokenizer_dir.empty() &&
      std::filesystem::exists(std::filesystem::path(wanted.tokenizer_dir) / "tokenizer.json", ignored))
    tokenizer.emplace(wanted.tokenizer_dir);
  text::Dataset set = text::load_dataset(tokenizer ? &*tokenizer : nullptr, wanted);
  for (const std::string& line : set.notes) note(line);
  return TokenBatch{std::move(set.token_ids), std::move(set.sequence_starts)};
}

}  // namespace llmc::capi
