#!/usr/bin/env bash
# Programs and libraries of different age. A program compiled against the first header runs with this library. A program of today runs with an old library as long as it
# uses what that has, and is otherwise refused by the dynamic linker, which names the version that is missing.
# usage: stability.sh SOURCE BUILD WORK [OLD_LIBRARY]   OLD_LIBRARY: a libllmc.so of the version node LLMC_0.1; without one: today's code under the names of that node
set -euo pipefail
source=$(realpath "$1") build=$(realpath "$2") old=$(realpath -m "${4:-$3/old/libllmc.so.0}")
rm -rf "$3" && mkdir -p "$3" && cd "$3"
model=$source/tests/golden/micro-llama recipe=$source/examples/tiny-llama/recipes/fp8.yaml
fail() { echo "stability: $*"; exit 1; }
compile() { ${CC:-cc} -std=c99 -Wall -Wextra -Werror "$@" "$build/libllmc.so" -lm; }
try() { env LD_LIBRARY_PATH="$1" "${@:2}" > log 2>&1; }  # LIBRARY_FOLDER PROGRAM...

if [ ! -e "$old" ]; then
  mkdir -p old
  sed '/^LLMC_0.1 {/,/^};/!d' "$source/capi/llmc.map" > old/llmc.map
  names=$(grep -oE 'llmc_[a-z0-9_]+' old/llmc.map | sed 's/^/-Wl,--undefined=/' | xargs)
  # shellcheck disable=SC2086
  ${CXX:-c++} -shared -o "$old" $names "$build/libllmc.a" -Wl,--version-script=old/llmc.map -Wl,-soname,libllmc.so.0 -Wl,--gc-sections -lfmt -lyaml-cpp -lhwy -lpcre2-8
fi
mkdir -p new old && cp "$build/libllmc.so.0" new/
[ "$old" -ef old/libllmc.so.0 ] || cp "$old" old/libllmc.so.0

compile -I"$source/capi" "$source/examples/oneshot.c" -o today
compile -I"$source/tests/consumer/first_header" "$source/examples/oneshot.c" -o first
compile -I"$source/capi" "$source/examples/own_forward.c" -o tensor_level
try new ./today "$model" "$recipe" - today_new || { cat log; fail "today's program does not run"; }
try new ./first "$model" "$recipe" - first_new || { cat log; fail "a program compiled against the first header does not run with this library"; }
try old ./today "$model" "$recipe" - today_old || { cat log; fail "today's program does not run with an old library, though it uses nothing new"; }
for name in first_new today_old; do cmp today_new/model.safetensors $name/model.safetensors || fail "$name: other bytes"; done
try new ./tensor_level own_forward || { cat log; fail "own_forward does not run"; }
if try old ./tensor_level refused; then fail "an old library served llmc_tensor.h"; fi
grep -q "version .LLMC_0.2' not found" log || { cat log; fail "the message does not name the missing version"; }
[ ! -e refused ] || fail "a refused program left something"
echo "an old program and this library; this program and an old library: $(cat log)"
