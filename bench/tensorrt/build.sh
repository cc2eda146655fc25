#!/usr/bin/env bash
# Compiles the probe with the headers of TensorRT 8.6 and CUDA 12, and checks that it fits the libraries it will
# run with.
#
#   usage: build.sh OUT_DIR
#
# TENSORRT_INCLUDE   folder with NvInfer.h and NvOnnxParser.h
# TENSORRT_LIB       folder with libnvinfer.so.8, libnvonnxparser.so.8 and what these need
# CUDA_INCLUDE       folders with cuda_runtime_api.h and crt/, colons between them
# CUDA_LIB           folder with libcudart.so.12
#
# No GPU is needed. OUT_DIR gets probe, libcudart.so.12, run.sh and table.py: all that the machine with the GPU
# needs beside TensorRT itself.
set -euo pipefail
out=${1:?usage: build.sh OUT_DIR}
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
: "${TENSORRT_INCLUDE:?not set: see the top of build.sh}" "${TENSORRT_LIB:?not set: see the top of build.sh}"
: "${CUDA_INCLUDE:?not set: see the top of build.sh}" "${CUDA_LIB:?not set: see the top of build.sh}"

includes=()
IFS=: read -ra folders <<<"$TENSORRT_INCLUDE:$CUDA_INCLUDE"
for folder in "${folders[@]}"; do includes+=(-isystem "$folder"); done

mkdir -p "$out"
install "$CUDA_LIB/libcudart.so.12" "$here/run.sh" "$here/table.py" "$out/"
# Libraries may leave symbols open that nothing here calls: TensorRT's plugins name cuBLAS and cuDNN.
"${CXX:-g++}" -std=c++20 -O2 -Wall -Wextra -Werror -Wno-deprecated-declarations \
  -I "$root/include" "${includes[@]}" "$here"/*.cc -o "$out/probe" \
  -L "$TENSORRT_LIB" -L "$out" -l:libnvinfer.so.8 -l:libnvonnxparser.so.8 -l:libcudart.so.12 \
  -Wl,-rpath-link,"$TENSORRT_LIB" -Wl,-rpath,'$ORIGIN' -Wl,-z,lazy \
  -Wl,--unresolved-symbols=ignore-in-shared-libs

# Every library, and every symbol of the probe's own, has to be found as the loader will look for them.
found=$(LD_LIBRARY_PATH=$TENSORRT_LIB:$out ldd -r "$out/probe" 2>&1 || true)
missing=$(grep -E "not found|undefined symbol.*/probe\)" <<<"$found" || true)
if [ -n "$missing" ]; then
  printf '%s\n' "$missing" >&2
  exit 1
fi
echo "$out/probe: $(stat -c %s "$out/probe") bytes, all libraries and symbols found"
