#include "cpu/token_loss.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "llmc/error.hpp"

namespace llmc::cpu {
namespace {

constexpr int64_t kStatisticsRows = 256;  // summed in float32 before they go into the double
constexpr int64_t kStatisticsColumns = 256;

// log softmax(x)[i] = x[i] - shift - log_sum
struct LogSoftmax {
  float shift;
  double log_sum;
};

LogSoftmax log_softmax(const ElementKernels& kernels, const float* x, int64_t n) {
  const float top = kernels.max_row(x, n);
  return {top, std::log(kernels.sum_exp_row(x, n, top))};
}

struct TokenLoss {
  double negative_log_likelihood = 0, kl = 0;
  bool counted = false, same_top = false;
};

}  // namespace

Backend::CrossEntropy token_loss(Engine& engine,
                                 const TensorView& logits,
                                 const TensorView* reference,
                                 const TokenBatch& batch) {
  const int64_t tokens = batch.tokens(), vocabulary = logits.columns();
  if (logits.rows() != tokens || (reference && reference->shape != logits.shape))
    throw Error(ErrorCode::internal,
                "cpu: cross entropy of logits " + to_string(logits.shape) + " over " +
                    std::to_string(tokens) + " tokens");
  std::vector<uint8_t> last(static_cast<size_t>(tokens), 0);
  for (size_t s = 1; s < batch.sequence_starts.size(); ++s)
    if (batch.sequence_starts[s] > 0) last[static_cast<size_t>(batch.sequence_starts[s] - 1)] = 1;
  std::vector<TokenLoss> losses(static_cast<size_t>(tokens));
  engine.pool.parallel_for(tokens - 1, 8, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(vocabulary)),
        wanted(static_cast<size_t>(reference ? vocabulary : 0));
    for (int64_t t = begin; t < end; ++t) {
      if (last[static_cast<size_t>(t)]) continue;
      const int32_t next = batch.token_ids[static_cast<size_t>(t + 1)];
      if (next < 0 || next >= vocabulary)
        throw Error(ErrorCode::invalid_argument,
                    "token id " + std::to_string(next) + " at position " + std::to_string(t + 1) +
                        " is outside the vocabulary of " + std::to_string(vocabulary));
      TokenLoss& loss = losses[static_cast<size_t>(t)];
      loss.counted = true;
      engine.elements.load_row(logits.data + t * vocabulary * static_cast<int64_t>(item_size(logits.dtype)),
                               logits.dtype, vocabulary, row.data());
      const LogSoftmax own = log_softmax(engine.elements, row.data(), vocabulary);
      loss.negative_log_likelihood = own.log_sum -
          static_cast<double>(row[static_cast<size_t>(next)] - own.shift);
      if (!reference) continue;
      engine.elements.load_row(
          reference->data + t * vocabulary * static_cast<int64_t>(item_size(reference->dtype)),
          reference->dtype, vocabulary, wanted.data());
      const LogSoftmax theirs = log_softmax(engine.elements, wanted.data(), vocabulary);
      const double difference = engine.elements.sum_exp_difference_row(wanted.data(), theirs.shift,
                                                                       row.data(), own.shift, vocabulary);
      loss.kl = difference * std::exp(-theirs.log_sum) - theirs.log_sum + own.log_sum;
      loss.same_top = std::max_element(row.begin(), row.end()) - row.begin() ==
          std::max_element(wanted.begin(), wanted.end()) - wanted.begin();
    }
  });
  Backend::CrossEntropy total;
  for (const TokenLoss& loss : losses) {
    total.negative_log_likelihood += loss.negative_log_likelihood;
    total.kl += loss.kl;
    total.tokens += loss.counted;
    total.top1 += loss.same_top;
  }
  return total;
}

void accumulate_channel_statistics(Engine& engine, const TensorView& x, ChannelStatistics& statistics) {
  const int64_t tokens = x.rows(), width = x.columns(), item = static_cast<int64_t>(item_size(x.dtype));
  if (x.dtype != DType::f32 && x.dtype != DType::bf16)
    throw Error(ErrorCode::internal,
                "cpu: channel statistics of " + std::string(dtype_name(x.dtype)) + ", wanted F32 or BF16");
  if (statistics.min.empty()) {
    statistics.min.assign(static_cast<size_t>(width), std::numeric_limits<float>::infinity());
    statistics.max.assign(static_cast<size_t>(width), -std::numeric_limits<float>::infinity());
    statistics.sum_abs.assign(static_cast<size_t>(width), 0.0);
    statistics.sum_squares.assign(static_cast<size_t>(width), 0.0);
  }
  if (static_cast<int64_t>(statistics.min.size()) != width)
    throw Error(ErrorCode::internal,
                "cpu: channel statistics of width " + std::to_string(statistics.min.size()) +
                    " given values of width " + std::to_string(width));
  engine.pool.parallel_for(width, kStatisticsColumns, [&](int64_t begin, int64_t end) {
    for (int64_t first = 0; first < tokens; first += kStatisticsRows)
      engine.elements.channel_statistics(
          x.data + (first * width + begin) * item, x.dtype, std::min(kStatisticsRows, tokens - first), width,
          end - begin, statistics.min.data() + begin, statistics.max.data() + begin,
          statistics.sum_abs.data() + begin, statistics.sum_squares.data() + begin);
  });
  statistics.tokens += tokens;
}

}  // namespace llmc::cpu
