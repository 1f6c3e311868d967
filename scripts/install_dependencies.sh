#!/usr/bin/env bash
# Installs what building llmc needs and this Debian lacks. usage: install_dependencies.sh [test]
# With `test` also what only the tests need. Does nothing, quickly, when all is there.
set -euo pipefail

# package:tool. A tool that is there without its package (a newer CMake, say) is good enough. tests/scripts/tools_listed.py
# holds every tool that scripts and tests call against these lists.
packages=(g++:g++ cmake:cmake ninja-build:ninja pkg-config:pkg-config libeigen3-dev libyaml-cpp-dev libfmt-dev nlohmann-json3-dev
  libcli11-dev libhwy-dev libpcre2-dev)
test_packages=(catch2 abigail-tools:abidiff python3:python3 python3-pip:pip3 dpkg-dev:dpkg-shlibdeps file:file binutils:readelf
  git:git doxygen:doxygen clang-format-16:clang-format-16 black:black)
[ "${1:-}" = test ] && packages+=("${test_packages[@]}")

# The text module needs Rust 1.85; Debian 12's own rustc is older, its rustc-web is not.
export PATH="$PATH:$HOME/.cargo/bin"
rust_minor=$(rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p' || true)
if [ "${rust_minor:-0}" -lt 85 ] || ! command -v cargo > /dev/null; then packages+=(rustc-web cargo-web); fi
[ "${1:-}" = test ] && packages+=(rustfmt-web:rustfmt)

wanted=()
for entry in "${packages[@]}"; do
  package=${entry%%:*} tool=${entry#"${entry%%:*}"}
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' && continue
  if [ -n "$tool" ] && command -v "${tool#:}" > /dev/null; then continue; fi
  wanted+=("$package")
done
[ ${#wanted[@]} -eq 0 ] && exit 0

echo "installing: ${wanted[*]}"
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -q
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -q --no-install-recommends "${wanted[@]}"
