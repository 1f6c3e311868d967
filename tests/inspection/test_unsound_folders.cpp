// What verify calls not sound from headers and config.json, no reader reads; and what they all read alike.
#include <catch2/catch.hpp>
#include <cmath>

#include "folder_editor.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/error.hpp"
#include "llmc/evaluate.hpp"
#include "llmc/inspection.hpp"

using namespace llmc;
using namespace llmc::test;
using Catch::Matchers::Contains;

namespace {

const std::string kUp = "model.layers.1.mlp.up_proj", kSelf = "model.layers.1.self_attn";

double perplexity(const std::string& folder) {
  EvaluateOptions options{folder, "", {}, 16, DType::f32, nullptr};
  for (int32_t i = 0; i < 64; ++i) options.token_ids.push_back(i * 7 % 160);
  const auto backend = make_cpu_backend({2, ""});
  return evaluate(options, *backend).perplexity;
}

template <class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// The first line of verify; all readers must say it, diff and inspect where it is about what is decoded.
std::string refusal(FolderEditor& folder, bool decoded = true) {
  const ScratchFolder scratch;
  const std::string out = scratch / "out";
  folder.save(out);
  const auto backend = make_cpu_backend({2, ""});
  const VerifyReport report = verify_model({out, ""}, *backend);
  REQUIRE_FALSE(report.faults.empty());
  const auto& first = report.faults.front();
  const std::string line = first.wanted.empty()
      ? first.tensor + ": " + first.got
      : first.tensor + ": got " + first.got + ", wanted " + first.wanted;
  CHECK_THAT(error_of([&] { perplexity(out); }), Contains(line));
  CHECK_THAT(error_of([&] { diff_models(out, out, *backend); }), decoded ? Contains(line) : Contains(""));
  CHECK_THAT(error_of([&] { inspect_model(out); }), decoded ? Contains(line) : Contains(""));
  CHECK_THAT(error_of([&] { dequantize_model({out, scratch / "plain"}, *backend, {}); }), Contains(line));
  CHECK_FALSE(std::filesystem::exists(scratch / "plain"));
  return line;
}

}  // namespace

TEST_CASE("scales and zero points of another count than the scheme's are refused by every reader") {
  FolderEditor inputs(golden("recipes/static_int8"));
  inputs.tensors[kUp + ".input_scale"] = Tensor::zeros(DType::bf16, {256});
  CHECK_THAT(refusal(inputs), Contains(kUp + ".input_scale: got [256] BF16, wanted [1]"));
  FolderEditor points(golden("recipes/static_int8"));
  points.tensors[kUp + ".input_zero_point"] = Tensor::zeros(DType::i8, {0});
  CHECK_THAT(refusal(points), Contains(kUp + ".input_zero_point: got [0] I8, wanted [1]"));
  FolderEditor cache(golden("recipes/kv_fp8"));
  cache.tensors[kSelf + ".k_scale"] = Tensor::zeros(DType::bf16, {2});
  CHECK_THAT(refusal(cache), Contains(kSelf + ".k_scale: got [2] BF16, wanted [1]"));
  FolderEditor heads(golden("recipes/kv_fp8"));
  heads.at({"quantization_config", "kv_cache_scheme"}).set("strategy", JsonValue::from_string("attn_head"));
  for (const char* layer : {"0", "1"})
    for (const char* state : {"k", "v"})
      heads.tensors[std::string("model.layers.") + layer + ".self_attn." + state + "_scale"] = Tensor::zeros(
          DType::bf16, {4, 1, 1});
  CHECK_THAT(refusal(heads), Contains("k_scale: got [4, 1, 1] BF16, wanted [2, 1, 1]"));
  FolderEditor lost(golden("rtn/W4A16"));
  lost.tensors.erase(kUp + ".weight_scale");
  CHECK_THAT(refusal(lost), Contains(kUp + ".weight_scale: got nothing"));
}

TEST_CASE("a group without weights is no scheme of a Linear") {
  FolderEditor packed(golden("rtn/W4A16"));
  packed.group().set("weights", JsonValue{});
  CHECK_THAT(refusal(packed), Contains("quantized tensors, though no config group targets it"));
  FolderEditor plain(golden("rtn/INT8"));
  const FolderEditor source(golden("micro-llama"));
  plain.tensors.clear();
  for (const auto& [name, tensor] : source.tensors) plain.tensors[name] = Tensor::copy_of(tensor);
  plain.group().set("weights", JsonValue{});
  CHECK_THAT(refusal(plain, false), Contains("'group_0', which quantizes activations and has no weights"));
}

TEST_CASE("a column index gives each column the scales of its group, in every reader") {
  // Groups of 32. In one matrix columns 0 and 127 belong to each other's group; all else stays.
  const ScratchFolder scratch;
  FolderEditor folder(golden("recipes/w4_g32"));
  const auto backend = make_cpu_backend({2, ""});
  const Checkpoint recorded(golden("recipes/w4_g32"));
  for (const std::string& name : recorded.names()) {
    constexpr std::string_view kSuffix = ".weight_packed";
    if (!name.ends_with(kSuffix)) continue;
    const std::string module = name.substr(0, name.size() - kSuffix.size());
    const int64_t columns = folder.tensors.at(module + ".weight_shape").as<int64_t>()[1];
    Tensor index(DType::i32, {columns});
    for (int64_t k = 0; k < columns; ++k) index.as<int32_t>()[k] = static_cast<int32_t>(k / 32);
    if (module == kUp) std::swap(index.as<int32_t>()[0], index.as<int32_t>()[127]);
    folder.tensors[module + ".weight_g_idx"] = std::move(index);
  }
  folder.weights().set("actorder", JsonValue::from_string("group"));
  folder.save(scratch / "out");
  CHECK(verify_model({scratch / "out", ""}, *backend).faults.empty());
  CHECK(inspect_model(scratch / "out").quantized_parameters ==
        inspect_model(golden("recipes/w4_g32")).quantized_parameters);
  CHECK(perplexity(scratch / "out") > 0);
  CHECK(diff_models(scratch / "out", scratch / "out", *backend).identical());
  dequantize_model({scratch / "out", scratch / "plain"}, *backend, {});
  dequantize_model({golden("recipes/w4_g32"), scratch / "straight"}, *backend, {});
  FolderEditor got(scratch / "plain"), straight(scratch / "straight");
  const auto scale = [&](int64_t row, int64_t group) {
    return folder.number(kUp + ".weight_scale", row * 4 + group);
  };
  for (int64_t row = 0; row < 256; ++row)
    for (int64_t k = 0; k < 128; ++k) {
      const int64_t at = row * 128 + k, own = k / 32, group = k == 0 ? 3 : k == 127 ? 0 : own;
      const float code = std::nearbyint(straight.number(kUp + ".weight", at) / scale(row, own));
      if (got.number(kUp + ".weight", at) != Approx(code * scale(row, group)).epsilon(0.005)) FAIL(at);
    }
  folder.tensors.at(kUp + ".weight_g_idx").as<int32_t>()[5] = 4;
  folder.save(scratch / "bad");
  CHECK_THAT(verify_model({scratch / "bad", ""}, *backend).faults.at(0).got,
             Contains("has the group 4 at 5, wanted 0 to 3"));
}

TEST_CASE("a compression_config is read as the quantization_config it was in 2024") {
  const ScratchFolder scratch;
  FolderEditor folder(golden("rtn/W4A16"));
  folder.config.set("compression_config", folder.at({"quantization_config"}));
  folder.config.erase("quantization_config");
  folder.save(scratch / "out");
  const auto backend = make_cpu_backend({2, ""});
  CHECK(verify_model({scratch / "out", golden("micro-llama")}, *backend).quantized == 14);
  CHECK(inspect_model(scratch / "out").format == "pack-quantized");
  CHECK(perplexity(scratch / "out") == perplexity(golden("rtn/W4A16")));
  dequantize_model({scratch / "out", scratch / "plain"}, *backend, {});
  CHECK(Checkpoint(scratch / "plain").config().find("compression_config") == std::string::npos);
}

TEST_CASE("a quantized Conv1D is not sound") {
  FolderEditor folder(golden("rtn/FP8_DYNAMIC"));
  std::map<std::string, Tensor> renamed;
  for (auto& [name, tensor] : folder.tensors)
    renamed[name.find("up_proj") == std::string::npos
                ? name
                : std::string(name).replace(name.find("up_proj"), 7, "c_fc")] = std::move(tensor);
  folder.tensors = std::move(renamed);
  folder.config.set("model_type", JsonValue::from_string("gpt2"));
  folder.config.erase("architectures");
  const ScratchFolder scratch;
  folder.save(scratch / "out");
  const auto backend = make_cpu_backend({2, ""});
  const VerifyReport report = verify_model({scratch / "out", ""}, *backend);
  REQUIRE(report.faults.size() == 2);
  CHECK_THAT(report.faults[0].wanted, Contains("[in, out] by model_type 'gpt2'"));
}
