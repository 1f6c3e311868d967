#!/usr/bin/env bash
# The interface of libllmc.so against the baseline in capi/abi. usage: abi.sh SOURCE LIBRARY
# A difference needs a new version node in llmc.map (additions) or a new SONAME (removals), and then scripts/freeze_abi.sh.
set -euo pipefail
abidiff --suppressions "$1/capi/abi/opaque.abignore" --headers-dir1 "$1/capi" --headers-dir2 "$1/capi" --exported-interfaces-only "$1/capi/abi/libllmc.abi" "$2"
echo "the interface equals the baseline"
