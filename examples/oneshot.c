/* Compresses a model through llmc's C interface. usage: oneshot MODEL RECIPE DATASET OUTPUT
 * RECIPE is a file or the YAML text itself; DATASET may be "-" for recipes that need no data. Exits with the
 * llmc_status, 0 on success. */
#include <llmc.h>
#include <stdio.h>
#include <string.h>

static void show_progress(const llmc_progress* progress, void* user_data) {
  FILE* out = user_data;
  fprintf(out, "%s %s: step %lld of %lld\n", progress->stage, progress->layer, (long long)progress->step,
          (long long)progress->steps);
}

static void show_log(int32_t level, const char* line, void* user_data) {
  fprintf((FILE*)user_data, "%s: %s\n", level == LLMC_LOG_WARNING ? "warning" : "note", line);
}

int main(int argc, char** argv) {
  llmc_session_options settings = {0};
  llmc_oneshot_options job = {0};
  llmc_session* session = NULL;
  llmc_report* report = NULL;
  llmc_error* error = NULL;
  llmc_status status;
  if (argc != 5) {
    fprintf(stderr, "usage: %s MODEL RECIPE DATASET OUTPUT\n", argv[0]);
    return LLMC_INVALID_ARGUMENT;
  }

  settings.struct_size = sizeof settings;
  settings.progress = show_progress;
  settings.log = show_log;
  settings.progress_user_data = settings.log_user_data = stderr;
  job.struct_size = sizeof job;
  job.model_dir = argv[1];
  job.recipe = argv[2];
  job.dataset = strcmp(argv[3], "-") == 0 ? NULL : argv[3];
  job.output_dir = argv[4];

  status = llmc_session_create(&settings, &session, &error);
  if (status == LLMC_OK) status = llmc_oneshot(session, &job, &report, &error);
  if (status == LLMC_OK)
    printf("%s (llmc %s, %s): report of %zu bytes\n", job.output_dir, llmc_version(),
           llmc_session_device(session), strlen(llmc_report_json(report)));
  else fprintf(stderr, "%s: %s\n", llmc_status_name(status), llmc_error_message(error));

  llmc_error_free(error);
  llmc_report_free(report);
  llmc_session_free(session);
  return (int)status;
}
