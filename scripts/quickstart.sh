#!/usr/bin/env bash
# From a fresh Debian 12 to a compressed model: installs what is missing, builds, compresses examples/tiny-llama to 4 bits and measures it.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/install_dependencies.sh
mkdir -p build
scripts/build_release.sh

model=examples/tiny-llama output=build/quickstart/tiny-llama-W4A16
mkdir -p build/quickstart
echo; echo "== llmc oneshot: $model -> $output (W4A16 GPTQ, 512 chats)"
build/release/llmc oneshot --model $model --recipe $model/recipes/w4a16.yaml --dataset $model/calibration.jsonl \
  --num-calibration-samples 512 --max-seq-length 2048 --output $output --overwrite
echo; echo "== llmc eval: the original, then the compressed model against it"
build/release/llmc eval --model $model --text $model/eval.txt
build/release/llmc eval --model $output --reference $model --text $model/eval.txt
echo; echo "The command is build/release/llmc, the library build/release/libllmc.so, the model $output."
