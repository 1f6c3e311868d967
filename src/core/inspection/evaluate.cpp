#include "llmc/evaluate.hpp"

#include <fmt/format.h>

#include <cmath>

#include "core/json/json_value.hpp"
#include "core/model/served_model.hpp"
#include "llmc/error.hpp"

namespace llmc {

namespace {

// per tile and model: bounds the memory of large vocabularies
constexpr int64_t kLogitBytes = int64_t{256} << 20;

std::vector<TokenBatch> cut_windows(const EvaluateOptions& options, int64_t vocabulary) {
  if (options.window < 2)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("eval: window {}, wanted at least 2 tokens", options.window));
  const int64_t windows = static_cast<int64_t>(options.token_ids.size()) / options.window;
  if (!windows)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("eval: the text has {} tokens, wanted at least one window of {}",
                            options.token_ids.size(), options.window));
  const int64_t per_tile = std::max<int64_t>(
      1, std::min<int64_t>(4096, kLogitBytes / (4 * vocabulary)) / options.window);
  std::vector<TokenBatch> tiles;
  for (int64_t w = 0; w < windows; ++w) {
    if (w % per_tile == 0) tiles.push_back({{}, {0}});
    const auto first = options.token_ids.begin() + w * options.window;
    tiles.back().token_ids.insert(tiles.back().token_ids.end(), first, first + options.window);
    tiles.back().sequence_starts.push_back(tiles.back().tokens());
  }
  return tiles;
}

void poll(const std::atomic<bool>* cancel) {
  if (cancel && cancel->load(std::memory_order_relaxed)) throw Error(ErrorCode::cancelled, "eval: cancelled");
}

struct Runner {  // one model, ready to give the logits of a tile
  Runner(const ServedModel& model,
         Backend& backend,
         const std::vector<TokenBatch>& tiles,
         const EvaluateOptions& options)
      : model(model),
        backend(backend),
        forward{options.value_dtype},
        hidden(model.run_body(backend,
                              tiles,
                              forward,
                              [&](size_t, size_t, const Tensor&) { poll(options.cancel); })),
        loaded(model.load(model.graph().blocks.back(), options.value_dtype)),
        head(backend.stage(model.graph().blocks.back().nodes, loaded)) {}
  Tensor logits(const std::vector<TokenBatch>& tiles, size_t tile) {
    return model.run_block(backend, model.graph().blocks.back(), head, tiles[tile], forward,
                           std::move(hidden[tile]));
  }

  const ServedModel& model;
  Backend& backend;
  ForwardOptions forward;
  std::vector<Tensor> hidden;
  WeightTable loaded;
  StagedWeights head;
};

void check_head(const ServedModel& model) {
  if (!model.graph().has_head)
    throw Error(
        ErrorCode::unsupported,
        fmt::format("eval: '{}' has no language model head (its architecture is no ...ForCausalLM); wanted a "
                    "model that predicts tokens",
                    model.checkpoint().directory()));
}

}  // namespace

Evaluation evaluate(const EvaluateOptions& options, Backend& backend) {
  const ServedModel served(options.model_dir);
  check_head(served);
  const int64_t vocabulary = served.graph().vocabulary;
  const auto tiles = cut_windows(options, vocabulary);
  std::optional<ServedModel> served_reference;
  if (!options.reference_dir.empty()) {
    served_reference.emplace(options.reference_dir);
    check_head(*served_reference);
    if (served_reference->graph().vocabulary != vocabulary)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("eval: the reference has {} tokens in its vocabulary, the model {}",
                              served_reference->graph().vocabulary, vocabulary));
  }
  Runner model(served, backend, tiles, options);
  std::optional<Runner> reference;
  if (served_reference) reference.emplace(*served_reference, backend, tiles, options);
  Backend::CrossEntropy sum;
  for (size_t t = 0; t < tiles.size(); ++t) {
    poll(options.cancel);
    const Tensor logits = model.logits(tiles, t);
    const Tensor reference_logits = reference ? reference->logits(tiles, t) : Tensor();
    const TensorView reference_view = reference_logits.empty() ? TensorView() : reference_logits.view();
    const auto part = backend.cross_entropy(logits, reference ? &reference_view : nullptr, tiles[t]);
    sum.negative_log_likelihood += part.negative_log_likelihood;
    sum.kl += part.kl;
    sum.tokens += part.tokens;
    sum.top1 += part.top1;
  }
  const double count = static_cast<double>(sum.tokens);
  Evaluation out{std::exp(sum.negative_log_likelihood / count), sum.tokens, {}, {}};
  if (reference) {
    out.kl = sum.kl / count;
    out.top1 = static_cast<double>(sum.top1) / count;
  }
  if (!std::isfinite(out.perplexity))
    throw Error(ErrorCode::numeric, fmt::format("eval: perplexity of '{}' is not finite", options.model_dir));
  return out;
}

std::string to_json(const Evaluation& result) {
  JsonValue json = JsonValue::object({{"perplexity", result.perplexity}, {"tokens", result.tokens}});
  if (result.kl) {
    json.set("kl", *result.kl);
    json.set("top1", result.top1.value());
  }
  return dump_json_utf8(json);
}

}  // namespace llmc
