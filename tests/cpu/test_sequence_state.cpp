#include <catch2/catch.hpp>

#include "cpu/sequence_pieces.hpp"
#include "llmc/error.hpp"

using namespace llmc;
using namespace llmc::test;

TEST_CASE("sequences that go on in pieces get the bits that they get in one") {
  for (const std::string& isa : cpu::cpu_isa_names())
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const int64_t window : {0, 70}) {
        CAPTURE(isa, dtype_name(dtype), window);
        const WholeAndPieces got = run_both(*backend(isa), dtype, window);
        CHECK(got.whole == got.pieces);
      }
}

TEST_CASE("a state of other sequences, or of a batch that did not advance it, is refused") {
  const TinyModel model(0);
  const auto cpu = backend();
  const auto message = [&](const Piece& piece, SequenceState& state) {
    try {
      run_piece(*cpu, model, DType::f32, piece, &state);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  SequenceState state;
  REQUIRE(message({{0, 0}, {3, 2}}, state) == "no error");
  CHECK(message({{3}, {4}}, state) == "cpu: a state of 2 sequences, wanted the 1 of the batch");
  state.past = {3, 3};
  CHECK(message({{3, 3}, {4, 4}}, state) ==
        "cpu: node '': its state holds F32 [5, 16], wanted F32 [6, 16] of the past tokens");
}
