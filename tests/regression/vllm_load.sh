#!/usr/bin/env bash
# Loads llmc's three outputs of tiny-llama in vLLM's CPU build and generates. usage: vllm_load.sh PEER_DIR > tests/regression/vllm_load.txt
# PEER_DIR: made by benchmarks/setup_peers.sh PEER_DIR vllm (done here when absent; 11 GB). Needs build/release/llmc.
set -euo pipefail
cd "$(dirname "$0")/../.."
peer=$1 llmc=build/release/llmc model=examples/tiny-llama work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -x "$peer/v/bin/python" ] || benchmarks/setup_peers.sh "$peer" vllm >&2
for recipe in w4a16 w8a8 fp8; do
  data=(--dataset $model/calibration.jsonl); [ $recipe = fp8 ] && data=()
  $llmc oneshot --model $model --recipe $model/recipes/$recipe.yaml "${data[@]}" --output "$work/$recipe" --quiet
  echo "== $recipe"
  "$peer/v/bin/python" tests/regression/vllm_load.py "$work/$recipe" > "$work/log" 2>&1 || true
  grep -E '^VLLM_OUT|Error|error:' "$work/log" | tail -n 3 || tail -n 3 "$work/log"
done
