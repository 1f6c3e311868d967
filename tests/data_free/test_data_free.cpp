// Runs without data on folders of an architecture nobody knows: tiles, shards, threads, errors.
#include <catch2/catch.hpp>

#include "core/formats/compressed_tensors.hpp"
#include "core/formats/quantization_config.hpp"
#include "core/formats/verify.hpp"
#include "core/data_free/tile_pipeline.hpp"
#include "core/folder_tools.hpp"
#include "core/quantize/rounding.hpp"
#include "core/progress/run_clock.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using Catch::Contains;

namespace {

// Three files; a weight of several tiles, fused partners apart from each other, odd sizes, one row, other
// dtypes, tensors that are copied.
std::vector<test::FolderTensor> sharded_tensors() {
  const std::string first = "model-00001-of-00003.safetensors", second = "model-00002-of-00003.safetensors",
                    third = "model-00003-of-00003.safetensors";
  return {{first, "model.embed_tokens.weight", DType::bf16, {300, 256}},
          // 10 MB: two tiles, the second one short
          {first, "model.layers.0.self_attn.q_proj.weight", DType::bf16, {10000, 512}},
          {second, "model.layers.0.self_attn.k_proj.weight", DType::bf16, {70, 512}},
          {second, "model.layers.0.self_attn.v_proj.weight", DType::bf16, {130, 512}},
          {second, "model.layers.0.mlp.gate_proj.weight", DType::f16, {96, 128}},
          {second, "model.layers.0.mlp.up_proj.weight", DType::f16, {1, 128}},
          {third, "model.layers.0.mlp.down_proj.weight", DType::f32, {257, 384}},
          {third, "model.layers.0.input_layernorm.weight", DType::bf16, {512}},
          {third, "model.layers.0.self_attn.q_proj.bias", DType::bf16, {10000}},
          {third, "model.counts", DType::i64, {3, 2}},
          {third, "model.scalar", DType::f32, {}},
          {third, "lm_head.weight", DType::bf16, {300, 256}}};
}

struct Folder {
  test::ScratchFolder scratch;
  OneshotOptions options;

  explicit Folder(const std::vector<test::FolderTensor>& tensors, const std::string& scheme = "W4A16") {
    options.model_dir = scratch / "in";
    options.output_dir = scratch / "out";
    options.scheme = scheme;
    test::write_folder(options.model_dir, tensors);
  }
  Report run(int threads = 2, const Callbacks& callbacks = {}) {
    const auto backend = make_cpu_backend({threads, ""});
    return oneshot(options, *backend, callbacks);
  }
  std::string error(const Callbacks& callbacks = {}) {
    std::string text = "no error";
    try {
      run(2, callbacks);
    } catch (const Error& problem) {
      text = problem.what();
    }
    // nothing is left behind
    for (const auto& entry : std::filesystem::directory_iterator(scratch.path()))
      CHECK(entry.path().filename() == "in");
    return text;
  }
};

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
      std::equal(a.data(), a.data() + a.bytes(), b.data());
}

}  // namespace

TEST_CASE("weights that pass in tiles become what the whole weight would have become") {
  const std::string scheme = GENERATE("W4A16", "W4A16_ASYM", "W3A16", "W8A8", "FP8_DYNAMIC", "FP8_BLOCK",
                                      "NVFP4A16", "MXFP4A16", "MXFP8A16");
  CAPTURE(scheme);
  Folder folder(sharded_tensors(), scheme);
  const Report report = folder.run();
  CHECK(report.linears.size() == 6);
  const Checkpoint source(folder.options.model_dir), got(folder.options.output_dir);
  CHECK(verify_folder(got).empty());
  const auto config = parse_quantization_config(got.config());
  const GroupMatcher groups(*config);
  float largest = 0;
  for (const char* partner : {"q_proj", "k_proj", "v_proj"}) {
    const Tensor weight = source.read(std::string("model.layers.0.self_attn.") + partner + ".weight");
    largest = std::max(largest, absolute_maximum(weight));
  }
  for (const LinearReport& row : report.linears) {
    CAPTURE(row.name);
    const auto* group = groups.match(row.name);
    REQUIRE(group);
    const QuantizationArgs& args = *group->scheme.weights;
    const Tensor weight = source.read(row.name + ".weight");
    std::optional<float> global_scale;
    if (args.strategy == Strategy::tensor_group && row.name.find("self_attn") != std::string::npos)
      global_scale = nvfp4_global_scale(largest, weight.dtype());
    if (args.strategy == Strategy::tensor_group && row.name.find("gate_proj") != std::string::npos) {
      const Tensor up = source.read("model.layers.0.mlp.up_proj.weight");
      global_scale = nvfp4_global_scale(std::max(absolute_maximum(weight), absolute_maximum(up)),
                                        weight.dtype());
    }
    // its partner's scale: gate_proj has looked
    if (row.name.find("up_proj") != std::string::npos && args.strategy == Strategy::tensor_group) continue;
    const QuantizationParameters want = compute_qparams(weight, args, global_scale);
    const QuantizedMatrix matrix = read_quantized(got, row.name, args, *group->scheme.format);
    CHECK(same_bytes(matrix.parameters.scales, want.scales));
    if (!args.symmetric) CHECK(same_bytes(matrix.parameters.zero_points, want.zero_points));
    CHECK(same_bytes(matrix.codes, quantize_matrix(weight, want, args, Rounding::exact)));
    CHECK(row.relative_error > 0);
    CHECK(row.relative_error < 0.3);
  }
  for (const char* copied :
       {"model.embed_tokens.weight", "model.layers.0.input_layernorm.weight",
        "model.layers.0.self_attn.q_proj.bias", "model.counts", "model.scalar", "lm_head.weight"})
    CHECK(same_bytes(got.read(copied), source.read(copied)));
}

TEST_CASE("a per-tensor scale comes from all tiles, and the weight is read twice") {
  Folder folder(sharded_tensors());
  folder.options.scheme.clear();
  folder.options.recipe =
      "s_stage: {m_modifiers: {QuantizationModifier: {config_groups: {g: {targets: [Linear], weights: "
      "{num_bits: 8, type: float, strategy: tensor}}}, ignore: [lm_head]}}}";
  folder.run();
  const Checkpoint source(folder.options.model_dir), got(folder.options.output_dir);
  QuantizationArgs args;
  args.type = NumberType::floating;
  const Tensor weight = source.read("model.layers.0.self_attn.q_proj.weight");
  const QuantizationParameters want = compute_qparams(weight, args);
  CHECK(same_bytes(got.read("model.layers.0.self_attn.q_proj.weight_scale"), want.scales));
  CHECK(same_bytes(got.read("model.layers.0.self_attn.q_proj.weight"),
                   quantize_matrix(weight, want, args, Rounding::exact)));
}

TEST_CASE("a run without data writes the same bytes with one, two and five threads") {
  const std::string scheme = GENERATE("W4A16_ASYM", "FP8_BLOCK", "NVFP4A16");
  std::vector<std::string> first;
  for (const int threads : {1, 2, 5}) {
    Folder folder(sharded_tensors(), scheme);
    const Report report = folder.run(threads);
    std::vector<std::string> files;
    const Checkpoint got(folder.options.output_dir);
    for (const std::string& file : got.files())
      files.push_back(test::read_text(folder.options.output_dir + "/" + file));
    for (const LinearReport& row : report.linears)
      files.push_back(row.name + std::to_string(row.relative_error));
    if (first.empty()) first = files;
    CHECK(files == first);
  }
}

TEST_CASE("tensors stay in the files they came in, unless a shard size is asked for") {
  Folder folder(sharded_tensors());
  folder.run();
  const Checkpoint source(folder.options.model_dir), got(folder.options.output_dir);
  CHECK(got.files() == source.files());
  CHECK(got.info("model.layers.0.self_attn.v_proj.weight_packed").file ==
        source.info("model.layers.0.self_attn.v_proj.weight").file);
  CHECK(got.info("model.layers.0.self_attn.v_proj.weight_scale").file ==
        source.info("model.layers.0.self_attn.v_proj.weight").file);
  CHECK(got.info("lm_head.weight").file == source.info("lm_head.weight").file);
  CHECK(nlohmann::json::parse(test::read_text(folder.options.output_dir + "/model.safetensors.index.json"))
            .at("weight_map")
            .at("lm_head.weight") == "model-00003-of-00003.safetensors");

  folder.options.output_dir = folder.scratch / "whole";
  folder.options.max_shard_bytes = 1'000'000'000;
  folder.run();
  CHECK(Checkpoint(folder.options.output_dir).files() == std::vector<std::string>{"model.safetensors"});
  CHECK_FALSE(std::filesystem::exists(folder.options.output_dir + "/model.safetensors.index.json"));
}

TEST_CASE(
    "a NaN in a later tile names its place in the whole tensor, whether the tensor is quantized, scanned or "
    "copied") {
  const std::string scheme = GENERATE("W4A16", "NVFP4A16");
  std::vector<test::FolderTensor> tensors = {
      {"model.safetensors", "a.q_proj.weight", DType::bf16, {10000, 512}},
      {"model.safetensors", "a.wide_norm", DType::bf16, {5'100'000}}};
  const size_t bad = GENERATE(0u, 1u);
  tensors[bad].values = test::values_of(tensors[bad]);
  tensors[bad].values[5'099'123] = std::numeric_limits<float>::infinity();
  CHECK_THAT(Folder(tensors, scheme).error(),
             Contains(tensors[bad].name) && Contains("holds NaN or Inf at element 5099123"));
}

TEST_CASE(
    "what an unknown family's tensors are is told by name and rank, said before the work, and what is left "
    "alone is in the ignore list") {
  const std::string file = "model.safetensors";
  Folder folder({{file, "tok_embeddings.weight", DType::bf16, {64, 128}},
                 {file, "layers.0.attention.wq.weight", DType::bf16, {128, 128}},
                 {file, "layers.0.attention.output.weight", DType::bf16, {128, 128}},
                 {file, "layers.0.mlp.gate.weight", DType::bf16, {4, 128}},
                 {file, "layers.0.mlp.experts.up", DType::bf16, {4, 128, 128}},
                 {file, "layers.0.attention_norm.weight", DType::bf16, {128}},
                 {file, "output.weight", DType::bf16, {64, 128}},
                 {file, "lm_head.weight", DType::bf16, {64, 128}}});
  std::vector<std::string> heard;
  Callbacks callbacks;
  callbacks.log = [&](int, const std::string& line) { heard.push_back(line); };
  callbacks.progress = [&](const Progress&) { CHECK(heard.size() >= 5); };
  const Report report = folder.run(2, callbacks);
  CHECK(report.linears.size() == 2);
  const auto says = [&](const std::string& text) {
    return std::any_of(heard.begin(), heard.end(),
                       [&](const std::string& line) { return line.find(text) != std::string::npos; });
  };
  CHECK(says("3 matrices are Linears, 2 matrices are quantized"));
  CHECK(says("left as they are: 1 (embedding): tok_embeddings"));
  CHECK(says("left as they are: 1 (router): layers.0.mlp.gate"));
  CHECK(says("left as they are: 1 (head): output"));
  CHECK(says("left as they are: 1 (3 dimensions): layers.0.mlp.experts.up"));
  CHECK(says("left as they are: 1 (not targeted or ignored): lm_head"));
  const auto ignore = nlohmann::json::parse(Checkpoint(folder.options.output_dir).config())
                          .at("quantization_config")
                          .at("ignore");
  CHECK(ignore == nlohmann::json({"layers.0.mlp.gate", "lm_head", "output"}));
}

TEST_CASE("a weight too large to decode is refused with its rows") {
  std::vector<test::FolderTensor> tensors = {{"model.safetensors",
                                              "a.q_proj.weight",
                                              DType::bf16,
                                              {64, 128},
                                              std::vector<float>(64 * 128, -3.38e38f)}};
  CHECK_THAT(Folder(tensors, "W4A16").error(),
             Contains("a.q_proj.weight") && Contains("rows [0, 64)") && Contains("decode to infinity"));
  tensors[0].values.assign(64 * 128, 1e38f);
  CHECK(Folder(tensors, "W4A16").run().linears.size() == 1);
}

TEST_CASE("cancelling between tiles ends a run without data and leaves nothing behind") {
  Folder folder(sharded_tensors());
  std::atomic<bool> cancel{false};
  Callbacks callbacks;
  callbacks.cancel = &cancel;
  callbacks.progress = [&](const Progress& progress) { cancel = progress.step >= 2; };
  CHECK_THAT(folder.error(callbacks), Contains("cancelled"));
}

TEST_CASE(
    "a file cut short while it is read ends the pipeline with the reader's error, and one that cannot be "
    "written with the writer's") {
  const test::ScratchFolder scratch;
  constexpr int64_t kStep = 1 << 20, kSteps = 64;  // more than is read ahead
  const Shape shape = {kSteps * 512, 1024};
  std::filesystem::create_directories(scratch / "in");
  const std::string file = scratch / "in/model.safetensors", name = "x.weight",
                    header = make_safetensors_header({{name, DType::bf16, shape}});
  std::ofstream(file, std::ios::binary) << header;
  std::filesystem::resize_file(file, header.size() + kSteps * kStep);
  const Checkpoint source(scratch / "in");
  CheckpointWriter writer({.output_dir = scratch / "out"});
  writer.plan({{name, DType::bf16, shape}});
  const auto read = [&](size_t step) { return TileRead{&name, static_cast<int64_t>(step) * kStep, kStep}; };
  {
    TilePipeline pipeline(source, writer);
    const auto twice = [&](size_t, TileBuffer& input) { pipeline.write(name, 0, std::move(input), kStep); };
    CHECK_THROWS_WITH(pipeline.run(kSteps, read, twice), Contains("got its bytes [0, 1048576) twice"));
  }
  TilePipeline pipeline(source, writer);
  const auto cut = [&](size_t, TileBuffer&) { std::filesystem::resize_file(file, 100'000); };
  CHECK_THROWS_WITH(pipeline.run(kSteps, read, cut),
                    Contains("model.safetensors: ends at byte") && Contains("cut short"));
}

TEST_CASE("save_compressed false streams decoded weights, asymmetric and fp4 ones too") {
  const std::string scheme = GENERATE("W4A16_ASYM", "NVFP4A16", "FP8_BLOCK");
  Folder folder(sharded_tensors(), scheme);
  folder.run();
  const Checkpoint packed(folder.options.output_dir);
  const auto config = parse_quantization_config(packed.config());
  folder.options.output_dir = folder.scratch / "dense";
  folder.options.save_compressed = false;
  folder.run();
  const Checkpoint dense(folder.options.output_dir);
  const auto* group = GroupMatcher(*config).match("model.layers.0.self_attn.q_proj");
  const Tensor want = read_dequantized(packed, "model.layers.0.self_attn.q_proj", *group->scheme.weights,
                                       *group->scheme.format, DType::bf16);
  CHECK(same_bytes(dense.read("model.layers.0.self_attn.q_proj.weight"), want));
}

TEST_CASE("memory does not grow with the tensors: a 600 MB weight needs a few tiles") {
  Folder folder({{"model.safetensors", "a.small.weight", DType::bf16, {1, 2048}}}, "FP8_DYNAMIC");
  const std::string file = folder.options.model_dir + "/model.safetensors";
  const std::string header = make_safetensors_header({{"a.big.weight", DType::bf16, {150'000, 2048}}});
  std::ofstream(file, std::ios::binary) << header;
  // zeros, and no block on the disk
  std::filesystem::resize_file(file, header.size() + 150'000 * 2048 * 2);
  const int64_t before = anonymous_memory();
  const Report report = folder.run();
  CHECK(report.linears.size() == 1);
#if !defined(__SANITIZE_THREAD__)  // which has memory of its own for every byte
  if (before > 0) CHECK(report.peak_memory - before < 200'000'000);
#endif
}

TEST_CASE("the pipeline keeps the order of its steps and writes everything behind them") {
  const test::ScratchFolder scratch;
  test::write_folder(scratch / "in", {{"model.safetensors", "x.weight", DType::bf16, {4096, 1024}}});
  const Checkpoint source(scratch / "in");
  CheckpointWriter writer({.output_dir = scratch / "out"});
  writer.plan({{"x.weight", DType::bf16, {4096, 1024}}});
  const std::string name = "x.weight";
  size_t next = 0;
  {
    TilePipeline pipeline(source, writer);
    pipeline.run(
        1024,
        [&](size_t step) {
          return TileRead{&name, static_cast<int64_t>(step) * 8192, 8192};
        },
        [&](size_t step, TileBuffer& input) {
          CHECK(step == next++);
          pipeline.write(name, static_cast<int64_t>(step) * 8192, std::move(input), 8192);
        });
  }
  writer.finish();
  CHECK(next == 1024);
  CHECK(same_bytes(Checkpoint(scratch / "out").read(name), source.read(name)));
}

TEST_CASE("stacked experts are compressed one by one under their own names; those left alone are unstacked") {
  const std::string file = "model.safetensors", experts = "model.layers.0.mlp.experts.";
  Folder folder({{file, experts + "gate_up_proj", DType::bf16, {3, 64, 128}},
                 {file, experts + "down_proj", DType::bf16, {3, 128, 32}},
                 {file, "model.layers.0.mlp.gate.weight", DType::bf16, {3, 128}}},
                "");
  folder.options.recipe = R"(
stage:
  modifiers:
    QuantizationModifier:
      targets: [Linear]
      ignore: ["re:.*experts.1.(gate|up)_proj"]
      scheme: FP8_DYNAMIC
)";
  const Report report = folder.run();
  CHECK(report.linears.size() == 7);
  const Checkpoint source(folder.options.model_dir), got(folder.options.output_dir);
  CHECK_FALSE(got.contains(experts + "gate_up_proj"));
  CHECK_FALSE(got.contains(experts + "down_proj"));
  const Tensor gate_up = source.read(experts + "gate_up_proj");
  const auto rows_of = [&](int64_t expert, int64_t first) {
    return TensorView(gate_up.data() + (expert * 64 + first) * 128 * 2, DType::bf16, {32, 128});
  };
  CHECK(same_bytes(got.read(experts + "1.up_proj.weight"), Tensor::copy_of(rows_of(1, 32))));
  const auto args = parse_quantization_config(got.config())->groups.at(0).scheme.weights.value();
  for (const int64_t expert : {0, 2}) {
    const QuantizedMatrix up = read_quantized(got, experts + std::to_string(expert) + ".up_proj", args,
                                              Format::float_quantized);
    const QuantizationParameters wanted = compute_qparams(rows_of(expert, 32), args, std::nullopt);
    CHECK(same_bytes(up.parameters.scales, wanted.scales));
    CHECK(same_bytes(up.codes, quantize_matrix(rows_of(expert, 32), wanted, args, Rounding::exact)));
  }
  CHECK(
      same_bytes(got.read("model.layers.0.mlp.gate.weight"), source.read("model.layers.0.mlp.gate.weight")));
}

TEST_CASE("a header that promises a billion empty experts costs no memory") {
  const std::string file = "model.safetensors", experts = "model.layers.0.mlp.experts.";
  const int64_t many = 1'000'000'000;
  Folder folder({{file, experts + "gate_up_proj", DType::bf16, {many, 0, 128}},
                 {file, experts + "down_proj", DType::bf16, {many, 128, 0}},
                 {file, "model.layers.0.self_attn.q_proj.weight", DType::bf16, {128, 128}}},
                "FP8_DYNAMIC");
  CHECK(folder.run().linears.size() == 1);
}

TEST_CASE("stacks that lie the other way round are copied, and a note names them") {
  const std::string file = "model.safetensors", experts = "model.layers.0.mlp.experts.";
  Folder folder({{file, experts + "gate_up_proj", DType::bf16, {2, 128, 64}},
                 {file, experts + "down_proj", DType::bf16, {2, 32, 128}},
                 {file, "model.layers.0.self_attn.q_proj.weight", DType::bf16, {128, 128}}},
                "FP8_DYNAMIC");
  const Report report = folder.run();
  CHECK(report.linears.size() == 1);
  CHECK(Checkpoint(folder.options.output_dir).contains(experts + "gate_up_proj"));
  CHECK(std::any_of(report.notes.begin(), report.notes.end(), [](const std::string& note) {
    return note.find("experts.down_proj") != std::string::npos;
  }));
}
