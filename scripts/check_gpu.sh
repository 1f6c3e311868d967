#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds the CUDA module, runs every test of it on the device (under compute-sanitizer too, where there is one), measures each kernel
# against its limit and a whole run on Llama-3-8B-shaped layers. Writes one JSON file. usage: check_gpu.sh [OUTPUT.json]
# Environment: LLMC_CUDA_ROOT, a CUDA 13 toolkit; without one NVIDIA's wheels are fetched to build/cuda-toolkit.
set -euo pipefail
output=$(realpath -m "${1:-gpu.json}")
cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin"
[ -e /dev/nvidia0 ] || { echo "check_gpu.sh: no /dev/nvidia0: this machine shows no GPU"; exit 2; }
scripts/install_dependencies.sh test
root=${LLMC_CUDA_ROOT:-}
if [ -z "$root" ]; then
  root=$PWD/build/cuda-toolkit
  scripts/fetch_cuda.sh "$root"
fi
architectures=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | tr -d . | sort -un | tr '\n' ';')
cmake --preset release -DLLMC_CUDA=ON -DLLMC_CUDA_ROOT="$root" -DLLMC_CUDA_ARCHITECTURES="$architectures" -DLLMC_TESTS=ON > build/configure.log 2>&1 || { cat build/configure.log; exit 1; }
cmake --build --preset release --target llmc_cli llmc_cuda llmc_gpu_tests llmc_kernel_ladder

tests=build/release/llmc_gpu_tests
"$tests" | tee build/gpu_tests.txt | tail -n 3
sanitizer=missing
for tool in compute-sanitizer "$root/bin/compute-sanitizer"; do
  command -v "$tool" > /dev/null || continue
  sanitizer=passed
  for check in memcheck racecheck synccheck; do
    "$tool" --tool "$check" --error-exitcode 9 "$tests" "device: attention*,device: grams*,device: GPTQ on random*,device: rows*,device: norms*" > "build/gpu_$check.txt" 2>&1 || { sanitizer="$check failed"; tail -n 20 "build/gpu_$check.txt"; }
  done
  break
done
echo "compute-sanitizer: $sanitizer"
build/release/llmc_kernel_ladder | tee build/gpu_kernels.jsonl

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 benchmarks/make_random_llama.py "$work/model" --hidden 4096 --intermediate 14336 --layers 4 --heads 32 --kv-heads 8
python3 - "$work/data.jsonl" <<'PYTHON'
import json, random, sys
random.seed(0)
with open(sys.argv[1], "w") as f:
    for _ in range(512): f.write(json.dumps({"input_ids": [random.randrange(1000) for _ in range(2048)]}) + "\n")
PYTHON
for scheme in W4A16 W8A8; do
  printf 'quant_stage:\n  quant_modifiers:\n    GPTQModifier: {targets: [Linear], ignore: [lm_head], scheme: %s}\n' "$scheme" > "$work/recipe.yaml"
  build/release/llmc oneshot --model "$work/model" --recipe "$work/recipe.yaml" --dataset "$work/data.jsonl" --num-calibration-samples 512 --max-seq-length 2048 --device cuda --output "$work/$scheme" --json > "$work/$scheme.json"
done
python3 - "$work" "$output" "$sanitizer" <<'PYTHON'
import json, subprocess, sys
work, output, sanitizer = sys.argv[1:]
query = lambda what: subprocess.run(["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
runs = {}
for scheme in ("W4A16", "W8A8"):
    report = json.load(open(f"{work}/{scheme}.json"))
    runs[scheme] = {key: report[key] for key in ("device", "seconds", "calibration_seconds", "quantization_seconds", "writing_seconds", "tokens", "peak_memory")}
    runs[scheme]["layers"] = 4
    runs[scheme]["seconds_for_32_layers"] = report["seconds"] * 8
json.dump({"gpu": query("name"), "driver": query("driver_version"), "tests": open("build/gpu_tests.txt").read().strip().splitlines()[-1], "compute_sanitizer": sanitizer,
           "kernels": [json.loads(line) for line in open("build/gpu_kernels.jsonl")], "oneshot": runs}, open(output, "w"), indent=1)
print("written to", output)
PYTHON
