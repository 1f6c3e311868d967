// Text to token ids: a model's tokenizer and chat template, and calibration files. Throws llmc::Error.
//
//   llmc::text::Tokenizer tokenizer("models/tiny-llama");
//   llmc::text::DatasetOptions options;
//   options.path = "calibration.jsonl";
//   options.num_samples = 512;
//   llmc::text::Dataset dataset = llmc::text::load_dataset(&tokenizer, options);
//
// In a build without LLMC_TEXT (text_stub.cpp) there is no tokenizer, and only rows with `input_ids` load.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

struct llmc_text_tokenizer;

namespace llmc::text {

struct DatasetOptions {
  // JSONL, or JSON holding one array; llmc_text.h lists the columns a row may have
  std::string path;
  int64_t num_samples = 0;               // 0: all rows
  int64_t max_seq_length = 0;            // 0: no limit
  std::optional<uint64_t> shuffle_seed;  // the order of datasets.Dataset.shuffle(seed)
  bool concatenate = false;              // join all samples, cut into sequences of exactly max_seq_length
  std::string text_column = "text";
  std::string template_date;  // what strftime_now formats, such as 2025-03-05; empty: 2024-07-26
  int threads = 1;            // the result does not depend on it
  std::string tokenizer_dir;  // without a tokenizer: where one was looked for, for the error
  const std::atomic<bool>* cancel = nullptr;  // looked at before every row; true -> Error(cancelled)
};

struct Dataset {
  std::vector<int32_t> token_ids;        // [tokens]
  std::vector<int64_t> sequence_starts;  // [sequences + 1]
  int64_t rows = 0;                      // in the file
  int64_t samples = 0;                   // rows that gave tokens
  int64_t truncated = 0;                 // samples cut to max_seq_length
  int64_t skipped_empty = 0;             // rows without tokens
  std::vector<std::string> notes;        // one line each, for the user; no errors
};

// Any number of threads may use one Tokenizer.
class Tokenizer {
 public:
  // Needs tokenizer.json in `model_dir`. A `chat_template` (its text, not a path) wins over the model's own.
  explicit Tokenizer(const std::string& model_dir,
                     const std::optional<std::string>& chat_template = std::nullopt);

  int64_t vocab_size() const;
  bool has_chat_template() const;

  // Pass add_special_tokens = false for text that a chat template made: it holds its special tokens already.
  std::vector<int32_t> encode(std::string_view text, bool add_special_tokens) const;

  // `conversation_json` is an array of messages, or an object with `messages` and further template variables.
  std::string render(std::string_view conversation_json,
                     bool add_generation_prompt,
                     const std::string& template_date = {}) const;

  const llmc_text_tokenizer* handle() const { return handle_.get(); }

 private:
  struct Closer {
    void operator()(llmc_text_tokenizer* tokenizer) const;
  };
  std::unique_ptr<llmc_text_tokenizer, Closer> handle_;
};

// `tokenizer` may be null: then only rows with `input_ids` load.
Dataset load_dataset(const Tokenizer* tokenizer, const DatasetOptions& options);

}  // namespace llmc::text
