#!/usr/bin/env bash
# Packs what run.sh needs on a machine with a GPU: binaries of a build with CUDA, libraries, tests, models with samples.
#
#   usage: pack.sh BUILD_DIR OUT_DIR [MEGABYTES]
#
# OUT_DIR gets part.00, part.01, ... of at most MEGABYTES (default 56), a .tar.gz in pieces, and unpack.sh. The machine needs no
# more than a driver, CUDA 13's libraries, cuDNN 9, and Python with numpy, onnx, onnxruntime and ml_dtypes.
set -euo pipefail
build=$(cd "${1:?usage: pack.sh BUILD_DIR OUT_DIR [MEGABYTES]}" && pwd)
mkdir -p "${2:?usage: pack.sh BUILD_DIR OUT_DIR [MEGABYTES]}"
out=$(cd "$2" && pwd)
megabytes=${3:-56}
root=$(cd "$(dirname "$0")/../.." && pwd)
deps=$root/.deps
python=$deps/venv/bin/python
kit=$(mktemp -d)
trap 'rm -rf "$kit"' EXIT

mkdir -p "$kit/bin" "$kit/lib" "$kit/bench"
cp "$build/halfsafe" "$build/tests/halfsafe_tests" "$build/tests/libcustom_op.so" "$kit/bin/"
strip "$kit"/bin/*
# What the binaries load, but for the C and C++ libraries and ONNX Runtime.
ldd "$build/halfsafe" "$build/tests/halfsafe_tests" | awk '/=> \// { print $3 }' | sort -u |
  grep -Ev '/(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|librt|ld-linux[^/]*)\.so|libonnxruntime' |
  xargs -I{} cp {} "$kit/lib/"
cp -P "$deps"/onnxruntime-cuda/lib/*.so* "$kit/lib/"
cp -r "$root/tests" "$root/examples" "$kit/"
cp "$root"/bench/cuda/* "$kit/bench/"
"$python" "$root/tests/real_models.py" "$kit/models" --samples 8 ppocr_det minilm magika >/dev/null
PYTHONPATH=$root/tests "$python" "$root/tests/rescale_models.py" "$kit/rescale" --samples 2 >/dev/null
# The Python package of the same library, for plain inference.
if [ -n "${PYTHON_PACKAGE:-}" ]; then
  mkdir -p "$kit/python"
  "$python" -m zipfile -e "$PYTHON_PACKAGE" "$kit/python"
  rm -f "$kit"/python/onnxruntime/capi/libonnxruntime*
fi

rm -f "$out"/part.*
tar -C "$kit" -cf - . | gzip -6 | split -b "${megabytes}M" -d - "$out/part."
cp "$root/bench/cuda/unpack.sh" "$out/"
ls -l "$out"
