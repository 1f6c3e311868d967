// What one llmc_quantize_matrix call costs over the work inside it, on a tiny matrix: microseconds, the
// fastest tenth of many calls, one thread.
// usage: tensor_call
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "core/quantize/qparams.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/matrix.hpp"
#include "llmc_tensor.h"

namespace {

constexpr int64_t kRows = 16, kColumns = 128;
constexpr int kCalls = 5000;

using Clock = std::chrono::steady_clock;

template <class Body>
double microseconds(Body body) {
  const auto start = Clock::now();
  body();
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

double tenth(std::vector<double> times) {  // of ten: what a quiet machine needs
  std::nth_element(times.begin(), times.begin() + kCalls / 10, times.end());
  return times[kCalls / 10];
}

void measure(const char* scheme_name, int32_t method) {
  llmc_session_options session_options{};
  session_options.struct_size = sizeof session_options;
  session_options.threads = 1;
  llmc_session* session = nullptr;
  llmc_scheme_options options{};
  options.struct_size = sizeof options;
  options.scheme = scheme_name;
  options.method = method;
  llmc_scheme* scheme = nullptr;
  llmc_gram* gram = nullptr;
  if (llmc_session_create(&session_options, &session, nullptr) ||
      llmc_scheme_create(&options, &scheme, nullptr) ||
      llmc_gram_create(kColumns, LLMC_GRAM_ALL, &gram, nullptr))
    std::abort();
  std::vector<float> x(512 * kColumns), w(kRows * kColumns);
  for (size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>((i * 2654435761u >> 8) % 2001) / 1000.0f - 1.0f;
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = static_cast<float>((i * 2246822519u >> 8) % 2001) / 1000.0f - 1.0f;
  const int64_t x_shape[2] = {512, kColumns}, w_shape[2] = {kRows, kColumns};
  llmc_tensor values{}, weight{};
  values.struct_size = weight.struct_size = sizeof values;
  values.dtype = weight.dtype = LLMC_DTYPE_FLOAT32;
  values.ndim = weight.ndim = 2;
  values.data = x.data();
  values.shape = x_shape;
  weight.data = w.data();
  weight.shape = w_shape;
  if (llmc_gram_add(session, gram, &values, nullptr)) std::abort();
  const auto call = [&] {
    llmc_matrix* matrix = nullptr;
    if (llmc_quantize_matrix(session, scheme, &weight, gram, nullptr, &matrix, nullptr)) std::abort();
    llmc_matrix_free(matrix);
  };

  // The same work from inside: the modifier on a borrowed weight.
  const auto backend = llmc::make_cpu_backend({1, {}});
  llmc::MatrixSchemeOptions inner_options;
  inner_options.scheme = scheme_name;
  inner_options.gptq = method == LLMC_METHOD_GPTQ;
  const llmc::MatrixScheme inner(inner_options);
  const llmc::TensorView view(w.data(), llmc::DType::f32, {kRows, kColumns}),
      inputs(x.data(), llmc::DType::f32, {512, kColumns});
  llmc::Statistics statistics = llmc::new_statistics(kColumns, llmc::StatisticsParts::all);
  llmc::add_values(statistics, inputs, 1, *backend, [] {});
  const llmc::MatrixSet set{{{{}, view, {}}}, &inner.scheme(), &statistics};
  const auto kernel = [&] {
    std::vector<llmc::LinearReport> rows;
    inner.quantizer().quantize(set, *backend, rows);
  };
  std::vector<double> calls, kernels;  // taken in turn: the machine's mood is the same for both
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(microseconds(call));
    kernels.push_back(microseconds(kernel));
  }
  std::printf("%-12s %-4s call %7.1f us, work inside %7.1f us, overhead %5.1f us\n", scheme_name,
              method == LLMC_METHOD_GPTQ ? "GPTQ" : "RTN", tenth(calls), tenth(kernels),
              tenth(calls) - tenth(kernels));
  llmc_gram_free(gram);
  llmc_scheme_free(scheme);
  llmc_session_free(session);
}

}  // namespace

int main() {
  for (const char* scheme : {"W4A16", "FP8_DYNAMIC", "NVFP4A16"})
    for (const int32_t method : {LLMC_METHOD_RTN, LLMC_METHOD_GPTQ}) measure(scheme, method);
}
