#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/formats/compressed_tensors.hpp"
#include "core/matrix/compressed_matrix_parts.hpp"
#include "core/quantize/finite.hpp"
#include "core/quantize/row_tiles.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

// stands for the module's name where the parts of a file are named
constexpr std::string_view kModule = "matrix";

[[noreturn]] void refuse(const std::string& text) {
  throw Error(ErrorCode::invalid_argument, "matrix: " + text);
}

void check_model_dtype(DType dtype) {
  if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::f16)
    refuse(fmt::format("model dtype is {}, wanted F32, BF16 or F16", dtype_name(dtype)));
}

void check_shape(const Shape& shape) {
  if (shape.size() != 2 || shape[0] < 1 || shape[1] < 1)
    refuse(fmt::format("weight has shape {}, wanted [rows, columns], both at least 1", to_string(shape)));
}

void check_global_scale(const QuantizationArgs& args, const std::optional<float>& scale, bool needed) {
  const bool has = args.strategy == Strategy::tensor_group;
  if (scale && !has) refuse(fmt::format("got a global scale, but scheme {} has none", describe(args)));
  if (!scale && has && needed) refuse(fmt::format("scheme {} needs its global scale", describe(args)));
  if (scale && !(std::isfinite(*scale) && *scale > 0))
    refuse(fmt::format("global scale is {}, wanted a finite number above 0", *scale));
}

std::unique_ptr<CompressedMatrix::Parts> parts_of(const MatrixScheme& scheme, DType model_dtype) {
  auto parts = std::make_unique<CompressedMatrix::Parts>();
  parts->scheme = scheme.scheme();
  parts->format = scheme.format();
  parts->model_dtype = model_dtype;
  return parts;
}

// Tensors that the caller holds.
class BorrowedTensors final : public StoredTensors {
 public:
  explicit BorrowedTensors(std::span<const std::pair<std::string, TensorView>> tensors) : tensors_(tensors) {}
  std::string place() const override { return "unpack"; }
  bool contains(const std::string& name) const override { return find(name) != nullptr; }
  TensorInfo info(const std::string& name) const override {
    return {find(name)->dtype, find(name)->shape, {}, find(name)->bytes()};
  }
  Tensor read(const std::string& name) const override { return Tensor::copy_of(*find(name)); }

 private:
  const TensorView* find(const std::string& name) const {
    for (const auto& [own, tensor] : tensors_)
      if (name.size() == kModule.size() + 1 + own.size() && name.ends_with(own)) return &tensor;
    return nullptr;
  }
  std::span<const std::pair<std::string, TensorView>> tensors_;
};

}  // namespace

CompressedMatrix::CompressedMatrix() = default;
CompressedMatrix::CompressedMatrix(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
CompressedMatrix::~CompressedMatrix() = default;
CompressedMatrix::CompressedMatrix(CompressedMatrix&&) noexcept = default;
CompressedMatrix& CompressedMatrix::operator=(CompressedMatrix&&) noexcept = default;

const QuantizedMatrix& CompressedMatrix::matrix() const { return parts_->matrix; }
const Scheme& CompressedMatrix::scheme() const { return parts_->scheme; }
Format CompressedMatrix::format() const { return parts_->format; }
DType CompressedMatrix::model_dtype() const { return parts_->model_dtype; }
const LinearReport& CompressedMatrix::report() const { return parts_->report; }
const Shape& CompressedMatrix::shape() const { return parts_->matrix.shape; }
const Tensor& CompressedMatrix::codes() const { return parts_->matrix.codes; }
const Tensor& CompressedMatrix::scales() const { return parts_->matrix.parameters.scales; }
const Tensor& CompressedMatrix::zero_points() const { return parts_->matrix.parameters.zero_points; }
std::optional<float> CompressedMatrix::global_scale() const { return parts_->matrix.parameters.global_scale; }
std::span<const int32_t> CompressedMatrix::visiting_order() const { return parts_->matrix.visiting_order; }

CompressedMatrix compress_matrix(const MatrixScheme& scheme,
                                 const TensorView& weight,
                                 const Statistics* statistics,
                                 std::optional<float> global_scale,
                                 Backend& backend) {
  check_shape(weight.shape);
  check_model_dtype(weight.dtype);
  const QuantizationArgs& args = *scheme.scheme().weights;
  check_global_scale(args, global_scale, false);
  scale_shape(args, weight.shape, "matrix");  // refuses columns that are no whole groups
  const int64_t columns = weight.shape[1];
  const bool needs_gram = scheme.quantizer().needs_gram();
  if (needs_gram && (!statistics || statistics->gram.empty()))
    refuse("GPTQ got no gram matrix; wanted one with the inputs of this weight");
  if (statistics && static_cast<int64_t>(statistics->channels.min.size()) != columns)
    refuse(fmt::format("weight {} reads {} channels, the statistics are of {}", to_string(weight.shape),
                       columns, statistics->channels.min.size()));
  if (needs_gram && statistics->tokens == 0) refuse("GPTQ got a gram matrix that has seen no tokens");
  if (const auto bad = backend.scan(weight).first_non_finite)
    throw Error(ErrorCode::numeric,
                fmt::format("matrix: weight has NaN or Inf at [{}, {}]", *bad / columns, *bad % columns));

  const MatrixSet set{{{{}, weight, global_scale}}, &scheme.scheme(), statistics};
  std::vector<LinearReport> rows;
  std::vector<QuantizedMatrix> results = scheme.quantizer().quantize(set, backend, rows);
  auto parts = parts_of(scheme, weight.dtype);
  parts->matrix = std::move(results[0]);
  // outlives the backend
  if (parts->matrix.codes.device() != Device{}) parts->matrix.codes = backend.to_host(parts->matrix.codes);
  parts->report = std::move(rows[0]);
  return CompressedMatrix(std::move(parts));
}

CompressedMatrix assemble_matrix(const MatrixScheme& scheme,
                                 const TensorView& codes,
                                 const TensorView& scales,
                                 const TensorView& zero_points,
                                 std::optional<float> global_scale,
                                 DType model_dtype) {
  check_shape(codes.shape);
  check_model_dtype(model_dtype);
  const QuantizationArgs& args = *scheme.scheme().weights;
  check_global_scale(args, global_scale, true);
  const Shape cells = scale_shape(args, codes.shape, "matrix");
  const auto want = [](const char* what, const TensorView& got, DType dtype, const Shape& shape) {
    if (got.dtype != dtype || got.shape != shape)
      refuse(fmt::format("{} are {} {}, wanted {} {}", what, to_string(got.shape), dtype_name(got.dtype),
                         to_string(shape), dtype_name(dtype)));
  };
  want("codes", codes, code_dtype(args), codes.shape);
  want("scales", scales, scale_storage_dtype(args, model_dtype), cells);
  if (args.symmetric && zero_points.data)
    refuse(fmt::format("got zero points, but scheme {} has none", describe(args)));
  if (!args.symmetric) want("zero points", zero_points, DType::i8, cells);
  auto parts = parts_of(scheme, model_dtype);
  parts->matrix = {
      args,
      codes.shape,
      Tensor::copy_of(codes),
      {Tensor::copy_of(scales), args.symmetric ? Tensor() : Tensor::copy_of(zero_points), global_scale},
      {}};
  parts->report.scheme = scheme.description();
  return CompressedMatrix(std::move(parts));
}

NamedTensors pack_matrix(const CompressedMatrix& matrix, Backend& backend) {
  // refuses shapes that the format cannot hold
  planned_tensors(std::string(kModule), matrix.shape(), matrix.scheme(), matrix.format(),
                  matrix.model_dtype());
  NamedTensors tensors = stored_tensors(std::string(kModule), matrix.matrix(), matrix.format(), backend);
  for (auto& [name, tensor] : tensors) name.erase(0, kModule.size() + 1);
  return tensors;
}

CompressedMatrix unpack_matrix(const MatrixScheme& scheme,
                               std::span<const std::pair<std::string, TensorView>> tensors,
                               DType model_dtype,
                               Backend&) {
  check_model_dtype(model_dtype);
  const QuantizationArgs& args = *scheme.scheme().weights;
  auto parts = parts_of(scheme, model_dtype);
  try {
    parts->matrix = read_quantized(BorrowedTensors(tensors), std::string(kModule), args, scheme.format());
    check_shape(parts->matrix.shape);
    const auto planned = planned_tensors(
        std::string(kModule), parts->matrix.shape,
        {.targets = {}, .weights = args, .input_activations = {}, .output_activations = {}, .format = {}},
        scheme.format(), model_dtype);
    for (const auto& [name, tensor] : tensors)
      if (std::none_of(planned.begin(), planned.end(), [&, own = name](const PlannedTensor& known) {
            return known.name == fmt::format("{}.{}", kModule, own);
          }))
        refuse(fmt::format("got a tensor '{}', which {} does not store for scheme {}", name,
                           name_of(scheme.format()), describe(args)));
    if (parts->matrix.parameters.scales.dtype() != scale_storage_dtype(args, model_dtype))
      refuse(fmt::format("weight_scale is {}, wanted {}", dtype_name(parts->matrix.parameters.scales.dtype()),
                         dtype_name(scale_storage_dtype(args, model_dtype))));
    check_global_scale(args, parts->matrix.parameters.global_scale, true);
  } catch (const Error& problem) {
    // the caller's tensors, no file
    if (problem.code() == ErrorCode::bad_file) throw Error(ErrorCode::invalid_argument, problem.what());
    throw;
  }
  parts->report.scheme = scheme.description();
  return CompressedMatrix(std::move(parts));
}

void decode_matrix(const CompressedMatrix& matrix, DType out, std::byte* values, Backend& backend) {
  check_model_dtype(out);
  const QuantizedMatrix& quantized = matrix.matrix();
  const int64_t row_bytes = quantized.shape[1] * static_cast<int64_t>(item_size(out));
  backend.parallel_for(quantized.shape[0], kRowsPerTask, [&](int64_t begin, int64_t end) {
    dequantize_rows(quantized.codes.view().row_range(begin, end), begin, quantized.parameters, quantized.args,
                    out, values + begin * row_bytes);
  });
}

}  // namespace llmc
