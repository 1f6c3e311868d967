#!/usr/bin/env bash
# Installs what building llmc needs and this Debian lacks. usage: install_dependencies.sh [test]
# With `test` also what only the tests need. Does nothing, quickly, when all is there.
set -euo pipefail

packages=(g++ cmake ninja-build pkg-config libeigen3-dev libyaml-cpp-dev libfmt-dev nlohmann-json3-dev libcli11-dev libhwy-dev libpcre2-dev)
[ "${1:-}" = test ] && packages+=(catch2 abigail-tools python3 python3-pip dpkg-dev)

# The text module needs Rust 1.85; Debian 12's own rustc is older, its rustc-web is not.
export PATH="$PATH:$HOME/.cargo/bin"
rust_minor=$(rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\).*/\1/p' || true)
if [ "${rust_minor:-0}" -lt 85 ] || ! command -v cargo > /dev/null; then packages+=(rustc-web cargo-web); fi

missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed' || missing+=("$package")
done
# A tool that is there without its package (a newer CMake, say) is good enough.
wanted=()
for package in "${missing[@]}"; do
  case $package in
    g++) tool=g++ ;; cmake) tool=cmake ;; ninja-build) tool=ninja ;; pkg-config) tool=pkg-config ;; python3) tool=python3 ;; python3-pip) tool=pip3 ;; dpkg-dev) tool=dpkg-shlibdeps ;; *) tool= ;;
  esac
  if [ -n "$tool" ] && command -v "$tool" > /dev/null; then continue; fi
  wanted+=("$package")
done
[ ${#wanted[@]} -eq 0 ] && exit 0

echo "installing: ${wanted[*]}"
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -q
DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -q --no-install-recommends "${wanted[@]}"
