// GPTQModifier (arXiv 2210.17323): rounds column by column, each error pushed onto the columns still to come
// through the Hessian of the inputs. The arithmetic is the backend's; this file decides the grid, the scales
// and the order, and turns the solution into matrices and report rows.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/quantize/number_formats.hpp"
#include "core/quantize/row_tiles.hpp"
#include "core/recipe/quantization_args_reader.hpp"
#include "llmc/backend/host_view.hpp"
#include "llmc/error.hpp"
#include "modifiers/arguments.hpp"
#include "modifiers/joint_scales.hpp"
#include "modifiers/quantization_scope.hpp"
#include "modifiers/registry.hpp"
#include "modifiers/round_to_nearest.hpp"

namespace llmc {

namespace {

// One scale (and zero point) per row of all matrices, one matrix after another, and scale column.
struct StackedScales {
  Tensor scales;       // [rows, scale_columns] f32
  Tensor zero_points;  // i8, the same shape; empty when symmetric
};

StackedScales stack_scales(std::span<const MatrixJob> jobs,
                           std::span<const QuantizationParameters> parameters,
                           const QuantizationArgs& args) {
  int64_t rows = 0;
  for (const MatrixJob& job : jobs) rows += job.weight.rows();
  const int64_t per_row = scale_columns(args, jobs[0].weight.columns());
  // rows that share one row of scales
  const int64_t scale_row_height = args.strategy == Strategy::block ? (*args.block_structure)[0] : 1;
  StackedScales all{Tensor(DType::f32, {rows, per_row}),
                    args.symmetric ? Tensor() : Tensor(DType::i8, {rows, per_row})};
  float* scales = all.scales.as<float>();
  int8_t* zero_points = all.zero_points.as<int8_t>();
  for (size_t j = 0; j < jobs.size(); ++j) {
    const Tensor values = scale_values(parameters[j], args);
    for (int64_t row = 0; row < jobs[j].weight.rows(); ++row, scales += per_row) {
      const int64_t from = args.strategy == Strategy::tensor ? 0 : row / scale_row_height * per_row;
      std::copy_n(values.as<float>() + from, per_row, scales);
      if (!args.symmetric)
        zero_points = std::copy_n(parameters[j].zero_points.as<int8_t>() + from, per_row, zero_points);
    }
  }
  return all;
}

std::vector<int32_t> scale_column_of(const QuantizationArgs& args, int64_t columns) {
  std::vector<int32_t> map(static_cast<size_t>(columns), 0);
  const int64_t width = args.strategy == Strategy::block ? (*args.block_structure)[1]
                                                         : args.group_size.value_or(0);
  if (scale_columns(args, columns) > 1)
    for (int64_t k = 0; k < columns; ++k) map[static_cast<size_t>(k)] = static_cast<int32_t>(k / width);
  return map;
}

// ||(W - Q) X|| / ||W X|| over a few evenly spaced rows.
double relative_output_error(const TensorView& weight,
                             const TensorView& gram,
                             std::span<const double> row_loss,
                             Backend& backend) {
  constexpr int64_t kSampledRows = 32;
  const int64_t rows = weight.rows(), step = (rows + kSampledRows - 1) / kSampledRows;
  double loss = 0;
  for (int64_t row = 0; row < rows; row += step) loss += row_loss[static_cast<size_t>(row)];
  const double energy = rows > 0 ? backend.output_energy(weight, step, gram) : 0.0;
  return energy > 0 ? std::sqrt(loss / energy) : 0.0;
}

class Gptq final : public ScopedQuantizer {
 public:
  Gptq(Arguments&& arguments, const RunPolicy& policy) : ScopedQuantizer(arguments), policy_(policy) {
    block_size_ = arguments.integer("block_size", 128, 1, INT32_MAX);
    dampening_frac_ = arguments.number("dampening_frac", 0.01, 0, 1);
    const std::string dampening = arguments.text("dampening",
                                                 policy.compat == Compat::reference ? "mean" : "relative");
    if (dampening != "relative" && dampening != "mean")
      arguments.fail("dampening", fmt::format("got '{}', wanted relative or mean", dampening));
    relative_dampening_ = dampening == "relative";
    if (dampening_frac_ <= 0.0)
      arguments.fail("dampening_frac",
                     fmt::format("got {}, wanted more than 0 and at most 1", dampening_frac_));
    arguments.boolean("offload_hessians", false);  // llmc keeps one Hessian at a time: nothing to offload
    arguments.text("batched_quantization", "auto");
    set_activation_order(arguments);
    arguments.finish();
  }

  std::string_view type() const override { return "GPTQModifier"; }
  bool needs_gram() const override { return true; }

  std::vector<QuantizedMatrix> quantize(const MatrixSet& set,
                                        Backend& backend,
                                        std::vector<LinearReport>& rows) const override {
    return std::move(quantize_all(std::span(&set, 1), backend, rows).front());
  }

  std::vector<std::vector<QuantizedMatrix>> quantize_all(std::span<const MatrixSet> sets,
                                                         Backend& backend,
                                                         std::vector<LinearReport>& rows) const override {
    std::vector<PreparedSet> prepared;
    std::vector<GptqProblem> problems;
    for (const MatrixSet& set : sets) {
      prepared.push_back(prepare(set, backend));
      if (has_gram(set)) problems.push_back(problem_of(set, prepared.back()));
    }
    std::vector<GptqSolution> solutions = backend.gptq(problems);
    std::vector<std::vector<QuantizedMatrix>> results;
    size_t next = 0;
    for (size_t i = 0; i < sets.size(); ++i) {
      if (has_gram(sets[i]))
        results.push_back(
            results_of(sets[i], std::move(prepared[i]), std::move(solutions[next++]), backend, rows));
      else
        results.push_back(
            round_to_nearest(sets[i], policy_.rounding, backend, rows));  // an Embedding has no Hessian
    }
    return results;
  }

 private:
  // A GptqProblem and the tensors that its views refer to; the results are built from them.
  struct PreparedSet {
    std::vector<QuantizationParameters> parameters;
    StackedScales scales;
    std::string observer_note;
  };

  static bool has_gram(const MatrixSet& set) { return set.statistics && !set.statistics->gram.empty(); }

  static PreparedSet prepare(const MatrixSet& set, Backend& backend) {
    PreparedSet prepared;
    if (!has_gram(set)) return prepared;
    prepared.parameters = joint_scales(set.jobs, *set.scheme->weights, set.statistics, backend,
                                       &prepared.observer_note);
    prepared.scales = stack_scales(set.jobs, prepared.parameters, *set.scheme->weights);
    return prepared;
  }

  GptqProblem problem_of(const MatrixSet& set, const PreparedSet& prepared) const {
    const QuantizationArgs& args = *set.scheme->weights;
    GptqProblem problem;
    for (const MatrixJob& job : set.jobs) problem.weights.push_back(job.weight);
    problem.gram = set.statistics->gram;
    problem.grid = {args.type, args.num_bits, args.symmetric};
    problem.scales = prepared.scales.scales;
    if (!args.symmetric) problem.zero_points = prepared.scales.zero_points;
    problem.scale_column = scale_column_of(args, problem.columns());
    // readers apply a global scale in float32
    problem.product_dtype = args.strategy == Strategy::tensor_group ? DType::f32 : set.jobs[0].weight.dtype;
    problem.activation_order = args.actorder == ActOrder::weight;
    problem.relative_dampening = relative_dampening_;
    problem.dampening_frac = dampening_frac_;
    problem.block_size = block_size_;
    return problem;
  }

  std::vector<QuantizedMatrix> results_of(const MatrixSet& set,
                                          PreparedSet&& prepared,
                                          GptqSolution&& solution,
                                          Backend& backend,
                                          std::vector<LinearReport>& rows) const {
    const QuantizationArgs& args = *set.scheme->weights;
    std::vector<QuantizedMatrix> results;
    int64_t first = 0;
    for (size_t j = 0; j < set.jobs.size(); ++j) {
      const MatrixJob& job = set.jobs[j];
      const int64_t count = job.weight.rows();
      QuantizedMatrix result{args, job.weight.shape, std::move(solution.codes[j]),
                             std::move(prepared.parameters[j])};
      const std::span<const double> losses(solution.row_loss.data() + first, static_cast<size_t>(count));
      LinearReport row = report_row(job, args, solution, losses, *set.statistics, backend);
      first += count;
      if (lost_its_weight(job, result, row, backend)) {
        results.push_back(round_unseen(set, j, result, backend, rows));
        continue;
      }
      if (policy_.compat == Compat::reference) requantize(result, job.weight.dtype, backend);
      if (args.actorder == ActOrder::weight) result.visiting_order = solution.order;
      rows.push_back(std::move(row));
      if (rows.back().note.empty()) rows.back().note = prepared.observer_note;
      results.push_back(std::move(result));
    }
    return results;
  }

  // GPTQ makes zeros of columns whose inputs were zero in all of the data. When no other column of a matrix
  // holds anything, all of it would be gone.
  static bool lost_its_weight(const MatrixJob& job,
                              const QuantizedMatrix& result,
                              const LinearReport& row,
                              Backend& backend) {
    if (row.relative_error != 0 || row.loss != 0) return false;
    const HostView weight(job.weight, backend);
    if (is_zero(*weight)) return false;
    const QuantizedMatrix here{result.args, result.shape, backend.to_host(result.codes),
                               result.parameters.copy()};
    const Tensor decoded = dequantize_in_tiles(here, DType::f32, backend);
    return is_zero(decoded);
  }

  static bool is_zero(const TensorView& values) {
    std::vector<float> row(static_cast<size_t>(values.columns()));
    for (int64_t i = 0; i < values.rows(); ++i) {
      to_float(values.row_range(i, i + 1), row.data());
      if (std::any_of(row.begin(), row.end(), [](float value) { return value != 0; })) return false;
    }
    return true;
  }

  QuantizedMatrix round_unseen(const MatrixSet& set,
                               size_t index,
                               const QuantizedMatrix& result,
                               Backend& backend,
                               std::vector<LinearReport>& rows) const {
    const std::string& module = set.jobs[index].module;
    if (policy_.compat == Compat::reference)
      throw Error(ErrorCode::numeric,
                  fmt::format("'{}': its inputs are zero in all of the calibration data, and llm-compressor "
                              "makes zeros of it; wanted other data, the module in ignore, or --compat vllm, "
                              "which rounds it to nearest",
                              module));
    MatrixSet alone{{set.jobs[index]}, set.scheme, set.statistics};
    alone.jobs[0].global_scale = result.parameters.global_scale;
    QuantizedMatrix rounded = std::move(round_to_nearest(alone, policy_.rounding, backend, rows).front());
    rows.back().note = "its inputs are zero in all of the calibration data: rounded to nearest";
    return rounded;
  }

  // Unset means static, null means none; what the scheme itself says must not contradict what the modifier
  // says.
  void set_activation_order(Arguments& arguments) {
    const bool asked = arguments.has("actorder");  // null, too
    const RecipeValue* value = arguments.find("actorder");
    const ActOrder order = value ? parse_actorder(*value, arguments.what("actorder"))
        : asked                  ? ActOrder::none
                                 : ActOrder::weight;
    const std::string text = order == ActOrder::none ? "" : value ? actorder_text(*value, order) : "static";
    for (Scheme& scheme : scope_.schemes()) {
      if (!scheme.weights) continue;
      QuantizationArgs& args = *scheme.weights;
      if (asked && args.actorder && *args.actorder != order)
        arguments.fail("actorder", "contradicts the actorder of the scheme's weights");
      if (args.actorder) continue;
      args.actorder = order;
      args.actorder_text = text;
    }
    notes_ = take_group_order_as_static(scope_, arguments, policy_.compat);
  }

  // llm-compressor keeps dequantized weights and rounds them again when it saves: for int8 in bfloat16 that
  // moves about 3 % of the codes by one.
  static void requantize(QuantizedMatrix& matrix, DType model_dtype, Backend& backend) {
    if (matrix.codes.device() != Device{}) matrix.codes = backend.to_host(matrix.codes);
    const Tensor decoded = dequantize_in_tiles(matrix, model_dtype, backend);
    matrix.codes = quantize_in_tiles(decoded, matrix.parameters, matrix.args, Rounding::reference, backend);
  }

  static LinearReport report_row(const MatrixJob& job,
                                 const QuantizationArgs& args,
                                 const GptqSolution& solution,
                                 std::span<const double> losses,
                                 const Statistics& statistics,
                                 Backend& backend) {
    LinearReport row;
    row.name = job.module;
    row.scheme = describe(args);
    row.method = solution.rounded_to_nearest ? "RTN" : "GPTQ";
    row.dampening = solution.dampening_frac;
    for (double loss : losses) row.loss += loss;
    row.loss /= static_cast<double>(std::max<int64_t>(1, statistics.tokens));
    row.relative_error = relative_output_error(job.weight, statistics.gram, losses, backend);
    if (solution.rounded_to_nearest)
      row.note = fmt::format(
          "the Hessian is not positive definite even with dampening {}: rounded to nearest",
          solution.dampening_frac);
    else if (solution.attempts > 1)
      row.note = fmt::format("dampening raised to {} after {} failed factorization(s)",
                             solution.dampening_frac, solution.attempts - 1);
    return row;
  }

  RunPolicy policy_;
  int64_t block_size_ = 128;
  double dampening_frac_ = 0.01;
  bool relative_dampening_ = true;
};

}  // namespace

std::unique_ptr<Modifier> make_gptq(const ModifierSpec& spec, const RunPolicy& policy) {
  return std::make_unique<Gptq>(Arguments(spec), policy);
}

}  // namespace llmc
