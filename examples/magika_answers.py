#!/usr/bin/env python3
"""Shows what Magika answers for real files: in FP32, in plain FP16 and as repaired by halfsafe.

usage: magika_answers.py CONFIG_JSON OUTPUTS_DIR SHOWN FILE...

CONFIG_JSON is the configuration in Magika's package, which names the labels. OUTPUTS_DIR is what
`halfsafe fix ... --save-outputs OUTPUTS_DIR` wrote: a folder each of the FP32 model (fp32), of that model with every
tensor stored in FP16 (fp16), and of the repaired model (fixed), with one file a sample. The FILEs are those that the
samples were made from, in the same order. SHOWN of them are listed; all of them are counted.
"""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path

import numpy as np

VERSIONS = ("fp32", "fp16", "fixed")


def read_scores(path: Path) -> np.ndarray:
    """The only output of the only run in one Polygraphy file: base64 of a whole .npy file, inside JSON."""
    [[_, [run]]] = json.loads(path.read_text())["lst"]
    [output] = run["outputs"].values()
    return np.load(io.BytesIO(base64.b64decode(output["values"]["array"])), allow_pickle=False)


def answer(scores: np.ndarray, labels: list[str]) -> str:
    best = scores.reshape(-1)
    # The position of the largest value means nothing once a value is not a number.
    if not np.isfinite(best).all():
        return "no answer (NaN)"
    return f"{labels[best.argmax()]} {best.max():.0%}"


def label_of(text: str) -> str:
    return text.split(" ")[0]


def main() -> int:
    if len(sys.argv) < 5:
        print(__doc__, file=sys.stderr)
        return 2
    labels = json.loads(Path(sys.argv[1]).read_text())["target_labels_space"]
    folders = [Path(sys.argv[2], version) for version in VERSIONS]
    shown, files = int(sys.argv[3]), sys.argv[4:]
    columns = [[answer(read_scores(path), labels) for path in sorted(folder.glob("*.json"))] for folder in folders]
    if any(len(column) != len(files) for column in columns):
        print(f"{len(files)} files, but {[len(column) for column in columns]} saved outputs", file=sys.stderr)
        return 1

    line = "{:<34} {:<18} {:<18} {}".format
    print(line("file", "FP32", "plain FP16", "halfsafe"))
    rows = list(zip(files, *columns))
    for name, *answers in rows[:: -(-len(rows) // shown)]:
        print(line(Path(name).name[-34:], *answers))
    print()
    for version, column in zip(("plain FP16", "halfsafe"), columns[1:]):
        same = sum(label_of(left) == label_of(right) for left, right in zip(columns[0], column))
        print(f"{version}: same label as FP32 for {same} of {len(files)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
