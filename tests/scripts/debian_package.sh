#!/usr/bin/env bash
# Makes the Debian package and looks at it: files, dependencies, SONAME, and the command run from the unpacked tree. usage: debian_package.sh BUILD WORK MODEL
# Exits with 77 when a tool is missing.
set -euo pipefail
for tool in cpack dpkg-deb dpkg-shlibdeps; do command -v $tool > /dev/null || { echo "skipped: $tool is not there (Debian: dpkg-dev)"; exit 77; }; done
build=$(realpath "$1") model=$(realpath "$3")
rm -rf "$2"; mkdir -p "$2"; work=$(realpath "$2")
fail() { echo "debian_package: $*"; exit 1; }
cd "$build"
cpack -G DEB -B "$work" > "$work/log" 2>&1 || { cat "$work/log"; fail "cpack failed"; }
package=$(echo "$work"/llmc_*.deb)
dpkg-deb -c "$package" > "$work/files"
dpkg-deb -I "$package" > "$work/control"
version=$(dpkg-deb -f "$package" Version)
for path in bin/llmc include/llmc.h include/llmc.hpp include/llmc_model.hpp include/llmc_tensor.hpp include/llmc_writer.hpp include/llmc_tools.h lib/libllmc.a "lib/libllmc.so.$version" lib/libllmc.so.0 lib/libllmc.so \
            lib/pkgconfig/llmc.pc lib/cmake/llmc/llmc-config.cmake share/doc/llmc/LICENSE share/doc/llmc/THIRD_PARTY.md; do
  grep -qE " \./usr/$path( ->|$)" "$work/files" || { cat "$work/files"; fail "/usr/$path is not in it"; }
done
depends=$(dpkg-deb -f "$package" Depends)
for library in libc6 libfmt9 libyaml-cpp0.7 libpcre2-8-0 libstdc++6; do grep -q "\b$library\b" <<< "$depends" || fail "it does not depend on $library: $depends"; done
dpkg-deb -x "$package" "$work/root"
readelf -d "$work/root/usr/lib/libllmc.so.$version" | grep -q 'SONAME.*\[libllmc.so.0\]' || fail "no SONAME libllmc.so.0"
readelf -SW "$work/root/usr/lib/libllmc.so.$version" | grep -q '\.debug_info' && fail "the library is not stripped"
env -u LD_LIBRARY_PATH "$work/root/usr/bin/llmc" oneshot --model "$model" --scheme W8A8 --output "$work/out" --quiet
[ -s "$work/out/model.safetensors" ] || fail "the packaged command wrote no model.safetensors"
echo "$(basename "$package"): $(stat -c %s "$package") bytes; depends on $depends"
