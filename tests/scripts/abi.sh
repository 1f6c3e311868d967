#!/usr/bin/env bash
# The interface of libllmc.so against the baseline in capi/abi. usage: abi.sh SOURCE LIBRARY
# A difference needs a new version node in llmc.map (additions) or a new SONAME (removals), and then scripts/freeze_abi.sh.
set -euo pipefail
abidiff --no-added-syms --headers-dir2 "$1/capi" --drop-private-types --exported-interfaces-only --no-show-locs "$1/capi/abi/libllmc.abi" "$2"
abidiff --headers-dir2 "$1/capi" --drop-private-types --exported-interfaces-only --no-show-locs "$1/capi/abi/libllmc.abi" "$2"
echo "the interface equals the baseline"
