#!/usr/bin/env python3
"""The check's emulated FP16 and BF16 storage, bit for bit against numpy's float16 and ml_dtypes' bfloat16.

A model of one exact operator (x * 1) shows the rounding alone: its FP16 form stores the rounded input.
"""

import base64
import io
import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper

HALFSAFE = os.environ["HALFSAFE"]


def model_bytes(size: int) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "one"], ["y"], name="times_one")], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size])],
        [helper.make_tensor("one", TensorProto.FLOAT, [], [1.0])])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10).SerializeToString()


def rounded(values: np.ndarray, precision: str) -> tuple[np.ndarray, dict]:
    """What the emulated model answers, and the check's result."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "m.onnx").write_bytes(model_bytes(values.size))
        np.savez(folder / "s.npz", x=values)
        subprocess.run([HALFSAFE, "scan", "m.onnx", "--data", "s.npz", "-o", "r.json", "-q"], cwd=folder, check=True)
        subprocess.run([HALFSAFE, "plan", "m.onnx", "--ranges", "r.json", "-o", "p.json", "-q"], cwd=folder, check=True)
        plan = json.loads((folder / "p.json").read_text())
        for node in plan["nodes"]:
            node["precision"] = precision
        (folder / "p.json").write_text(json.dumps(plan))
        subprocess.run([HALFSAFE, "apply", "m.onnx", "--plan", "p.json", "-o", "f.onnx", "-q"], cwd=folder, check=True)
        subprocess.run([HALFSAFE, "check", "m.onnx", "f.onnx", "--data", "s.npz", "--save-outputs", "out", "--json", "c.json", "-q"], cwd=folder)
        recorded = json.loads(next((folder / "out" / "fixed").glob("*.json")).read_text())
        array = recorded["lst"][0][1][0]["outputs"]["y"]["values"]["array"]
        return np.load(io.BytesIO(base64.b64decode(array))), json.loads((folder / "c.json").read_text())


def probes() -> np.ndarray:
    """Every half, the midpoints between neighbours and their neighbours in FP32, and random floats over all magnitudes."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].astype(np.float32)
    ordered = np.unique(halves)
    middle = ((ordered[:-1].astype(np.float64) + ordered[1:]) / 2).astype(np.float32)
    random = np.random.default_rng(5).integers(0, 2**32, 200000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    edges = np.array([1e5, -1e5, 65504, 65519.99, 65520, 2.0**-25, 2.0**-24, 0.0, -0.0], np.float32)
    return np.concatenate([halves, middle, np.nextafter(middle, np.float32(np.inf)), np.nextafter(middle, np.float32(-np.inf)),
                           random[np.isfinite(random)], edges])


class RoundingTest(unittest.TestCase):
    def test_fp16_equals_numpy(self) -> None:
        values = probes()
        with np.errstate(over="ignore"):
            expected = values.astype(np.float16).astype(np.float32)
        got, _ = rounded(values, "fp16")
        np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))

    def test_bf16_equals_ml_dtypes(self) -> None:
        values = probes()
        expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
        got, _ = rounded(values, "bf16")
        np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))

    def test_1e5_becomes_infinite_and_fails_the_check(self) -> None:
        got, result = rounded(np.array([1.0, 1e5], np.float32), "fp16")
        self.assertTrue(np.isinf(got[1]))
        self.assertEqual(result["verdict"], "not-right")
        self.assertEqual(result["outputs"][0]["new_nonfinite"], 1)
        # The Cast that stores the input in FP16 is the first to overflow.
        self.assertEqual(result["fixed_model"]["first_inf"]["tensor"], "x.fp16")


if __name__ == "__main__":
    unittest.main()
