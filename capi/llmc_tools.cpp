#include "llmc_tools.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "guard.hpp"
#include "llmc/evaluate.hpp"
#include "llmc/inspection.hpp"
#include "session.hpp"
#include "text/text.hpp"

using namespace llmc::capi;

namespace {

llmc::DType value_dtype(int32_t dtype, llmc::DType otherwise) {
  if (dtype == 0) return otherwise;
  if (dtype == LLMC_DTYPE_FLOAT32) return llmc::DType::f32;
  if (dtype == LLMC_DTYPE_BFLOAT16) return llmc::DType::bf16;
  throw llmc::Error(
      llmc::ErrorCode::invalid_argument,
      "dtype is " + std::to_string(dtype) + "; wanted LLMC_DTYPE_FLOAT32 or LLMC_DTYPE_BFLOAT16");
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file || std::filesystem::is_directory(path))
    throw llmc::Error(llmc::ErrorCode::not_found, "eval: text file '" + path + "' cannot be opened");
  std::stringstream text;
  text << file.rdbuf();
  if (file.bad()) throw llmc::Error(llmc::ErrorCode::io, "eval: text file '" + path + "': read error");
  return text.str();
}

char* copy_text(const std::string& text) {
  char* copy = static_cast<char*>(std::malloc(text.size() + 1));
  if (!copy) throw std::bad_alloc();
  std::memcpy(copy, text.c_str(), text.size() + 1);
  return copy;
}

void check_reserved(int32_t reserved, const char* options) {
  if (reserved)
    throw llmc::Error(llmc::ErrorCode::invalid_argument, std::string(options) + ".reserved is not 0");
}

// A call whose result is the JSON text that `body` returns.
template <class Body>
llmc_status json_call(llmc_session* session,
                      char** json,
                      llmc_error** error,
                      const char* name,
                      Body&& body) noexcept {
  if (json) *json = nullptr;
  return guard(error, [&] {
    const SessionLock lock(session);
    if (!json) throw llmc::Error(llmc::ErrorCode::invalid_argument, std::string(name) + ": json is NULL");
    *json = copy_text(body());
  });
}

}  // namespace

llmc_status llmc_eval(llmc_session* session,
                      const llmc_eval_options* given,
                      char** json,
                      llmc_error** error) {
  if (json) *json = nullptr;
  return guard(error, [&] {
    const SessionLock lock(session);
    if (!json) throw llmc::Error(llmc::ErrorCode::invalid_argument, "llmc_eval: json is NULL");
    const auto c_options = read_options(given, "llmc_eval_options");
    llmc::EvaluateOptions options;
    options.model_dir = required(c_options.model_dir, "llmc_eval_options.model_dir");
    options.reference_dir = text_or_empty(c_options.reference_dir);
    options.value_dtype = value_dtype(c_options.dtype, llmc::DType::f32);
    if (c_options.window) options.window = c_options.window;
    options.cancel = &session->cancel;
    const std::string text = read_text(required(c_options.text, "llmc_eval_options.text"));
    options.token_ids = llmc::text::Tokenizer(c_options.tokenizer_dir ? c_options.tokenizer_dir
                                                                      : options.model_dir)
                            .encode(text, false);
    const llmc::Evaluation result = llmc::evaluate(options, *session->backend);
    *json = copy_text(to_json(result));
  });
}

llmc_status llmc_forward(llmc_session* session, const llmc_forward_options* given, llmc_error** error) {
  return guard(error, [&] {
    const SessionLock lock(session);
    const auto options = read_options(given, "llmc_forward_options");
    llmc::forward_file(required(options.model_dir, "llmc_forward_options.model_dir"),
                       required(options.input_ids, "llmc_forward_options.input_ids"),
                       required(options.output, "llmc_forward_options.output"),
                       value_dtype(options.dtype, llmc::DType::f32), *session->backend);
  });
}

llmc_status llmc_verify(llmc_session* session,
                        const llmc_verify_options* given,
                        char** json,
                        llmc_error** error) {
  return json_call(session, json, error, "llmc_verify", [&] {
    const auto options = read_options(given, "llmc_verify_options");
    check_reserved(options.reserved, "llmc_verify_options");
    return to_json(llmc::verify_model({required(options.model_dir, "llmc_verify_options.model_dir"),
                                       text_or_empty(options.source_dir), &session->cancel},
                                      *session->backend));
  });
}

llmc_status llmc_inspect(llmc_session* session,
                         const llmc_inspect_options* given,
                         char** json,
                         llmc_error** error) {
  return json_call(session, json, error, "llmc_inspect", [&] {
    const auto options = read_options(given, "llmc_inspect_options");
    check_reserved(options.reserved, "llmc_inspect_options");
    return to_json(llmc::inspect_model(required(options.model_dir, "llmc_inspect_options.model_dir")));
  });
}

llmc_status llmc_diff(llmc_session* session,
                      const llmc_diff_options* given,
                      char** json,
                      llmc_error** error) {
  return json_call(session, json, error, "llmc_diff", [&] {
    const auto options = read_options(given, "llmc_diff_options");
    check_reserved(options.reserved, "llmc_diff_options");
    return to_json(llmc::diff_models(required(options.a_dir, "llmc_diff_options.a_dir"),
                                     required(options.b_dir, "llmc_diff_options.b_dir"), *session->backend,
                                     &session->cancel));
  });
}

llmc_status llmc_dequantize(llmc_session* session,
                            const llmc_dequantize_options* given,
                            char** json,
                            llmc_error** error) {
  char* unused = nullptr;
  const llmc_status status = json_call(session, json ? json : &unused, error, "llmc_dequantize", [&] {
    const auto given_options = read_options(given, "llmc_dequantize_options");
    llmc::DequantizeOptions options;
    options.model_dir = required(given_options.model_dir, "llmc_dequantize_options.model_dir");
    options.output_dir = required(given_options.output_dir, "llmc_dequantize_options.output_dir");
    options.overwrite = tri_state(given_options.overwrite, false, "llmc_dequantize_options.overwrite");
    if (given_options.max_shard_bytes < 0)
      throw llmc::Error(llmc::ErrorCode::invalid_argument,
                        "llmc_dequantize_options.max_shard_bytes is negative");
    if (given_options.max_shard_bytes) options.max_shard_bytes = given_options.max_shard_bytes;
    return to_json(llmc::dequantize_model(options, *session->backend, session->callbacks()));
  });
  std::free(unused);
  return status;
}

void llmc_json_free(char* json) { std::free(json); }
