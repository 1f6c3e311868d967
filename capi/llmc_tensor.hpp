// llmc from C++17, tensor level: a forward pass of your own (llmc_tensor.h is the manual). Header-only.
//
//   llmc::Gram gram(columns);
//   gram.add(session, {inputs, {tokens, columns}});                                  // every batch
//   const llmc::Scheme scheme = llmc::Scheme::gptq("W4A16");
//   const llmc::Matrix matrix = llmc::Matrix::quantize(session, scheme, {weight, {rows, columns}}, &gram);
//   llmc::Writer writer(folder, config_json);                                        // llmc_writer.hpp
//
// Objects here move and are not copied. One that was moved from may only be assigned to or destroyed.
#ifndef LLMC_TENSOR_HPP
#define LLMC_TENSOR_HPP

#include <llmc.hpp>
#include <llmc_dlpack.h>
#include <llmc_tensor.h>

#include <cstring>
#include <type_traits>

namespace llmc {
inline namespace c_interface {

// The dtype of a C++ number; types without one do not compile.
template <class T>
constexpr int32_t dtype_of() {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) <= 8 && !std::is_same_v<T, long double>,
                "not a number that tensors are made of");
  if constexpr (std::is_same_v<T, bool>) return LLMC_DTYPE_BOOL;
  else if constexpr (std::is_floating_point_v<T>)
    return sizeof(T) == 4 ? LLMC_DTYPE_FLOAT32 : LLMC_DTYPE_FLOAT64;
  else if constexpr (std::is_signed_v<T>)
    return sizeof(T) == 1 ? LLMC_DTYPE_INT8
        : sizeof(T) == 2  ? LLMC_DTYPE_INT16
        : sizeof(T) == 4  ? LLMC_DTYPE_INT32
                          : LLMC_DTYPE_INT64;
  else
    return sizeof(T) == 1 ? LLMC_DTYPE_UINT8
        : sizeof(T) == 2  ? LLMC_DTYPE_UINT16
        : sizeof(T) == 4  ? LLMC_DTYPE_UINT32
                          : LLMC_DTYPE_UINT64;
}

// Bytes of an element; 0 for a number that llmc_tensor.h does not have.
constexpr int64_t dtype_size(int32_t dtype) {
  switch (dtype) {
    case LLMC_DTYPE_FLOAT64:
    case LLMC_DTYPE_INT64:
    case LLMC_DTYPE_UINT64:
      return 8;
    case LLMC_DTYPE_FLOAT32:
    case LLMC_DTYPE_INT32:
    case LLMC_DTYPE_UINT32:
      return 4;
    case LLMC_DTYPE_BFLOAT16:
    case LLMC_DTYPE_FLOAT16:
    case LLMC_DTYPE_INT16:
    case LLMC_DTYPE_UINT16:
      return 2;
    case LLMC_DTYPE_FLOAT8_E4M3:
    case LLMC_DTYPE_FLOAT8_E5M2:
    case LLMC_DTYPE_FLOAT8_E8M0:
    case LLMC_DTYPE_INT8:
    case LLMC_DTYPE_UINT8:
    case LLMC_DTYPE_BOOL:
      return 1;
    default:
      return 0;
  }
}

// A tensor over somebody else's memory, to be read. Strides are in elements; none: row-major.
class TensorRef {
 public:
  template <class T>
  TensorRef(const T* data, std::vector<int64_t> shape, std::vector<int64_t> strides = {})
      : TensorRef(static_cast<const void*>(data), dtype_of<T>(), std::move(shape), std::move(strides)) {}
  // For elements that C++ has no type for: LLMC_DTYPE_BFLOAT16.
  TensorRef(const void* data, int32_t dtype, std::vector<int64_t> shape, std::vector<int64_t> strides = {})
      : shape_(std::move(shape)),
        strides_(std::move(strides)) {
    if (!strides_.empty() && strides_.size() != shape_.size())
      throw Error(LLMC_INVALID_ARGUMENT,
                  "TensorRef: got " + std::to_string(strides_.size()) + " strides for " +
                      std::to_string(shape_.size()) + " dimensions");
    raw_.data = const_cast<void*>(data);  // read alone, unless it is a MutableTensorRef's
    raw_.dtype = dtype;
  }
  // Of a view that the library lent, such as *job.codes.
  explicit TensorRef(const llmc_tensor& lent) : raw_(lent) {
    if (lent.ndim > 0) shape_.assign(lent.shape, lent.shape + lent.ndim);
    if (lent.ndim > 0 && lent.strides) strides_.assign(lent.strides, lent.strides + lent.ndim);
  }
  // dl_tensor: a const DLTensor *, whose owner outlives this.
  static TensorRef from_dlpack(const void* dl_tensor) {
    auto raw = detail::options<llmc_tensor>();
    detail::checked([&](llmc_error** error) { return llmc_tensor_from_dlpack(dl_tensor, &raw, error); });
    return TensorRef(raw);
  }

  // The memory is that of a GPU, filled on `stream` (cudaStream_t; null: its default one): for calls with a
  // session on that GPU.
  void on_cuda(int32_t index, void* stream = nullptr) noexcept {
    raw_.device_type = LLMC_DEVICE_CUDA;
    raw_.device_index = index;
    raw_.stream = stream;
  }
  bool on_cpu() const noexcept { return raw_.device_type == LLMC_DEVICE_CPU; }

  int32_t dtype() const noexcept { return raw_.dtype; }
  const std::vector<int64_t>& shape() const noexcept { return shape_; }
  int64_t size() const noexcept {  // elements
    int64_t size = 1;
    for (const int64_t extent : shape_) size *= extent;
    return size;
  }
  const void* data() const noexcept {
    return raw_.data ? static_cast<const char*>(raw_.data) + raw_.byte_offset : nullptr;
  }
  // The elements of a row-major tensor as numbers of their own dtype or as unsigned bits of their size:
  // data<uint16_t>() for bfloat16.
  template <class T>
  const T* data() const {
    const bool bits = std::is_unsigned_v<T> && !std::is_same_v<T, bool> &&
        static_cast<int64_t>(sizeof(T)) == dtype_size(raw_.dtype);
    if (!bits && dtype_of<T>() != raw_.dtype)
      throw Error(LLMC_INVALID_ARGUMENT,
                  "TensorRef: asked for dtype " + std::to_string(dtype_of<T>()) + " of a tensor of dtype " +
                      std::to_string(raw_.dtype));
    if (!strides_.empty() || !on_cpu())
      throw Error(LLMC_INVALID_ARGUMENT,
                  "TensorRef: asked for the elements of a tensor with strides or on a GPU");
    return static_cast<const T*>(data());
  }
  // For C; valid as long as this object stays where it is.
  llmc_tensor raw() const noexcept {
    llmc_tensor raw = raw_;
    raw.struct_size = sizeof raw;
    raw.shape = shape_.data();
    raw.strides = strides_.empty() ? nullptr : strides_.data();
    raw.ndim = static_cast<int32_t>(shape_.size());
    return raw;
  }

 private:
  llmc_tensor raw_{};  // without shape and strides
  std::vector<int64_t> shape_, strides_;
};

// A tensor over somebody else's memory that may be written to.
class MutableTensorRef : public TensorRef {
 public:
  template <class T>
  MutableTensorRef(T* data, std::vector<int64_t> shape) : TensorRef(data, std::move(shape)) {
    static_assert(!std::is_const_v<T>, "memory that may not be written to");
  }
  MutableTensorRef(void* data, int32_t dtype, std::vector<int64_t> shape)
      : TensorRef(data, dtype, std::move(shape)) {}
  explicit MutableTensorRef(const llmc_tensor& lent) : TensorRef(lent) {}
  void* data() const noexcept { return const_cast<void*>(TensorRef::data()); }
  template <class T>
  T* data() const {
    return const_cast<T*>(TensorRef::data<T>());
  }
};

namespace detail {

// Valid as long as the tensors stay where they are.
inline std::vector<llmc_tensor> raws(const std::vector<TensorRef>& tensors) {
  std::vector<llmc_tensor> raws;
  for (const TensorRef& tensor : tensors) raws.push_back(tensor.raw());
  return raws;
}

inline const float* pointer(const std::optional<float>& value) { return value ? &*value : nullptr; }

}  // namespace detail

// A model in memory, as a source: row-major tensors with their names.
inline Source source_of(std::string config_json,
                        const std::vector<std::pair<std::string, TensorRef>>& tensors) {
  Source source;
  source.config_json = std::move(config_json);
  std::vector<const char*> data;
  for (const auto& [name, tensor] : tensors) {
    if (tensor.raw().strides || !tensor.on_cpu())
      throw Error(LLMC_INVALID_ARGUMENT,
                  "source_of: '" + name + "' has strides or is on a GPU, wanted row-major memory");
    source.tensors.push_back({name, tensor.dtype(), tensor.shape()});
    data.push_back(static_cast<const char*>(tensor.data()));
  }
  source.read = [data = std::move(data)](int64_t tensor, int64_t offset, int64_t bytes, void* to) {
    if (bytes > 0) std::memcpy(to, data[static_cast<size_t>(tensor)] + offset, static_cast<size_t>(bytes));
  };
  return source;
}

// Figures by channel; each has as many entries as the gram has channels. llmc_gram_data says what they are.
struct Channels {
  std::vector<float> minimum, maximum;
  std::vector<double> sum_absolute, sum_squares;
};

struct Smoothing {
  int32_t algorithm = 0, compat = 0;  // LLMC_SMOOTHING_*, LLMC_COMPAT_*
  std::optional<double> strength;     // 0 to 1; default 0.5
};

// Statistics of what a Linear reads.
class Gram {
 public:
  explicit Gram(int64_t channels, int32_t parts = LLMC_GRAM_ALL)
      : gram_(detail::made<Owned>([&](llmc_gram** gram, llmc_error** error) {
          return llmc_gram_create(channels, parts, gram, error);
        })) {}
  static Gram load(const std::string& path) {
    return Gram(detail::made<Owned>(
        [&](llmc_gram** gram, llmc_error** error) { return llmc_gram_load(path.c_str(), gram, error); }));
  }
  void save(const std::string& path) const {
    detail::checked([&](llmc_error** error) { return llmc_gram_save(get(), path.c_str(), error); });
  }
  // values: [.., channels] float32, bfloat16 or float16, one token per row.
  void add(Session& session, const TensorRef& values) {
    const llmc_tensor raw = values.raw();
    session.call([&](llmc_session* on, llmc_error** error) { return llmc_gram_add(on, get(), &raw, error); });
  }
  void merge(const Gram& from) {
    detail::checked([&](llmc_error** error) { return llmc_gram_merge(get(), from.get(), error); });
  }

  int64_t channels() const { return read({}).channels; }
  int64_t tokens() const { return read({}).tokens; }
  int64_t samples() const { return read({}).samples; }
  // sum over tokens of x_i * x_j: [channels, channels], symmetric. An error of LLMC_GRAM_CHANNELS.
  std::vector<float> matrix() const {
    llmc_gram_data data{};
    data.channels = channels();
    std::vector<float> matrix(static_cast<size_t>(data.channels * data.channels));
    data.gram = matrix.data();
    read(data);
    return matrix;
  }
  Channels statistics() const {
    llmc_gram_data data{};
    data.channels = channels();
    const auto n = static_cast<size_t>(data.channels);
    Channels result{std::vector<float>(n), std::vector<float>(n), std::vector<double>(n),
                    std::vector<double>(n)};
    data.minimum = result.minimum.data();
    data.maximum = result.maximum.data();
    data.sum_absolute = result.sum_absolute.data();
    data.sum_squares = result.sum_squares.data();
    read(data);
    return result;
  }
  // One scale per channel. weights: all that read the values, [rows, channels] each.
  std::vector<float> smooth_scales(const std::vector<TensorRef>& weights, const Smoothing& how = {}) const {
    auto options = detail::options<llmc_smooth_options>();
    options.algorithm = how.algorithm;
    options.compat = how.compat;
    options.strength_set = how.strength ? LLMC_ON : LLMC_DEFAULT;
    options.strength = how.strength.value_or(0);
    std::vector<float> scales(static_cast<size_t>(channels()));
    const std::vector<llmc_tensor> raws = detail::raws(weights);
    detail::checked([&](llmc_error** error) {
      return llmc_smooth_scales(get(), raws.data(), static_cast<int32_t>(raws.size()), &options,
                                scales.data(), static_cast<int64_t>(scales.size()), error);
    });
    return scales;
  }

  llmc_gram* get() const noexcept { return gram_.get(); }

 private:
  using Owned = detail::Owned<llmc_gram, llmc_gram_free>;
  explicit Gram(Owned gram) : gram_(std::move(gram)) {}
  llmc_gram_data read(llmc_gram_data data) const {
    data.struct_size = sizeof data;
    detail::checked([&](llmc_error** error) { return llmc_gram_read(get(), &data, error); });
    return data;
  }
  Owned gram_;
};

// Changes `tensor` [.., channels] (float32, bfloat16 or float16) in place, rounded once to its dtype. scales:
// one per channel. operation: LLMC_SMOOTH_*.
inline void smooth_apply(const MutableTensorRef& tensor,
                         const std::vector<float>& scales,
                         int32_t operation) {
  llmc_tensor raw = tensor.raw();
  detail::checked([&](llmc_error** error) {
    return llmc_smooth_apply(&raw, scales.data(), static_cast<int64_t>(scales.size()), operation, error);
  });
}

// The fields of llmc_scheme_options; empty and zero mean default.
struct SchemeOptions {
  std::string scheme;
  // LLMC_METHOD_*, LLMC_COMPAT_*, LLMC_ROUNDING_*, LLMC_DAMPENING_*
  int32_t method = 0, compat = 0, rounding = 0, dampening = 0;
  std::optional<bool> activation_order;
  double dampening_frac = 0;
  int64_t block_size = 0;
};

// How matrices are quantized.
class Scheme {
 public:
  explicit Scheme(const SchemeOptions& wanted) {
    auto options = detail::options<llmc_scheme_options>();
    options.method = wanted.method;
    options.scheme = wanted.scheme.c_str();
    options.compat = wanted.compat;
    options.rounding = wanted.rounding;
    options.activation_order = detail::tri_state(wanted.activation_order);
    options.dampening = wanted.dampening;
    options.dampening_frac = wanted.dampening_frac;
    options.block_size = wanted.block_size;
    scheme_ = detail::made<Owned>([&](llmc_scheme** scheme, llmc_error** error) {
      return llmc_scheme_create(&options, scheme, error);
    });
  }
  // A preset, or YAML or JSON text.
  static Scheme rtn(std::string scheme) { return with_method(std::move(scheme), LLMC_METHOD_RTN); }
  static Scheme gptq(std::string scheme) { return with_method(std::move(scheme), LLMC_METHOD_GPTQ); }

  std::string format() const { return llmc_scheme_format(get()); }
  // One global scale for weights that a server fuses into one layer. Schemes with strategy tensor_group
  // (NVFP4) alone.
  float global_scale(Session& session,
                     const std::vector<TensorRef>& weights,
                     const Gram* gram = nullptr) const {
    float scale = 0;
    const std::vector<llmc_tensor> raws = detail::raws(weights);
    session.call([&](llmc_session* on, llmc_error** error) {
      return llmc_global_scale(on, get(), raws.data(), static_cast<int32_t>(raws.size()),
                               gram ? gram->get() : nullptr, &scale, error);
    });
    return scale;
  }

  const llmc_scheme* get() const noexcept { return scheme_.get(); }

 private:
  using Owned = detail::Owned<llmc_scheme, llmc_scheme_free>;
  static Scheme with_method(std::string scheme, int32_t method) {
    SchemeOptions options;
    options.scheme = std::move(scheme);
    options.method = method;
    return Scheme(options);
  }
  Owned scheme_;
};

// What is known of a Matrix; llmc_matrix_facts says what the fields are.
struct MatrixFacts {
  int32_t method = 0, model_dtype = 0;
  int64_t rows = 0, columns = 0;
  double loss = 0, relative_error = 0, dampening = 0, global_scale = 0;
  std::string scheme, format, note;
};

// The tensors that a file holds for a matrix.
class Packed {
 public:
  Packed(Session& session, const llmc_matrix* matrix) {
    session.call([&](llmc_session* on, llmc_error** error) {
      llmc_packed* packed = nullptr;
      const llmc_status status = llmc_pack(on, matrix, &packed, error);
      packed_.reset(packed);
      return status;
    });
  }
  // Views: valid as long as this object, or what it was moved to, lives.
  std::vector<std::pair<std::string, TensorRef>> tensors() const {
    std::vector<std::pair<std::string, TensorRef>> tensors;
    for (int32_t i = 0; i < llmc_packed_count(packed_.get()); ++i) {
      const char* name = nullptr;
      auto raw = detail::options<llmc_tensor>();
      detail::checked(
          [&](llmc_error** error) { return llmc_packed_tensor(packed_.get(), i, &name, &raw, error); });
      tensors.emplace_back(name, TensorRef(raw));
    }
    return tensors;
  }

 private:
  detail::Owned<llmc_packed, llmc_packed_free> packed_;
};

// A quantized matrix: codes, scales, perhaps zero points.
class Matrix {
 public:
  // weight: [rows, columns] float32, bfloat16 or float16. gram: of the inputs; GPTQ needs it. global_scale:
  // of weights that a server fuses (Scheme::global_scale).
  static Matrix quantize(Session& session,
                         const Scheme& scheme,
                         const TensorRef& weight,
                         const Gram* gram = nullptr,
                         std::optional<float> global_scale = std::nullopt) {
    const llmc_tensor raw = weight.raw();
    Matrix made;
    session.call([&](llmc_session* on, llmc_error** error) {
      return made.take([&](llmc_matrix** matrix) {
        return llmc_quantize_matrix(on, scheme.get(), &raw, gram ? gram->get() : nullptr,
                                    detail::pointer(global_scale), matrix, error);
      });
    });
    return made;
  }
  // Parts made elsewhere; they are copied. model_dtype: of the weight that the codes stand for.
  static Matrix from_parts(const Scheme& scheme,
                           const TensorRef& codes,
                           const TensorRef& scales,
                           const std::optional<TensorRef>& zero_points,
                           std::optional<float> global_scale,
                           int32_t model_dtype) {
    const llmc_tensor raw_codes = codes.raw(), raw_scales = scales.raw(),
                      raw_zero_points = zero_points ? zero_points->raw() : llmc_tensor{};
    Matrix made;
    detail::checked([&](llmc_error** error) {
      return made.take([&](llmc_matrix** matrix) {
        return llmc_matrix_create(scheme.get(), &raw_codes, &raw_scales,
                                  zero_points ? &raw_zero_points : nullptr, detail::pointer(global_scale),
                                  model_dtype, matrix, error);
      });
    });
    return made;
  }
  // The inverse of pack: names and tensors as a Packed has them, in any order.
  static Matrix unpack(Session& session,
                       const Scheme& scheme,
                       const std::vector<std::pair<std::string, TensorRef>>& tensors,
                       int32_t model_dtype) {
    std::vector<const char*> names;
    std::vector<llmc_tensor> raws;
    for (const auto& [name, tensor] : tensors) {
      names.push_back(name.c_str());
      raws.push_back(tensor.raw());
    }
    Matrix made;
    session.call([&](llmc_session* on, llmc_error** error) {
      return made.take([&](llmc_matrix** matrix) {
        return llmc_unpack(on, scheme.get(), names.data(), raws.data(), static_cast<int32_t>(raws.size()),
                           model_dtype, matrix, error);
      });
    });
    return made;
  }

  MatrixFacts facts() const {
    auto f = detail::options<llmc_matrix_facts>();
    detail::checked([&](llmc_error** error) { return llmc_matrix_info(get(), &f, error); });
    return {f.method,    f.model_dtype,  f.rows,   f.columns, f.loss, f.relative_error,
            f.dampening, f.global_scale, f.scheme, f.format,  f.note};
  }
  // Views: valid as long as this object, or what it was moved to, lives. llmc_tensor.h (LLMC_PART_*) says
  // what they are; nothing where the matrix has no such part.
  TensorRef codes() const { return *part(LLMC_PART_CODES); }
  TensorRef scales() const { return *part(LLMC_PART_SCALES); }
  std::optional<TensorRef> zero_points() const { return part(LLMC_PART_ZERO_POINTS); }
  std::optional<TensorRef> order() const { return part(LLMC_PART_ORDER); }
  // values: [rows, columns] float32, bfloat16 or float16, written: the weight as a server sees it.
  void dequantize(Session& session, const MutableTensorRef& values) const {
    llmc_tensor raw = values.raw();
    session.call(
        [&](llmc_session* on, llmc_error** error) { return llmc_matrix_dequantize(on, get(), &raw, error); });
  }
  Packed pack(Session& session) const { return Packed(session, get()); }

  const llmc_matrix* get() const noexcept { return matrix_.get(); }

 private:
  Matrix() = default;
  template <class Call>
  llmc_status take(Call&& call) {
    llmc_matrix* matrix = nullptr;
    const llmc_status status = call(&matrix);
    matrix_.reset(matrix);
    return status;
  }
  std::optional<TensorRef> part(int32_t part) const {
    auto raw = detail::options<llmc_tensor>();
    llmc_error* error = nullptr;
    const llmc_status status = llmc_matrix_part(get(), part, &raw, &error);
    detail::OwnedError owner(error);
    if (status == LLMC_NOT_FOUND && part != LLMC_PART_CODES && part != LLMC_PART_SCALES) return std::nullopt;
    detail::check(status, std::move(owner));
    return TensorRef(raw);
  }
  detail::Owned<llmc_matrix, llmc_matrix_free> matrix_;
};

}  // namespace c_interface
}  // namespace llmc

#include <llmc_writer.hpp>

#endif
