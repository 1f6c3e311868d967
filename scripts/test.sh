#!/usr/bin/env bash
# Builds llmc and runs every test: unit, golden and end-to-end, then the unit tests again under AddressSanitizer and UBSan.
# usage: test.sh [--no-sanitizers]
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin"
scripts/install_dependencies.sh test
mkdir -p build
scripts/fetch_cuda.sh build/cuda-toolkit || echo "test.sh: NVIDIA's wheels cannot be fetched: the CUDA module is not compiled (its kernels are still run on the emulator)"
scripts/build_release.sh test
if [ "${1:-}" != --no-sanitizers ]; then
  cmake --preset asan > build/asan.log || { cat build/asan.log; exit 1; }
  cmake --build --preset asan
  ctest --test-dir build/asan --output-on-failure -j "$(nproc)" | tail -n 40
fi
ctest --test-dir build/release --output-on-failure -j "$(nproc)" | tail -n 60
