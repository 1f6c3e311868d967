/* libllmc as a plug-in loads it: dlopen with RTLD_LOCAL, again and again, two copies at once, beside an
 * OpenMP runtime. usage: guest LIBRARY COPY MODEL RECIPE DATASET WORK
 * Writes WORK/first, WORK/again, WORK/one and WORK/two, all from the same job; prints what each load took.
 * Exits with 0, or 1 and a line that says what was wrong. */
#include <dirent.h>
#include <dlfcn.h>
#include <llmc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAIL(...) (fprintf(stderr, __VA_ARGS__), fprintf(stderr, "\n"), exit(1))

typedef struct llmc_functions {
  void* library;
  llmc_status (*session_create)(const llmc_session_options*, llmc_session**, llmc_error**);
  void (*session_free)(llmc_session*);
  llmc_status (*oneshot)(llmc_session*, const llmc_oneshot_options*, llmc_report**, llmc_error**);
  const char* (*error_message)(const llmc_error*);
} llmc_functions;

typedef struct job {
  const char *library, *model, *recipe, *dataset;
  char output[4096];
} job;

/* The usual sum, by every thread of OpenMP's team: wrong when the two runtimes get into each other's way. */
static void use_openmp(void) {
  long sum = 0, i;
#pragma omp parallel for reduction(+ : sum)
  for (i = 0; i < 100000; ++i) sum += i;
  if (sum != 4999950000L) FAIL("guest: OpenMP summed up to %ld", sum);
}

static void on_progress(const llmc_progress* progress, void* user_data) {
  (void)progress, (void)user_data;
  use_openmp();
}

static int count_threads(void) {
  int count = 0;
  DIR* tasks = opendir("/proc/self/task");
  while (readdir(tasks)) ++count;
  closedir(tasks);
  return count - 2;
}

static void* address(void* library, const char* name) {
  void* found = dlsym(library, name);
  if (!found) FAIL("guest: %s", dlerror());
  return found;
}

static llmc_functions load(const char* path) {
  llmc_functions f;
  struct timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  f.library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  clock_gettime(CLOCK_MONOTONIC, &after);
  if (!f.library) FAIL("guest: %s", dlerror());
  printf("loaded in %.1f ms\n",
         (double)(after.tv_sec - before.tv_sec) * 1e3 + (double)(after.tv_nsec - before.tv_nsec) / 1e6);
  *(void**)&f.session_create = address(f.library, "llmc_session_create");
  *(void**)&f.session_free = address(f.library, "llmc_session_free");
  *(void**)&f.oneshot = address(f.library, "llmc_oneshot");
  *(void**)&f.error_message = address(f.library, "llmc_error_message");
  return f;
}

static void unload(void* library) {
  if (dlclose(library)) FAIL("guest: %s", dlerror());
}

/* Loads and compresses. Returns the library. */
static void* run(void* argument) {
  const job* work = argument;
  const llmc_functions f = load(work->library);
  llmc_session_options settings = {0};
  llmc_oneshot_options options = {0};
  llmc_session* session = NULL;
  llmc_error* error = NULL;
  settings.struct_size = sizeof settings;
  settings.threads = 2;
  settings.progress = on_progress;
  options.struct_size = sizeof options;
  options.model_dir = work->model;
  options.recipe = work->recipe;
  options.dataset = work->dataset;
  options.output_dir = work->output;
  if (f.session_create(&settings, &session, &error) || f.oneshot(session, &options, NULL, &error))
    FAIL("guest: %s", f.error_message(error));
  f.session_free(session);
  return f.library;
}

static job make_job(const char* library, char** argv, const char* name) {
  job made;
  made.library = library;
  made.model = argv[3];
  made.recipe = argv[4];
  made.dataset = argv[5];
  snprintf(made.output, sizeof made.output, "%s/%s", argv[6], name);
  return made;
}

static pthread_t start(job* work) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, work)) FAIL("guest: no thread");
  return thread;
}

static void* finish(pthread_t thread) {
  void* library;
  pthread_join(thread, &library);
  return library;
}

int main(int argc, char** argv) {
  job first, again, one, two;
  pthread_t threads[2];
  int before;
  if (argc != 7) FAIL("usage: guest LIBRARY COPY MODEL RECIPE DATASET WORK");
  use_openmp();
  before = count_threads();

  /* Rust's run-time keeps the library while a thread lives that used its text module, so the thread goes
     first. */
  first = make_job(argv[1], argv, "first");
  unload(finish(start(&first)));
  if (dlopen(argv[1], RTLD_NOW | RTLD_NOLOAD)) FAIL("guest: the library is still there after dlclose");
  again = make_job(argv[1], argv, "again");
  unload(run(&again));
  if (dlsym(RTLD_DEFAULT, "llmc_oneshot")) FAIL("guest: a name of the library is visible to everybody");
  if (count_threads() != before) FAIL("guest: %d threads, wanted %d as before", count_threads(), before);

  one = make_job(argv[1], argv, "one");
  two = make_job(argv[2], argv, "two");
  threads[0] = start(&one);
  threads[1] = start(&two);
  unload(finish(threads[0]));
  unload(finish(threads[1]));
  use_openmp();
  return 0;
}
