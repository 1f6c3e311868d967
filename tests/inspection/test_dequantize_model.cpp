#include <catch2/catch.hpp>
#include <set>

#include "core/formats/compressed_tensors.hpp"
#include "folder_editor.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/error.hpp"
#include "llmc/inspection.hpp"
#include "llmc/oneshot.hpp"

using namespace llmc;
using namespace llmc::test;
using Catch::Matchers::Contains;

namespace {

DequantizeReport dequantize(const std::string& from, const std::string& to, int threads = 2) {
  const auto backend = make_cpu_backend({threads, ""});
  return dequantize_model({from, to}, *backend, {});
}

std::string error_of(const std::string& from, const std::string& to) {
  try {
    dequantize(from, to);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a dequantized folder has the source's tensors, dtypes and shapes, and the weights a server sees") {
  const Checkpoint source(golden("micro-llama"));
  for (const char* base : {"rtn/W4A16", "rtn/W4A16_ASYM", "rtn/W3A16", "rtn/W4A8", "rtn/FP8", "rtn/FP8_BLOCK",
                           "rtn/NVFP4", "rtn/MXFP4", "rtn/MXFP8", "recipes/mixed", "recipes/static_int8",
                           "recipes/kv_fp8", "recipes/spinquant_w4a16"}) {
    INFO(base);
    const ScratchFolder scratch;
    const DequantizeReport report = dequantize(golden(base), scratch / "plain");
    CHECK(report.matrices == 14);
    const Checkpoint compressed(golden(base)), plain(scratch / "plain");
    CHECK_FALSE(plain.is_quantized());
    CHECK(plain.names().size() == source.names().size());
    const auto config = parse_quantization_config(compressed.config());
    const GroupMatcher matcher(*config);
    for (const std::string& name : source.names()) {
      INFO(name);
      REQUIRE(plain.contains(name));
      CHECK(plain.info(name).dtype == source.info(name).dtype);
      CHECK(plain.info(name).shape == source.info(name).shape);
      const std::string module = name.substr(0, name.rfind('.'));
      const auto* group = module.ends_with("proj") ? matcher.match(module) : nullptr;
      const Tensor wanted = group
          ? read_dequantized(compressed, module, *group->scheme.weights, *group->scheme.format, DType::bf16)
          : compressed.read(name),
                   got = plain.read(name);
      CHECK(std::equal(got.data(), got.data() + got.bytes(), wanted.data()));
    }
    JsonValue wanted_config = parse_json(compressed.config(), "config.json");
    wanted_config.erase("quantization_config");
    CHECK(plain.config() == dump_json_like_python(wanted_config));
  }
}

TEST_CASE("dequantizing gives the same bytes for any number of threads") {
  const ScratchFolder scratch;
  dequantize(golden("rtn/NVFP4"), scratch / "one", 1);
  dequantize(golden("rtn/NVFP4"), scratch / "three", 3);
  CHECK(read_text(scratch / "one/model.safetensors") == read_text(scratch / "three/model.safetensors"));
}

TEST_CASE("what cannot be dequantized is refused in one line, and nothing is left") {
  const ScratchFolder scratch;
  CHECK_THAT(error_of(golden("micro-llama"), scratch / "out"), Contains("nothing to dequantize"));
  FolderEditor other(golden("micro-llama"));
  other.config.set("quantization_config",
                   JsonValue::object({{"quant_method", JsonValue::from_string("gptq")}}));
  other.save(scratch / "gptq");
  CHECK_THAT(error_of(scratch / "gptq", scratch / "out"), Contains("'gptq'"));
  FolderEditor rotated(golden("recipes/spinquant_w4a16"));
  rotated.at({"quantization_config", "transform_config", "config_groups", "R1", "apply"})
      .items[0]
      .set("location", JsonValue::from_string("input"));
  rotated.save(scratch / "rotated");
  CHECK_THAT(error_of(scratch / "rotated", scratch / "out"), Contains("transform 'R1'"));
  FolderEditor lost(golden("rtn/W4A16"));
  lost.tensors.erase("model.layers.0.mlp.up_proj.weight_scale");
  lost.save(scratch / "lost");
  CHECK_THAT(error_of(scratch / "lost", scratch / "out"),
             Contains("model.layers.0.mlp.up_proj.weight_scale"));
  CHECK_FALSE(std::filesystem::exists(scratch / "out"));
}

TEST_CASE("a tied model stays tied") {
  const ScratchFolder scratch;
  OneshotOptions options;
  options.model_dir = golden("archs/llama_bias_tied");
  options.scheme = "FP8_DYNAMIC";
  options.output_dir = scratch / "fp8";
  oneshot(options, *make_cpu_backend({2, ""}), {});
  dequantize(scratch / "fp8", scratch / "plain");
  const Checkpoint source(options.model_dir), plain(scratch / "plain");
  CHECK(std::set<std::string>(plain.names().begin(), plain.names().end()) ==
        std::set<std::string>(source.names().begin(), source.names().end()));
  CHECK(plain.config().find("\"tie_word_embeddings\": true") != std::string::npos);
}
