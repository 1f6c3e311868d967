/* Tokenizer, chat template and data sets, as C: the boundary between llmc's C++ and the Rust crate
 * llmc-text. Internal to llmc: libllmc.so exports none of it. C++ code includes text.hpp instead.
 *
 * Errors.    Functions that can fail return LLMC_TEXT_OK or another status. `error` may be NULL; otherwise
 *            it is always written: NULL on success, else one line of text to be freed with llmc_text_free
 *            (NULL if memory ran out). Out-parameters other than `error` must not be NULL; they are zero
 *            after a failure.
 * Ownership. What _open and _load give, the matching _free takes; text and ids go to llmc_text_free. NULL
 *            is fine for every _free. What a view points at belongs to the data set.
 * Threads.   A tokenizer and a data set are read-only once made: any number of threads may use one at a
 *            time. Templates are compiled and rendered on threads with a stack of their own (256 MB of address
 *            space, touched as needed), which end before the call returns.
 * Guest.     Nothing here prints, reads the clock or an environment variable, or lets a panic through. */
#ifndef LLMC_TEXT_H
#define LLMC_TEXT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers are those of llmc::ErrorCode. */
typedef int32_t llmc_text_status;
#define LLMC_TEXT_OK 0
#define LLMC_TEXT_INVALID_ARGUMENT \
  1 /* an option's value, text that is not UTF-8, no tokenizer where one is needed */
#define LLMC_TEXT_NOT_FOUND 2 /* no such file, or a model without a chat template */
#define LLMC_TEXT_IO 3        /* the operating system refused */
#define LLMC_TEXT_BAD_FILE 4 /* a row, tokenizer or template that breaks its format; what a template raised */
#define LLMC_TEXT_UNSUPPORTED 5
#define LLMC_TEXT_CANCELLED 8
#define LLMC_TEXT_INTERNAL 10 /* a bug; also out of memory for a result (elsewhere Rust ends the process) */

typedef struct llmc_text_tokenizer llmc_text_tokenizer;
typedef struct llmc_text_dataset llmc_text_dataset;

/* Opens the tokenizer of a Hugging Face model folder: tokenizer.json (required), the special tokens of
 * tokenizer_config.json and special_tokens_map.json, and the chat template: `chat_template` (its text) if
 * not NULL, else chat_template.jinja and additional_chat_templates/NAME.jinja, else those of
 * tokenizer_config.json, chat_template.json or processor_config.json. Of several, the one named "default",
 * and for conversations with tools the one named "tool_use". A template that does not parse is reported by
 * the first call that renders. */
llmc_text_status llmc_text_tokenizer_open(const char* model_dir,
                                          const char* chat_template,
                                          llmc_text_tokenizer** tokenizer,
                                          char** error);
void llmc_text_tokenizer_free(llmc_text_tokenizer* tokenizer);

/* The number of distinct tokens, added ones included. A model's embedding may have more rows. */
int64_t llmc_text_tokenizer_vocab_size(const llmc_text_tokenizer* tokenizer);
int32_t llmc_text_tokenizer_has_chat_template(const llmc_text_tokenizer* tokenizer);

/* Token ids of UTF-8 text; add_special_tokens 1 as for plain text, 0 for text that a chat template made. */
llmc_text_status llmc_text_encode(const llmc_text_tokenizer* tokenizer,
                                  const char* text,
                                  size_t text_bytes,
                                  int32_t add_special_tokens,
                                  int32_t** ids,
                                  size_t* num_ids,
                                  char** error);

/* Renders a conversation as transformers' apply_chat_template does. `conversation` is JSON: an array of
 * messages, or an object with "messages" whose other keys become template variables ("tools",
 * "enable_thinking", ...). template_date is what the template's strftime_now formats: "2025-03-05" or
 * "2025-03-05T14:07:09"; NULL or "" is 2024-07-26, never today. `text` is NUL-terminated; text_bytes does
 * not count the NUL. */
llmc_text_status llmc_text_render(const llmc_text_tokenizer* tokenizer,
                                  const char* conversation,
                                  size_t conversation_bytes,
                                  int32_t add_generation_prompt,
                                  const char* template_date,
                                  char** text,
                                  size_t* text_bytes,
                                  char** error);

/* All zero but `path` means: every row, whole, in the file's order. */
typedef struct llmc_text_dataset_options {
  /* JSONL (one object per line, blank lines skipped), or JSON holding one array */
  const char* path;
  const char* text_column;   /* NULL or "": "text" */
  const char* template_date; /* as for llmc_text_render */
  int64_t num_samples;       /* 0: all; otherwise that many rows, after the shuffle */
  int64_t max_seq_length;    /* 0: no limit; longer samples are cut (or see concatenate) */
  uint64_t shuffle_seed;
  int32_t shuffle; /* 1: the order of datasets.Dataset.shuffle(shuffle_seed) */
  /* 1: all samples joined, then cut into sequences of exactly max_seq_length; the rest is dropped,
   * unless it is all there is */
  int32_t concatenate;
  int64_t threads; /* threads to work on; the calling thread waits. The result does not depend on it. */
  const char* tokenizer_dir; /* without a tokenizer: where one was looked for, for the error; or NULL */
  /* asked before every row, from any thread; not 0 ends the call with LLMC_TEXT_CANCELLED. Or NULL */
  int32_t (*is_cancelled)(const void* user_data);
  const void* user_data;
} llmc_text_dataset_options;

/* Makes token ids of a file's rows. The first of these that a row has counts; null counts as absent:
 *   input_ids                used as they are, but for those whose attention_mask is 0; the only kind for
 *                            which `tokenizer` may be NULL
 *   text_column              when it is not "text"
 *   messages                 a chat
 *   text                     with special tokens
 *   prompt + completion      two texts joined, with special tokens; or two lists of messages, a chat
 *   conversations            a chat, also as ShareGPT writes it (from, value), with the row's `system`
 *   chosen                   after `prompt`, as completion; or alone, a text or a chat
 *   instruction, question, query, prompt + output, response, answer
 *                            a chat of two turns, with `input` or `context` below the first, and `system`;
 *                            joined by line ends when the model has no chat template
 *   prompt                   a text with special tokens, or a chat
 * Chats go through the chat template, no special tokens added. Its variables are the row's `tools` and
 * `documents` (also as JSON text), `enable_thinking`, `thinking`, `reasoning_effort`,
 * `add_generation_prompt`, and what `chat_template_kwargs` holds. Content in parts goes to a template that
 * walks through parts, and joined by line ends to others. Columns that matter and are not used, such as
 * `images`, are named in a note.
 * Only the rows that are used are parsed, so an error in another row goes unseen. Rows without tokens (no
 * ids, no messages, empty text) are skipped and counted. Errors name file and line: "dataset:
 * chats.jsonl:17: expected ...". A rendering that takes more than its share of work, memory or depth is an
 * error too. */
llmc_text_status llmc_text_dataset_load(const llmc_text_tokenizer* tokenizer,
                                        const llmc_text_dataset_options* options,
                                        llmc_text_dataset** dataset,
                                        char** error);
void llmc_text_dataset_free(llmc_text_dataset* dataset);

typedef struct llmc_text_dataset_view {
  const int32_t* token_ids;       /* [num_tokens] */
  const int64_t* sequence_starts; /* [num_sequences + 1], the first 0, the last num_tokens */
  const char* const* notes;       /* [num_notes], one line each: what a user should know that is no error */
  int64_t num_tokens;
  int64_t num_sequences;
  int64_t num_notes;
  int64_t rows;      /* in the file */
  int64_t samples;   /* rows that gave tokens */
  int64_t truncated; /* samples cut to max_seq_length; 0 with concatenate */
  int64_t skipped_empty;
} llmc_text_dataset_view;

/* Borrowed: valid until the data set is freed. */
void llmc_text_dataset_get_view(const llmc_text_dataset* dataset, llmc_text_dataset_view* view);

/* numpy.random.default_rng(seed).permutation(n) into order [n]. */
llmc_text_status llmc_text_permutation(uint64_t seed, int64_t n, int64_t* order, char** error);

void llmc_text_free(void* memory);

#ifdef __cplusplus
}
#endif
#endif
