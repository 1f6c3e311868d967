#!/usr/bin/env bash
# Times data-free runs of a 4 GB bf16 folder beside what the disk alone needs, cold, interleaved in one run: reading the input, writing and syncing a file of the
# output's size, `llmc oneshot` as a whole process. Prints seconds, the ratio to the slower of read and write (target: 1.3), and the peak of RssAnon (target: 300 MB).
# usage: data_free.sh WORK_DIR [RUNS] [PEER_DIR]     WORK_DIR needs 11 GB. PEER_DIR (made by setup_peers.sh): times model_free_ptq too (target: 6 times llmc).
# Needs build/release/llmc and a python with numpy (PEER_DIR's, or python3). Drops the page cache where that is allowed (root).
set -euo pipefail
cd "$(dirname "$0")/.."
work=$1 runs=${2:-3} peer=${3:-} llmc=build/release/llmc
python=python3; [ -n "$peer" ] && python=$peer/a/bin/python
input=$work/in
if [ ! -f "$input/config.json" ]; then
  "$python" benchmarks/make_random_llama.py "$input" --layers 9 --hidden 4096 --intermediate 14336 --heads 32 --kv-heads 8 --vocab 2048
fi

now() { date +%s.%N; }
cold() { sync; if [ -w /proc/sys/vm/drop_caches ]; then echo 3 > /proc/sys/vm/drop_caches; else echo "the page cache cannot be dropped here: reads are warm" >&2; fi; }
seconds_since() { awk -v a="$1" -v b="$(now)" 'BEGIN { printf "%.3f\n", b - a }'; }
median() { sort -g "$1" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

time_read() { cold; local start; start=$(now); for f in "$input"/*.safetensors; do dd if="$f" of=/dev/null bs=8M status=none; done; seconds_since "$start"; }
time_write() {  # BYTES, of the input's own (a disk may know a trick for zeros), which are in the page cache by now
  local start left=$1 part; cat "$input"/*.safetensors > /dev/null; sync; start=$(now)
  for f in "$input"/*.safetensors; do
    part=$(stat -c %s "$f"); [ "$part" -gt "$left" ] && part=$left
    [ "$part" -gt 0 ] && dd if="$f" of="$work/written" bs=8M count="$part" iflag=count_bytes oflag=append conv=notrunc status=none
    left=$((left - part))
  done
  dd if=/dev/null of="$work/written" conv=notrunc,fsync status=none
  seconds_since "$start"; rm -f "$work/written"
}
time_llmc() {  # SCHEME: seconds of the whole process; RssAnon's peak, sampled, goes to $work/peak
  cold; local start peak=0 anon pid; start=$(now)
  $llmc oneshot --model "$input" --scheme "$1" --output "$work/out" --overwrite --quiet > /dev/null & pid=$!
  while kill -0 $pid 2> /dev/null; do  # built-ins only: the sampler shares the cores
    while read -r key anon _; do [ "$key" = RssAnon: ] && [ "$anon" -gt "$peak" ] && peak=$anon; done < "/proc/$pid/status" 2> /dev/null || true
    sleep 0.1
  done
  wait $pid; seconds_since "$start"; echo $((peak * 1024)) > "$work/peak"
}
time_peer() {
  cold; "$peer/a/bin/python" - "$input" "$work/peer" "$1" 2> /dev/null <<'PY' | tail -n 1
import shutil, sys, time
from llmcompressor import model_free_ptq
model, out, scheme = sys.argv[1:]
shutil.rmtree(out, ignore_errors=True)
start = time.time()
model_free_ptq(model_stub=model, save_directory=out, scheme=scheme, ignore=["re:.*embed_tokens", "lm_head", "re:.*norm.*"], max_workers=1, device="cpu")
print(round(time.time() - start, 3))
PY
}

for scheme in W4A16 FP8_DYNAMIC; do
  rm -rf "$work/out"; time_llmc $scheme > /dev/null
  bytes=$(cat "$work"/out/*.safetensors | wc -c)
  for what in read write llmc peer; do : > "$work/$what.s"; done
  for _ in $(seq "$runs"); do
    time_read >> "$work/read.s"; time_write "$bytes" >> "$work/write.s"; time_llmc $scheme >> "$work/llmc.s"
  done
  [ -n "$peer" ] && time_peer $scheme >> "$work/peer.s"
  read=$(median "$work/read.s") write=$(median "$work/write.s") ours=$(median "$work/llmc.s")
  awk -v s="$scheme" -v r="$read" -v w="$write" -v l="$ours" -v p="$(cat "$work/peak")" 'BEGIN { m = r > w ? r : w; printf "# %s: cold read %.2f s, write and fsync %.2f s, llmc %.2f s = %.2f x the slower one, peak RssAnon %.0f MB\n", s, r, w, l, l / m, p / 1e6 }'
  if [ -s "$work/peer.s" ]; then
    theirs=$(median "$work/peer.s")
    echo "$(date +%F),data-free 3.9 GB $scheme,$(grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'),$(nproc),$ours,$theirs,$(awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "%.2f", b / a }'),$(cat "$work/peak")"
  fi
  rm -rf "$work/out" "$work/peer"
done
