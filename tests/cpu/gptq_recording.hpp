// llm-compressor's recorded GPTQ calls (tests/golden/gptq_matrix) as problems for a backend.
#pragma once
#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cpu/cpu_test_tools.hpp"

namespace llmc::test {

using nlohmann::json;

// A recorded call of llm-compressor's inner routine: every tensor as float.
struct Recording {
  std::map<std::string, std::vector<float>> tensors;
  std::map<std::string, Shape> shapes;
  json args;
  double dampening = 0;
};

inline float e4m3_value(uint8_t code) {
  const int exponent = (code >> 3) & 15, fraction = code & 7;
  const float magnitude = exponent ? std::ldexp(8.0f + static_cast<float>(fraction), exponent - 10)
                                   : std::ldexp(static_cast<float>(fraction), -9);
  return code & 0x80 ? -magnitude : magnitude;
}

inline Recording read_recording(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof length);
  std::string text(length, ' ');
  file.read(text.data(), static_cast<std::streamsize>(length));
  std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(file)), {});
  Recording recording;
  const json header = json::parse(text);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      recording.args = json::parse(entry["args"].get<std::string>());
      recording.dampening = std::stod(entry["dampening_frac"].get<std::string>());
      continue;
    }
    const size_t begin = entry["data_offsets"][0], end = entry["data_offsets"][1];
    const std::string dtype = entry["dtype"];
    std::vector<float>& values = recording.tensors[name];
    recording.shapes[name] = entry["shape"].get<Shape>();
    const size_t item = dtype == "F32" ? 4 : dtype == "BF16" ? 2 : 1;
    for (size_t at = begin; at < end; at += item) {
      uint32_t bits = 0;
      std::memcpy(&bits, bytes.data() + at, item);
      values.push_back(dtype == "F32"        ? std::bit_cast<float>(bits)
                           : dtype == "BF16" ? from_bf16(static_cast<uint16_t>(bits))
                           : dtype == "I8"   ? static_cast<float>(static_cast<int8_t>(bits))
                                             : e4m3_value(static_cast<uint8_t>(bits)));
    }
  }
  return recording;
}

inline float code_value(const Tensor& codes, int64_t i) {
  constexpr float kFp4[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  if (codes.dtype() == DType::i8) return codes.as<int8_t>()[i];
  if (codes.dtype() == DType::f8_e4m3) return e4m3_value(codes.as<uint8_t>()[i]);
  const uint8_t code = codes.as<uint8_t>()[i];
  return code & 8 ? -kFp4[code & 7] : kFp4[code & 7];
}

inline double total(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

// A recording's tensors and the problem they are; moves with care: the problem looks into the tensors.
class RecordedProblem {
 public:
  explicit RecordedProblem(const std::filesystem::path& path) : recording_(read_recording(path)) {
    const Shape shape = recording_.shapes["weight"], scale_shape = recording_.shapes["scale"];
    scale_ = recording_.tensors["scale"];
    tensor_group_ = recording_.tensors.count("global_scale") > 0;
    symmetric_ = recording_.args["symmetric"];
    if (tensor_group_)
      for (float& value : scale_) value /= recording_.tensors["global_scale"][0];
    weight_ = tensor_of(DType::f32, shape, recording_.tensors["weight"]);
    gram_ = tensor_of(DType::f32, {shape[1], shape[1]}, recording_.tensors["hessian"]);
    scales_ = tensor_of(DType::f32, scale_shape, scale_);
    zeros_ = Tensor(DType::i8, scale_shape);
    for (int64_t i = 0; i < zeros_.size(); ++i)
      zeros_.as<int8_t>()[i] = static_cast<int8_t>(recording_.tensors["zero_point"][static_cast<size_t>(i)]);
    problem_.weights = {weight_};
    problem_.gram = gram_;
    problem_.scales = scales_;
    if (!symmetric_) problem_.zero_points = zeros_;
    problem_.grid = {recording_.args["type"] == "int" ? NumberType::integer : NumberType::floating,
                     recording_.args["num_bits"], symmetric_};
    for (int64_t j = 0; j < shape[1]; ++j)
      problem_.scale_column.push_back(static_cast<int32_t>(j * scale_shape[1] / shape[1]));
    problem_.product_dtype = tensor_group_ ? DType::f32 : DType::bf16;
    problem_.activation_order = !recording_.args["actorder"].is_null();
    problem_.relative_dampening = false;
    problem_.dampening_frac = recording_.dampening;
  }
  RecordedProblem(const RecordedProblem&) = delete;
  RecordedProblem& operator=(const RecordedProblem&) = delete;

  const GptqProblem& problem() const { return problem_; }

  // Share of the values that are the recorded ones.
  double equal_share(const GptqSolution& solution) const {
    const int64_t columns = weight_.columns(), scale_columns = scales_.columns();
    const std::vector<float>& recorded = recording_.tensors.at("dequantized");
    int64_t equal = 0;
    for (int64_t i = 0; i < weight_.size(); ++i) {
      const auto at = static_cast<size_t>(i / columns * scale_columns +
                                          problem_.scale_column[static_cast<size_t>(i % columns)]);
      const float zero = symmetric_ ? 0.0f : static_cast<float>(zeros_.as<int8_t>()[at]),
                  product = (code_value(solution.codes[0], i) - zero) * scale_[at];
      equal += (tensor_group_ ? product : bf16_value(product)) == recorded[static_cast<size_t>(i)];
    }
    return static_cast<double>(equal) / static_cast<double>(weight_.size());
  }
  double loss_ratio(const GptqSolution& solution) const {
    return total(solution.row_loss) / 2 / static_cast<double>(recording_.tensors.at("loss")[0]);
  }

 private:
  Recording recording_;
  std::vector<float> scale_;
  bool tensor_group_ = false, symmetric_ = true;
  Tensor weight_, gram_, scales_, zeros_;
  GptqProblem problem_;
};

// body(file name, problem) for every recording.
template <class Body>
void for_each_recording(const Body& body) {
  for (const auto& entry :
       std::filesystem::directory_iterator(std::string(LLMC_SOURCE_DIR) + "/tests/golden/gptq_matrix"))
    body(entry.path().filename().string(), RecordedProblem(entry.path()));
}

}  // namespace llmc::test
