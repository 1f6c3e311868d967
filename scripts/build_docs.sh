#!/usr/bin/env bash
# Builds the documents and the manuals of the C and C++ interfaces as one site, build/docs/html/index.html. Any warning
# of Doxygen (a link that leads nowhere, say) fails. usage: build_docs.sh
set -euo pipefail
cd "$(dirname "$0")/.."
command -v doxygen > /dev/null || { echo "build_docs.sh: doxygen is not there (Debian: doxygen)"; exit 77; }
mkdir -p build/docs
doxygen docs/Doxyfile
echo "build/docs/html/index.html: $(find build/docs/html -name '*.html' | wc -l) pages"
