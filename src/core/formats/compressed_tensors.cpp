#include "core/formats/compressed_tensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <iterator>

#include "core/quantize/packing.hpp"
#include "core/quantize/rounding.hpp"
#include "llmc/error.hpp"

namespace llmc {
namespace {

enum class CodeStorage { as_is, packed_integers, packed_fp4 };

struct FormatRow {
  Format format;
  CodeStorage storage;
  NumberType type;
  int num_bits;       // 0: any
  bool weight_shape;  // stores [N, K] beside the codes
};

constexpr FormatRow kFormats[] = {
    {Format::pack_quantized, CodeStorage::packed_integers, NumberType::integer, 0, true},
    {Format::int_quantized, CodeStorage::as_is, NumberType::integer, 0, false},
    {Format::float_quantized, CodeStorage::as_is, NumberType::floating, 8, false},
    {Format::naive_quantized, CodeStorage::as_is, NumberType::floating, 8, false},
    {Format::nvfp4_pack_quantized, CodeStorage::packed_fp4, NumberType::floating, 4, false},
    {Format::mxfp4_pack_quantized, CodeStorage::packed_fp4, NumberType::floating, 4, false},
    {Format::mxfp8_quantized, CodeStorage::as_is, NumberType::floating, 8, false},
};

const FormatRow& row_for(const std::string& module, const QuantizationArgs& args, Format format) {
  const auto* row = std::find_if(std::begin(kFormats), std::end(kFormats),
                                 [&](const FormatRow& candidate) { return candidate.format == format; });
  if (row == std::end(kFormats) || row->type != args.type ||
      (row->num_bits != 0 && row->num_bits != args.num_bits))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: format '{}' cannot hold {} weights of {} bits", module, name_of(format),
                            args.type == NumberType::integer ? "integer" : "float", args.num_bits));
  return *row;
}

// Files with a column index are read, not written.
const FormatRow& writable_row_for(const std::string& module, const QuantizationArgs& args, Format format) {
  if (args.actorder == ActOrder::group)
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: actorder 'group' is not written, use 'static'", module));
  return row_for(module, args, format);
}

std::string codes_name(const std::string& module, const FormatRow& row) {
  return module + (row.storage == CodeStorage::as_is ? ".weight" : ".weight_packed");
}

Shape stored_codes_shape(const FormatRow& row, const QuantizationArgs& args, const Shape& shape) {
  switch (row.storage) {
    case CodeStorage::packed_integers:
      return {shape[0], packed_words(shape[1], args.num_bits)};
    case CodeStorage::packed_fp4:
      return {shape[0], shape[1] / 2};
    default:
      return shape;
  }
}

DType stored_codes_dtype(const FormatRow& row, const QuantizationArgs& args) {
  return row.storage == CodeStorage::packed_integers ? DType::i32 : code_dtype(args);
}

bool zero_points_are_packed(const FormatRow& row, const QuantizationArgs& args) {
  return row.storage == CodeStorage::packed_integers &&
      (args.strategy == Strategy::group || args.strategy == Strategy::channel);
}

PlannedTensor planned_zero_points(const std::string& module,
                                  const FormatRow& row,
                                  const QuantizationArgs& args,
                                  const Shape& scales) {
  if (!zero_points_are_packed(row, args)) return {module + ".weight_zero_point", DType::i8, scales};
  return {module + ".weight_zero_point", DType::i32, {packed_words(scales[0], args.num_bits), scales[1]}};
}

Tensor read_checked(const StoredTensors& from,
                    const std::string& name,
                    std::initializer_list<DType> dtypes,
                    const Shape& shape) {
  if (!from.contains(name))
    throw Error(ErrorCode::bad_file, fmt::format("{}: has no tensor '{}'", from.place(), name));
  const TensorInfo info = from.info(name);
  const bool scalar = shape == Shape{1} && info.shape.empty();
  if (std::find(dtypes.begin(), dtypes.end(), info.dtype) == dtypes.end() || (info.shape != shape && !scalar))
    throw Error(
        ErrorCode::bad_file,
        fmt::format("{}: tensor '{}' is {} {}, wanted {} {}", from.place(), name, to_string(info.shape),
                    dtype_name(info.dtype), to_string(shape), dtype_name(*dtypes.begin())));
  Tensor tensor = from.read(name);
  tensor.reshape(shape);
  return tensor;
}

Tensor read_scales(const StoredTensors& from,
                   const std::string& name,
                   const QuantizationArgs& args,
                   const Shape& shape) {
  const DType storage = scale_storage_dtype(args, DType::bf16);
  if (storage != DType::bf16) return read_checked(from, name, {storage}, shape);
  return read_checked(from, name, {DType::bf16, DType::f16, DType::f32}, shape);
}

float read_global_scale(const StoredTensors& from, const std::string& name) {
  return read_checked(from, name, {DType::f32}, {1}).as<float>()[0];
}

// weight_g_idx; nothing where the writer left it at -1, which means runs of columns.
std::vector<int32_t> read_scale_column(const StoredTensors& from,
                                       const std::string& module,
                                       int64_t columns,
                                       int64_t scale_columns) {
  const std::string name = module + ".weight_g_idx";
  const Tensor stored = read_checked(from, name, {DType::i32}, {columns});
  std::vector<int32_t> index(stored.as<int32_t>(), stored.as<int32_t>() + columns);
  if (std::find(index.begin(), index.end(), -1) != index.end()) return {};
  for (size_t k = 0; k < index.size(); ++k)
    if (index[k] < 0 || index[k] >= scale_columns)
      throw Error(ErrorCode::bad_file,
                  fmt::format("{}: tensor '{}' has the group {} at {}, wanted 0 to {}", from.place(), name,
                              index[k], k, scale_columns - 1));
  return index;
}

class FolderTensors final : public StoredTensors {
 public:
  explicit FolderTensors(const Checkpoint& folder) : folder_(folder) {}
  std::string place() const override { return folder_.directory(); }
  bool contains(const std::string& name) const override { return folder_.contains(name); }
  TensorInfo info(const std::string& name) const override { return folder_.info(name); }
  Tensor read(const std::string& name) const override { return folder_.read(name); }

 private:
  const Checkpoint& folder_;
};

Shape shape_of_stored(const StoredTensors& from,
                      const std::string& module,
                      const QuantizationArgs& args,
                      Format format) {
  const FormatRow& row = row_for(module, args, format);
  const std::string name = codes_name(module, row);
  if (!from.contains(name))
    throw Error(ErrorCode::bad_file, fmt::format("{}: has no tensor '{}'", from.place(), name));
  Shape shape = from.info(name).shape;
  if (shape.size() != 2)
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: tensor '{}' has shape {}, wanted [rows, columns]", from.place(), name,
                            to_string(shape)));
  if (row.storage == CodeStorage::packed_fp4 && __builtin_mul_overflow(shape[1], int64_t{2}, &shape[1]))
    throw Error(ErrorCode::bad_file, fmt::format("{}: tensor '{}' has too many columns", from.place(), name));
  if (!row.weight_shape) return shape;
  const Tensor stored = read_checked(from, module + ".weight_shape", {DType::i64}, {2});
  Shape meant(stored.as<int64_t>(), stored.as<int64_t>() + 2);
  if (!byte_count(meant, DType::f64) || stored_codes_shape(row, args, meant) != shape)
    throw Error(ErrorCode::bad_file,
                fmt::format("{}: tensor '{}' is {}, but its weight_shape is {}", from.place(), name,
                            to_string(shape), to_string(meant)));
  return meant;
}

}  // namespace

Format choose_format(const Scheme& scheme, ConfigFlavor flavor) {
  if (scheme.format) return *scheme.format;
  const Format inferred = infer_format(scheme);
  if (flavor == ConfigFlavor::reference || inferred != Format::int_quantized) return inferred;
  const QuantizationArgs& weights = *scheme.weights;
  const bool int8 = weights.num_bits == 8 && weights.symmetric &&
      scheme.input_activations->type == NumberType::integer;
  const bool packable = weights.strategy == Strategy::group ||
      (weights.strategy == Strategy::channel && !int8);
  return packable ? Format::pack_quantized : inferred;
}

std::vector<PlannedTensor> planned_tensors(const std::string& module,
                                           const Shape& weight_shape,
                                           const Scheme& scheme,
                                           Format format,
                                           DType model_dtype) {
  if (!scheme.weights)
    throw Error(ErrorCode::invalid_argument, fmt::format("{}: the scheme has no weights to store", module));
  const QuantizationArgs& args = *scheme.weights;
  const FormatRow& row = row_for(module, args, format);
  const Shape scales = scale_shape(args, weight_shape, module);
  if (row.storage == CodeStorage::packed_fp4 && weight_shape[1] % 2 != 0)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("{}: fp4 needs an even number of input channels, got {}", module, weight_shape[1]));

  std::vector<PlannedTensor> planned;
  planned.push_back(
      {codes_name(module, row), stored_codes_dtype(row, args), stored_codes_shape(row, args, weight_shape)});
  planned.push_back({module + ".weight_scale", scale_storage_dtype(args, model_dtype), scales});
  if (!args.symmetric) planned.push_back(planned_zero_points(module, row, args, scales));
  if (row.weight_shape) planned.push_back({module + ".weight_shape", DType::i64, {2}});
  if (args.strategy == Strategy::tensor_group)
    planned.push_back({module + ".weight_global_scale", DType::f32, {1}});
  if (args.actorder == ActOrder::group)
    planned.push_back({module + ".weight_g_idx", DType::i32, {weight_shape[1]}});
  for (PlannedTensor& tensor :
       planned_activation(module + ".input", scheme.input_activations, 1, model_dtype))
    planned.push_back(std::move(tensor));
  for (PlannedTensor& tensor :
       planned_activation(module + ".output", scheme.output_activations, 1, model_dtype))
    planned.push_back(std::move(tensor));
  return planned;
}

void write_quantized(CheckpointWriter& writer,
                     const std::string& module,
                     const QuantizedMatrix& matrix,
                     Format format,
                     const ParallelFor& parallel) {
  const QuantizationArgs& args = matrix.args;
  const FormatRow& row = writable_row_for(module, args, format);
  const std::string name = codes_name(module, row);
  const TensorView codes(matrix.codes);
  const auto write_tile = [&](int64_t begin, int64_t end) {
    const TensorView tile = codes.row_range(begin, end);
    switch (row.storage) {
      case CodeStorage::as_is:
        return writer.write_rows(name, begin, tile);
      case CodeStorage::packed_integers: {
        const Tensor packed = pack_int_rows(tile, args.num_bits);
        return writer.write_rows(name, begin, packed);
      }
      case CodeStorage::packed_fp4: {
        const Tensor packed = pack_fp4_rows(tile);
        return writer.write_rows(name, begin, packed);
      }
    }
  };
  const int64_t tile_rows = std::max<int64_t>(1, kIoPiece / std::max<int64_t>(codes.columns(), 1));
  const int64_t tiles = (codes.rows() + tile_rows - 1) / tile_rows;
  const auto write_tiles = [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile)
      write_tile(tile * tile_rows, std::min(codes.rows(), (tile + 1) * tile_rows));
  };
  parallel(tiles, 1, write_tiles);
  write_parameters(writer, module, args, format, matrix.shape, matrix.parameters);
}

void write_parameters(CheckpointWriter& writer,
                      const std::string& module,
                      const QuantizationArgs& args,
                      Format format,
                      const Shape& shape,
                      const QuantizationParameters& parameters) {
  writer.write_tensor(module + ".weight_scale", parameters.scales);
  if (!args.symmetric && zero_points_are_packed(writable_row_for(module, args, format), args)) {
    const Tensor packed = pack_int_columns(parameters.zero_points, args.num_bits);
    writer.write_tensor(module + ".weight_zero_point", packed);
  } else if (!args.symmetric) {
    writer.write_tensor(module + ".weight_zero_point", parameters.zero_points);
  }
  write_matrix_facts(writer, module, args, format, shape, parameters.global_scale);
}

StoredLayout stored_layout(const std::string& module, const QuantizationArgs& args, Format format) {
  const FormatRow& row = writable_row_for(module, args, format);
  StoredLayout layout;
  layout.codes = codes_name(module, row);
  layout.scales = module + ".weight_scale";
  if (!args.symmetric) layout.zero_points = module + ".weight_zero_point";
  layout.code_layout = row.storage == CodeStorage::as_is ? CodeLayout::bytes : CodeLayout::packed;
  layout.zero_points_packed = !args.symmetric && zero_points_are_packed(row, args);
  return layout;
}

void write_matrix_facts(CheckpointWriter& writer,
                        const std::string& module,
                        const QuantizationArgs& args,
                        Format format,
                        const Shape& shape,
                        std::optional<float> global_scale) {
  if (writable_row_for(module, args, format).weight_shape)
    writer.write_tensor(module + ".weight_shape", TensorView(shape.data(), DType::i64, {2}));
  if (global_scale)
    writer.write_tensor(module + ".weight_global_scale", TensorView(&*global_scale, DType::f32, {1}));
}

std::vector<PlannedTensor> planned_activation(const std::string& name,
                                              const std::optional<QuantizationArgs>& args,
                                              int64_t heads,
                                              DType model_dtype) {
  if (!args || !args->is_static()) return {};
  if (args->dynamic == Dynamic::local) return {{name + "_global_scale", DType::f32, {1}}};
  const Shape shape = args->strategy == Strategy::attn_head ? Shape{heads, 1, 1} : Shape{1};
  std::vector<PlannedTensor> planned{{name + "_scale", scale_storage_dtype(*args, model_dtype), shape}};
  if (!args->symmetric) planned.push_back({name + "_zero_point", DType::i8, shape});
  return planned;
}

void write_activation(CheckpointWriter& writer,
                      const std::string& name,
                      const QuantizationParameters& parameters) {
  if (parameters.global_scale)
    return writer.write_tensor(name + "_global_scale",
                               TensorView(&*parameters.global_scale, DType::f32, {1}));
  writer.write_tensor(name + "_scale", parameters.scales);
  if (!parameters.zero_points.empty()) writer.write_tensor(name + "_zero_point", parameters.zero_points);
}

std::vector<std::pair<std::string, Tensor>> stored_tensors(const std::string& module,
                                                           const QuantizedMatrix& matrix,
                                                           Format format,
                                                           const ParallelFor& parallel) {
  const QuantizationArgs& args = matrix.args;
  const FormatRow& row = writable_row_for(module, args, format);
  const TensorView codes(matrix.codes);
  Tensor stored(stored_codes_dtype(row, args), stored_codes_shape(row, args, matrix.shape));
  const auto pack = [&](int64_t begin, int64_t end) {
    const TensorView tile = codes.row_range(begin, end);
    std::byte* const to = stored.data() + begin * (stored.bytes() / matrix.shape[0]);
    const auto put = [&](const Tensor& packed) {
      std::memcpy(to, packed.data(), static_cast<size_t>(packed.bytes()));
    };
    if (row.storage == CodeStorage::as_is) std::memcpy(to, tile.data, static_cast<size_t>(tile.bytes()));
    else
      put(row.storage == CodeStorage::packed_integers ? pack_int_rows(tile, args.num_bits)
                                                      : pack_fp4_rows(tile));
  };
  parallel(matrix.shape[0], kRowsPerTask, pack);

  const QuantizationParameters& parameters = matrix.parameters;
  std::vector<std::pair<std::string, Tensor>> tensors;
  tensors.emplace_back(codes_name(module, row), std::move(stored));
  tensors.emplace_back(module + ".weight_scale", Tensor::copy_of(parameters.scales));
  if (!args.symmetric)
    tensors.emplace_back(module + ".weight_zero_point",
                         zero_points_are_packed(row, args)
                             ? pack_int_columns(parameters.zero_points, args.num_bits)
                             : Tensor::copy_of(parameters.zero_points));
  if (row.weight_shape)
    tensors.emplace_back(module + ".weight_shape",
                         Tensor::copy_of(TensorView(matrix.shape.data(), DType::i64, {2})));
  if (parameters.global_scale)
    tensors.emplace_back(module + ".weight_global_scale",
                         Tensor::copy_of(TensorView(&*parameters.global_scale, DType::f32, {1})));
  return tensors;
}

Shape stored_weight_shape(const Checkpoint& from,
                          const std::string& module,
                          const QuantizationArgs& args,
                          Format format) {
  return shape_of_stored(FolderTensors(from), module, args, format);
}
QuantizedMatrix read_quantized(const Checkpoint& from,
                               const std::string& module,
                               const QuantizationArgs& args,
                               Format format,
                               const ParallelFor& parallel) {
  return read_quantized(FolderTensors(from), module, args, format, parallel);
}

QuantizedMatrix read_quantized(const StoredTensors& from,
                               const std::string& module,
                               const QuantizationArgs& args,
                               Format format,
                               const ParallelFor& parallel) {
  const FormatRow& row = row_for(module, args, format);
  QuantizedMatrix matrix;
  matrix.args = args;
  matrix.shape = shape_of_stored(from, module, args, format);
  const Shape scales = scale_shape(args, matrix.shape, module);

  matrix.codes = read_checked(from, codes_name(module, row), {stored_codes_dtype(row, args)},
                              stored_codes_shape(row, args, matrix.shape));
  if (row.storage == CodeStorage::packed_integers)
    matrix.codes = unpack_int_rows(matrix.codes, args.num_bits, matrix.shape[1], parallel);
  if (row.storage == CodeStorage::packed_fp4) matrix.codes = unpack_fp4_rows(matrix.codes, parallel);

  matrix.parameters.scales = read_scales(from, module + ".weight_scale", args, scales);
  if (!args.symmetric) {
    const PlannedTensor planned = planned_zero_points(module, row, args, scales);
    matrix.parameters.zero_points = read_checked(from, planned.name, {planned.dtype}, planned.shape);
    if (zero_points_are_packed(row, args))
      matrix.parameters.zero_points = unpack_int_columns(matrix.parameters.zero_points, args.num_bits,
                                                         scales[0]);
  }
  if (args.strategy == Strategy::tensor_group)
    matrix.parameters.global_scale = read_global_scale(from, module + ".weight_global_scale");
  if (args.actorder == ActOrder::group)
    matrix.parameters.scale_column = read_scale_column(from, module, matrix.shape[1], scales.back());
  return matrix;
}

Tensor read_dequantized(const Checkpoint& from,
                        const std::string& module,
                        const QuantizationArgs& args,
                        Format format,
                        DType out) {
  return dequantize_matrix(read_quantized(from, module, args, format), out);
}

}  // namespace llmc
