#include "callback_source.hpp"

#include "guard.hpp"
#include "tensor_argument.hpp"

namespace llmc::capi {

CallbackSource::CallbackSource(const llmc_tensor_source& given) {
  const auto source = read_options(&given, "llmc_tensor_source");
  const auto refuse = [](const std::string& text) {
    throw Error(ErrorCode::invalid_argument, "llmc_tensor_source." + text);
  };
  config_ = required(source.config_json, "llmc_tensor_source.config_json");
  if (!source.read) refuse("read is NULL");
  if (source.reserved) refuse("reserved is not 0");
  if (!source.tensors || source.num_tensors < 1 || source.num_tensors > INT32_MAX)
    refuse("num_tensors is " + std::to_string(source.num_tensors) +
           (source.tensors ? "" : " and tensors NULL") + "; wanted at least one tensor");
  read_ = source.read;
  user_data_ = source.user_data;
  const auto* at = reinterpret_cast<const std::byte*>(source.tensors);
  const uint32_t step = source.tensors->struct_size;  // an array of the caller's structs
  for (int64_t i = 0; i < source.num_tensors; ++i, at += step) {
    const std::string what = "llmc_tensor_source.tensors[" + std::to_string(i) + "]";
    const auto& entry = *reinterpret_cast<const llmc_source_tensor*>(at);
    if (entry.struct_size != step)
      throw Error(ErrorCode::invalid_argument,
                  what + ".struct_size is " + std::to_string(entry.struct_size) + "; wanted " +
                      std::to_string(step) + ", as tensors[0] has");
    const auto tensor = read_options(&entry, "llmc_source_tensor");
    if (tensor.ndim < 0 || tensor.ndim > 8 || (tensor.ndim > 0 && !tensor.shape))
      throw Error(ErrorCode::invalid_argument,
                  what + ".ndim is " + std::to_string(tensor.ndim) + (tensor.shape ? "" : " and shape NULL") +
                      "; wanted 0 to 8 dimensions");
    if (tensor.reserved) throw Error(ErrorCode::invalid_argument, what + ".reserved is not 0");
    entries_.push_back({required(tensor.name, (what + ".name").c_str()),
                        dtype_of(tensor.dtype, (what + ".dtype").c_str()),
                        Shape(tensor.shape, tensor.shape + tensor.ndim)});
  }
}

void CallbackSource::read(size_t tensor, int64_t offset, int64_t bytes, std::byte* to) const {
  const int32_t status = read_(user_data_, static_cast<int64_t>(tensor), offset, bytes, to);
  if (status != 0)
    throw Error(ErrorCode::io,
                "tensor source: read of '" + entries_[tensor].name + "', " + std::to_string(bytes) +
                    " bytes at " + std::to_string(offset) + ", returned " + std::to_string(status));
}

}  // namespace llmc::capi
