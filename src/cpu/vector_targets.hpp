// Highway compiles a kernel file once per target; this picks one of the copies by level, without Highway's
// global state.
//
//   namespace HWY_NAMESPACE { ... constexpr FooKernels kFoo{...}; }
//   #if HWY_ONCE
//   const FooKernels& foo_kernels(VectorLevel level) { return LLMC_CPU_PICK(level, kFoo); }
//   #endif
//
// Include it before hwy/foreach_target.h.
#pragma once
#ifndef HWY_DISABLED_TARGETS
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif
#include "cpu/cpu_features.hpp"

#if defined(__x86_64__)
#define LLMC_CPU_PICK(level, table)                                \
  ((level) == ::llmc::cpu::VectorLevel::avx512     ? N_AVX3::table \
       : (level) == ::llmc::cpu::VectorLevel::avx2 ? N_AVX2::table \
       : (level) == ::llmc::cpu::VectorLevel::sse4 ? N_SSE4::table \
                                                   : HWY_NAMESPACE::table)
#else
#define LLMC_CPU_PICK(level, table) (static_cast<void>(level), HWY_NAMESPACE::table)
#endif
