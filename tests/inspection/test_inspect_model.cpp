#include <catch2/catch.hpp>

#include "folder_editor.hpp"
#include "llmc/error.hpp"
#include "llmc/inspection.hpp"

using namespace llmc;
using namespace llmc::test;

namespace {

const InspectReport::Row& row_named(const InspectReport& report, const std::string& name) {
  for (const auto& row : report.rows)
    if (row.name == name) return row;
  throw Error(ErrorCode::not_found, "no row " + name);
}

}  // namespace

TEST_CASE("inspect counts layers together and scales into bits per weight") {
  const InspectReport report = inspect_model(golden("rtn/W4A16"));
  CHECK(report.method == "compressed-tensors");
  CHECK(report.format == "pack-quantized");
  CHECK(report.ignored == std::vector<std::string>{"lm_head"});
  CHECK(report.tensors == 49);
  // two of [128, 256]: 4 bits, a 16-bit scale per 128, 16 bytes of weight_shape
  const auto& down = row_named(report, "model.layers.*.mlp.down_proj");
  CHECK(down.count == 2);
  CHECK(down.scheme == "int4 group 128");
  CHECK(down.format == "pack-quantized");
  CHECK(down.dtypes == std::vector<std::string>{"I32", "BF16"});
  CHECK(down.shape == "[128, 256]");
  CHECK(down.parameters == 2 * 128 * 256);
  CHECK(down.bytes == 2 * (128 * 256 / 2 + 128 * 2 * 2 + 16));
  CHECK(down.bits_per_weight() == Approx(4 + 16.0 / 128 + 128.0 / (128 * 256)));
  CHECK(row_named(report, "lm_head.weight").scheme.empty());
  CHECK(row_named(report, "lm_head.weight").part == "head");
  int64_t bytes = 0;
  for (const auto& part : report.parts) bytes += part.bytes;
  CHECK(bytes == Checkpoint(golden("rtn/W4A16")).total_bytes());
  CHECK(report.bytes == bytes);
}

TEST_CASE("inspect tells the same number of weights before and after compression, in every format") {
  const int64_t weights = inspect_model(golden("micro-llama")).parameters;
  for (const char* kind : {"rtn", "recipes"})
    for (const auto& entry : std::filesystem::directory_iterator(golden(kind))) {
      INFO(entry.path());
      const InspectReport report = inspect_model(entry.path().string());
      CHECK(report.parameters == weights);
      CHECK(report.bytes == Checkpoint(entry.path().string()).total_bytes());
    }
}

TEST_CASE("inspect reads no tensor: a folder whose data is gone shows the same") {
  const ScratchFolder scratch;
  const std::string whole = golden("rtn/NVFP4A16");
  std::filesystem::copy(whole, scratch / "hollow");
  const Checkpoint folder(whole);
  const std::string file = scratch / "hollow/model.safetensors";
  const auto size = std::filesystem::file_size(file);
  std::filesystem::permissions(file, std::filesystem::perms::owner_write, std::filesystem::perm_options::add);
  // the header stays
  std::filesystem::resize_file(file, size - static_cast<uintmax_t>(folder.total_bytes()));
  // zeros instead of data
  std::filesystem::resize_file(file, size);
  CHECK(to_json(inspect_model(scratch / "hollow")) == to_json(inspect_model(whole)));
}

TEST_CASE("inspect takes plain folders, mixtures and other methods' folders") {
  const InspectReport mixture = inspect_model(golden("archs/mixtral"));
  CHECK(mixture.method.empty());
  CHECK(row_named(mixture, "model.layers.*.block_sparse_moe.experts.*.w1.weight").part == "experts");
  FolderEditor folder(golden("micro-llama"));
  folder.config.set("quantization_config",
                    JsonValue::object({{"quant_method", JsonValue::from_string("awq")}}));
  const ScratchFolder scratch;
  folder.save(scratch / "awq");
  CHECK(inspect_model(scratch / "awq").method == "awq");
  CHECK_THROWS_AS(inspect_model(scratch / "nowhere"), Error);
}
