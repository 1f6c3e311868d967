#include "text/text.hpp"

#include "llmc/error.hpp"
#include "llmc_text.h"

namespace llmc::text {
namespace {

struct Freer {
  void operator()(void* memory) const { llmc_text_free(memory); }
};
struct DatasetFreer {
  void operator()(llmc_text_dataset* dataset) const { llmc_text_dataset_free(dataset); }
};

// `error` by reference: the call that writes it may be evaluated after the argument.
void check(llmc_text_status status, char* const& error) {
  std::unique_ptr<char, Freer> owned(error);
  if (status == LLMC_TEXT_OK) return;
  // The crate's statuses are ErrorCode's numbers.
  throw Error(static_cast<ErrorCode>(status), error ? error : "text: out of memory");
}

int32_t is_set(const void* flag) {
  return static_cast<const std::atomic<bool>*>(flag)->load(std::memory_order_relaxed);
}

}  // namespace

void Tokenizer::Closer::operator()(llmc_text_tokenizer* tokenizer) const {
  llmc_text_tokenizer_free(tokenizer);
}

Tokenizer::Tokenizer(const std::string& model_dir, const std::optional<std::string>& chat_template) {
  llmc_text_tokenizer* tokenizer = nullptr;
  char* error = nullptr;
  const char* own_template = chat_template ? chat_template->c_str() : nullptr;
  check(llmc_text_tokenizer_open(model_dir.c_str(), own_template, &tokenizer, &error), error);
  handle_.reset(tokenizer);
}

int64_t Tokenizer::vocab_size() const { return llmc_text_tokenizer_vocab_size(handle_.get()); }

bool Tokenizer::has_chat_template() const {
  return llmc_text_tokenizer_has_chat_template(handle_.get()) != 0;
}

std::vector<int32_t> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  int32_t* ids = nullptr;
  size_t num_ids = 0;
  char* error = nullptr;
  check(llmc_text_encode(handle_.get(), text.data(), text.size(), add_special_tokens, &ids, &num_ids, &error),
        error);
  std::unique_ptr<int32_t, Freer> owned(ids);
  return std::vector<int32_t>(ids, ids + num_ids);
}

std::string Tokenizer::render(std::string_view conversation_json,
                              bool add_generation_prompt,
                              const std::string& template_date) const {
  char* text = nullptr;
  size_t text_bytes = 0;
  char* error = nullptr;
  check(llmc_text_render(handle_.get(), conversation_json.data(), conversation_json.size(),
                         add_generation_prompt, template_date.c_str(), &text, &text_bytes, &error),
        error);
  std::unique_ptr<char, Freer> owned(text);
  return std::string(text, text_bytes);
}

Dataset load_dataset(const Tokenizer* tokenizer, const DatasetOptions& options) {
  llmc_text_dataset_options raw{};
  raw.path = options.path.c_str();
  raw.text_column = options.text_column.c_str();
  raw.template_date = options.template_date.c_str();
  raw.num_samples = options.num_samples;
  raw.max_seq_length = options.max_seq_length;
  raw.shuffle_seed = options.shuffle_seed.value_or(0);
  raw.shuffle = options.shuffle_seed.has_value();
  raw.concatenate = options.concatenate;
  raw.threads = options.threads;
  raw.tokenizer_dir = options.tokenizer_dir.empty() ? nullptr : options.tokenizer_dir.c_str();
  if (options.cancel) {
    raw.is_cancelled = is_set;
    raw.user_data = options.cancel;
  }

  llmc_text_dataset* loaded = nullptr;
  char* error = nullptr;
  check(llmc_text_dataset_load(tokenizer ? tokenizer->handle() : nullptr, &raw, &loaded, &error), error);
  std::unique_ptr<llmc_text_dataset, DatasetFreer> owned(loaded);

  llmc_text_dataset_view view{};
  llmc_text_dataset_get_view(loaded, &view);
  Dataset dataset;
  dataset.token_ids.assign(view.token_ids, view.token_ids + view.num_tokens);
  dataset.sequence_starts.assign(view.sequence_starts, view.sequence_starts + view.num_sequences + 1);
  dataset.notes.assign(view.notes, view.notes + view.num_notes);
  dataset.rows = view.rows;
  dataset.samples = view.samples;
  dataset.truncated = view.truncated;
  dataset.skipped_empty = view.skipped_empty;
  return dataset;
}

}  // namespace llmc::text
