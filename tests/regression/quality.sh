#!/usr/bin/env bash
# Compresses tiny-llama by its three recipes and prints the quality as rows for quality.csv: perplexity, KL to the original, top-1 agreement,
# and KL as a ratio to llm-compressor's own (examples/tiny-llama/peer.json). Needs build/release/llmc and python3.
set -euo pipefail
cd "$(dirname "$0")/../.."
llmc=build/release/llmc model=examples/tiny-llama work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for recipe in w4a16 w8a8 fp8; do
  data=(--dataset $model/calibration.jsonl --num-calibration-samples 512 --max-seq-length 2048)
  [ $recipe = fp8 ] && data=()
  $llmc oneshot --model $model --recipe $model/recipes/$recipe.yaml "${data[@]}" --output "$work/$recipe" --quiet
  $llmc eval --model "$work/$recipe" --reference $model --text $model/eval.txt --json > "$work/$recipe.json"
  python3 - "$recipe" "$work/$recipe.json" $model/peer.json <<'PY'
import datetime, json, sys
recipe, ours, peer = sys.argv[1], json.load(open(sys.argv[2])), json.load(open(sys.argv[3]))["compressed"][sys.argv[1]]
print(f"{datetime.date.today()},tiny-llama,{recipe},{ours['perplexity']:.4f},{ours['kl']:.5f},{ours['top1']:.4f},{peer['kl']:.5f},{ours['kl'] / peer['kl']:.3f}")
PY
done
