#include <catch2/catch.hpp>

#include "folder_editor.hpp"
#include "llmc/backend/make_backend.hpp"
#include "llmc/error.hpp"
#include "llmc/inspection.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

const std::string kUp = "model.layers.1.mlp.up_proj";

DiffReport diff(const std::string& a, const std::string& b) {
  const auto backend = make_cpu_backend({2, ""});
  return diff_models(a, b, *backend);
}

}  // namespace

TEST_CASE("a folder is identical to itself, whatever its format") {
  for (const char* folder : {"rtn/W4A16", "rtn/FP8_BLOCK", "rtn/NVFP4", "rtn/MXFP4", "recipes/static_int8",
                             "recipes/kv_fp8", "recipes/sparsegpt_24", "micro-llama"}) {
    INFO(folder);
    const DiffReport report = diff(golden(folder), golden(folder));
    CHECK(report.identical());
    CHECK(report.codes == report.equal_codes);
    CHECK(report.equal_tensors == static_cast<int64_t>(Checkpoint(golden(folder)).names().size()));
  }
}

TEST_CASE("one code, one scale, one tensor, one key: each difference is counted where it is") {
  const ScratchFolder scratch;
  FolderEditor folder(golden("rtn/W4A16"));
  folder.tensors.at(kUp + ".weight_packed").as<uint32_t>()[0] ^= 1u;  // the lowest bit of the first code
  folder.set_number("model.layers.0.mlp.up_proj.weight_scale", 0,
                    folder.number("model.layers.0.mlp.up_proj.weight_scale", 0) * 2);
  folder.set_number("model.norm.weight", 3, 7.0f);
  folder.tensors.erase("lm_head.weight");
  folder.tensors["extra"] = Tensor::zeros(DType::f32, {2});
  folder.weights().set("observer", JsonValue::from_string("mse"));
  folder.config.set("added", JsonValue::from_int(1));
  folder.save(scratch / "changed");

  const DiffReport report = diff(golden("rtn/W4A16"), scratch / "changed");
  CHECK_FALSE(report.identical());
  CHECK(report.codes - report.equal_codes == 1);
  CHECK(report.different == std::vector<std::string>{"model.norm.weight"});
  CHECK(report.only_a == std::vector<std::string>{"lm_head.weight"});
  CHECK(report.only_b == std::vector<std::string>{"extra"});
  REQUIRE(report.config.size() == 2);
  CHECK(report.config[0].path == "added");
  CHECK(report.config[0].a.empty());
  CHECK(report.config[0].b == "1");
  CHECK(report.config[1].path == "quantization_config.config_groups.group_0.weights.observer");
  CHECK(report.config[1].a == "\"memoryless_minmax\"");
  for (const auto& row : report.matrices) {
    INFO(row.module);
    const bool first = row.module == "model.layers.0.mlp.up_proj", second = row.module == kUp;
    CHECK(row.equal == !(first || second));
    CHECK(row.scale_difference == (first ? 0.5 : 0.0));
    CHECK((row.weight_difference > 0) == (first || second));
    CHECK(row.codes - row.equal_codes == (second ? 1 : 0));
  }
}

TEST_CASE("folders of different schemes are compared by the weights they decode to") {
  const DiffReport report = diff(golden("rtn/INT8"), golden("micro-llama"));
  REQUIRE(report.matrices.size() == 14);
  for (const auto& row : report.matrices) {
    CHECK(row.codes == 0);
    CHECK(row.scheme_b.empty());
    CHECK((row.weight_difference > 0.001 && row.weight_difference < 0.02));
  }
  CHECK(report.only_a.empty());
  CHECK_THROWS_AS(diff(golden("rtn/INT8"), "/nonexistent"), Error);
}
