#!/usr/bin/env bash
# Builds build/release: the command, the library and, with `test`, the tests. usage: build_release.sh [test]
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin"
tests=OFF; [ "${1:-}" = test ] && tests=ON
cuda=(-DLLMC_CUDA=OFF)
[ $tests = ON ] && [ -e build/cuda-toolkit/complete ] && cuda=(-DLLMC_CUDA=ON -DLLMC_CUDA_ROOT="$PWD/build/cuda-toolkit" -DLLMC_CUDA_ARCHITECTURES=90)
cmake --preset release -DLLMC_WERROR=ON -DLLMC_TESTS=$tests "${cuda[@]}" > build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
cmake --build --preset release
