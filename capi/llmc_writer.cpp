// llmc_tensor.h: writing a compressed folder.
#include <mutex>

#include "guard.hpp"
#include "tensor_argument.hpp"
#include "tensor_objects.hpp"

using namespace llmc::capi;
using llmc::Error;
using llmc::ErrorCode;

namespace {

auto change_writer(llmc_writer* writer, const char* what) {
  return use<std::unique_lock<std::shared_mutex>>(required_object(writer, what).busy, what);
}

}  // namespace

llmc_status llmc_writer_create(const llmc_writer_options* given, llmc_writer** writer, llmc_error** error) {
  if (writer) *writer = nullptr;
  return guard(error, [&] {
    required_object(writer, "llmc_writer_create: writer");
    const auto c_options = read_options(given, "llmc_writer_options");
    llmc::MatrixWriter::Options options;
    options.output_dir = required(c_options.output_dir, "llmc_writer_options.output_dir");
    options.config_json = required(c_options.config_json, "llmc_writer_options.config_json");
    options.compat = choice(c_options.compat, llmc::Compat::vllm, llmc::Compat::reference,
                            "llmc_writer_options.compat")
                         .value_or(llmc::Compat::vllm);
    options.overwrite = tri_state(c_options.overwrite, false, "llmc_writer_options.overwrite");
    options.max_shard_bytes = c_options.max_shard_bytes;
    if (c_options.reserved) throw Error(ErrorCode::invalid_argument, "llmc_writer_options.reserved is not 0");
    *writer = new llmc_writer(options);
  });
}

void llmc_writer_free(llmc_writer* writer) { delete writer; }

llmc_status llmc_writer_plan_tensor(llmc_writer* writer,
                                    const char* name,
                                    int32_t dtype,
                                    const int64_t* shape,
                                    int32_t ndim,
                                    llmc_error** error) {
  return guard(error, [&] {
    const auto lock = change_writer(writer, "llmc_writer_plan_tensor: writer");
    if (ndim < 0 || ndim > 8)
      throw Error(ErrorCode::invalid_argument,
                  "llmc_writer_plan_tensor: ndim is " + std::to_string(ndim) + "; wanted 0 to 8");
    if (ndim > 0) required_object(shape, "llmc_writer_plan_tensor: shape");
    writer->writer.plan_tensor(required(name, "llmc_writer_plan_tensor: name"),
                               dtype_of(dtype, "llmc_writer_plan_tensor: dtype"),
                               llmc::Shape(shape, shape + ndim));
  });
}

llmc_status llmc_writer_plan_matrix(llmc_writer* writer,
                                    const char* module,
                                    const llmc_scheme* scheme,
                                    int32_t model_dtype,
                                    int64_t rows,
                                    int64_t columns,
                                    llmc_error** error) {
  return guard(error, [&] {
    const auto lock = change_writer(writer, "llmc_writer_plan_matrix: writer");
    required_object(scheme, "llmc_writer_plan_matrix: scheme");
    writer->writer.plan_matrix(required(module, "llmc_writer_plan_matrix: module"), scheme->scheme,
                               dtype_of(model_dtype, "llmc_writer_plan_matrix: model_dtype"),
                               {rows, columns});
  });
}

llmc_status llmc_writer_add_tensor(llmc_session* session,
                                   llmc_writer* writer,
                                   const char* name,
                                   const llmc_tensor* values,
                                   llmc_error** error) {
  return guard(error, [&] {
    const SessionLock session_lock(session);
    const auto lock = change_writer(writer, "llmc_writer_add_tensor: writer");
    poll(*session, "llmc_writer_add_tensor");
    const TensorArgument argument(values, "llmc_writer_add_tensor: values", session->backend.get());
    writer->writer.add_tensor(required(name, "llmc_writer_add_tensor: name"), argument.view(),
                              *session->backend);
  });
}

llmc_status llmc_writer_add_matrix(llmc_session* session,
                                   llmc_writer* writer,
                                   const char* module,
                                   const llmc_matrix* matrix,
                                   llmc_error** error) {
  return guard(error, [&] {
    const SessionLock session_lock(session);
    const auto lock = change_writer(writer, "llmc_writer_add_matrix: writer");
    poll(*session, "llmc_writer_add_matrix");
    required_object(matrix, "llmc_writer_add_matrix: matrix");
    writer->writer.add_matrix(required(module, "llmc_writer_add_matrix: module"), matrix->matrix,
                              *session->backend);
  });
}

llmc_status llmc_writer_add_range(llmc_writer* writer,
                                  const char* module,
                                  int32_t activation,
                                  float minimum,
                                  float maximum,
                                  llmc_error** error) {
  return guard(error, [&] {
    const auto lock = change_writer(writer, "llmc_writer_add_range: writer");
    if (activation != LLMC_ACTIVATION_INPUT && activation != LLMC_ACTIVATION_OUTPUT)
      throw Error(ErrorCode::invalid_argument,
                  "llmc_writer_add_range: activation is " + std::to_string(activation) +
                      "; wanted LLMC_ACTIVATION_INPUT or LLMC_ACTIVATION_OUTPUT");
    writer->writer.add_activation_range(required(module, "llmc_writer_add_range: module"),
                                        activation == LLMC_ACTIVATION_OUTPUT, minimum, maximum);
  });
}

llmc_status llmc_writer_add_file(llmc_writer* writer,
                                 const char* file_name,
                                 const void* bytes,
                                 int64_t count,
                                 llmc_error** error) {
  return guard(error, [&] {
    const auto lock = change_writer(writer, "llmc_writer_add_file: writer");
    if (count < 0 || (count > 0 && !bytes))
      throw Error(
          ErrorCode::invalid_argument,
          "llmc_writer_add_file: bytes is NULL, or count is " + std::to_string(count) + "; wanted 0 or more");
    writer->writer.add_file(required(file_name, "llmc_writer_add_file: file_name"),
                            std::string_view(static_cast<const char*>(bytes), static_cast<size_t>(count)));
  });
}

llmc_status llmc_writer_finish(llmc_session* session, llmc_writer* writer, llmc_error** error) {
  return guard(error, [&] {
    const SessionLock session_lock(session);
    const auto lock = change_writer(writer, "llmc_writer_finish: writer");
    writer->writer.finish(*session->backend, [&] { poll(*session, "llmc_writer_finish"); });
  });
}
