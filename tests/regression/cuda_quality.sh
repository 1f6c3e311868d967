#!/usr/bin/env bash
# Quality of W4A16 GPTQ from the emulated device beside the CPU's: tiny-llama, 16 chats, KL to the original. usage: cuda_quality.sh [SCHEME]
set -euo pipefail
cd "$(dirname "$0")/../.."
scheme=${1:-W4A16}
build=build/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
printf 'quant_stage:\n  quant_modifiers:\n    GPTQModifier: {targets: [Linear], ignore: [lm_head], scheme: %s}\n' "$scheme" > "$work/recipe.yaml"
for device in cpu cuda; do
  "$build/llmc" oneshot --model examples/tiny-llama --recipe "$work/recipe.yaml" --dataset examples/tiny-llama/calibration.jsonl --num-calibration-samples 16 --max-seq-length 256 --quiet \
    --device "$device" --cuda-module "$build/cuda_emulation/libllmc_cuda.so" --output "$work/$device"
  "$build/llmc" eval --model "$work/$device" --reference examples/tiny-llama --text examples/tiny-llama/eval.txt --json > "$work/$device.json"
done
python3 - "$work" <<'PYTHON'
import json, sys
kl = {device: json.load(open(f"{sys.argv[1]}/{device}.json"))["kl"] for device in ("cpu", "cuda")}
print(f"KL cpu {kl['cpu']:.6f}, emulated device {kl['cuda']:.6f}, ratio {kl['cuda'] / kl['cpu']:.4f}")
sys.exit(not abs(kl["cuda"] / kl["cpu"] - 1) <= 0.05)
PYTHON
