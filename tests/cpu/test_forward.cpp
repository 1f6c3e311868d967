#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>

#include "cpu/thread_pool.hpp"
#include "cpu_test_tools.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

TokenBatch batch_of(std::vector<int64_t> starts) {
  TokenBatch batch;
  batch.sequence_starts = std::move(starts);
  batch.token_ids.assign(static_cast<size_t>(batch.sequence_starts.back()), 0);
  return batch;
}

// Runs one node on float values and returns its output.
std::vector<float> run_node(Backend& cpu,
                            const Node& node,
                            DType dtype,
                            const std::vector<std::vector<float>>& inputs,
                            const TokenBatch& batch,
                            const WeightTable& weights = {},
                            const ActivationRounding* quantization = nullptr) {
  ValueTable values(inputs.size() + 1);
  for (size_t i = 0; i < inputs.size(); ++i)
    values[i] = tensor_of(dtype, {batch.tokens(), static_cast<int64_t>(inputs[i].size()) / batch.tokens()},
                          inputs[i]);
  ForwardOptions options;
  options.value_dtype = dtype;
  cpu.execute(
      std::span(&node, 1),
      {.weights = weights, .batch = batch, .values = values, .options = options, .rounding = quantization});
  return floats_of(values.back());
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Causal attention of one head by its definition, in double.
std::vector<float> plain_attention(const Attention& a,
                                   const TokenBatch& batch,
                                   const std::vector<float>& q,
                                   const std::vector<float>& k,
                                   const std::vector<float>& v) {
  std::vector<float> out(q.size());
  const int64_t d = a.head_dim;
  for (size_t s = 0; s + 1 < batch.sequence_starts.size(); ++s)
    for (int64_t h = 0; h < a.heads; ++h)
      for (int64_t i = batch.sequence_starts[s]; i < batch.sequence_starts[s + 1]; ++i) {
        const float* query = q.data() + (i * a.heads + h) * d;
        const int64_t kv = h / (a.heads / a.kv_heads);
        std::vector<double> weight;
        const int64_t first = a.sliding_window > 0
            ? std::max(batch.sequence_starts[s], i - a.sliding_window + 1)
            : batch.sequence_starts[s];
        double top = -1e30, sum = 0;
        for (int64_t j = first; j <= i; ++j) {
          double score = 0;
          for (int64_t c = 0; c < d; ++c)
            score += static_cast<double>(query[c]) *
                static_cast<double>(k[static_cast<size_t>((j * a.kv_heads + kv) * d + c)]);
          weight.push_back(score * a.scale);
          top = std::max(top, weight.back());
        }
        for (double& w : weight) sum += w = std::exp(w - top);
        for (int64_t c = 0; c < d; ++c) {
          double value = 0;
          for (int64_t j = first; j <= i; ++j)
            value += weight[static_cast<size_t>(j - first)] *
                static_cast<double>(v[static_cast<size_t>((j * a.kv_heads + kv) * d + c)]);
          out[static_cast<size_t>((i * a.heads + h) * d + c)] = static_cast<float>(value / sum);
        }
      }
  return out;
}

}  // namespace

TEST_CASE(
    "attention is softmax of the visible scores, per sequence, per group of heads and within the window") {
  for (const std::string& isa : cpu::cpu_isa_names())
    for (const DType type : {DType::f32, DType::bf16})
      for (const int64_t window : {0, 1, 5, 100, 130})
        for (const int64_t dim : {4, 32, 80}) {
          INFO(isa << " bf16=" << (type == DType::bf16) << " window " << window << " head_dim " << dim);
          const auto cpu = backend(isa);
          Attention attention;
          attention.heads = 4;
          attention.kv_heads = 2;
          attention.head_dim = dim;
          attention.scale = 1.0 / std::sqrt(static_cast<double>(dim));
          attention.sliding_window = window;
          const TokenBatch batch = batch_of({0, 1, 8, 208, 500});
          std::vector<std::vector<float>> qkv{random_floats(static_cast<size_t>(500 * 4 * dim), 1),
                                              random_floats(static_cast<size_t>(500 * 2 * dim), 2),
                                              random_floats(static_cast<size_t>(500 * 2 * dim), 3)};
          if (type == DType::bf16)
            for (auto& values : qkv)
              for (float& value : values) value = bf16_value(value);
          const std::vector<float> got = run_node(*cpu, node_of("", attention, {0, 1, 2}, 3), type, qkv,
                                                  batch),
                                   wanted = plain_attention(attention, batch, qkv[0], qkv[1], qkv[2]);
          float worst = 0;
          for (size_t i = 0; i < got.size(); ++i)
            worst = std::max(worst,
                             std::fabs(got[i] - wanted[i]) /
                                 (type == DType::bf16 ? 0.01f * std::fabs(wanted[i]) + 1e-3f : 1e-5f));
          CHECK(worst <= 1.0f);  // float32: 1e-5; bf16: one rounding of the result
        }
}

TEST_CASE("a window wider than the sequence hides nothing, however wide it is") {
  Attention attention{2, 1, 4, 0.5, 0};
  const TokenBatch batch = batch_of({0, 6, 10});
  const std::vector<std::vector<float>> qkv{random_floats(80, 1), random_floats(40, 2), random_floats(40, 3)};
  const auto run = [&](int64_t window) {
    attention.sliding_window = window;
    return run_node(*backend(), node_of("", attention, {0, 1, 2}, 3), DType::f32, qkv, batch);
  };
  for (const int64_t window :
       {int64_t{6}, int64_t{1} << 31, (int64_t{1} << 31) + 1, (int64_t{1} << 32) + 1, INT64_MAX})
    CHECK(run(window) == run(0));
  CHECK(run(5) != run(0));
}

TEST_CASE("a rotation of more channels than a head has is refused") {
  RopeSpec spec;
  spec.rotary_dim = GENERATE(8, 3, -2);
  const Rope rope{spec, 2, 6};
  CHECK_THROWS_WITH(
      run_node(*backend(), node_of("r", rope, {0}, 1), DType::f32, {random_floats(12, 4)}, batch_of({0, 1})),
      Catch::Contains("wanted an even number of at most 6"));
}

TEST_CASE(
    "rope turns channel i with channel i + half by position times frequency and starts again with each "
    "sequence") {
  RopeSpec spec;
  spec.theta = 100.0;
  spec.rotary_dim = 4;  // frequencies 1 and 0.1; channels 4 and 5 stay
  Rope rope{spec, 2, 6};
  const TokenBatch batch = batch_of({0, 3, 5});
  const std::vector<float> x = random_floats(5 * 12, 4),
                           got = run_node(*backend(), node_of("", rope, {0}, 1), DType::f32, {x}, batch);
  const int64_t position[] = {0, 1, 2, 0, 1};
  for (int64_t t = 0; t < 5; ++t)
    for (int64_t h = 0; h < 2; ++h)
      for (int64_t c = 0; c < 6; ++c) {
        const auto at = static_cast<size_t>(t * 12 + h * 6 + c);
        const float angle = static_cast<float>(position[t]) * (c % 2 == 0 ? 1.0f : 0.1f);
        const float wanted = c < 2 ? x[at] * std::cos(angle) - x[at + 2] * std::sin(angle)
            : c < 4                ? x[at] * std::cos(angle) + x[at - 2] * std::sin(angle)
                                   : x[at];
        CHECK(got[at] == Approx(wanted).margin(1e-6));
      }
}

TEST_CASE("norms work per group of channels: rms, rms with 1 + weight, and layer norm with bias") {
  const std::vector<float> x{3, 4, 0, 2};  // two groups of two
  WeightTable weights;
  weights.emplace("n.weight", tensor_of(DType::f32, {2}, {1.0f, 2.0f}));
  weights.emplace("n.bias", tensor_of(DType::f32, {2}, {10.0f, 20.0f}));
  const auto run = [&](NormKind kind) {
    return run_node(*backend(), node_of("n", Norm{kind, 0.0, 2}, {0}, 1), DType::f32, {x}, batch_of({0, 1}),
                    weights);
  };
  const float rms = std::sqrt(12.5f), rms2 = std::sqrt(2.0f);
  const std::vector<float> plain = run(NormKind::rms), plus = run(NormKind::rms_plus_one),
                           layer = run(NormKind::layer);
  const std::vector<float> wanted_plain{3 / rms, 8 / rms, 0, 4 / rms2},
      wanted_plus{6 / rms, 12 / rms, 0, 6 / rms2}, wanted_layer{9, 22, 9, 22};
  for (size_t i = 0; i < 4; ++i) {
    CHECK(plain[i] == Approx(wanted_plain[i]));
    CHECK(plus[i] == Approx(wanted_plus[i]));
    CHECK(layer[i] == Approx(wanted_layer[i]));
  }
}

TEST_CASE(
    "an rms norm of bfloat16 values rounds before it multiplies by its weight, one with 1 + weight only "
    "after") {
  WeightTable weights;
  weights.emplace("n.weight", tensor_of(DType::f32, {2}, {3.0f, 3.0f}));
  const float rms = std::sqrt(12.5f);
  for (const std::string& isa : cpu::cpu_isa_names()) {
    const auto run = [&](NormKind kind) {
      return run_node(*backend(isa), node_of("n", Norm{kind, 0.0, 2}, {0}, 1), DType::bf16, {{3, 4}},
                      batch_of({0, 1}), weights);
    };
    CHECK(run(NormKind::rms)[0] == bf16_value(3.0f * bf16_value(3 / rms)));
    CHECK(run(NormKind::rms_plus_one)[0] == bf16_value(4.0f * (3 / rms)));
  }
}

TEST_CASE(
    "activations, products and sums of ragged rows agree with the library functions on every instruction "
    "set") {
  const int64_t tokens = 3, width = 37;
  const std::vector<float> x = random_floats(static_cast<size_t>(tokens * width), 5),
                           y = random_floats(x.size(), 6);
  std::vector<float> wide = x;
  for (float& value : wide) value *= 20.0f;
  const TokenBatch batch = batch_of({0, tokens});
  for (const std::string& isa : cpu::cpu_isa_names()) {
    const auto cpu = backend(isa);
    const auto activate = [&](ActivationKind kind) {
      return run_node(*cpu, node_of("", Activation{kind}, {0}, 1), DType::f32, {wide}, batch);
    };
    const std::vector<float> silu = activate(ActivationKind::silu), gelu = activate(ActivationKind::gelu),
                             tanh = activate(ActivationKind::gelu_tanh),
                             relu = activate(ActivationKind::relu);
    const std::vector<float> product = run_node(*cpu, node_of("", Multiply{}, {0, 1}, 2), DType::f32, {x, y},
                                                batch),
                             sum = run_node(*cpu, node_of("", Add{}, {0, 1}, 2), DType::bf16, {x, y}, batch);
    for (size_t i = 0; i < x.size(); ++i) {
      const double v = static_cast<double>(wide[i]);
      CHECK(silu[i] == Approx(v / (1 + std::exp(-v))).epsilon(1e-6).margin(1e-6));
      CHECK(gelu[i] == Approx(0.5 * v * (1 + std::erf(v / std::sqrt(2.0)))).epsilon(1e-6).margin(2e-6));
      CHECK(tanh[i] ==
            Approx(0.5 * v * (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (v + 0.044715 * v * v * v))))
                .epsilon(2e-6)
                .margin(2e-6));
      CHECK(relu[i] == std::max(wide[i], 0.0f));
      CHECK(product[i] == x[i] * y[i]);
      CHECK(sum[i] == bf16_value(bf16_value(x[i]) + bf16_value(y[i])));
    }
  }
}

TEST_CASE("a Linear adds its bias and may read another module's tensor") {
  Linear linear;
  linear.in_features = 2;
  linear.out_features = 3;
  linear.bias = true;
  WeightTable weights;
  weights.emplace("shared.weight", tensor_of(DType::bf16, {3, 2}, {1, 0, 0, 1, 1, 1}));
  weights.emplace("l.bias", tensor_of(DType::bf16, {3}, {0.5f, 0, -1}));
  Node node = node_of("l", linear, {0}, 1);
  node.weights[0].name = "shared.weight";
  CHECK(run_node(*backend(), node, DType::bf16, {{2, 3}}, batch_of({0, 1}), weights) ==
        std::vector<float>{2.5f, 3, 4});
}

TEST_CASE("dynamic int8 input: one scale per token, absmax / 127.5") {
  Linear linear;
  linear.in_features = linear.out_features = 2;
  WeightTable weights;
  weights.emplace("l.weight", tensor_of(DType::f32, {2, 2}, {1, 0, 0, 1}));
  ActivationRounding quantization;
  quantization["l.input"].grid = {NumberType::integer, 8, true};
  const std::vector<float> got = run_node(*backend(), node_of("l", linear, {0}, 1), DType::f32,
                                          {{127.5f, -3.4f, 0, 0}}, batch_of({0, 2}), weights, &quantization);
  CHECK(got == std::vector<float>{127, -3, 0, 0});  // scale 1; 127.5 clamps to 127
}

TEST_CASE("fixed scales round inputs, outputs and the keys of an attention, each head with its own") {
  Linear linear;
  linear.in_features = linear.out_features = 2;
  WeightTable weights;
  weights.emplace("l.weight", tensor_of(DType::f32, {2, 2}, {1, 0, 0, 1}));
  ActivationRounding rounding;
  rounding["l.input"].grid = {NumberType::integer, 8, false};
  rounding["l.input"].fixed_scales = {0.5f};
  rounding["l.input"].fixed_zero_points = {-100};
  // 0.5 * (code + 100): -14.2 is code -128 (the lowest, -128.4 clamped), 3.3 is 7 above the zero point
  CHECK(run_node(*backend(), node_of("l", linear, {0}, 1), DType::f32, {{-14.2f, 3.3f}}, batch_of({0, 1}),
                 weights, &rounding) == std::vector<float>{-14, 3.5f});
  rounding["l.output"].grid = {NumberType::integer, 8, true};
  rounding["l.output"].fixed_scales = {4};
  // -3.5 to even, 0.875
  CHECK(run_node(*backend(), node_of("l", linear, {0}, 1), DType::f32, {{-14.2f, 3.3f}}, batch_of({0, 1}),
                 weights, &rounding) == std::vector<float>{-16, 4});

  const Attention attention{2, 2, 1, 1.0, 0, "a"};
  ActivationRounding cache;
  cache["a.v"].grid = {NumberType::floating, 8, true};
  cache["a.v"].fixed_scales = {1, 0.5f};
  // One token attends to itself: the output is its value. 17 lies between the e4m3 numbers 16 and 18 (even
  // mantissa: 16); 17 / 0.5 = 34 between 32 and 36.
  CHECK(run_node(*backend(), node_of("", attention, {0, 1, 2}, 3), DType::f32, {{1, 1}, {1, 1}, {17, 17}},
                 batch_of({0, 1}), {}, &cache) == std::vector<float>{16, 16});
}

TEST_CASE("NVFP4 and MX inputs round with their own kinds of group scales") {
  Linear linear;
  linear.in_features = linear.out_features = 2;
  WeightTable weights;
  weights.emplace("l.weight", tensor_of(DType::f32, {2, 2}, {1, 0, 0, 1}));
  ActivationRounding rounding;
  ActivationQuantization& how = rounding["l.input"];
  how = {{NumberType::floating, 4, true}, 2, true, 0, {}, {}};
  // scale 2: codes 4 (3.5 to even) and 1
  CHECK(run_node(*backend(), node_of("l", linear, {0}, 1), DType::f32, {{7, 2.2f}}, batch_of({0, 1}), weights,
                 &rounding) == std::vector<float>{8, 2});
  how.power_of_two = false;
  how.global_scale = 64;
  // absmax 7 / 6 = 1.1667; times 64 = 74.67, the e4m3 number 72; scale 72 / 64 = 1.125: codes 6 and 2
  CHECK(run_node(*backend(), node_of("l", linear, {0}, 1), DType::f32, {{7, 2.2f}}, batch_of({0, 1}), weights,
                 &rounding) == std::vector<float>{6.75f, 2.25f});
}

TEST_CASE("an embedding copies rows and refuses ids outside the vocabulary") {
  WeightTable weights;
  weights.emplace("e.weight", tensor_of(DType::bf16, {3, 2}, {0, 1, 2, 3, 4, 5}));
  const Node node = node_of("e", Embedding{3, 2}, {}, 0);
  TokenBatch batch;
  batch.token_ids = {2, 0};
  batch.sequence_starts = {0, 2};
  CHECK(run_node(*backend(), node, DType::f32, {}, batch, weights) == std::vector<float>{4, 5, 0, 1});
  batch.token_ids[1] = 5000;
  CHECK(message_of([&] { run_node(*backend(), node, DType::f32, {}, batch, weights); }) ==
        "token id 5000 at position 1 is outside the vocabulary of 3");
}

TEST_CASE("a missing weight is named") {
  Linear linear;
  linear.in_features = linear.out_features = 1;
  CHECK_THAT(
      message_of([&] {
        run_node(*backend(), node_of("layers.0.q", linear, {0}, 1), DType::f32, {{1}}, batch_of({0, 1}));
      }),
      Catch::Contains("layers.0.q.weight"));
}

TEST_CASE("1, 2 and 5 threads give the same bytes for a layer's nodes") {
  const int64_t tokens = 150, width = 64;
  WeightTable weights;
  weights.emplace("n.weight", tensor_of(DType::bf16, {width}, random_floats(static_cast<size_t>(width), 1)));
  weights.emplace(
      "q.weight",
      tensor_of(DType::bf16, {width, width}, random_floats(static_cast<size_t>(width * width), 2)));
  Linear linear;
  linear.in_features = linear.out_features = width;
  RopeSpec spec;
  spec.rotary_dim = 16;
  const std::vector<Node> nodes{node_of("n", Norm{NormKind::rms, 1e-6, width}, {0}, 1),
                                node_of("q", linear, {1}, 2),
                                node_of("", Rope{spec, 4, 16}, {2}, 3),
                                node_of("", Attention{4, 4, 16, 0.25, 0}, {3, 3, 2}, 4),
                                node_of("", Activation{}, {4}, 5),
                                node_of("", Multiply{}, {5, 1}, 6),
                                node_of("", Add{}, {6, 0}, 7)};
  const TokenBatch batch = batch_of({0, 70, 150});
  for (const std::string& isa : cpu::cpu_isa_names()) {
    std::vector<std::vector<float>> results;
    for (const int threads : {1, 2, 5}) {
      ValueTable values(8);
      values[0] = tensor_of(DType::bf16, {tokens, width},
                            random_floats(static_cast<size_t>(tokens * width), 3));
      backend(isa, threads)->execute(nodes, {.weights = weights, .batch = batch, .values = values});
      results.push_back(floats_of(values[7]));
    }
    CHECK(results[0] == results[1]);
    CHECK(results[0] == results[2]);
  }
}

TEST_CASE("cross entropy skips the last token of each sequence and measures KL to the reference") {
  TokenBatch batch;
  batch.token_ids = {0, 1, 1};
  batch.sequence_starts = {0, 2, 3};  // only token 0 has a next one
  const Tensor logits = tensor_of(DType::f32, {3, 2}, {0, std::log(3.0f), 9, 9, 9, 9}),
               reference = tensor_of(DType::f32, {3, 2}, {0, 0, 1, 2, 3, 4});
  const TensorView wanted = reference;
  const Backend::CrossEntropy got = backend()->cross_entropy(logits, &wanted, batch);
  CHECK(got.tokens == 1);
  CHECK(got.negative_log_likelihood == Approx(-std::log(0.75)));
  CHECK(got.kl == Approx(0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75)));
  CHECK(got.top1 == 0);  // 1 here, 0 (the first of equals) there
}

TEST_CASE("KL of equal logits is zero and of wide rows follows the definition") {
  const int64_t vocabulary = 3001;
  TokenBatch batch;
  batch.token_ids = {5, 17};
  batch.sequence_starts = {0, 2};
  const std::vector<float> a = random_floats(static_cast<size_t>(2 * vocabulary), 1),
                           b = random_floats(a.size(), 2);
  const Tensor logits = tensor_of(DType::f32, {2, vocabulary}, a),
               reference = tensor_of(DType::f32, {2, vocabulary}, b);
  const TensorView same = logits, other = reference;
  double za = 0, zb = 0, kl = 0;
  for (int64_t i = 0; i < vocabulary; ++i) {
    za += std::exp(static_cast<double>(a[static_cast<size_t>(i)]));
    zb += std::exp(static_cast<double>(b[static_cast<size_t>(i)]));
  }
  for (int64_t i = 0; i < vocabulary; ++i) {
    const auto x = static_cast<double>(a[static_cast<size_t>(i)]),
               y = static_cast<double>(b[static_cast<size_t>(i)]);
    kl += std::exp(y) / zb * (y - std::log(zb) - x + std::log(za));
  }
  for (const std::string& isa : cpu::cpu_isa_names()) {
    const auto cpu = backend(isa);
    CHECK(cpu->cross_entropy(logits, &same, batch).kl == Approx(0.0).margin(1e-9));
    const Backend::CrossEntropy got = cpu->cross_entropy(logits, &other, batch);
    CHECK(got.kl == Approx(kl).epsilon(1e-6));
    CHECK(got.negative_log_likelihood == Approx(std::log(za) - static_cast<double>(a[17])).epsilon(1e-6));
  }
}

TEST_CASE(
    "channel statistics are the minimum, maximum, sum of magnitudes and sum of squares of each channel") {
  const int64_t tokens = 600, width = 300;
  const std::vector<float> x = random_floats(static_cast<size_t>(tokens * width), 9);
  const Tensor values = tensor_of(DType::f32, {tokens, width}, x);
  ChannelStatistics statistics;
  const auto cpu = backend();
  cpu->accumulate_channels(values, statistics);
  cpu->accumulate_channels(values, statistics);
  CHECK(statistics.tokens == 2 * tokens);
  for (int64_t c = 0; c < width; ++c) {
    float low = x[static_cast<size_t>(c)], high = low;
    double sum = 0, squares = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      const float value = x[static_cast<size_t>(t * width + c)];
      low = std::min(low, value);
      high = std::max(high, value);
      sum += 2 * std::fabs(static_cast<double>(value));
      squares += 2 * static_cast<double>(value) * static_cast<double>(value);
    }
    CHECK(statistics.min[static_cast<size_t>(c)] == low);
    CHECK(statistics.max[static_cast<size_t>(c)] == high);
    CHECK(statistics.sum_abs[static_cast<size_t>(c)] == Approx(sum).epsilon(1e-6));
    CHECK(statistics.sum_squares[static_cast<size_t>(c)] == Approx(squares).epsilon(1e-6));
  }
}

TEST_CASE("the pool covers the range once, nests, and rethrows the first exception") {
  const auto cpu = backend("", 5);
  std::vector<int> seen(1000, 0);
  cpu->parallel_for(1000, 7, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
  });
  CHECK(std::count(seen.begin(), seen.end(), 1) == 1000);
  std::atomic<int> inner{0};
  cpu->parallel_for(10, 1,
                    [&](int64_t, int64_t) { cpu->parallel_for(10, 1, [&](int64_t, int64_t) { ++inner; }); });
  CHECK(inner == 100);
  CHECK(message_of([&] {
          cpu->parallel_for(100, 1, [](int64_t begin, int64_t) {
            if (begin == 40) throw Error(ErrorCode::internal, "number 40");
          });
        }) == "number 40");
  cpu->parallel_for(1, 1, [&](int64_t, int64_t) { ++inner; });
  CHECK(inner == 101);
}

TEST_CASE("an unknown instruction set is refused with the names of those that work here") {
  CHECK_THAT(message_of([] { backend("mmx"); }), Catch::Contains("'mmx'") && Catch::Contains("sse4"));
  CHECK(backend("sse4", 1)->description() == "cpu sse4, 1 thread");
}
