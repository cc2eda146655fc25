#!/usr/bin/env bash
# Installs a wheel into a new virtual environment, outside of any checkout, and runs the tests beside this script there.
#
#   usage: tests/python/run_in_venv.sh WHEEL
#
# PYTHON names the interpreter (python3). Packages that it has, or that PYTHONPATH leads to, are seen: nothing is
# downloaded where numpy is among them. Tests that need more (onnx, onnxruntime, torch, ml_dtypes) skip where it is missing.
set -euo pipefail
wheel=$(realpath "$1")
tests=$(realpath "$(dirname "$0")")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv --system-site-packages "$work/venv"
offline=()
if "$work/venv/bin/python" -c 'import numpy' 2>/dev/null; then offline=(--no-index); fi
"$work/venv/bin/python" -m pip install -q --disable-pip-version-check "${offline[@]}" "$wheel"
cd "$work"
PATH=$work/venv/bin:$PATH "$work/venv/bin/python" -m unittest discover -v -s "$tests" -p '*_test.py'
