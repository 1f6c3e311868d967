#!/usr/bin/env bash
# Compiles the CUDA module for every architecture it supports, without warnings, and checks what ptxas says of each kernel. usage: compile_cuda.sh [TOOLKIT]
# Without a toolkit NVIDIA's wheels are fetched to build/cuda-toolkit.
set -euo pipefail
cd "$(dirname "$0")/.."
root=${1:-$PWD/build/cuda-toolkit}
[ -x "$root/bin/nvcc" ] || scripts/fetch_cuda.sh "$root"
cmake -S . -B build/cuda -G Ninja -DCMAKE_BUILD_TYPE=Release -DLLMC_CUDA=ON -DLLMC_CUDA_ROOT="$root" -DLLMC_CUDA_ARCHITECTURES="80;86;89;90;100;120" -DLLMC_TESTS=OFF -DLLMC_TEXT=OFF -DLLMC_WERROR=ON > build/cuda.log 2>&1 || { cat build/cuda.log; exit 1; }
cmake --build build/cuda --target llmc_cuda
python3 tests/scripts/cuda_resources.py build/cuda "${@:2}"
