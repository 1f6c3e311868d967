#!/usr/bin/env bash
# Peak anonymous memory of a GPTQ run on random 1024-wide Llamas of 6, 12 and 24 layers with the same 16,384 calibration tokens: it must not grow with depth.
# usage: memory_by_depth.sh            needs build/release/llmc, python3 with numpy, 1 GB of disk. Prints CSV rows for results.csv.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - > "$work/tokens.jsonl" <<'PY'
import json, random
rng = random.Random(0)
for _ in range(32): print(json.dumps({"input_ids": [rng.randrange(5, 2048) for _ in range(512)]}))
PY
for layers in 6 12 24; do
  python3 benchmarks/make_random_llama.py "$work/model" --layers $layers --tokenizer-from examples/tiny-llama > /dev/null
  build/release/llmc oneshot --model "$work/model" --recipe examples/tiny-llama/recipes/w4a16.yaml --dataset "$work/tokens.jsonl" --output "$work/out" --json --quiet > "$work/report"
  python3 -c "import json,sys; r=json.load(open(sys.argv[1])); print(f'{sys.argv[2]},$layers x 1024 W4A16 GPTQ memory,{sys.argv[3]},$(nproc),,,,{r[\"peak_memory\"]}')" \
    "$work/report" "$(date +%F)" "$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs)"
  rm -rf "$work/model" "$work/out"
done
