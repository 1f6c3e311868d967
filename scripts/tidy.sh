#!/usr/bin/env bash
# clang-tidy over the C++ sources of src, capi and cli by .clang-tidy. usage: tidy.sh [--changed]
# --changed: only what differs from the main branch or is not committed. All of it takes 15 minutes on 2 cores.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/tidy
cmake --preset clang -B $build -DCMAKE_EXPORT_COMPILE_COMMANDS=ON -DLLMC_TESTS=OFF > /dev/null
if [ "${1:-}" = --changed ]; then
  base=$(git merge-base HEAD "$(git rev-parse --verify -q origin/main || git rev-parse --verify -q main || echo HEAD)")
  list() { { git diff --name-only --diff-filter=d "$base"; git ls-files --others --exclude-standard; } | sort -u; }
else
  list() { git ls-files; }
fi
# the CUDA module's host part needs the toolkit's headers: nvcc's and gcc's warnings have to do there
mapfile -t files < <(list | grep -E '^(src|capi|cli)/.*\.cpp$' | grep -v -e '^src/cuda/' -e '^src/text/text_stub\.cpp$')
[ ${#files[@]} -gt 0 ] || { echo "tidy: nothing to look at"; exit 0; }
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -n 4 clang-tidy-16 -p $build --quiet 2> /dev/null
echo "tidy: ${#files[@]} files as they should be"
