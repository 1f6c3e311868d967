// The promises of llmc_tensor.h about memory on a device: taken by calls with a session there, with the
// results that host memory gives.
#include <cuda_runtime.h>

#include <cstring>

#include "capi/tensor_tools.hpp"
#include "core/quantize/number_formats.hpp"
#include "cuda_test_tools.hpp"
#include "llmc_tensor.h"
#include "session.hpp"

using Catch::Contains;
using namespace llmc::test;

namespace {

// A session as llmc_session_create makes it, on the device of these tests.
std::unique_ptr<llmc_session> device_session() {
  auto session = std::make_unique<llmc_session>();
  session->backend = cuda_backend();
  session->backend->watch(&session->cancel);
  return session;
}

// The caller's own memory on the device.
struct OnDevice {
  OnDevice(const llmc::Tensor& host, int32_t dtype, std::vector<int64_t> dimensions)
      : shape(std::move(dimensions)),
        bytes(static_cast<size_t>(host.bytes())) {
    if (cudaMalloc(&data, bytes) != cudaSuccess ||
        cudaMemcpyAsync(data, host.data(), bytes, cudaMemcpyHostToDevice, nullptr) != cudaSuccess)
      throw std::runtime_error("no device memory");
    tensor = tensor_of(data, dtype, shape);
    tensor.device_type = LLMC_DEVICE_CUDA;
  }
  ~OnDevice() { cudaFree(data); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

  void* data = nullptr;
  std::vector<int64_t> shape;
  size_t bytes;
  llmc_tensor tensor{};
};

llmc::Tensor random_values(llmc::DType dtype, int64_t rows, int64_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  llmc::Tensor values(llmc::DType::f32, {rows, columns});
  for (int64_t i = 0; i < values.size(); ++i) values.as<float>()[i] = normal(random);
  return dtype == llmc::DType::f32 ? std::move(values) : llmc::converted(values, dtype);
}

std::vector<float> gram_of(llmc_session* session, const llmc_tensor& values) {
  const OwnedGram gram = new_gram(48);
  must(llmc_gram_add, session, gram.get(), &values);
  std::vector<float> numbers(48 * 48), extremes(96);
  llmc_gram_data data{};
  data.struct_size = sizeof data;
  data.channels = 48;
  data.gram = numbers.data();
  data.minimum = extremes.data();
  data.maximum = extremes.data() + 48;
  must(llmc_gram_read, gram.get(), &data);
  CHECK(data.tokens == 70);
  numbers.insert(numbers.end(), extremes.begin(), extremes.end());
  return numbers;
}

}  // namespace

TEST_CASE("device: tensors of a caller on the device give what the same numbers on the host give") {
  const auto session = device_session();
  const std::pair<llmc::DType, int32_t> dtypes[] = {{llmc::DType::f32, LLMC_DTYPE_FLOAT32},
                                                    {llmc::DType::bf16, LLMC_DTYPE_BFLOAT16},
                                                    {llmc::DType::f16, LLMC_DTYPE_FLOAT16}};
  for (const auto& [dtype, code] : dtypes) {
    CAPTURE(code);
    llmc::Tensor x = random_values(dtype, 70, 48, 1), w = random_values(dtype, 16, 48, 2);
    const OnDevice x_there(x, code, {7, 10, 48}), w_there(w, code, {16, 48});
    CHECK(gram_of(session.get(), x_there.tensor) == gram_of(session.get(), tensor_of(x)));

    const OwnedScheme scheme = new_scheme(
        "{\"num_bits\": 4, \"group_size\": 16, \"strategy\": \"group\", \"symmetric\": true}");
    std::vector<std::vector<std::byte>> results;
    for (const llmc_tensor& weight : {w_there.tensor, tensor_of(w)}) {
      const OwnedMatrix matrix = quantize(session.get(), scheme.get(), weight);
      llmc::Tensor back(dtype, {16, 48});
      if (weight.device_type == LLMC_DEVICE_CUDA) {
        const OnDevice out(back, code, {16, 48});
        llmc_tensor target = out.tensor;
        must(llmc_matrix_dequantize, session.get(), matrix.get(), &target);
        cudaMemcpyAsync(back.data(), out.data, out.bytes, cudaMemcpyDeviceToHost, nullptr);
        cudaStreamSynchronize(nullptr);
      } else {
        llmc_tensor target = tensor_of(back);
        must(llmc_matrix_dequantize, session.get(), matrix.get(), &target);
      }
      results.emplace_back(back.data(), back.data() + back.bytes());
    }
    CHECK(results[0] == results[1]);
  }
}

TEST_CASE("device: memory that a call cannot take is refused, with a way out") {
  const auto session = device_session();
  const OwnedSession on_cpu = new_session();
  const OnDevice x(random_values(llmc::DType::f32, 70, 48, 1), LLMC_DTYPE_FLOAT32, {70, 48});
  const OwnedGram gram = new_gram(48);
  const auto adding = [&](llmc_session* to, const std::function<void(llmc_tensor&)>& change) {
    llmc_tensor tensor = x.tensor;
    change(tensor);
    return refusal(llmc_gram_add, to, gram.get(), &tensor);
  };
  const Refusal cpu = adding(on_cpu.get(), [](llmc_tensor&) {});
  CHECK(cpu.status == LLMC_UNSUPPORTED);
  CHECK_THAT(cpu.message, Contains("lies on cuda device 0; the session computes on cpu"));
  CHECK(adding(session.get(), [](llmc_tensor& t) { t.device_index = 1; }).status == LLMC_UNSUPPORTED);
  const int64_t strides[] = {96, 2};
  CHECK_THAT(adding(session.get(), [&](llmc_tensor& t) { t.strides = strides; }).message,
             Contains("wanted contiguous memory"));
  CHECK_THAT(adding(session.get(), [](llmc_tensor& t) { t.byte_offset = 2; }).message,
             Contains("not aligned"));
  float scales[48];
  const Refusal no_session = refusal(llmc_smooth_scales, gram.get(), &x.tensor, 1, nullptr, scales, 48);
  CHECK(no_session.status == LLMC_UNSUPPORTED);
  CHECK_THAT(no_session.message, Contains("takes the CPU's memory alone"));
}
