#!/usr/bin/env bash
# Runs the probe over a package that prepare.py made: every model in every mode, each in a process of its own.
#
#   usage: run.sh PACKAGE_DIR OUT_DIR [MODEL...]
#
# OUT_DIR gets results.jsonl, table.md and logs.tar.gz. What is done is kept in PACKAGE_DIR/state too and not run again,
# so that a run that was stopped goes on where it was; delete that folder to begin anew.
#
# MODES     default "fp32 fp16 pinned rescaled"; there are also
#             overflow  what writes tensors past 10000 pinned, the usual recipe
#             readers   the same and what reads these tensors
#             typed     the rescaled model with its FP16 types and Casts
# LIB       folder with TensorRT's libraries, default ~/trt/lib
# TIMEOUT   seconds for one engine, default 150
# BUDGET    seconds after which no further engine is begun, default 440
# LEVEL     the builder's optimization level, default 3; less builds faster
# RUNS      timed runs, default 200
# BATCH     in place of what the package says
set -uo pipefail
package=$(cd "${1:?usage: run.sh PACKAGE_DIR OUT_DIR [MODEL...]}" && pwd) || exit 2
mkdir -p "${2:?usage: run.sh PACKAGE_DIR OUT_DIR [MODEL...]}" || exit 2
out=$(cd "$2" && pwd)
shift 2
here=$(cd "$(dirname "$0")" && pwd)
lib=${LIB:-$HOME/trt/lib}
export LD_LIBRARY_PATH=$here:$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
# GPU code is loaded when first used: TensorRT's libraries carry far more of it than an engine needs.
export CUDA_MODULE_LOADING=LAZY
state=$package/state
mkdir -p "$state/logs" "$state/layers"
touch "$state/results.jsonl"
if [ $# -gt 0 ]; then models=("$@"); else mapfile -t models <"$package/models.txt"; fi

if ! device=$("$here/probe" --device 2>"$state/device.log"); then
  cat "$state/device.log" >&2
  exit 3
fi
echo "$device"

publish() {
  cp "$state/results.jsonl" "$out/"
  python3 "$here/table.py" "$state/results.jsonl" >"$out/table.md" 2>/dev/null || true
  tar -C "$state" -czf "$out/logs.tar.gz" logs layers
}
trap publish EXIT

# Sets `model_file` and `flags` for a mode; fails where the package lacks what the mode needs.
choose() {
  local folder=$1 mode=$2
  model_file=$folder/model.onnx
  flags=(--fp16)
  case $mode in
    fp32)     flags=() ;;
    fp16)     ;;
    pinned)
      if [ -f "$folder/pinned.onnx" ]; then model_file=$folder/pinned.onnx; fi
      if [ -s "$folder/pins.txt" ]; then flags+=(--pin "$folder/pins.txt"); fi
      [ ${#flags[@]} -gt 1 ] || [ "$model_file" != "$folder/model.onnx" ] ;;
    overflow) flags+=(--pin "$folder/pins_overflow.txt"); [ -s "$folder/pins_overflow.txt" ] ;;
    readers)  flags+=(--pin "$folder/pins_readers.txt"); [ -s "$folder/pins_readers.txt" ] ;;
    rescaled)
      model_file=$folder/rescaled_fp32.onnx
      if [ -s "$folder/pins_rescaled.txt" ]; then flags+=(--pin "$folder/pins_rescaled.txt"); fi ;;
    typed)    model_file=$folder/rescaled.onnx ;;
    *) echo "run.sh: unknown mode $mode" >&2; exit 2 ;;
  esac && [ -f "$model_file" ]
}

for model in "${models[@]}"; do
  folder=$package/$model
  for mode in ${MODES:-fp32 fp16 pinned rescaled}; do
    if ! choose "$folder" "$mode"; then
      echo "$model $mode: left out, the package has nothing for it"
      continue
    fi
    [ -e "$state/$model.$mode.done" ] && continue
    if [ "$SECONDS" -gt "${BUDGET:-440}" ]; then
      echo "run.sh: out of time before $model $mode: run again to go on"
      exit 4
    fi
    batch=${BATCH:-$(cat "$folder/batch" 2>/dev/null || echo 1)}
    log=$state/logs/$model.$mode.log
    start=$SECONDS
    line=$(timeout -k 5 "${TIMEOUT:-150}" "$here/probe" "$model_file" "$folder/samples" \
      --reference "$folder/reference" --name "$model" --mode "$mode" --batch "$batch" --runs "${RUNS:-200}" \
      --timing-cache "$state/$model.timing" --level "${LEVEL:-3}" \
      --layers "$state/layers/$model.$mode.json" ${flags[@]+"${flags[@]}"} 2>"$log")
    status=$?
    if [ -z "$line" ]; then
      reason="exit status $status"
      [ $status -ge 124 ] && [ $((SECONDS - start)) -ge "${TIMEOUT:-150}" ] && reason="stopped after ${TIMEOUT:-150} s"
      line="{\"model\": \"$model\", \"mode\": \"$mode\", \"error\": \"$reason\"}"
    fi
    printf '%s\n' "$line" >>"$state/results.jsonl"
    touch "$state/$model.$mode.done"
    cp "$state/results.jsonl" "$out/"
    echo "$model $mode: exit $status, $((SECONDS - start)) s"
    [ $status -ne 0 ] && tail -n 3 "$log"
  done
done
echo "run.sh: all done"
