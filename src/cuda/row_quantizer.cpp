#include "cuda/row_quantizer.hpp"

#include "cuda/cells.hpp"
#include "cuda/kernels.hpp"
#include "llmc/error.hpp"

namespace llmc::cuda {

std::optional<RowsQuantized> quantize_rows(Engine& engine, const RowQuantization& job) {
  const QuantizationArgs& args = *job.args;
  if (job.weight.dtype != DType::bf16 && job.weight.dtype != DType::f32 && job.weight.dtype != DType::f16)
    return std::nullopt;
  if (job.weight.rows() == 0 || job.weight.columns() == 0) return RowsQuantized{};
  DeviceHeap& heap = engine.heap;
  Tensor weight_holder;
  RowProblem p;
  p.weight = heap.here(job.weight, weight_holder).data;
  p.dtype = job.weight.dtype;
  p.rows = job.weight.rows();
  p.columns = job.weight.columns();
  set_cells(p, args);
  p.scales_given = job.scales_given;
  p.want_error = job.want_error;
  p.grid = ScaleGrid(args, p.dtype, job.global_scale);
  p.packed = job.layout == CodeLayout::packed;
  // a global scale is float32 and lifts the quotient
  p.round_quotient = job.rounding == Rounding::reference && p.grid.storage != ScaleStorage::e4m3;
  if (p.one_scale && !job.scales_given)
    throw Error(ErrorCode::internal, "cuda: rows with one scale for the whole tensor must be given it");
  if (p.grid.storage == ScaleStorage::e4m3 && !job.global_scale)
    throw Error(ErrorCode::internal, "cuda: rows of a tensor_group weight got no global scale");

  const int64_t cells = p.one_scale ? 1 : (p.rows + p.cell_rows - 1) / p.cell_rows * p.row_cells;
  const DType storage = p.grid.storage == ScaleStorage::model ? p.grid.model : DType::u8;
  Tensor scales = job.scales_given ? heap.upload(TensorView(job.scales, storage, {cells}))
                                   : heap.tensor(storage, {cells});
  Tensor zero_points;
  if (!args.symmetric)
    zero_points = job.scales_given ? heap.upload(TensorView(job.zero_points, DType::i8, {cells}))
                                   : heap.tensor(DType::i8, {cells});
  p.code_row_bytes = code_row_bytes(args, job.layout, p.columns);
  const bool codes_stay = job.codes_device == heap.device();
  Tensor codes = codes_stay ? Tensor() : heap.tensor(DType::u8, {p.rows, p.code_row_bytes});
  const auto blocks = static_cast<size_t>(row_problem_blocks(p));
  Tensor errors = heap.tensor(DType::f64, {static_cast<int64_t>(2 * blocks)});
  const unsigned long long none = ~0ull;
  Tensor bad = heap.upload(std::vector{none}, DType::u8);
  p.scales = scales.data();
  p.zero_points = args.symmetric ? nullptr : zero_points.as<int8_t>();
  p.codes = codes_stay ? job.codes : codes.data();
  p.errors = errors.as<double2>();
  p.bad = bad.as<unsigned long long>();
  quantize_row_cells(p, engine.stream);

  RowsQuantized result;
  if (const auto first = heap.download<unsigned long long>(bad, 1)[0]; first != none) {
    result.first_non_finite = static_cast<int64_t>(first);
    return result;
  }
  if (!codes_stay) heap.download(codes.data(), job.codes, static_cast<size_t>(codes.bytes()));
  if (!job.scales_given) {
    heap.download(scales.data(), job.scales, static_cast<size_t>(scales.bytes()));
    if (!args.symmetric)
      heap.download(zero_points.data(), job.zero_points, static_cast<size_t>(zero_points.bytes()));
  }
  if (job.want_error)
    for (const double2& part : heap.download<double2>(errors, blocks)) {
      result.error += part.x;
      result.energy += part.y;
    }
  return result;
}

std::optional<Tensor> dequantize(Engine& engine, const Dequantization& job) {
  if (job.out != DType::bf16 && job.out != DType::f32 && job.out != DType::f16) return std::nullopt;
  DeviceHeap& heap = engine.heap;
  DequantizeProblem p;
  p.rows = job.codes.rows();
  p.columns = job.codes.columns();
  set_cells(p, *job.args);
  Tensor codes_holder;
  const TensorView codes = heap.here(job.codes, codes_holder);
  const Tensor multipliers = heap.upload(job.multipliers),
               zero_points = job.zero_points.data ? heap.upload(job.zero_points) : Tensor();
  Tensor values = heap.tensor(job.out, job.codes.shape);
  p.codes = codes.as<uint8_t>();
  p.multipliers = multipliers.as<float>();
  p.zero_points = zero_points.empty() ? nullptr : zero_points.as<int8_t>();
  p.product_dtype = job.product_dtype;
  p.out_dtype = job.out;
  p.out = values.data();
  dequantize_row_cells(p, engine.stream);
  return values;
}

}  // namespace llmc::cuda
