// llmc_model.h: the parts of llmc_oneshot.
#include "llmc_model.h"

#include <memory>

#include "calibration_data.hpp"
#include "callback_source.hpp"
#include "guard.hpp"
#include "llmc/model.hpp"
#include "oneshot_options.hpp"
#include "report_object.hpp"
#include "session.hpp"

using namespace llmc::capi;
using llmc::Error;
using llmc::ErrorCode;

struct llmc_model {
  llmc_model(llmc_session* owner, std::string directory)
      : session(owner),
        model_dir(std::move(directory)),
        model(model_dir) {}
  llmc_model(llmc_session* owner, const llmc_tensor_source& given)
      : session(owner),
        source(given),
        model(*source) {}

  llmc_session* const session;
  const std::string model_dir;  // empty: from a source
  const std::optional<CallbackSource> source;
  llmc::Model model;
  std::optional<llmc::TokenBatch> calibration;  // nothing before the first sequence
  std::vector<std::string> statistics;          // folders
  std::vector<llmc::DataPath> data_paths;       // data sets and tokenizers
  std::vector<std::string> notes;               // about the data
  std::string template_date;                    // of the last data set; empty: none
};

namespace {

llmc_session* session_of(const llmc_model* model) {
  if (!model) throw Error(ErrorCode::invalid_argument, "model is NULL");
  return model->session;
}

void refuse(const void* given, const char* call, const char* what) {
  if (given)
    throw Error(ErrorCode::invalid_argument,
                std::string(call) + ": llmc_oneshot_options." + what + " is given; wanted NULL");
}

// All or nothing, and in place: many small additions must not copy what is there each time.
void append(std::optional<llmc::TokenBatch>& all, const llmc::TokenBatch& more) {
  if (!all) {
    all = more;
    return;
  }
  const int64_t first = all->tokens();
  const size_t sequences = all->sequence_starts.size();
  try {
    for (size_t s = 1; s < more.sequence_starts.size(); ++s)
      all->sequence_starts.push_back(first + more.sequence_starts[s]);
    all->token_ids.insert(all->token_ids.end(), more.token_ids.begin(), more.token_ids.end());
  } catch (...) {
    all->sequence_starts.resize(sequences);
    throw;
  }
}

}  // namespace

llmc_status llmc_model_open(llmc_session* session,
                            const char* model_dir,
                            llmc_model** model,
                            llmc_error** error) {
  if (model) *model = nullptr;
  return guard(error, [&] {
    const SessionLock lock(session);
    if (!model) throw Error(ErrorCode::invalid_argument, "llmc_model_open: model is NULL");
    *model = new llmc_model(session, required(model_dir, "llmc_model_open: model_dir"));
  });
}

llmc_status llmc_model_open_source(llmc_session* session,
                                   const llmc_tensor_source* source,
                                   llmc_model** model,
                                   llmc_error** error) {
  if (model) *model = nullptr;
  return guard(error, [&] {
    const SessionLock lock(session);
    if (!model) throw Error(ErrorCode::invalid_argument, "llmc_model_open_source: model is NULL");
    if (!source) throw Error(ErrorCode::invalid_argument, "llmc_model_open_source: source is NULL");
    *model = new llmc_model(session, *source);
  });
}

void llmc_model_free(llmc_model* model) { delete model; }

llmc_status llmc_model_add_token_ids(llmc_model* model,
                                     const int32_t* token_ids,
                                     const int64_t* sequence_starts,
                                     int64_t num_sequences,
                                     llmc_error** error) {
  return guard(error, [&] {
    const SessionLock lock(session_of(model));
    append(model->calibration,
           copy_sequences(token_ids, sequence_starts, num_sequences, "llmc_model_add_token_ids: "));
  });
}

llmc_status llmc_model_add_data(llmc_model* model, const llmc_oneshot_options* given, llmc_error** error) {
  return guard(error, [&] {
    const SessionLock lock(session_of(model));
    auto data = read_options(given, "llmc_oneshot_options");
    const char* call = "llmc_model_add_data";
    refuse(data.model_dir, call, "model_dir");
    refuse(data.source, call, "source");
    refuse(data.output_dir, call, "output_dir");
    refuse(data.recipe, call, "recipe");
    refuse(data.scheme, call, "scheme");
    refuse(data.stage, call, "stage");
    refuse(data.token_ids, call, "token_ids");
    required(data.dataset, "llmc_oneshot_options.dataset");
    data.model_dir = model->model_dir.c_str();
    check_data_options(data);
    std::vector<std::string> told;
    const llmc::TokenBatch loaded = load_dataset(data, *model->session->backend, &model->session->cancel,
                                                 [&](const std::string& line) { told.push_back(line); });
    std::vector<std::string> notes = model->notes;
    notes.insert(notes.end(), told.begin(), told.end());
    std::string date = template_date(data);
    std::vector<llmc::DataPath> paths = model->data_paths;
    for (llmc::DataPath& path : data_paths(data)) paths.push_back(std::move(path));
    append(model->calibration, loaded);
    model->notes = std::move(notes);
    model->data_paths = std::move(paths);
    model->template_date = std::move(date);
    const llmc::Callbacks callbacks = model->session->callbacks();
    for (const std::string& note : told)
      if (callbacks.log) callbacks.log(LLMC_LOG_NOTE, note);
  });
}

llmc_status llmc_model_save_statistics(llmc_model* model, const char* folder, llmc_error** error) {
  return guard(error, [&] {
    const SessionLock lock(session_of(model));
    model->model.save_statistics(model->calibration ? &*model->calibration : nullptr, model->statistics,
                                 required(folder, "llmc_model_save_statistics: folder"),
                                 *model->session->backend, model->session->callbacks());
  });
}

llmc_status llmc_model_load_statistics(llmc_model* model, const char* folder, llmc_error** error) {
  return guard(error, [&] {
    const SessionLock lock(session_of(model));
    std::string path = required(folder, "llmc_model_load_statistics: folder");
    model->model.check_statistics(path);
    model->statistics.push_back(std::move(path));
  });
}

llmc_status llmc_model_quantize(llmc_model* model, const llmc_oneshot_options* given, llmc_error** error) {
  return guard(error, [&] {
    const SessionLock lock(session_of(model));
    const auto c_options = read_options(given, "llmc_oneshot_options");
    const char* call = "llmc_model_quantize";
    refuse(c_options.model_dir, call, "model_dir");
    refuse(c_options.source, call, "source");
    refuse(c_options.dataset, call, "dataset");
    refuse(c_options.token_ids, call, "token_ids");
    refuse(c_options.sequence_starts, call, "sequence_starts");
    llmc::OneshotOptions options = convert(c_options);
    if (!model->template_date.empty()) options.template_date = model->template_date;
    options.calibration = model->calibration;
    options.statistics = model->statistics;
    options.custom_quantizers = model->session->modifiers;
    options.data_paths = model->data_paths;
    model->model.quantize(std::move(options), *model->session->backend, model->session->callbacks());
  });
}

llmc_status llmc_model_save(llmc_model* model, llmc_report** report, llmc_error** error) {
  if (report) *report = nullptr;
  return guard(error, [&] {
    const SessionLock lock(session_of(model));
    llmc::Report made = model->model.save();
    made.notes.insert(made.notes.begin(), model->notes.begin(), model->notes.end());
    made.notes.insert(made.notes.begin(), model->session->notes.begin(), model->session->notes.end());
    if (report) *report = new llmc_report(std::move(made));
  });
}
