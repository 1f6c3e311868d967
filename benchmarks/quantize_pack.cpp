// Quantize and pack alone, memory to memory on one thread: GB of bf16 input per second, per scheme and
// instruction set.
// usage: quantize_pack [ISA ...]     (default: every distinct vector level of this machine)
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "core/quantize/number_formats.hpp"
#include "core/quantize/qparams.hpp"
#include "core/quantize/row_tiles.hpp"
#include "cpu/cpu_features.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/backend.hpp"

using namespace llmc;

namespace {

constexpr int64_t kRows = 2048, kColumns = 4096;
constexpr int kRepeats = 9;

Tensor make_weight() {
  std::mt19937 random(0);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  Tensor weight(DType::bf16, {kRows, kColumns});
  for (int64_t i = 0; i < weight.size(); ++i) weight.as<uint16_t>()[i] = bf16_from_float(normal(random));
  return weight;
}

struct Row {
  const char* scheme;
  CodeLayout layout;
};

double gigabytes_per_second(Backend& backend,
                            const Tensor& weight,
                            const Row& row,
                            Rounding rounding,
                            bool want_error) {
  const Scheme scheme = preset_scheme(row.scheme);
  const QuantizationArgs& args = *scheme.weights;
  const Shape cells = scale_shape(args, weight.shape());
  Tensor codes(DType::u8, {kRows, code_row_bytes(args, row.layout, kColumns)}), scales(DType::f32, cells),
      zero_points(DType::i8, cells);
  RowQuantization job;
  job.weight = weight;
  job.args = &args;
  job.rounding = rounding;
  job.layout = row.layout;
  job.want_error = want_error;
  job.codes = codes.data();
  job.scales = scales.data();
  job.zero_points = args.symmetric ? nullptr : zero_points.as<int8_t>();
  if (args.strategy == Strategy::tensor_group)
    job.global_scale = nvfp4_global_scale(absolute_maximum(weight), weight.dtype());
  double best = 0;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    if (args.strategy == Strategy::tensor) {  // two passes: the range of everything, then the codes
      const ValueExtent extent = backend.scan(weight);
      const QuantizationParameters parameters = qparams_from_ranges({{1}, {extent.min}, {extent.max}}, args,
                                                                    weight.dtype());
      std::copy_n(parameters.scales.data(), parameters.scales.bytes(), job.scales);
      job.scales_given = true;
    }
    if (!backend.row_kernels()->quantize_rows(job)) return 0;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, static_cast<double>(weight.bytes()) / seconds / 1e9);
  }
  return best;
}

}  // namespace

int main(int count, char** arguments) {
  std::vector<std::string> levels(arguments + 1, arguments + count);
  if (levels.empty())
    for (const std::string& name : cpu::cpu_isa_names())
      // the same kernels as avx512
      if (name != "avx512_bf16" && name != "amx_bf16") levels.push_back(name);
  const Tensor weight = make_weight();
  constexpr Row kSchemes[] = {{"W4A16", CodeLayout::packed},    {"W4A16_ASYM", CodeLayout::packed},
                              {"W8A16", CodeLayout::packed},    {"W3A16", CodeLayout::packed},
                              {"W8A8", CodeLayout::bytes},      {"FP8_DYNAMIC", CodeLayout::bytes},
                              {"FP8", CodeLayout::bytes},       {"FP8_BLOCK", CodeLayout::bytes},
                              {"NVFP4A16", CodeLayout::packed}, {"MXFP4A16", CodeLayout::packed},
                              {"MXFP8A16", CodeLayout::bytes}};
  std::printf("%-8s %-12s %10s %10s %12s   GB of bf16 per second, one thread\n", "isa", "scheme", "exact",
              "reference", "with error");
  for (const std::string& level : levels) {
    const auto backend = make_cpu_backend({1, level});
    for (const Row& row : kSchemes)
      std::printf("%-8s %-12s %10.2f %10.2f %12.2f\n", level.c_str(), row.scheme,
                  gigabytes_per_second(*backend, weight, row, Rounding::exact, false),
                  gigabytes_per_second(*backend, weight, row, Rounding::reference, false),
                  gigabytes_per_second(*backend, weight, row, Rounding::exact, true));
  }
}
