#!/usr/bin/env bash
# Times llmc as a whole process beside llm-compressor's oneshot() call alone, interleaved, and prints medians and their ratio as CSV rows.
# usage: compare_peer.sh PEER_DIR [RUNS]     PEER_DIR: made by setup_peers.sh (done here when absent; 6 GB)
# Cases: tiny-llama W4A16 GPTQ with 512 chats; a random 12 x 1024 Llama, W4A16 GPTQ with 32 x 512 tokens. Needs build/release/llmc.
set -euo pipefail
cd "$(dirname "$0")/.."
peer=$1 runs=${2:-3} work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ -x "$peer/a/bin/python" ] || benchmarks/setup_peers.sh "$peer"
python=$peer/a/bin/python llmc=build/release/llmc tiny=examples/tiny-llama

"$python" benchmarks/make_random_llama.py "$work/mid" --tokenizer-from $tiny > /dev/null
"$python" - "$work" <<'PY'
import json, random, sys
import torch
from safetensors.torch import save_file
rng = random.Random(0)
rows = [[rng.randrange(5, 2048) for _ in range(512)] for _ in range(32)]
open(sys.argv[1] + "/mid.jsonl", "w").writelines(json.dumps({"input_ids": r}) + "\n" for r in rows)
save_file({"input_ids": torch.tensor(rows)}, sys.argv[1] + "/mid.safetensors")
PY

median() { sort -g | awk '{v[NR]=$1} END {print v[int((NR+1)/2)]}'; }
peak=0
time_llmc() {  # MODEL DATA OUT -> seconds of the whole process; the report's peak memory goes to $work/peak
  local start end
  start=$(date +%s.%N)
  $llmc oneshot --model "$1" --recipe $tiny/recipes/w4a16.yaml --dataset "$2" --num-calibration-samples 512 --max-seq-length 2048 --output "$3" --overwrite --json --quiet > "$work/report"
  end=$(date +%s.%N)
  "$python" -c "import json,sys; print(json.load(open(sys.argv[1]))['peak_memory'])" "$work/report" > "$work/peak"
  echo "$end - $start" | bc -l 2>/dev/null || "$python" -c "print($end - $start)"
}
time_peer() { "$python" benchmarks/peer_oneshot.py "$1" "$2" "$3" $tiny/recipes/w4a16.yaml 512 2048 2> /dev/null | "$python" -c "import json,sys; print(json.loads(sys.stdin.read().strip().splitlines()[-1])['oneshot_s'])"; }

for case in tiny mid; do
  [ $case = tiny ] && model=$tiny ours=$tiny/calibration.jsonl theirs=$tiny/calibration.jsonl || { model=$work/mid ours=$work/mid.jsonl theirs=$work/mid.safetensors; }
  : > "$work/llmc.s"; : > "$work/peer.s"
  for _ in $(seq "$runs"); do
    time_llmc "$model" "$ours" "$work/$case-llmc" >> "$work/llmc.s"
    time_peer "$model" "$theirs" "$work/$case-peer" >> "$work/peer.s"
  done
  a=$(median < "$work/llmc.s") b=$(median < "$work/peer.s")
  echo "$(date +%F),$case W4A16 GPTQ,$(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'),$(nproc),$a,$b,$("$python" -c "print(round($b / $a, 2))"),$(cat "$work/peak")"
done
