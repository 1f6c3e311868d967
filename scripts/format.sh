#!/usr/bin/env bash
# One look for every file: clang-format for C, C++ and CUDA, rustfmt for Rust, black for Python.
# usage: format.sh [--check]   --check changes nothing and fails, naming each file that would change.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:$HOME/.cargo/bin"
check=${1:-}
width=120  # of comments and strings, which clang-format leaves as they are; code is 110 wide (.clang-format)

# Not ours to change: the first release's header, and what bindings/generate.py writes.
tracked() { git ls-files --cached --others --exclude-standard "$@" | grep -v -e '^tests/consumer/first_header/' -e '/_abi\.py$' -e '/sys\.rs$'; }
mapfile -t c_files < <(tracked '*.c' '*.h' '*.cpp' '*.hpp' '*.cu' '*.cuh')
mapfile -t rust_files < <(tracked '*.rs')
mapfile -t python_files < <(tracked '*.py')

faults=0
if [ "$check" = --check ]; then
  clang-format-16 --dry-run -Werror "${c_files[@]}" || faults=1
  rustfmt --edition 2021 --config-path src/text/rustfmt.toml --check "${rust_files[@]}" || faults=1
  black -q -l 110 --check --diff "${python_files[@]}" || faults=1
  wide=$(awk -v width=$width 'length > width {print FILENAME ":" FNR ": " length " columns, wanted at most " width}' \
    $(printf '%s\n' "${c_files[@]}" | grep -E '^(src|include|capi|cli)/'))
  [ -z "$wide" ] || { echo "$wide"; faults=1; }
  long=$(wc -l "${c_files[@]}" | awk '$2 != "total" && $1 > 500 {print $2 ": " $1 " lines, wanted at most 500"}')
  [ -z "$long" ] || { echo "$long"; faults=1; }
  [ $faults = 0 ] && echo "format: $((${#c_files[@]} + ${#rust_files[@]} + ${#python_files[@]})) files as they should be"
  exit $faults
fi
clang-format-16 -i "${c_files[@]}"
rustfmt --edition 2021 --config-path src/text/rustfmt.toml "${rust_files[@]}"
black -q -l 110 "${python_files[@]}"
