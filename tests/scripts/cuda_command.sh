#!/usr/bin/env bash
# The command with --device cuda, on the emulated module: whole runs, a measurement, and an error that crosses the module's border. usage: cuda_command.sh SOURCE BUILD
set -euo pipefail
source=$1 llmc=$2/llmc
model=$source/tests/golden/micro-llama
device=(--device cuda --cuda-module "$2/cuda_emulation/libllmc_cuda.so")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 - "$model/calibration.safetensors" "$work" <<'PYTHON'
import json, struct, sys
data = open(sys.argv[1], "rb").read()
size = struct.unpack("<Q", data[:8])[0]
entry = json.loads(data[8:8 + size])["input_ids"]
rows, columns = entry["shape"]
ids = struct.unpack(f"<{rows * columns}q", data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
with open(sys.argv[2] + "/data.jsonl", "w") as f:
    for row in range(rows): f.write(json.dumps({"input_ids": ids[row * columns:(row + 1) * columns]}) + "\n")
header = json.dumps({"input_ids": {"dtype": "I64", "shape": [1, 2], "data_offsets": [0, 16]}}).encode()
open(sys.argv[2] + "/ids.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + struct.pack("<2q", 1, 99999))
PYTHON
"$llmc" oneshot --model "$model" --scheme W4A16 --quiet --output "$work/cpu"
"$llmc" oneshot --model "$model" --scheme W4A16 --quiet "${device[@]}" --output "$work/cuda"
cmp "$work/cpu/model.safetensors" "$work/cuda/model.safetensors"
recipe='quant_stage: {quant_modifiers: {SmoothQuantModifier: {smoothing_strength: 0.8}, GPTQModifier: {targets: [Linear], ignore: [lm_head], scheme: W8A8}}}'
"$llmc" oneshot --model "$model" --recipe "$recipe" --dataset "$work/data.jsonl" "${device[@]}" --output "$work/gptq" --json 2> /dev/null | grep -q '"device":"cuda emulated device' || { echo "the report does not name the device"; exit 1; }
"$llmc" verify "$work/gptq" --against "$model" > /dev/null
status=0
"$llmc" forward --model "$model" --input-ids "$work/ids.safetensors" --output "$work/out.safetensors" "${device[@]}" 2> "$work/error" || status=$?
[ $status = 2 ] && grep -q '^llmc: token id 99999 at position 1 is outside the vocabulary of 256$' "$work/error" || { echo "wanted exit code 2 and the token's place, got $status:"; cat "$work/error"; exit 1; }
echo "runs, measurements and errors of the command on an emulated device are as on the CPU"
