// Compresses a model that llmc knows nothing about, as own_forward.c does and to the same bytes: the forward
// pass is this program's own. usage: own_forward_cpp OUTPUT A toy of two matrices, y = fc2(relu(fc1(x))),
// calibrated, quantized by GPTQ to 4 bits and written as a compressed-tensors folder. Exits with the
// llmc_status.
#include <cmath>
#include <iostream>
#include <llmc_tensor.hpp>
#include <string>
#include <vector>

namespace {

constexpr int64_t width = 64, hidden_width = 128, tokens = 256;

std::vector<float> random(int64_t count, float size, uint32_t& state) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    values.push_back(size * (static_cast<float>(state >> 8) / 8388608.0f - 1.0f));
  }
  return values;
}

struct Linear {
  std::string name;
  int64_t rows, columns;
  std::vector<float> weight;

  // in [tokens, columns] * weight [rows, columns]^T
  std::vector<float> forward(const std::vector<float>& in) const {
    std::vector<float> out;
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t r = 0; r < rows; ++r) {
        float sum = 0;
        for (int64_t c = 0; c < columns; ++c)
          sum += in[static_cast<size_t>(t * columns + c)] * weight[static_cast<size_t>(r * columns + c)];
        out.push_back(sum);
      }
    return out;
  }

  // Collects what the weight reads, quantizes it, hands the codes to the writer, and keeps what a server will
  // compute with.
  void compress(llmc::Session& session,
                const llmc::Scheme& scheme,
                llmc::Writer& writer,
                const std::vector<float>& inputs) {
    llmc::Gram gram(columns);
    gram.add(session, {inputs.data(), {tokens, columns}});  // as often as there are batches
    const llmc::Matrix matrix = llmc::Matrix::quantize(session, scheme, {weight.data(), {rows, columns}},
                                                       &gram);
    writer.add_matrix(session, name, matrix);
    matrix.dequantize(session, {weight.data(), {rows, columns}});
    std::cout << name << ": " << matrix.facts().scheme << ", relative error of its outputs "
              << matrix.facts().relative_error << '\n';
  }
};

std::vector<float> relu(std::vector<float> values) {
  for (float& value : values) value = value > 0 ? value : 0;
  return values;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: " << argv[0] << " OUTPUT\n";
    return LLMC_INVALID_ARGUMENT;
  }
  uint32_t seed = 1;
  Linear fc1{"fc1", hidden_width, width, random(hidden_width * width, 0.2f, seed)},
      fc2{"fc2", width, hidden_width, random(width * hidden_width, 0.2f, seed)};
  const std::vector<float> bias = random(width, 0.1f, seed), x = random(tokens * width, 1.0f, seed);
  const std::vector<float> expected = fc2.forward(relu(fc1.forward(x)));
  try {
    llmc::Session session;
    const llmc::Scheme scheme = llmc::Scheme::gptq("{num_bits: 4, group_size: 32, strategy: group}");
    llmc::Writer writer(argv[1], R"({"model_type": "toy"})");
    writer.plan_matrix("fc1", scheme, LLMC_DTYPE_FLOAT32, fc1.rows, fc1.columns);
    writer.plan_matrix("fc2", scheme, LLMC_DTYPE_FLOAT32, fc2.rows, fc2.columns);
    writer.plan_tensor("fc2.bias", LLMC_DTYPE_FLOAT32, {width});
    fc1.compress(session, scheme, writer, x);
    // calibrated with what the compressed fc1 gives it
    fc2.compress(session, scheme, writer, relu(fc1.forward(x)));
    writer.add_tensor(session, "fc2.bias", {bias.data(), {width}});
    writer.finish(session);
  } catch (const llmc::Error& error) {
    std::cerr << error.name() << ": " << error.what() << '\n';
    return error.status();
  }
  const std::vector<float> y = fc2.forward(relu(fc1.forward(x)));
  double difference = 0, energy = 0;
  for (size_t i = 0; i < y.size(); ++i) {
    difference += (y[i] - expected[i]) * (y[i] - expected[i]);
    energy += expected[i] * expected[i];
  }
  std::cout << argv[1] << ": outputs differ by " << 100 * std::sqrt(difference / energy) << " %\n";
  return LLMC_OK;
}
