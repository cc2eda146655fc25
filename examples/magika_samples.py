#!/usr/bin/env python3
"""Turns real files into calibration samples for Magika, a model that tells a file's type from its bytes.

usage: magika_samples.py OUT_DIR FILE...

Writes OUT_DIR/000.npz, 001.npz, ... one per file, in the order given. Each holds one array named as the model's
input. A calibration sample is worth something only if it is what the model sees in service, so this does what
Magika 1.0 does before inference: it looks at both ends of a file and nowhere else.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

INPUT_NAME = "bytes"
END_SIZE = 1024  # values taken from each end of the file
BLOCK_SIZE = 4096  # bytes read at each end, before white space is stripped
PADDING = 256  # not a byte value, so that padding cannot be mistaken for content
FEWEST_BYTES = 8  # Magika answers for shorter content without the model


def features(path: Path) -> np.ndarray | None:
    """The model's input for one file, int32 [1, 2048]; None if the file is too short to ask the model."""
    first, last = read_both_ends(path)
    first, last = first.lstrip()[:END_SIZE], last.rstrip()[-END_SIZE:]
    if len(first) < FEWEST_BYTES:
        return None
    values = np.full((1, 2 * END_SIZE), PADDING, dtype=np.int32)
    values[0, : len(first)] = np.frombuffer(first, dtype=np.uint8)
    # The end of the file stays at the end of the input: padding goes before it. An end of nothing but white
    # space leaves no bytes, and a slice from -0 would address everything.
    if last:
        values[0, -len(last) :] = np.frombuffer(last, dtype=np.uint8)
    return values


def read_both_ends(path: Path) -> tuple[bytes, bytes]:
    with open(path, "rb") as file:
        first = file.read(BLOCK_SIZE)
        size = file.seek(0, 2)
        file.seek(max(0, size - BLOCK_SIZE))
        return first, file.read(BLOCK_SIZE)


def main() -> int:
    if len(sys.argv) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(sys.argv[2:]):
        values = features(Path(name))
        if values is None:
            print(f"{name}: fewer than {FEWEST_BYTES} bytes, the model is not asked for these", file=sys.stderr)
            return 1
        np.savez(out / f"{index:03}.npz", **{INPUT_NAME: values})
    return 0


if __name__ == "__main__":
    sys.exit(main())
