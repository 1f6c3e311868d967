#!/usr/bin/env bash
# Records the C interface of build/release/libllmc.so as the baseline that tests compare with. For releases, and for new version nodes.
set -euo pipefail
cd "$(dirname "$0")/.."
abidw --headers-dir capi --drop-private-types --exported-interfaces-only --no-elf-needed --no-corpus-path --no-comp-dir-path --out-file capi/abi/libllmc.abi build/release/libllmc.so
