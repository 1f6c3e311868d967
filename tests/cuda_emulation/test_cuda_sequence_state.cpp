// Sequences that go on in pieces, on the device: float32 values as in one piece but for 1e-5 of the largest,
// bfloat16 ones but for two of its steps (the softmax of a block of keys begins elsewhere).
#include "cpu/sequence_pieces.hpp"
#include "cuda_test_tools.hpp"

using namespace llmc;
using namespace llmc::test;

TEST_CASE("device: sequences that go on in pieces get the values that they get in one") {
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const int64_t window : {0, 70}) {
      CAPTURE(dtype_name(dtype), window);
      const double tolerance = dtype == DType::f32 ? 1e-5 : 0.0157;
      const WholeAndPieces got = run_both(*cuda_backend(), dtype, window);
      CHECK(largest_difference(got.pieces, got.whole) <= tolerance);
      CHECK(largest_difference(got.pieces, run_both(*backend(), dtype, window).pieces) <= tolerance);
    }
}
