// How long a running call goes on after llmc_session_cancel: milliseconds, the longest of several, for GPTQ
// of COLUMNS x COLUMNS at moments spread over its whole length
// (factorization and column loop) and for verifying one matrix of that size. usage: cancel_latency [COLUMNS]
// (default 8192: 2 GB of memory, some minutes)
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "llmc_tensor.h"
#include "llmc_tools.h"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "cancel_latency: %s failed\n", what);
  std::exit(1);
}

// Calls once to its end, then again and again, cancelled later each time.
void measure(const char* name, llmc_session* session, const std::function<llmc_status()>& call) {
  constexpr int kMoments = 8;
  const auto start = Clock::now();
  require(call() == LLMC_OK, name);
  const double whole = seconds_since(start);
  double longest = 0;
  int cancelled = 0;
  for (int moment = 0; moment < kMoments; ++moment) {
    Clock::time_point asked;
    std::thread other([&] {
      std::this_thread::sleep_for(std::chrono::duration<double>(whole * (moment + 0.5) / kMoments));
      asked = Clock::now();
      llmc_session_cancel(session);
    });
    const llmc_status status = call();
    const auto ended = Clock::now();
    other.join();
    require(status == LLMC_OK || status == LLMC_CANCELLED, name);
    if (status == LLMC_OK) call();  // uses the request up
    else {
      ++cancelled;
      longest = std::max(longest, std::chrono::duration<double>(ended - asked).count());
    }
  }
  std::printf("%-12s whole %6.2f s, %d of %d calls cancelled, longest wait %7.1f ms\n", name, whole,
              cancelled, kMoments, longest * 1000);
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t n = argc > 1 ? std::atoll(argv[1]) : 8192;
  llmc_session* session = nullptr;
  llmc_scheme* scheme = nullptr;
  llmc_gram* gram = nullptr;
  llmc_scheme_options options{};
  options.struct_size = sizeof options;
  options.scheme = "W4A16";
  options.method = LLMC_METHOD_GPTQ;
  require(!llmc_session_create(nullptr, &session, nullptr) &&
              !llmc_scheme_create(&options, &scheme, nullptr) &&
              !llmc_gram_create(n, LLMC_GRAM_ALL, &gram, nullptr),
          "setting up");
  std::vector<float> x(static_cast<size_t>(512 * n)), w(static_cast<size_t>(n * n));
  uint32_t state = 1;
  for (auto* values : {&x, &w})
    for (float& value : *values)
      value = static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1.0f;
  const int64_t x_shape[2] = {512, n}, w_shape[2] = {n, n};
  llmc_tensor values{}, weight{};
  values.struct_size = weight.struct_size = sizeof values;
  values.dtype = weight.dtype = LLMC_DTYPE_FLOAT32;
  values.ndim = weight.ndim = 2;
  values.data = x.data();
  values.shape = x_shape;
  weight.data = w.data();
  weight.shape = w_shape;
  require(!llmc_gram_add(session, gram, &values, nullptr), "llmc_gram_add");
  measure("gptq", session, [&] {
    llmc_matrix* matrix = nullptr;
    const llmc_status status = llmc_quantize_matrix(session, scheme, &weight, gram, nullptr, &matrix,
                                                    nullptr);
    llmc_matrix_free(matrix);
    return status;
  });

  const std::string folder =
      (std::filesystem::temp_directory_path() / ("llmc-cancel-" + std::to_string(getpid()))).string();
  llmc_writer_options writer_options{};
  writer_options.struct_size = sizeof writer_options;
  writer_options.output_dir = folder.c_str();
  writer_options.config_json = "{\"model_type\": \"toy\", \"architectures\": [\"Toy\"]}";
  llmc_writer* writer = nullptr;
  llmc_matrix* matrix = nullptr;
  options.method = LLMC_METHOD_RTN;
  llmc_scheme* plain = nullptr;
  require(!llmc_scheme_create(&options, &plain, nullptr) &&
              !llmc_quantize_matrix(session, plain, &weight, nullptr, nullptr, &matrix, nullptr),
          "rounding");
  require(!llmc_writer_create(&writer_options, &writer, nullptr) &&
              !llmc_writer_plan_matrix(writer, "model.layers.0.mlp.up_proj", plain, LLMC_DTYPE_FLOAT32, n, n,
                                       nullptr) &&
              !llmc_writer_add_matrix(session, writer, "model.layers.0.mlp.up_proj", matrix, nullptr) &&
              !llmc_writer_finish(session, writer, nullptr),
          "writing");
  llmc_verify_options verify{};
  verify.struct_size = sizeof verify;
  verify.model_dir = folder.c_str();
  measure("verify", session, [&] {
    char* json = nullptr;
    const llmc_status status = llmc_verify(session, &verify, &json, nullptr);
    llmc_json_free(json);
    return status;
  });
  std::filesystem::remove_all(folder);
  llmc_writer_free(writer);
  llmc_matrix_free(matrix);
  llmc_scheme_free(plain);
  llmc_gram_free(gram);
  llmc_scheme_free(scheme);
  llmc_session_free(session);
  return 0;
}
