#!/usr/bin/env bash
# Puts a package that pack.sh made together again.
#
#   usage: unpack.sh PARTS_DIR TARGET_DIR
set -euo pipefail
mkdir -p "$2"
cat "$1"/part.* | tar -C "$2" -xzf -
# A Python package finds the libraries beside its own.
if [ -d "$2/python/onnxruntime/capi" ]; then
  for library in "$2"/lib/libonnxruntime*; do ln -sf "$(realpath -s "$library")" "$2/python/onnxruntime/capi/"; done
fi
