// The tensor level: one matrix at a time, for callers who run the forward pass themselves. The same parts as
// a whole run, so the same bytes.
//   Statistics seen = new_statistics(channels, StatisticsParts::all);
//   check_values(seen, x, backend); add_values(seen, x, samples, backend, poll);    as often as there is data
//   const MatrixScheme scheme({.scheme = "W4A16", .gptq = true});
//   const CompressedMatrix matrix = compress_matrix(scheme, weight, &seen, {}, backend);
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "llmc/modifier.hpp"

namespace llmc {

// ---- statistics of a set of inputs ------------------------------------------------------------------------

enum class StatisticsParts { all, channels };  // channels: no gram, for smoothing and observers alone
Statistics new_statistics(int64_t channels, StatisticsParts parts);  // nothing seen yet

// x: [tokens, channels] f32, bf16 or f16. Error(numeric) for NaN and Inf.
void check_values(const Statistics& into, const TensorView& x, Backend& backend);
// x: checked, and aligned; float16 counts as the float32 numbers it stands for. `poll` is called between
// passes of 4096 tokens. What it throws, or a lack of memory, leaves `into` half done: of no use any more.
void add_values(Statistics& into,
                const TensorView& x,
                int64_t samples,
                Backend& backend,
                const std::function<void()>& poll);
// As if `from`'s values had been added after `into`'s own: the same bits when each was one add of at most
// 4096 tokens, or `into` was empty.
void merge_statistics(Statistics& into, const Statistics& from);
// As if channel j of every value had been divided by scales[j], which is above 0, before it was seen.
void divide_channels(Statistics& statistics, std::span<const float> scales);
// A safetensors file of llmc's own with a checksum. It takes the place of `path` in one step.
void save_statistics(const Statistics& statistics, const std::string& path);
Statistics load_statistics(const std::string& path);  // Error(not_found | io | bad_file)

// SmoothQuant's scales [channels] for weights [rows, channels] that read the values.
struct SmoothingOptions {
  double strength = 0.5;
  bool logarithmic = false;
  Compat compat = Compat::vllm;  // reference: every step is rounded to the first weight's dtype
};
std::vector<float> smoothing_scales_of(const Statistics& statistics,
                                       std::span<const TensorView> weights,
                                       const SmoothingOptions& options);
enum class SmoothingTarget { reader, norm, norm_plus_one };  // * s; / s; (1 + w) / s - 1
// [rows, channels], in place
void apply_smoothing(std::byte* data,
                     DType dtype,
                     int64_t rows,
                     std::span<const float> scales,
                     SmoothingTarget target);

// ---- schemes ----------------------------------------------------------------------------------------------

struct MatrixSchemeOptions {
  // preset name, or YAML or JSON text: one entry of config_groups, or the arguments of its weights alone
  std::string scheme;
  bool gptq = false;  // otherwise rounded to nearest
  Compat compat = Compat::vllm;
  std::optional<Rounding> rounding;        // default: by compat
  std::optional<bool> relative_dampening;  // default: by compat
  std::optional<bool> activation_order;    // default: what the scheme says, else on
  std::optional<double> dampening_frac;    // default: 0.01
  std::optional<int64_t> block_size;       // default: 128
};

// How matrices are compressed: read and checked once, used often. Immutable: any number of threads may use
// one.
class MatrixScheme {
 public:
  explicit MatrixScheme(const MatrixSchemeOptions& options);  // Error(invalid_argument)
  ~MatrixScheme();
  MatrixScheme(MatrixScheme&&) noexcept;

  const Scheme& scheme() const;  // its weights are set; targets: Linear
  Format format() const;         // on disk
  Compat compat() const;
  const Quantizer& quantizer() const;
  const std::string& description() const;  // "int4 group 128"

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

// NVFP4's divisor for weights that a server fuses into one layer. `statistics` for observers that weigh
// channels; may be null.
float common_global_scale(const MatrixScheme& scheme,
                          std::span<const TensorView> weights,
                          const Statistics* statistics,
                          Backend& backend);

// ---- one compressed matrix --------------------------------------------------------------------------------

class CompressedMatrix {
 public:
  CompressedMatrix();
  ~CompressedMatrix();
  CompressedMatrix(CompressedMatrix&&) noexcept;
  CompressedMatrix& operator=(CompressedMatrix&&) noexcept;

  const QuantizedMatrix& matrix() const;
  const Scheme& scheme() const;
  Format format() const;
  DType model_dtype() const;  // of the weight it was made from
  const LinearReport& report() const;
  const Shape& shape() const;         // [rows, columns]
  const Tensor& codes() const;        // [rows, columns] i8, f8_e4m3, or u8 with one fp4 number each
  const Tensor& scales() const;       // as on disk: model dtype, f8_e4m3 (NVFP4) or u8 exponents (MX)
  const Tensor& zero_points() const;  // i8, the scales' shape; empty when symmetric
  std::optional<float> global_scale() const;
  // [columns]: which column GPTQ visited i-th; empty where the order was the index's
  std::span<const int32_t> visiting_order() const;

  struct Parts;
  explicit CompressedMatrix(std::unique_ptr<Parts> parts);

 private:
  std::unique_ptr<Parts> parts_;
};

// weight: [rows, columns] f32, bf16 or f16, aligned. GPTQ needs statistics with a gram. Error(numeric) for
// NaN and Inf.
CompressedMatrix compress_matrix(const MatrixScheme& scheme,
                                 const TensorView& weight,
                                 const Statistics* statistics,
                                 std::optional<float> global_scale,
                                 Backend& backend);
// From parts that were made elsewhere; all are copied. zero_points: data null when symmetric. model_dtype: of
// the weight the codes stand for.
CompressedMatrix assemble_matrix(const MatrixScheme& scheme,
                                 const TensorView& codes,
                                 const TensorView& scales,
                                 const TensorView& zero_points,
                                 std::optional<float> global_scale,
                                 DType model_dtype);

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;
// what the file holds: "weight_packed", "weight_scale", ...
NamedTensors pack_matrix(const CompressedMatrix& matrix, Backend& backend);
// The inverse. Names as pack_matrix gives them. Tensors that the format does not have are refused.
CompressedMatrix unpack_matrix(const MatrixScheme& scheme,
                               std::span<const std::pair<std::string, TensorView>> tensors,
                               DType model_dtype,
                               Backend& backend);
// The weight as a server sees it, rows [0, rows) of `out`, to memory of rows * columns * item_size(out)
// bytes.
void decode_matrix(const CompressedMatrix& matrix, DType out, std::byte* values, Backend& backend);

}  // namespace llmc
