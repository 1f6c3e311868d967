// Every node of the graph on the device against the CPU backend, over random shapes. Both round to the
// values' dtype and sum in float32, in different orders:
// float32 values differ by at most 1e-5 of the largest, bfloat16 ones by two of its steps (2^-7).
#include "cuda/device_heap.hpp"
#include "cuda/kernels.hpp"
#include "cuda_test_tools.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

TokenBatch ragged_batch(Dice& dice, int64_t longest) {
  TokenBatch batch{{}, {0}};
  for (int64_t s = dice.between(1, 3); s > 0; --s)
    batch.sequence_starts.push_back(batch.sequence_starts.back() + dice.between(1, longest));
  batch.token_ids.assign(static_cast<size_t>(batch.sequence_starts.back()), 0);
  return batch;
}

struct Job {
  std::vector<Node> nodes;
  WeightTable weights;
  TokenBatch batch;
  std::vector<std::vector<float>> inputs;  // values 0, 1, ...
  std::vector<int64_t> widths;
  size_t values = 0;
  ActivationRounding rounding;
  std::vector<std::vector<ValueId>> last_uses;  // given: nodes may be run as one
};

// The last node's output.
std::vector<float> run(Backend& backend, const Job& job, DType dtype) {
  ValueTable values(job.values);
  for (size_t i = 0; i < job.inputs.size(); ++i)
    values[i] = tensor_of(dtype, {job.batch.tokens(), job.widths[i]}, job.inputs[i]);
  const ValueLifetimes lifetimes{job.last_uses, [](const Node&) {}, [](size_t) {}};
  ForwardOptions options;
  options.value_dtype = dtype;
  backend.execute(job.nodes,
                  {.weights = backend.stage(job.nodes, job.weights),
                   .batch = job.batch,
                   .values = values,
                   .options = options,
                   .rounding = job.rounding.empty() ? nullptr : &job.rounding,
                   .lifetimes = job.last_uses.empty() ? nullptr : &lifetimes});
  return floats_of(backend.to_host(values[static_cast<size_t>(job.nodes.back().output)]));
}

void add_input(Job& job, int64_t width, unsigned seed) {
  job.inputs.push_back(random_floats(static_cast<size_t>(job.batch.tokens() * width), seed));
  job.widths.push_back(width);
  job.values = std::max(job.values, job.inputs.size() + 3);
}

void check_against_cpu(const Job& job) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    CAPTURE(dtype_name(dtype), job.batch.tokens(), job.widths[0]);
    const auto want = run(*backend(), job, dtype);
    const auto got = in_every_order([&] { return run(*cuda_backend(), job, dtype); });
    CHECK(largest_difference(got, want) <= (dtype == DType::f32 ? 1e-5 : 0.0157));
  }
}

Tensor random_tensor(DType dtype, Shape shape, unsigned seed) {
  const auto count = static_cast<size_t>(element_count(shape).value());
  return tensor_of(dtype, std::move(shape), random_floats(count, seed));
}

// softmax(cap * tanh(scale * q k / cap)) v in double, over the keys that a causal window shows: the graph has
// no soft cap yet, so no other backend can be asked.
std::vector<float> capped_attention(const std::vector<float> (&inputs)[3],
                                    const cuda::AttentionProblem& problem,
                                    const std::vector<int64_t>& starts) {
  const int64_t dim = problem.head_dim, heads = problem.heads, kv_heads = problem.kv_heads;
  std::vector<float> out(inputs[0].size());
  for (size_t s = 0; s + 1 < starts.size(); ++s)
    for (int64_t t = starts[s]; t < starts[s + 1]; ++t)
      for (int64_t head = 0; head < heads; ++head) {
        const int64_t first = problem.window > 0 ? std::max(starts[s], t - problem.window + 1) : starts[s];
        const auto at = [&](int64_t token, int64_t c) {
          return static_cast<size_t>((token * kv_heads + head / (heads / kv_heads)) * dim + c);
        };
        std::vector<double> sums(static_cast<size_t>(dim));
        double total = 0;
        for (int64_t key = first; key <= t; ++key) {
          double score = 0;
          for (int64_t c = 0; c < dim; ++c)
            score += static_cast<double>(inputs[0][static_cast<size_t>((t * heads + head) * dim + c)]) *
                static_cast<double>(inputs[1][at(key, c)]);
          const auto cap = static_cast<double>(problem.soft_cap);
          const double weight = std::exp(cap * std::tanh(score * static_cast<double>(problem.scale) / cap));
          total += weight;
          for (int64_t c = 0; c < dim; ++c)
            sums[static_cast<size_t>(c)] += weight * static_cast<double>(inputs[2][at(key, c)]);
        }
        for (int64_t c = 0; c < dim; ++c)
          out[static_cast<size_t>((t * heads + head) * dim + c)] = static_cast<float>(
              sums[static_cast<size_t>(c)] / total);
      }
  return out;
}

}  // namespace

TEST_CASE("device: norms of every kind and width, alone and behind a residual addition") {
  Dice dice(1);
  for (const NormKind kind : {NormKind::rms, NormKind::rms_plus_one, NormKind::layer})
    for (const int64_t width : {int64_t{1}, int64_t{24}, int64_t{128}, int64_t{513}, int64_t{1100}}) {
      CAPTURE(static_cast<int>(kind), width);
      Job job;
      job.batch = ragged_batch(dice, 9);
      const int64_t heads = width < 200 ? dice.between(1, 3) : 1;
      add_input(job, width * heads, 11);
      add_input(job, width * heads, 12);
      job.weights.emplace("n.weight", random_tensor(DType::bf16, {width}, 13));
      if (kind == NormKind::layer) job.weights.emplace("n.bias", random_tensor(DType::f32, {width}, 14));
      job.nodes = {node_of("n", Norm{kind, 1e-5, width}, {0}, 3)};
      if (width > 1) check_against_cpu(job);  // a layer norm of one channel divides noise by noise
      if (heads > 1 || width == 1) continue;
      job.nodes = {node_of("", Add{}, {0, 1}, 2), node_of("n", Norm{kind, 1e-5, width}, {2}, 3)};
      check_against_cpu(job);
    }
}

TEST_CASE("device: activations, products and sums of any length, fused or not") {
  Dice dice(2);
  for (const ActivationKind kind :
       {ActivationKind::silu, ActivationKind::gelu, ActivationKind::gelu_tanh, ActivationKind::relu}) {
    Job job;
    job.batch = ragged_batch(dice, 5);
    const int64_t width = dice.between(1, 700);
    add_input(job, width, 21);
    add_input(job, width, 22);
    const Node activation = node_of("", Activation{kind}, {0}, 2);
    job.nodes = {activation};
    check_against_cpu(job);
    job.nodes = {activation, node_of("", Multiply{}, {1, 2}, 3)};
    check_against_cpu(job);
    const auto apart = run(*cuda_backend(), job, DType::bf16);
    job.last_uses = {{}, {2, 1}};
    CHECK(run(*cuda_backend(), job, DType::bf16) == apart);
    job.nodes = {node_of("", Add{}, {0, 1}, 3)};
    job.last_uses.clear();
    check_against_cpu(job);
    const int64_t first = dice.between(0, width - 1);
    job.nodes = {node_of("", Slice{first, dice.between(1, width - first)}, {0}, 3)};
    check_against_cpu(job);
  }
}

TEST_CASE("device: a fused activation is never made, one that others read is") {
  Job job;
  job.batch = {{0, 0}, {0, 2}};
  add_input(job, 8, 23);
  add_input(job, 8, 24);
  job.nodes = {node_of("", Activation{ActivationKind::silu}, {0}, 2), node_of("", Multiply{}, {2, 1}, 3)};
  for (const bool read_later : {false, true}) {
    const auto cuda = cuda_backend();
    ValueTable values(4);
    for (size_t i = 0; i < 2; ++i) values[i] = tensor_of(DType::bf16, {2, 8}, job.inputs[i]);
    const std::vector<std::vector<ValueId>> dying = {
        {}, read_later ? std::vector<ValueId>{} : std::vector<ValueId>{2}};
    const ValueLifetimes lifetimes{dying, [](const Node&) {}, [](size_t) {}};
    cuda->execute(job.nodes, {.weights = {}, .batch = job.batch, .values = values, .lifetimes = &lifetimes});
    CHECK(values[2].empty() != read_later);
    CHECK(!values[3].empty());
    values.clear();
  }
}

TEST_CASE("device: rotary embedding, whole and partial heads, tables that follow the length") {
  Dice dice(3);
  for (const RopeKind kind : {RopeKind::standard, RopeKind::llama3, RopeKind::dynamic})
    for (const int64_t rotary : {int64_t{32}, int64_t{20}}) {
      Job job;
      job.batch = ragged_batch(dice, 40);
      RopeSpec spec;
      spec.kind = kind;
      spec.rotary_dim = rotary;
      spec.factor = 4;
      spec.max_position = 16;
      spec.original_max_position = 16;
      add_input(job, 3 * 32, 31);
      job.nodes = {node_of("", Rope{spec, 3, 32}, {0}, 2)};
      check_against_cpu(job);
    }
}

TEST_CASE("device: attention over ragged sequences, grouped heads, windows and every head size") {
  Dice dice(4);
  for (const int64_t head_dim :
       {int64_t{16}, int64_t{20}, int64_t{64}, int64_t{80}, int64_t{128}, int64_t{256}, int64_t{300}})
    for (const int64_t window : {int64_t{0}, dice.between(1, 90)}) {
      CAPTURE(head_dim, window);
      Job job;
      job.batch = ragged_batch(dice, 150);
      const int64_t kv_heads = dice.between(1, 2), heads = kv_heads * dice.between(1, 2);
      add_input(job, heads * head_dim, 41);
      add_input(job, kv_heads * head_dim, 42);
      add_input(job, kv_heads * head_dim, 43);
      job.values = 4;
      job.nodes = {node_of(
          "",
          Attention{heads, kv_heads, head_dim, 1.0 / std::sqrt(static_cast<double>(head_dim)), window, "a"},
          {0, 1, 2}, 3)};
      check_against_cpu(job);
    }
}

TEST_CASE("device: a window wider than the tokens hides nothing, however wide it is") {
  for (const int64_t window : {int64_t{10}, int64_t{1} << 31, (int64_t{1} << 32) + 1, INT64_MAX}) {
    CAPTURE(window);
    Job job;
    job.batch = {std::vector<int32_t>(10, 0), {0, 6, 10}};
    add_input(job, 2 * 16, 44);
    add_input(job, 16, 45);
    add_input(job, 16, 46);
    job.values = 4;
    const auto with = [&](int64_t width) {
      job.nodes = {node_of("", Attention{2, 1, 16, 0.25, width, "a"}, {0, 1, 2}, 3)};
      return run(*cuda_backend(), job, DType::f32);
    };
    CHECK(with(window) == with(0));
    check_against_cpu(job);
  }
}

TEST_CASE("device: a rotation of more channels than a head has is refused") {
  for (const int64_t rotary : {int64_t{40}, int64_t{7}, int64_t{-2}}) {
    RopeSpec spec;
    spec.rotary_dim = rotary;
    Job job;
    job.batch = {{0, 0}, {0, 2}};
    add_input(job, 32, 31);
    job.nodes = {node_of("r", Rope{spec, 1, 32}, {0}, 2)};
    CHECK_THROWS_WITH(run(*cuda_backend(), job, DType::f32),
                      Catch::Contains("wanted an even number of at most 32"));
  }
}

TEST_CASE("device: scores of attention are capped softly, with and without a window") {
  Dice dice(41);
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int head_dim : {24, 128})
      for (const int64_t window : {int64_t{0}, dice.between(1, 60)}) {
        const TokenBatch batch = ragged_batch(dice, 90);
        cuda::AttentionProblem problem;
        problem.kv_heads = static_cast<int>(dice.between(1, 2));
        problem.heads = problem.kv_heads * static_cast<int>(dice.between(1, 2));
        problem.head_dim = head_dim;
        problem.scale = 1;  // scores of several times the cap
        problem.soft_cap = 3;
        problem.window = window;
        CAPTURE(dtype_name(dtype), head_dim, window, problem.heads, problem.kv_heads, batch.tokens());
        Tensor given[3];
        std::vector<float> rounded[3];
        for (unsigned i = 0; i < 3; ++i) {
          const int64_t width = (i == 0 ? problem.heads : problem.kv_heads) * head_dim;
          given[i] = tensor_of(dtype, {batch.tokens(), width},
                               random_floats(static_cast<size_t>(batch.tokens() * width), 42 + i));
          rounded[i] = floats_of(given[i]);
        }
        const auto got = in_every_order([&] {
          cuda::DeviceHeap heap(0, nullptr);
          const Tensor q = heap.upload(given[0]), k = heap.upload(given[1]), v = heap.upload(given[2]);
          Tensor out = heap.tensor(dtype, given[0].shape());
          std::vector<cuda::AttentionTile> tiles;
          for (size_t s = 0; s + 1 < batch.sequence_starts.size(); ++s)
            for (int64_t query = batch.sequence_starts[s]; query < batch.sequence_starts[s + 1];
                 query += cuda::attention_queries_per_tile())
              tiles.push_back({query, batch.sequence_starts[s], batch.sequence_starts[s + 1]});
          const Tensor table = heap.upload(tiles, DType::u8);
          problem.queries = q.data();
          problem.keys = k.data();
          problem.values = v.data();
          problem.out = out.data();
          problem.tiles = table.as<cuda::AttentionTile>();
          problem.tile_count = static_cast<int64_t>(tiles.size());
          cuda::attend(problem, dtype, nullptr);
          Tensor host(dtype, out.shape());
          heap.download(out.data(), host.data(), static_cast<size_t>(out.bytes()));
          return floats_of(host);
        });
        CHECK(largest_difference(got, capped_attention(rounded, problem, batch.sequence_starts)) <=
              (dtype == DType::f32 ? 1e-5 : 0.0157));
      }
}

TEST_CASE("device: Linears with weights of every dtype and with biases, and tied embeddings") {
  Dice dice(5);
  for (const DType dtype : {DType::bf16, DType::f32}) {
    Job job;
    job.batch = ragged_batch(dice, 20);
    const int64_t in = dice.between(1, 90), out = dice.between(1, 90);
    add_input(job, in, 51);
    job.weights.emplace("l.weight", random_tensor(dtype, {out, in}, 52));
    job.weights.emplace("l.bias", random_tensor(DType::f32, {out}, 53));
    job.nodes = {node_of("l", Linear{in, out, true}, {0}, 2)};
    check_against_cpu(job);
    for (int32_t& id : job.batch.token_ids) id = static_cast<int32_t>(dice.below(out));
    job.nodes = {node_of("l", Embedding{out, in}, {}, 2)};
    check_against_cpu(job);
  }
}

TEST_CASE("device: activations are rounded as the CPU rounds them") {
  Dice dice(6);
  const ActivationQuantization kinds[] = {
      {{NumberType::integer, 8, true}, 0, false, 0, {}, {}},
      {{NumberType::integer, 8, false}, 0, false, 0, {}, {}},
      {{NumberType::integer, 4, true}, 32, false, 0, {}, {}},
      {{NumberType::floating, 8, true}, 0, false, 0, {}, {}},
      {{NumberType::floating, 8, true}, 32, true, 0, {}, {}},
      {{NumberType::floating, 4, true}, 32, true, 0, {}, {}},
      {{NumberType::floating, 4, true}, 16, false, 900, {}, {}},
      {{NumberType::integer, 8, false}, 0, false, 0, {0.02f}, {int8_t{3}}},
      {{NumberType::floating, 8, true}, 0, false, 0, {0.01f, 0.02f}, {}}};
  for (const ActivationQuantization& how : kinds) {
    Job job;
    job.batch = ragged_batch(dice, 6);
    add_input(job, 64, 61);
    add_input(job, 64, 62);
    job.weights.emplace("l.weight", random_tensor(DType::bf16, {5, 64}, 63));
    job.nodes = {node_of("l", Linear{64, 5, false}, {0}, 2)};
    job.rounding["l.input"] = how;
    check_against_cpu(job);
  }
}

TEST_CASE("device: what does not fit is an error that names the node") {
  const auto cuda = cuda_backend();
  const auto message = [&](const Job& job) {
    try {
      run(*cuda, job, DType::f32);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  Job job;
  job.batch = {{0, 7}, {0, 2}};
  add_input(job, 8, 71);
  job.nodes = {node_of("e", Embedding{4, 8}, {}, 2)};
  CHECK(message(job) == "token id 7 at position 1 is outside the vocabulary of 4");
  job.batch.token_ids[1] = 3;
  CHECK_THAT(message(job), Catch::Contains("weight 'e.weight' is missing"));
  job.weights.emplace("e.weight", random_tensor(DType::f32, {4, 9}, 72));
  CHECK_THAT(message(job), Catch::Contains("node 'e': weight 'e.weight' has shape [4, 9], wanted [4, 8]"));
  job.nodes = {node_of("", Attention{1, 1, 1024, 1.0, 0, ""}, {0, 0, 0}, 2)};
  job.widths[0] = 1024;
  job.inputs[0].resize(2048);
  CHECK_THAT(message(job), Catch::Contains("heads of 1024 channels; there is a kernel for at most 512"));
}
