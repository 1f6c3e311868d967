// llmc.h: status, errors and llmc_oneshot.
#include "llmc.h"

#include <memory>
#include <optional>

#include "calibration_data.hpp"
#include "callback_source.hpp"
#include "guard.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/oneshot.hpp"
#include "oneshot_options.hpp"
#include "report_object.hpp"
#include "session.hpp"

namespace llmc::capi {

llmc_error* out_of_memory_error() noexcept {
  static llmc_error error{LLMC_OUT_OF_MEMORY, "out of memory"};
  return &error;
}

OneshotOptions convert(const llmc_oneshot_options& given) {
  OneshotOptions options;
  options.output_dir = required(given.output_dir, "llmc_oneshot_options.output_dir");
  options.recipe = text_or_empty(given.recipe);
  options.scheme = text_or_empty(given.scheme);
  options.stage = text_or_empty(given.stage);
  if (options.recipe.empty() == options.scheme.empty())
    throw Error(ErrorCode::invalid_argument,
                options.recipe.empty() ? "oneshot: no recipe and no scheme; wanted one of them"
                                       : "oneshot: recipe and scheme were both given; wanted one of them");
  options.compat = choice(given.compat, Compat::vllm, Compat::reference, "llmc_oneshot_options.compat")
                       .value_or(Compat::vllm);
  options.rounding = choice(given.rounding, Rounding::exact, Rounding::reference,
                            "llmc_oneshot_options.rounding");
  options.propagation = choice(given.propagation, Propagation::sublayer, Propagation::layer,
                               "llmc_oneshot_options.propagation");
  options.save_compressed = tri_state(given.save_compressed, true, "llmc_oneshot_options.save_compressed");
  options.tie_word_embeddings = tri_state(given.tie_word_embeddings, true,
                                          "llmc_oneshot_options.tie_word_embeddings");
  options.overwrite = tri_state(given.overwrite, false, "llmc_oneshot_options.overwrite");
  if (given.reserved) throw Error(ErrorCode::invalid_argument, "llmc_oneshot_options.reserved is not 0");
  if (given.max_shard_bytes < 0)
    throw Error(ErrorCode::invalid_argument, "llmc_oneshot_options.max_shard_bytes is negative");
  if (given.max_shard_bytes) options.max_shard_bytes = given.max_shard_bytes;
  options.template_date = template_date(given);
  return options;
}

}  // namespace llmc::capi

using namespace llmc::capi;

llmc_status llmc_oneshot(llmc_session* session,
                         const llmc_oneshot_options* given,
                         llmc_report** report,
                         llmc_error** error) {
  if (report) *report = nullptr;
  return guard(error, [&] {
    const SessionLock lock(session);
    const auto c_options = read_options(given, "llmc_oneshot_options");
    llmc::OneshotOptions options = convert(c_options);
    options.model_dir = text_or_empty(c_options.model_dir);
    if (options.model_dir.empty() == !c_options.source)
      throw llmc::Error(llmc::ErrorCode::invalid_argument,
                        c_options.source ? "oneshot: model_dir and source were both given; wanted one of them"
                                         : "llmc_oneshot_options.model_dir is missing");
    options.custom_quantizers = session->modifiers;
    options.data_paths = data_paths(c_options);
    std::optional<CallbackSource> source;
    if (c_options.source) {
      source.emplace(*c_options.source);
      options.source = &*source;
    }
    check_data_options(c_options);
    if (c_options.token_ids)
      options.calibration = copy_sequences(c_options.token_ids, c_options.sequence_starts,
                                           c_options.num_sequences, "llmc_oneshot_options.");
    if (!text_or_empty(c_options.dataset).empty())
      options.load_calibration = [&](const std::function<void(const std::string&)>& note) {
        return load_dataset(c_options, *session->backend, &session->cancel, note);
      };
    llmc::Report result = llmc::oneshot(options, *session->backend, session->callbacks());
    result.notes.insert(result.notes.begin(), session->notes.begin(), session->notes.end());
    if (report) *report = new llmc_report(std::move(result));
  });
}

llmc_status llmc_error_status(const llmc_error* error) { return error ? error->status : LLMC_OK; }
const char* llmc_error_message(const llmc_error* error) { return error ? error->message.c_str() : ""; }
void llmc_error_free(llmc_error* error) {
  if (error != out_of_memory_error()) delete error;
}

const char* llmc_status_name(llmc_status status) {
  static constexpr const char* kNames[] = {"LLMC_OK",      "LLMC_INVALID_ARGUMENT", "LLMC_NOT_FOUND",
                                           "LLMC_IO",      "LLMC_BAD_FILE",         "LLMC_UNSUPPORTED",
                                           "LLMC_NUMERIC", "LLMC_OUT_OF_MEMORY",    "LLMC_CANCELLED",
                                           "LLMC_EXISTS",  "LLMC_INTERNAL"};
  return status >= 0 && status <= LLMC_INTERNAL ? kNames[status] : "LLMC_UNKNOWN";
}

const char* llmc_version(void) { return LLMC_VERSION_TEXT; }

const char* llmc_features(void) {
#ifdef LLMC_WITH_TEXT
  return llmc::cuda_module_is_there() ? "cpu,text,cuda" : "cpu,text";
#else
  return llmc::cuda_module_is_there() ? "cpu,cuda" : "cpu";
#endif
}
