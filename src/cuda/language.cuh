// What kernels are written in, beyond plain CUDA: one way to launch, one way to get shared memory, and the
// warp instructions that C++ has no words for. Without nvcc the same sources are C++ for the emulator
// (tests/cuda_emulation), which brings its own cuda_runtime.h.
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "core/quantize/number_formats.hpp"
#include "cuda/check.hpp"

// Launches `kernel` and checks the launch. More than 48 KB of shared memory need leave first.
#if defined(__CUDACC__)
#define LLMC_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                      \
  do {                                                                                                   \
    const auto llmc_kernel = kernel;                                                                     \
    if ((shared_bytes) > 48 << 10)                                                                       \
      ::llmc::cuda::check(cudaFuncSetAttribute(llmc_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, \
                                               static_cast<int>(shared_bytes)),                          \
                          #kernel);                                                                      \
    llmc_kernel<<<grid, block, shared_bytes, stream>>>(__VA_ARGS__);                                     \
    ::llmc::cuda::check(cudaGetLastError(), #kernel);                                                    \
  } while (false)
#else
#define LLMC_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  static_cast<void>(stream),                                        \
      ::llmc::emulation::launch_kernel(#kernel, kernel, grid, block, shared_bytes, __VA_ARGS__)
#endif

namespace llmc::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xFFFFFFFFu;

__host__ __device__ constexpr int64_t divide_up(int64_t count, int64_t size) {
  return (count + size - 1) / size;
}
__host__ __device__ constexpr int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

// The block's shared memory as a T; the launch gives sizeof(T) bytes.
template <class T>
__device__ inline T& shared_memory() {
#if defined(__CUDACC__)
  extern __shared__ __align__(128) unsigned char llmc_shared_bytes[];
  return *reinterpret_cast<T*>(llmc_shared_bytes);
#else
  return *reinterpret_cast<T*>(emulation::position().shared);
#endif
}

// ---- numbers

// Values between nodes: float or bf16 bits.
struct Bf16 {
  uint16_t bits;
};
struct Half {
  uint16_t bits;
};
__device__ inline float to_float(float value) { return value; }
__device__ inline float to_float(Half value) { return float_from_f16(value.bits); }
__device__ inline float to_float(Bf16 value) { return float_from_bf16(value.bits); }
template <class T>
__device__ inline T from_float(float value);
template <>
__device__ inline float from_float<float>(float value) {
  return value;
}
template <>
__device__ inline Bf16 from_float<Bf16>(float value) {
  return {bf16_from_float(value)};
}
template <>
__device__ inline Half from_float<Half>(float value) {
  return {f16_from_float(value)};
}

// Two floats as two bf16, the first in the low half.
__device__ inline uint32_t pack_bf16(float low, float high) {
  return bf16_from_float(low) | (static_cast<uint32_t>(bf16_from_float(high)) << 16);
}

// ---- reductions; every lane gets the result, always summed in the same order

__device__ inline float warp_sum(float value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}
__device__ inline double warp_sum(double value) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}
__device__ inline float warp_max(float value) {
  for (int step = kWarp / 2; step > 0; step /= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}
__device__ inline float warp_min(float value) {
  for (int step = kWarp / 2; step > 0; step /= 2)
    value = fminf(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}

// Over the block. `partial`: one number per warp, in shared memory; free for use again after the next
// __syncthreads().
template <class T, class WarpReduce>
__device__ inline T block_reduce(T value, T* partial, T neutral, const WarpReduce& reduce) {
  value = reduce(value);
  const int warps = static_cast<int>(blockDim.x) / kWarp;
  if (threadIdx.x % kWarp == 0) partial[threadIdx.x / kWarp] = value;
  __syncthreads();
  value = static_cast<int>(threadIdx.x % kWarp) < warps ? partial[threadIdx.x % kWarp] : neutral;
  return reduce(value);
}

// ---- tensor cores: D[16][8] += A[16][16] B[16][8], bf16 with float32 sums.
// Fragments are laid out as in the PTX manual, mma.m16n8k16:
// lane = 4 * group + member. A: {rows group, group + 8} x {columns 2 * member, 2 * member + 8} in pairs; B:
// columns of k likewise for column `group`; D: {rows group, group + 8} x columns {2 * member, 2 * member +
// 1}.
__device__ inline void multiply_add_16x8x16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if defined(__CUDACC__)
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  const uint32_t mine[6] = {a[0], a[1], a[2], a[3], b0, b1};
  const std::byte* const lanes = emulation::exchange_in_warp(mine, sizeof mine);
  const int lane = static_cast<int>(threadIdx.x % kWarp), group = lane / 4, member = lane % 4;
  const auto half = [&](int from, int word, int side) {
    uint32_t bits;
    __builtin_memcpy(&bits, lanes + 64 * from + 4 * word, 4);
    return float_from_bf16(static_cast<uint16_t>(side ? bits >> 16 : bits));
  };
  for (int i = 0; i < 4; ++i) {
    const int column = 2 * member + i % 2;  // of B; its lanes are 4 * column + ...
    float sum = d[i];
    for (int k = 0; k < 16; ++k) {
      const int holder = k % 8 / 2, side = k % 2, upper = k / 8;
      sum += half(4 * group + holder, i / 2 + 2 * upper, side) * half(4 * column + holder, 4 + upper, side);
    }
    d[i] = sum;
  }
#endif
}

// Four 8x8 matrices of 16-bit numbers from shared memory: lane l gives the address of row l % 8 of matrix l /
// 8; each lane gets two neighbours of row lane / 4, columns 2 * (lane % 4) and the next, of every matrix.
// Transposed: of the transposed matrices.
template <bool transposed>
__device__ inline void load_matrices(uint32_t (&out)[4], const uint16_t* row) {
#if defined(__CUDACC__)
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address));
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(address));
#else
  uint16_t mine[8];
  __builtin_memcpy(mine, __builtin_assume_aligned(row, 16), sizeof mine);
  const std::byte* const rows = emulation::exchange_in_warp(mine, sizeof mine);
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const auto at = [&](int matrix, int r, int c) {
    uint16_t bits;
    __builtin_memcpy(&bits, rows + 64 * (8 * matrix + r) + 2 * c, 2);
    return static_cast<uint32_t>(bits);
  };
  for (int matrix = 0; matrix < 4; ++matrix) {
    const int r = lane / 4, c = 2 * (lane % 4);
    out[matrix] = transposed ? at(matrix, c, r) | (at(matrix, c + 1, r) << 16)
                             : at(matrix, r, c) | (at(matrix, r, c + 1) << 16);
  }
#endif
}

// ---- copies from global to shared memory that run beside the arithmetic, 16 bytes each;
// `valid` of them are read, zeros fill the rest

__device__ inline void copy_16_bytes(void* shared, const void* global, int valid) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(valid));
#else
  emulation::copy_later(shared, global, static_cast<size_t>(valid), static_cast<size_t>(16 - valid));
#endif
}
__device__ inline void commit_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;");
#else
  emulation::commit_copies();
#endif
}
template <int pending>
__device__ inline void wait_for_copies() {  // until at most `pending` groups are under way
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(pending));
#else
  emulation::wait_for_copies(pending);
#endif
}

}  // namespace llmc::cuda
