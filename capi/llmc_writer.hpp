// llmc from C++17, tensor level: the writer of a compressed folder. Part of llmc_tensor.hpp, which includes it.
//   llmc::Writer writer(folder, config_json);
//   writer.plan_matrix("fc1", scheme, LLMC_DTYPE_FLOAT32, rows, columns);
//   writer.add_matrix(session, "fc1", matrix);
//   writer.finish(session);
#ifndef LLMC_WRITER_HPP
#define LLMC_WRITER_HPP

#include <llmc_tensor.hpp>

namespace llmc {
inline namespace c_interface {

// The fields of llmc_writer_options; empty and zero mean default.
struct WriterOptions {
  std::string output, config_json;
  int32_t compat = 0;  // LLMC_COMPAT_*
  int64_t max_shard_bytes = 0;
  std::optional<bool> overwrite;
};

// Writes a compressed-tensors folder: first the whole plan, then every planned tensor once, then finish().
// Destroyed before that, it removes what it wrote.
class Writer {
 public:
  explicit Writer(const WriterOptions& wanted) {
    auto options = detail::options<llmc_writer_options>();
    options.compat = wanted.compat;
    options.output_dir = wanted.output.c_str();
    options.config_json = wanted.config_json.c_str();
    options.max_shard_bytes = wanted.max_shard_bytes;
    options.overwrite = detail::tri_state(wanted.overwrite);
    writer_ = detail::made<Owned>([&](llmc_writer** writer, llmc_error** error) {
      return llmc_writer_create(&options, writer, error);
    });
  }
  Writer(const std::string& output, const std::string& config_json)
      : Writer(WriterOptions{output, config_json, 0, 0, std::nullopt}) {}

  void plan_tensor(const std::string& name, int32_t dtype, const std::vector<int64_t>& shape) {
    detail::checked([&](llmc_error** error) {
      return llmc_writer_plan_tensor(get(), name.c_str(), dtype, shape.data(),
                                     static_cast<int32_t>(shape.size()), error);
    });
  }
  void plan_matrix(const std::string& module,
                   const Scheme& scheme,
                   int32_t model_dtype,
                   int64_t rows,
                   int64_t columns) {
    detail::checked([&](llmc_error** error) {
      return llmc_writer_plan_matrix(get(), module.c_str(), scheme.get(), model_dtype, rows, columns, error);
    });
  }
  void add_tensor(Session& session, const std::string& name, const TensorRef& values) {
    const llmc_tensor raw = values.raw();
    session.call([&](llmc_session* on, llmc_error** error) {
      return llmc_writer_add_tensor(on, get(), name.c_str(), &raw, error);
    });
  }
  void add_matrix(Session& session, const std::string& module, const Matrix& matrix) {
    session.call([&](llmc_session* on, llmc_error** error) {
      return llmc_writer_add_matrix(on, get(), module.c_str(), matrix.get(), error);
    });
  }
  // activation: LLMC_ACTIVATION_*.
  void add_range(const std::string& module, int32_t activation, float minimum, float maximum) {
    detail::checked([&](llmc_error** error) {
      return llmc_writer_add_range(get(), module.c_str(), activation, minimum, maximum, error);
    });
  }
  void add_file(const std::string& name, const std::string& bytes) {
    detail::checked([&](llmc_error** error) {
      return llmc_writer_add_file(get(), name.c_str(), bytes.data(), static_cast<int64_t>(bytes.size()),
                                  error);
    });
  }
  void finish(Session& session) {
    session.call([&](llmc_session* on, llmc_error** error) { return llmc_writer_finish(on, get(), error); });
  }

 private:
  using Owned = detail::Owned<llmc_writer, llmc_writer_free>;
  llmc_writer* get() const noexcept { return writer_.get(); }
  Owned writer_;
};

}  // namespace c_interface
}  // namespace llmc

#endif
