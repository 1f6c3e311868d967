#include "core/files/weight_reader.hpp"

#include <catch2/catch.hpp>

#include "core/folder_tools.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using Catch::Contains;

namespace {

std::vector<float> read(const Checkpoint& folder, const WeightRef& ref) {
  const Tensor tensor = WeightReader(folder, ref).read_all();
  std::vector<float> values(static_cast<size_t>(tensor.size()));
  to_float(tensor, values.data());
  return values;
}

}  // namespace

TEST_CASE("a weight is a tensor, rows of it, a matrix of a stack, or one that lies the other way round") {
  const test::ScratchFolder scratch;
  const std::string folder = scratch / "in", file = "model.safetensors";
  test::write_folder(folder,
                     {{file, "fused", DType::f32, {3, 2}, {1, 2, 3, 4, 5, 6}},
                      {file, "stack", DType::bf16, {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8}},
                      {file, "vector", DType::f32, {4}, {1, 2, 3, 4}}});
  const Checkpoint checkpoint(folder);
  struct Row {
    WeightRef ref;
    Shape shape;
    std::vector<float> values;
  };
  const std::vector<Row> rows = {
      {{"fused"}, {3, 2}, {1, 2, 3, 4, 5, 6}},
      {{.tensor = "fused", .first_row = 1}, {2, 2}, {3, 4, 5, 6}},
      {{.tensor = "fused", .first_row = 1, .rows = 1}, {1, 2}, {3, 4}},
      {{.tensor = "fused", .transposed = true}, {2, 3}, {1, 3, 5, 2, 4, 6}},
      {{.tensor = "fused", .first_row = 1, .rows = 1, .transposed = true}, {1, 3}, {2, 4, 6}},
      {{.tensor = "stack", .index = 1}, {2, 2}, {5, 6, 7, 8}},
      {{.tensor = "stack", .index = 1, .first_row = 1, .rows = 1}, {1, 2}, {7, 8}},
      {{.tensor = "stack", .index = 1, .transposed = true}, {2, 2}, {5, 7, 6, 8}},
      {{.tensor = "vector", .first_row = 2, .rows = 2}, {2}, {3, 4}}};
  for (const Row& row : rows) {
    CAPTURE(row.ref.tensor, row.ref.index, row.ref.first_row, row.ref.transposed);
    CHECK(WeightReader(checkpoint, row.ref).info().shape == row.shape);
    CHECK(read(checkpoint, row.ref) == row.values);
  }

  const std::vector<std::pair<WeightRef, const char*>> wrong = {
      {{.tensor = "fused", .index = 0}, "tensor 'fused' of shape [3, 2] has no matrix 0"},
      {{.tensor = "stack", .index = 2}, "tensor 'stack' of shape [2, 2, 2] has no matrix 2"},
      {{.tensor = "fused", .first_row = 2, .rows = 2},
       "tensor 'fused' of shape [3, 2] has no 2 rows from row 2 on"},
      {{.tensor = "fused", .first_row = -1}, "has no 0 rows from row -1 on"},
      {{.tensor = "vector", .transposed = true}, "has no rows and columns to exchange"},
      {{.tensor = "fused", .first_row = INT64_MAX, .rows = INT64_MAX},
       "has no 9223372036854775807 rows from row 9223372036854775807 on"}};
  for (const auto& [ref, text] : wrong)
    CHECK_THROWS_WITH(WeightReader(checkpoint, ref), Contains(text) && Contains(folder));
}

TEST_CASE("pieces of a weight are those of the whole, wherever they are cut") {
  const test::ScratchFolder scratch;
  const std::string folder = scratch / "in";
  test::write_folder(folder, {{"model.safetensors", "w", DType::bf16, {2, 70, 130}}});
  const Checkpoint checkpoint(folder);
  for (const bool transposed : {false, true}) {
    const WeightRef ref{.tensor = "w", .index = 1, .first_row = 3, .rows = 60, .transposed = transposed};
    WeightReader reader(checkpoint, ref);
    const Tensor whole = reader.read_all();
    std::vector<std::byte> pieces(static_cast<size_t>(whole.bytes()));
    for (int64_t at = 0; at < whole.bytes(); at += 1001)
      reader.read(at, std::min<int64_t>(1001, whole.bytes() - at), pieces.data() + at);
    CHECK(std::equal(pieces.begin(), pieces.end(), whole.data()));
  }
}
