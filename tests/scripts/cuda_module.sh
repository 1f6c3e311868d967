#!/usr/bin/env bash
# The CUDA module as nvcc made it: what it exports, that no kernel that matters spills, that libllmc.so needs none of it, and what is said where there is no GPU.
# usage: cuda_module.sh SOURCE BUILD
set -euo pipefail
source=$1 build=$2
[ "$(nm -D --defined-only "$build/libllmc_cuda.so" | awk '{print $3}')" = llmc_cuda_open ] || { echo "libllmc_cuda.so exports more than llmc_cuda_open"; nm -D --defined-only "$build/libllmc_cuda.so"; exit 1; }
if readelf -d "$build/libllmc.so" | grep -iE 'NEEDED.*(cuda|cublas|cusolver)'; then echo "libllmc.so needs CUDA"; exit 1; fi
python3 "$source/tests/scripts/cuda_resources.py" "$build"
[ -e /dev/nvidia0 ] && { echo "there is a GPU: scripts/check_gpu.sh checks the rest"; exit 0; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
if "$build/llmc" oneshot --model "$source/tests/golden/micro-llama" --scheme W4A16 --output "$out/x" --device cuda > "$out/text" 2>&1; then echo "a run on cuda passed without a GPU"; exit 1; fi
grep -q 'device cuda: no usable GPU: ' "$out/text" || { echo "wanted 'no usable GPU', got:"; cat "$out/text"; exit 1; }
"$build/llmc" oneshot --model "$source/tests/golden/micro-llama" --scheme W4A16 --output "$out/x" --device auto --json 2> /dev/null | grep -q 'ran on the CPU: device cuda: no usable GPU' || { echo "--device auto does not say why it ran on the CPU"; exit 1; }
echo "module, its exports, its resources and its errors are as they should be"
