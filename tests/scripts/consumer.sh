#!/usr/bin/env bash
# Installs a build and uses it as strangers would: C through find_package, C++ through pkg-config, Rust through cargo, and the command.
# usage: consumer.sh SOURCE BUILD WORK   (WORK is a scratch folder; its old contents are removed)
set -euo pipefail
source=$(realpath "$1") build=$(realpath "$2")
mkdir -p "$3"
work=$(realpath "$3") prefix=$(realpath "$3")/prefix
export PATH="$PATH:$HOME/.cargo/bin"
model=$source/tests/golden/micro-llama

fail() { echo "consumer: $*"; exit 1; }
quiet() { "$@" > "$work/log" 2>&1 || { cat "$work/log"; fail "failed: $*"; }; }
needs() { for path in "$@"; do [ -e "$prefix/$path" ] || fail "not installed: $path"; done; }
compressed() { [ -s "$work/$1/model.safetensors" ] || fail "$1: no model.safetensors in $work/$1"; }

rm -rf "$work"/{prefix,c,cpp,rust,out-*,log}
quiet cmake --install "$build" --prefix "$prefix"
needs bin/llmc include/llmc.h include/llmc_tensor.h include/llmc_dlpack.h include/llmc_tools.h lib/libllmc.so lib/libllmc.so.0 lib/libllmc.so.0.1.0 lib/pkgconfig/llmc.pc \
      lib/cmake/llmc/llmc-{config,config-version,targets}.cmake share/doc/llmc/{LICENSE,THIRD_PARTY.md}

# C: the example, through find_package.
quiet cmake -G Ninja -S "$source/examples" -B "$work/c" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_FLAGS="-Wall -Wextra -Wpedantic -Werror"
quiet cmake --build "$work/c"
quiet "$work/c/oneshot" "$model" "$source/examples/tiny-llama/recipes/fp8.yaml" - "$work/out-c"
compressed out-c
echo "C: $(tail -n 1 "$work/log")"
code=0
"$work/c/oneshot" "$model/nowhere" "$source/examples/tiny-llama/recipes/fp8.yaml" - "$work/out-c2" 2> "$work/log" || code=$?
[ $code -eq 2 ] && grep -q '^LLMC_NOT_FOUND: .*nowhere' "$work/log" || { cat "$work/log"; fail "C: a missing folder gave exit code $code, wanted 2 and LLMC_NOT_FOUND with the folder's name"; }

# C, with a forward pass of its own; the folder is sound in llmc's own eyes.
quiet "$work/c/own_forward" "$work/out-own"
compressed out-own
echo "C: $(tail -n 1 "$work/log")"
grep -qE 'differ by [0-9]\.[0-9] %|differ by 1[0-9]\.[0-9] %' "$work/log" || { cat "$work/log"; fail "C: the compressed toy is far from the original"; }
quiet "$prefix/bin/llmc" verify "$work/out-own"
for header in llmc.h llmc_tensor.h llmc_dlpack.h llmc_tools.h; do  # as C90 and C++, and without holes
  printf '#include <%s>\nint main(void) { return 0; }\n' "$header" > "$work/c/header.c"
  quiet gcc -std=c90 -Wall -Wextra -Wpedantic -Wpadded -Wno-long-long -Werror -I"$prefix/include" -c "$work/c/header.c" -o "$work/c/header.o"
  quiet g++ -x c++ -std=c++11 -Wall -Wextra -Wpadded -Werror -I"$prefix/include" -c "$work/c/header.c" -o "$work/c/header.o"
done

# C++: pkg-config's flags.
mkdir "$work/cpp"
flags=$(PKG_CONFIG_PATH="$prefix/lib/pkgconfig" pkg-config --cflags --libs llmc)
read -ra flags <<< "$flags"
quiet g++ -std=c++17 -Wall -Wextra -Werror "$source/tests/consumer/cpp/main.cpp" -o "$work/cpp/consumer" "${flags[@]}" "-Wl,-rpath,$prefix/lib"
quiet "$work/cpp/consumer" "$model" "$work/out-cpp"
compressed out-cpp
echo "C++: $(cat "$work/log")"

# Rust: declarations by hand.
quiet env CARGO_TARGET_DIR="$work/rust" LLMC_LIB_DIR="$prefix/lib" cargo build --offline --locked --quiet --manifest-path "$source/tests/consumer/rust/Cargo.toml"
quiet "$work/rust/debug/llmc-consumer" "$model" "$work/out-rust"
compressed out-rust
echo "Rust: compressed"

# The command, from a tree that was moved: it finds its library beside it.
mv "$prefix" "$work/out-moved"
quiet env -u LD_LIBRARY_PATH "$work/out-moved/bin/llmc" oneshot --model "$model" --scheme W8A8 --output "$work/out-command"
compressed out-command
echo "command: moved and run"
