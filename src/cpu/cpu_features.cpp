#include "cpu/cpu_features.hpp"

#include <algorithm>

#include "llmc/error.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace llmc::cpu {
namespace {

#if defined(__x86_64__)
constexpr IsaLevel kLevels[] = {
    {"sse4", VectorLevel::sse4, MatrixUnit::none},
    {"avx2", VectorLevel::avx2, MatrixUnit::none},
    {"avx512", VectorLevel::avx512, MatrixUnit::none},
    {"avx512_bf16", VectorLevel::avx512, MatrixUnit::avx512_bf16},
    {"amx_bf16", VectorLevel::avx512, MatrixUnit::amx_bf16},
};

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d);
  return r;
}

bool has(unsigned word, std::initializer_list<int> bits) {
  return std::all_of(bits.begin(), bits.end(), [word](int bit) { return (word >> bit) & 1; });
}

unsigned saved_states() {  // XCR0: the register files that the operating system saves
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool vectors_available(VectorLevel level) {
  const Registers one = cpuid(1, 0), seven = cpuid(7, 0), extended = cpuid(0x80000001u, 0);
  const bool sse4 = has(one.c, {0, 1, 9, 19, 20, 25});  // SSE3, PCLMUL, SSSE3, SSE4.1, SSE4.2, AES
  if (level == VectorLevel::baseline) return true;
  if (level == VectorLevel::sse4) return sse4;
  if (!sse4 || !has(one.c, {12, 27, 28, 29})) return false;  // FMA, OSXSAVE, AVX, F16C
  const unsigned states = saved_states();
  // BMI1, AVX2, BMI2, LZCNT
  const bool avx2 = has(states, {1, 2}) && has(seven.b, {3, 5, 8}) && has(extended.c, {5});
  if (level == VectorLevel::avx2) return avx2;
  return avx2 && has(states, {5, 6, 7}) && has(seven.b, {16, 17, 28, 30, 31});  // AVX512 F, DQ, CD, BW, VL
}

bool amx_permitted() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return has(saved_states(), {17, 18}) && syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

bool matrix_unit_available(MatrixUnit unit) {
  if (unit == MatrixUnit::none) return true;
  const bool dot_product = has(cpuid(7, 1).a, {5});
  if (unit == MatrixUnit::avx512_bf16) return dot_product;
  return dot_product && has(cpuid(7, 0).d, {22, 24}) && amx_permitted();
}
#else
constexpr IsaLevel kLevels[] = {{"baseline", VectorLevel::baseline, MatrixUnit::none}};
bool vectors_available(VectorLevel level) { return level == VectorLevel::baseline; }
bool matrix_unit_available(MatrixUnit unit) { return unit == MatrixUnit::none; }
#endif

std::string joined_names() {
  std::string text;
  for (const std::string& name : cpu_isa_names()) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::span<const IsaLevel> isa_levels() { return kLevels; }

bool is_available(const IsaLevel& level) {
  return vectors_available(level.vectors) && matrix_unit_available(level.bf16);
}

std::vector<std::string> cpu_isa_names() {
  std::vector<std::string> names;
  for (const IsaLevel& level : kLevels)
    if (is_available(level)) names.emplace_back(level.name);
  return names;
}

const IsaLevel& choose_isa(std::string_view name) {
  if (name.empty()) {
    for (size_t i = std::size(kLevels); i-- > 0;)
      if (is_available(kLevels[i])) return kLevels[i];
    throw Error(ErrorCode::unsupported, "cpu: this processor lacks SSE4, which the CPU backend needs");
  }
  for (const IsaLevel& level : kLevels) {
    if (level.name != name) continue;
    if (!is_available(level))
      throw Error(ErrorCode::unsupported,
                  "cpu: instruction set '" + std::string(name) +
                      "' is not available here, these are: " + joined_names());
    return level;
  }
  throw Error(ErrorCode::invalid_argument,
              "cpu: unknown instruction set '" + std::string(name) + "', available are: " + joined_names());
}

}  // namespace llmc::cpu
