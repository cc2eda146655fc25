#!/usr/bin/env python3
"""Whether two models compute the same: bit for bit as written, and to FP32's last digits where a runtime optimizes.

usage: exactness.py ORIGINAL FIXED SAMPLES_DIR      one line for each output that differs; exit code 1 if any does

Multiplying by a power of two rounds nothing, so a model whose tensors are stored times powers of two, with everything
kept in FP32, must give the original's outputs to the bit. That holds for nodes run as they are written. An optimizing
runtime folds constants and fuses layers, each model in its own way, so there the largest difference may be
OPTIMIZED_TOLERANCE of the output's largest value.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

Sample = Mapping[str, np.ndarray]
OPTIMIZED_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Difference:
    """What one output of one sample has to say; `differing` counts elements that are not the same bits."""

    output: str
    sample: int
    optimized: bool
    elements: int
    differing: int
    max_abs: float  # infinite where only one of the two is finite
    largest: float  # of the original's finite values
    mismatch: str = ""  # shapes or types, where these differ already

    @property
    def relative(self) -> float:
        if self.max_abs == 0:
            return 0.0
        return self.max_abs / self.largest if self.largest > 0 else float("inf")

    @property
    def allowed(self) -> bool:
        if self.mismatch:
            return False
        return self.relative <= OPTIMIZED_TOLERANCE if self.optimized else self.differing == 0

    def __str__(self) -> str:
        how = "optimized" if self.optimized else "as written"
        what = self.mismatch or (f"{self.differing} of {self.elements} elements differ, by up to {self.max_abs:.3g}, "
                                 f"{self.relative:.3g} of the largest ({self.largest:.3g})")
        return f"{self.output}, sample {self.sample}, {how}: {what}"


def session(model: Path, optimized: bool, save: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    if save is not None:
        options.optimized_model_filepath = str(save)
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.intra_op_num_threads = 2  # The same for both models and on any machine.
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def difference(output: str, sample: int, optimized: bool, want: np.ndarray, have: np.ndarray) -> Difference:
    if want.shape != have.shape or want.dtype != have.dtype:
        mismatch = f"{want.dtype}{list(want.shape)} became {have.dtype}{list(have.shape)}"
        return Difference(output, sample, optimized, want.size, want.size, float("inf"), 0.0, mismatch)
    want, have = np.ascontiguousarray(want).reshape(-1), np.ascontiguousarray(have).reshape(-1)
    if want.dtype.kind != "f":
        differing = int(np.count_nonzero(want != have))
        return Difference(output, sample, optimized, want.size, differing, float("inf") if differing else 0.0, 0.0)
    bits = np.dtype(f"u{want.dtype.itemsize}")
    differing = int(np.count_nonzero(want.view(bits) != have.view(bits)))
    same = (want == have) | (np.isnan(want) & np.isnan(have))
    finite = np.isfinite(want)
    gaps = np.abs(np.subtract(want, have, dtype=np.float64, out=np.zeros(want.shape), where=~same))
    gaps[np.isnan(gaps)] = np.inf
    return Difference(output, sample, optimized, want.size, differing, float(gaps.max(initial=0)),
                      float(np.abs(want[finite]).max(initial=0)))


def differences(original: Path, fixed: Path, samples: Iterable[Sample], optimized: bool) -> list[Difference]:
    """Every output of every sample, those that agree included."""
    first, second = session(original, optimized), session(fixed, optimized)
    names = [output.name for output in first.get_outputs()]
    absent = set(names) - {output.name for output in second.get_outputs()}
    if absent:
        raise ValueError(f"{fixed} has no output {sorted(absent)[0]}")
    found = []
    for index, sample in enumerate(samples):
        pairs = zip(names, first.run(names, dict(sample)), second.run(names, dict(sample)))
        found += [difference(name, index, optimized, want, have) for name, want, have in pairs]
    return found


def operators(model: Path) -> collections.Counter[str]:
    """How often ONNX Runtime runs each operator once it has fused what it can."""
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder, "optimized.onnx")
        session(model, True, saved)
        graph = onnx.load(saved, load_external_data=False).graph
    return collections.Counter(node.op_type for node in graph.node)


def lost_fusions(original: Path, fixed: Path) -> dict[str, int]:
    """Operators that ONNX Runtime's optimizations make of the original and no longer of the fixed model, and how many."""
    written = {node.op_type for node in onnx.load(original, load_external_data=False).graph.node}
    lost = operators(original) - operators(fixed)
    return {name: count for name, count in lost.items() if name not in written}


def problems(original: Path, fixed: Path, samples: Iterable[Sample]) -> list[str]:
    """A line for each output of a sample that is not as it should be: none where the two models are one function."""
    listed = list(samples)
    found = [*differences(original, fixed, listed, False), *differences(original, fixed, listed, True)]
    return [str(item) for item in found if not item.allowed]


def main() -> int:
    parser = argparse.ArgumentParser(description="Compares two models bit for bit.")
    parser.add_argument("original", type=Path)
    parser.add_argument("fixed", type=Path)
    parser.add_argument("samples", type=Path, help="a folder of .npz")
    arguments = parser.parse_args()
    samples = [dict(np.load(path)) for path in sorted(arguments.samples.glob("*.npz"))]
    if not samples:
        parser.error(f"{arguments.samples} holds no .npz")
    lines = problems(arguments.original, arguments.fixed, samples)
    for name, count in lost_fusions(arguments.original, arguments.fixed).items():
        print(f"{count} fewer {name} fused when optimized")
    print(*lines or [f"the same on {len(samples)} samples"], sep="\n")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
