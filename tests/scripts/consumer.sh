#!/usr/bin/env bash
# Installs a build and uses it as strangers would: the examples in C, C++, Rust and Python, linked with the shared and the static library, and the command.
# usage: consumer.sh SOURCE BUILD WORK   (WORK is a scratch folder; its old contents are removed)
set -euo pipefail
source=$(realpath "$1") build=$(realpath "$2")
mkdir -p "$3"
work=$(realpath "$3") prefix=$(realpath "$3")/prefix
export PATH="$PATH:$HOME/.cargo/bin" PKG_CONFIG_PATH=$prefix/lib/pkgconfig
model=$source/tests/golden/micro-llama recipe=$source/examples/tiny-llama/recipes/fp8.yaml

fail() { echo "consumer: $*"; exit 1; }
quiet() { "$@" > "$work/log" 2>&1 || { cat "$work/log"; fail "failed: $*"; }; }
needs() { for path in "$@"; do [ -e "$prefix/$path" ] || fail "not installed: $path"; done; }
# An example compresses, and a missing folder gives exit code 2 and one line with its name. tries NAME COMMAND...
tries() {
  local name=$1 code=0; shift
  quiet "$@" "$model" "$recipe" - "$work/out-$name"
  cmp "$work/out-$name/model.safetensors" "$work/out-c/model.safetensors" || fail "$name: other bytes than the C example's"
  echo "$name: $(tail -n 1 "$work/log" | sed 's/.*(llmc/(llmc/')"
  "$@" "$model/nowhere" "$recipe" - "$work/out-nothing" > "$work/log" 2>&1 || code=$?
  [ $code -eq 2 ] && grep -q '^LLMC_NOT_FOUND: .*nowhere' "$work/log" || { cat "$work/log"; fail "$name: a missing folder gave exit code $code, wanted 2 and LLMC_NOT_FOUND with the folder's name"; }
}

rm -rf "$work"/{prefix,dynamic,static,cpp,out-*,log,header.*}
quiet cmake --install "$build" --prefix "$prefix"
needs bin/llmc include/llmc{,_model,_tensor}.{h,hpp} include/llmc_writer.hpp include/llmc_{dlpack,tools}.h lib/libllmc.{so,so.0,so.0.1.0,a} lib/pkgconfig/llmc.pc \
      lib/cmake/llmc/llmc-{config,config-version,targets}.cmake share/doc/llmc/{LICENSE,THIRD_PARTY.md}

# C and C++ through find_package.
for kind in dynamic static; do
  quiet cmake -G Ninja -S "$source/examples" -B "$work/$kind" -DCMAKE_PREFIX_PATH="$prefix" -DLLMC_STATIC="$([ $kind = static ] && echo ON || echo OFF)" \
        -DCMAKE_C_FLAGS="-Wall -Wextra -Wpedantic -Werror" -DCMAKE_CXX_FLAGS="-Wall -Wextra -Wpedantic -Werror"
  quiet cmake --build "$work/$kind"
done
tries c "$work/dynamic/oneshot"
tries cpp "$work/dynamic/oneshot_cpp"
tries c-static env -u LD_LIBRARY_PATH "$work/static/oneshot"
readelf -d "$work/static/oneshot" | grep -q 'libllmc' && fail "the static example needs libllmc.so"
names=$(nm -g --defined-only "$prefix/lib/libllmc.a" | awk 'NF == 3 {print $3}' | sort)
[ "$names" = "$(grep -oE '^ +llmc_[a-z0-9_]+;' "$source/capi/llmc.map" | tr -d ' ;' | sort)" ] || fail "libllmc.a defines other global names than llmc.map has: $(grep -v ^llmc_ <<< "$names" | head -n 3)"

# C with a forward pass of its own: near the original, sound in llmc's own eyes, and the same bytes from the static library.
for kind in dynamic static; do
  quiet "$work/$kind/own_forward" "$work/out-own-$kind"
  grep -qE 'differ by 1?[0-9]\.[0-9] %' "$work/log" || { cat "$work/log"; fail "own_forward: the compressed toy is far from the original"; }
done
cmp "$work"/out-own-{dynamic,static}/model.safetensors || fail "own_forward: other bytes from the static library"
quiet "$work/dynamic/own_forward_cpp" "$work/out-own-cpp"
for file in model.safetensors config.json; do cmp "$work"/out-own-{dynamic,cpp}/$file || fail "own_forward: other bytes from C++"; done
echo "own_forward: $(tail -n 1 "$work/log")"
quiet "$prefix/bin/llmc" verify "$work/out-own-dynamic"

# C with a model in memory and a quantizer of its own.
quiet "$work/dynamic/from_memory" "$work/out-memory"
grep -qE 'error is 0\.[0-8][0-9]* of' "$work/log" || { cat "$work/log"; fail "from_memory: its quantizer gained nothing"; }
quiet "$prefix/bin/llmc" verify "$work/out-memory"

# Every header as C90 and as C++, and without holes.
for header in llmc llmc_model llmc_tensor llmc_dlpack llmc_tools; do
  printf '#include <%s.h>\nint main(void) { return 0; }\n' "$header" > "$work/header.c"
  quiet gcc -std=c90 -Wall -Wextra -Wpedantic -Wpadded -Wno-long-long -Werror -I"$prefix/include" -c "$work/header.c" -o "$work/header.o"
  quiet g++ -x c++ -std=c++11 -Wall -Wextra -Wpadded -Werror -I"$prefix/include" -c "$work/header.c" -o "$work/header.o"
done

# The C++ headers, each alone, with more warnings than most.
mkdir "$work/cpp"
for header in llmc llmc_model llmc_tensor; do
  printf '#include <%s.hpp>\n' "$header" > "$work/header.cpp"
  quiet g++ -std=c++17 -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -I"$prefix/include" -fsyntax-only "$work/header.cpp"
done

# C++ through pkg-config, shared and static.
for kind in shared static; do
  flags=$(pkg-config --cflags --libs $([ $kind = static ] && echo --static) llmc)
  [ $kind = shared ] || flags=${flags/-lllmc/-l:libllmc.a}
  read -ra flags <<< "$flags"
  quiet g++ -std=c++17 -Wall -Wextra -Werror "$source/tests/consumer/cpp/main.cpp" -o "$work/cpp/$kind" "${flags[@]}" "-Wl,-rpath,$prefix/lib"
  quiet "$work/cpp/$kind" "$model" "$work/out-cpp-$kind"
  echo "pkg-config, $kind: $(cat "$work/log")"
done

# Rust through the crate, which asks pkg-config.
rust() { env CARGO_TARGET_DIR="$work/rust" "$@" cargo build --offline --locked --quiet --manifest-path "$source/examples/Cargo.toml"; }
quiet rust LLMC_STATIC=0
tries rust env LD_LIBRARY_PATH="$prefix/lib" "$work/rust/debug/oneshot"
quiet rust LLMC_STATIC=1
tries rust-static env -u LD_LIBRARY_PATH "$work/rust/debug/oneshot"

# Python through the package.
if command -v python3 > /dev/null; then
  tries python env LLMC_LIBRARY="$prefix/lib/libllmc.so" PYTHONPATH="$source/bindings/python" PYTHONDONTWRITEBYTECODE=1 python3 "$source/examples/oneshot.py"
else
  echo "python: skipped, python3 is not there"
fi

# The command, from a tree that was moved: it finds its library beside it.
mv "$prefix" "$work/out-moved"
quiet env -u LD_LIBRARY_PATH "$work/out-moved/bin/llmc" oneshot --model "$model" --scheme W8A8 --output "$work/out-command"
[ -s "$work/out-command/model.safetensors" ] || fail "the command wrote no model.safetensors"
echo "command: moved and run"
