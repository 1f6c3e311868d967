// H = R R^T with R upper triangular: what GPTQ needs instead of an inverse (its Cholesky factor of H^-1 is
// R^-1).
#pragma once
#include <vector>

#include "cpu/gemm.hpp"

namespace llmc::cpu {

constexpr int64_t kFactorBlock = 128;  // columns of a diagonal block

// `work` [n, n]: on entry its lower triangle is J H J (H with rows and columns reversed); on success it is R,
// upper, zeros below.
// `inverses` [blocks][128, 128]: inverse of each diagonal block R[b : b + 128, b : b + 128], upper,
// zero-padded. False on a pivot that is not positive and finite; `work` is then garbage.
bool factor_reversed(Engine& engine, float* work, int64_t n, float* inverses);

}  // namespace llmc::cpu
