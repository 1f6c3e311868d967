// llmc_tensor.h: schemes, matrices and their bytes.
#include <cmath>

#include "guard.hpp"
#include "tensor_argument.hpp"
#include "tensor_objects.hpp"

using namespace llmc::capi;
using llmc::Error;
using llmc::ErrorCode;

namespace {

llmc::MatrixSchemeOptions convert(const llmc_scheme_options& given) {
  llmc::MatrixSchemeOptions options;
  options.scheme = required(given.scheme, "llmc_scheme_options.scheme");
  options.gptq = choice(given.method, false, true, "llmc_scheme_options.method").value_or(false);
  options.compat = choice(given.compat, llmc::Compat::vllm, llmc::Compat::reference,
                          "llmc_scheme_options.compat")
                       .value_or(llmc::Compat::vllm);
  options.rounding = choice(given.rounding, llmc::Rounding::exact, llmc::Rounding::reference,
                            "llmc_scheme_options.rounding");
  options.activation_order = choice(given.activation_order, true, false,
                                    "llmc_scheme_options.activation_order");
  options.relative_dampening = choice(given.dampening, true, false, "llmc_scheme_options.dampening");
  if (!std::isfinite(given.dampening_frac))
    throw Error(ErrorCode::invalid_argument,
                "llmc_scheme_options.dampening_frac is not finite; wanted 0, or above 0 and at most 1");
  if (given.dampening_frac != 0) options.dampening_frac = given.dampening_frac;
  if (given.block_size != 0) options.block_size = given.block_size;
  return options;
}

std::optional<float> given_scale(const float* global_scale) {
  return global_scale ? std::optional(*global_scale) : std::nullopt;
}

llmc_matrix* new_matrix(llmc::CompressedMatrix&& matrix) {
  llmc::Shape order{static_cast<int64_t>(matrix.visiting_order().size())};
  return new llmc_matrix{std::move(matrix), std::move(order)};
}

}  // namespace

llmc_status llmc_scheme_create(const llmc_scheme_options* given, llmc_scheme** scheme, llmc_error** error) {
  if (scheme) *scheme = nullptr;
  return guard(error, [&] {
    required_object(scheme, "llmc_scheme_create: scheme");
    *scheme = new llmc_scheme{llmc::MatrixScheme(convert(read_options(given, "llmc_scheme_options")))};
  });
}

void llmc_scheme_free(llmc_scheme* scheme) { delete scheme; }
const char* llmc_scheme_format(const llmc_scheme* scheme) {
  return scheme ? llmc::name_of(scheme->scheme.format()).data() : "";
}

llmc_status llmc_quantize_matrix(llmc_session* session,
                                 const llmc_scheme* scheme,
                                 const llmc_tensor* weight,
                                 const llmc_gram* gram,
                                 const float* global_scale,
                                 llmc_matrix** matrix,
                                 llmc_error** error) {
  if (matrix) *matrix = nullptr;
  return guard(error, [&] {
    const SessionLock lock(session);
    required_object(matrix, "llmc_quantize_matrix: matrix");
    required_object(scheme, "llmc_quantize_matrix: scheme");
    std::shared_lock<std::shared_mutex> gram_lock;
    if (gram) gram_lock = read_gram(gram, "llmc_quantize_matrix: gram");
    poll(*session, "llmc_quantize_matrix");
    const TensorArgument argument(weight, "llmc_quantize_matrix: weight", session->backend.get());
    *matrix = new_matrix(llmc::compress_matrix(scheme->scheme, argument.view(),
                                               gram ? &gram->statistics : nullptr, given_scale(global_scale),
                                               *session->backend));
  });
}

llmc_status llmc_global_scale(llmc_session* session,
                              const llmc_scheme* scheme,
                              const llmc_tensor* weights,
                              int32_t count,
                              const llmc_gram* gram,
                              float* global_scale,
                              llmc_error** error) {
  return guard(error, [&] {
    const SessionLock lock(session);
    required_object(global_scale, "llmc_global_scale: global_scale");
    required_object(scheme, "llmc_global_scale: scheme");
    std::shared_lock<std::shared_mutex> gram_lock;
    if (gram) gram_lock = read_gram(gram, "llmc_global_scale: gram");
    poll(*session, "llmc_global_scale");
    const TensorArguments arguments(weights, count, "llmc_global_scale: weights", session->backend.get());
    *global_scale = llmc::common_global_scale(scheme->scheme, arguments.views(),
                                              gram ? &gram->statistics : nullptr, *session->backend);
  });
}

llmc_status llmc_matrix_create(const llmc_scheme* scheme,
                               const llmc_tensor* codes,
                               const llmc_tensor* scales,
                               const llmc_tensor* zero_points,
                               const float* global_scale,
                               int32_t model_dtype,
                               llmc_matrix** matrix,
                               llmc_error** error) {
  if (matrix) *matrix = nullptr;
  return guard(error, [&] {
    required_object(matrix, "llmc_matrix_create: matrix");
    required_object(scheme, "llmc_matrix_create: scheme");
    const TensorArgument code_values(codes, "llmc_matrix_create: codes"),
        scale_values(scales, "llmc_matrix_create: scales");
    std::optional<TensorArgument> zeros;
    if (zero_points) zeros.emplace(zero_points, "llmc_matrix_create: zero_points");
    *matrix = new_matrix(llmc::assemble_matrix(
        scheme->scheme, code_values.view(), scale_values.view(), zeros ? zeros->view() : llmc::TensorView(),
        given_scale(global_scale), dtype_of(model_dtype, "llmc_matrix_create: model_dtype")));
  });
}

void llmc_matrix_free(llmc_matrix* matrix) { delete matrix; }

llmc_status llmc_matrix_info(const llmc_matrix* matrix, llmc_matrix_facts* to, llmc_error** error) {
  return guard(error, [&] {
    const llmc::CompressedMatrix& made = required_object(matrix, "llmc_matrix_info: matrix").matrix;
    const llmc::LinearReport& report = made.report();
    llmc_matrix_facts facts{};
    facts.method = report.method == "GPTQ" ? LLMC_METHOD_GPTQ : report.method == "RTN" ? LLMC_METHOD_RTN : 0;
    facts.rows = made.shape()[0];
    facts.columns = made.shape()[1];
    facts.loss = report.loss;
    facts.relative_error = report.relative_error;
    facts.dampening = report.dampening;
    facts.global_scale = static_cast<double>(made.global_scale().value_or(0.0f));
    facts.scheme = report.scheme.c_str();
    facts.format = llmc::name_of(made.format()).data();
    facts.note = report.note.c_str();
    facts.model_dtype = dtype_code(made.model_dtype());
    write_struct(facts, to, "llmc_matrix_facts");
  });
}

llmc_status llmc_matrix_part(const llmc_matrix* matrix,
                             int32_t part,
                             llmc_tensor* tensor,
                             llmc_error** error) {
  return guard(error, [&] {
    const llmc::CompressedMatrix& made = required_object(matrix, "llmc_matrix_part: matrix").matrix;
    const auto give = [&](const llmc::Tensor& values) {
      if (values.empty())
        throw Error(ErrorCode::not_found, "llmc_matrix_part: the matrix has no zero points");
      write_struct(describe_tensor(values), tensor, "llmc_tensor");
    };
    switch (part) {
      case LLMC_PART_CODES:
        return give(made.codes());
      case LLMC_PART_SCALES:
        return give(made.scales());
      case LLMC_PART_ZERO_POINTS:
        return give(made.zero_points());
      case LLMC_PART_ORDER:
        if (made.visiting_order().empty())
          throw Error(
              ErrorCode::not_found,
              "llmc_matrix_part: the matrix has no visiting order; GPTQ with activation order gives one");
        return write_struct(
            describe_view(made.visiting_order().data(), llmc::DType::i32, matrix->order_shape), tensor,
            "llmc_tensor");
      default:
        throw Error(ErrorCode::invalid_argument,
                    "llmc_matrix_part: part is " + std::to_string(part) + "; wanted LLMC_PART_*");
    }
  });
}

llmc_status llmc_matrix_dequantize(llmc_session* session,
                                   const llmc_matrix* matrix,
                                   llmc_tensor* values,
                                   llmc_error** error) {
  return guard(error, [&] {
    const SessionLock lock(session);
    const llmc::CompressedMatrix& made = required_object(matrix, "llmc_matrix_dequantize: matrix").matrix;
    poll(*session, "llmc_matrix_dequantize");
    const TensorArgument out(values, "llmc_matrix_dequantize: values", session->backend.get(),
                             TensorArgument::OnDevice::stays);
    if (out.view().shape != made.shape())
      throw Error(ErrorCode::invalid_argument,
                  "llmc_matrix_dequantize: values has shape " + llmc::to_string(out.view().shape) +
                      "; wanted " + llmc::to_string(made.shape()));
    if (out.view().device == llmc::Device{})
      return llmc::decode_matrix(made, out.view().dtype, out.writable("llmc_matrix_dequantize: values"),
                                 *session->backend);
    llmc::Tensor decoded(out.view().dtype, made.shape());
    llmc::decode_matrix(made, decoded.dtype(), decoded.data(), *session->backend);
    session->backend->copy_to_device(decoded, out.view());
  });
}

llmc_status llmc_pack(llmc_session* session,
                      const llmc_matrix* matrix,
                      llmc_packed** packed,
                      llmc_error** error) {
  if (packed) *packed = nullptr;
  return guard(error, [&] {
    const SessionLock lock(session);
    required_object(packed, "llmc_pack: packed");
    const llmc::CompressedMatrix& made = required_object(matrix, "llmc_pack: matrix").matrix;
    poll(*session, "llmc_pack");
    *packed = new llmc_packed{llmc::pack_matrix(made, *session->backend)};
  });
}

void llmc_packed_free(llmc_packed* packed) { delete packed; }
int32_t llmc_packed_count(const llmc_packed* packed) {
  return packed ? static_cast<int32_t>(packed->tensors.size()) : 0;
}

llmc_status llmc_packed_tensor(const llmc_packed* packed,
                               int32_t index,
                               const char** name,
                               llmc_tensor* tensor,
                               llmc_error** error) {
  if (name) *name = nullptr;
  return guard(error, [&] {
    const auto& tensors = required_object(packed, "llmc_packed_tensor: packed").tensors;
    if (index < 0 || index >= static_cast<int32_t>(tensors.size()))
      throw Error(ErrorCode::invalid_argument,
                  "llmc_packed_tensor: index is " + std::to_string(index) + "; wanted 0 to " +
                      std::to_string(tensors.size() - 1));
    const auto& [own, values] = tensors[static_cast<size_t>(index)];
    if (tensor) write_struct(describe_tensor(values), tensor, "llmc_tensor");
    if (name) *name = own.c_str();
  });
}

llmc_status llmc_unpack(llmc_session* session,
                        const llmc_scheme* scheme,
                        const char* const* names,
                        const llmc_tensor* tensors,
                        int32_t count,
                        int32_t model_dtype,
                        llmc_matrix** matrix,
                        llmc_error** error) {
  if (matrix) *matrix = nullptr;
  return guard(error, [&] {
    const SessionLock lock(session);
    required_object(matrix, "llmc_unpack: matrix");
    required_object(scheme, "llmc_unpack: scheme");
    poll(*session, "llmc_unpack");
    const TensorArguments arguments(tensors, count, "llmc_unpack: tensors", session->backend.get());
    if (count > 0) required_object(names, "llmc_unpack: names");
    std::vector<std::pair<std::string, llmc::TensorView>> named;
    for (size_t i = 0; i < arguments.views().size(); ++i)
      named.emplace_back(required(names[i], "llmc_unpack: a name"), arguments.views()[i]);
    *matrix = new_matrix(llmc::unpack_matrix(
        scheme->scheme, named, dtype_of(model_dtype, "llmc_unpack: model_dtype"), *session->backend));
  });
}
