#!/usr/bin/env bash
# libllmc.so as a guest in another program: what it needs, what runs when it is loaded, and tests/consumer/guest. usage: guest.sh SOURCE LIBRARY WORK
set -euo pipefail
source=$(realpath "$1") library=$(realpath "$2")
rm -rf "$3" && mkdir -p "$3" && cd "$3"
fail() { echo "guest: $*"; exit 1; }

needed=$(readelf -d "$library" | sed -n 's/.*NEEDED.*\[\(lib[a-z0-9_+-]*\|ld-linux[a-z0-9_-]*\).*/\1/p' | sort | xargs)
wanted="ld-linux-x86-64 libc libfmt libgcc_s libhwy libm libpcre2-8 libstdc++ libyaml-cpp"
for name in $needed; do grep -qw -- "$name" <<< "$wanted" || fail "libllmc.so needs $name; docs/c-abi.md lists: $wanted"; done

# What runs when it is loaded: the C run-time's own and the pointer to argv that Rust's keeps. A global object of C++ would add _GLOBAL__sub_I_*.
constructors=$(nm -C "$library" | sed -n 's/.* t \(_GLOBAL__.*\)/\1/p')
[ -z "$constructors" ] || fail "global constructors: $(xargs <<< "$constructors")"
entries=$(readelf -SW "$library" | sed -n 's/.*\.init_array *INIT_ARRAY *[0-9a-f]* [0-9a-f]* \([0-9a-f]*\) .*/\1/p')
[ $((16#$entries)) -le 16 ] || fail "$((16#$entries / 8)) functions run when the library is loaded, wanted frame_dummy and Rust's argv alone"

cp "$library" copy.so
${CC:-cc} -std=gnu99 -O1 -Wall -Wextra -Werror -fopenmp -I"$source/capi" "$source/tests/consumer/guest/guest.c" -o guest -ldl -lpthread
recipe="quant_stage: {quant_modifiers: {GPTQModifier: {targets: [Linear], ignore: [lm_head], scheme: W4A16}}}"
for first in 3 5 7; do echo "{\"input_ids\": [$(seq -s, $first 2 $((first + 80)))]}"; done > ids.jsonl
OMP_NUM_THREADS=2 ./guest "$library" "$PWD/copy.so" "$source/tests/golden/micro-llama" "$recipe" "$PWD/ids.jsonl" "$PWD"
for name in again one two; do cmp first/model.safetensors $name/model.safetensors || fail "$name: other bytes than the first"; done
