#!/usr/bin/env bash
# Tests and measures a package that pack.sh made, on a machine with a GPU.
#
#   usage: run.sh PACKAGE_DIR OUT_DIR [STEP...]
#
# STEPS     default "unit tests throughput errors"
# LIB       folders of CUDA's libraries, colons between them; default: those that Python packages of NVIDIA brought
# OUT_DIR gets a log of each step, and tables.
set -uo pipefail
package=$(cd "${1:?usage: run.sh PACKAGE_DIR OUT_DIR [STEP...]}" && pwd) || exit 2
mkdir -p "${2:?usage: run.sh PACKAGE_DIR OUT_DIR [STEP...]}" || exit 2
out=$(cd "$2" && pwd)
shift 2
python=${PYTHON:-python3}
if [ -z "${LIB:-}" ]; then
  LIB=$("$python" -c 'import glob, sysconfig; print(":".join(glob.glob(sysconfig.get_path("purelib") + "/nvidia/*/lib")))')
fi
export LD_LIBRARY_PATH=$package/lib:$LIB${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export HALFSAFE=$package/bin/halfsafe CUSTOM_OPS=$package/bin/libcustom_op.so REAL_MODELS=$package/models
export PLAIN_PYTHONPATH=$package/python
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null
nproc

step() {
  local start=$SECONDS
  "${@:2}" >"$out/$1.log" 2>&1
  echo "run.sh: $1: exit $?, $((SECONDS - start)) s"
}

for name in "${@:-unit tests throughput errors}"; do
  for step in $name; do
    case $step in
      unit) step unit "$package/bin/halfsafe_tests" --gtest_filter='*Device*:Observer*:Provider*:Rows*' ;;
      tests) PYTHONPATH=$package/tests step tests "$python" "$package/tests/cuda_test.py" -v ;;
      throughput)
        if [ ! -d "$package/large" ]; then "$python" "$package/bench/large_models.py" "$package/large"; fi
        step throughput "$python" "$package/bench/measure.py" throughput "$HALFSAFE" "$out" \
          "$package"/models/{magika,minilm,ppocr_det} "$package"/large/*
        ;;
      errors)
        step errors "$python" "$package/bench/measure.py" errors "$HALFSAFE" "$out" \
          "$package"/rescale/* "$package"/models/{magika,minilm,ppocr_det}
        ;;
      *) echo "run.sh: unknown step $step" >&2; exit 2 ;;
    esac
  done
done
cat "$out"/*.md 2>/dev/null
