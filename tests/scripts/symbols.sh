#!/usr/bin/env bash
# What libllmc.so exports, what llmc.map lists and what the headers declare are one set. usage: symbols.sh SOURCE LIBRARY
set -euo pipefail
source=$1 library=$2
exported=$(nm -D --defined-only "$library" | awk '$2 ~ /[TDBRVW]/ {print $3}' | sed 's/@.*//' | grep -v '^LLMC_' | sort -u)
mapped=$(grep -oE '^ +llmc_[a-z_]+;' "$source/capi/llmc.map" | tr -d ' ;' | sort -u)
declared=$(grep -ohE 'LLMC_API .*\(' "$source"/capi/llmc{,_model,_tensor,_dlpack,_tools}.h | grep -oE 'llmc_[a-z_]+\($' | tr -d '(' | sort -u)
[ "$exported" = "$mapped" ] || { echo "exported but not in llmc.map (<), or the reverse (>):"; diff <(echo "$exported") <(echo "$mapped"); exit 1; }
[ "$declared" = "$mapped" ] || { echo "declared but not in llmc.map (<), or the reverse (>):"; diff <(echo "$declared") <(echo "$mapped"); exit 1; }
echo "$(echo "$exported" | wc -l) symbols, all declared and mapped"
