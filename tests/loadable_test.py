"""What is written loads in ONNX Runtime's CPU provider at its default options, and gives there what the original gives.

Loading can end the process, so each file is loaded in one of its own. HALFSAFE names the binary. Exits with 77 (skipped) where a
package is missing.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import unittest
from collections.abc import Iterator
from typing import Any

import support
from support import ToolTest, np, onnx, read_json

import fp16_reference
from generated_models import Builder, random
from onnx import ModelProto, TensorProto, helper

RUN = """
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
names = [output.name for output in session.get_outputs()]
np.savez(sys.argv[3], **dict(zip(names, session.run(names, dict(np.load(sys.argv[2]))))))
"""


def product(opset: int, perm: list[int], between: str = "", left: int = TensorProto.FLOAT, weight: str = "initializer",
            ir_version: int = 8) -> ModelProto:
    """A Transpose that moves the batch in front of a MatMul with a constant matrix: what ONNX Runtime fuses."""
    b = Builder(opset)
    b.input("x", ["a", "b", "c", 8] if len(perm) == 4 else ["a", "b", 8], left)
    values = random(8 if perm[-1] != 0 else 3, 6)
    kind = np.float16 if left == TensorProto.FLOAT16 else np.float32
    if weight == "constant":
        b.node("Constant", [], "w", value=onnx.numpy_helper.from_array(values.astype(kind)))
    else:
        b.weight("w", values, kind)
        if ir_version < 4:
            b.input("w", values.shape)
    b.node("Transpose", ["x"], "t", perm=perm)
    if between:
        b.node(between, ["t"], "u")
    b.node("MatMul", ["u" if between else "t", "w"], "y")
    b.output("y", [None] * len(perm), left)
    if weight == "shared":
        b.node("MatMul", ["x", "w"], "z")
        b.output("z", [None] * len(perm), left)
    return b.model(ir_version)


def in_a_body() -> ModelProto:
    inner = Builder(17)
    inner.node("Transpose", ["x"], "t", perm=[1, 0, 2])
    inner.node("MatMul", ["t", "w"], "o")
    inner.output("o", [None, None, 6])
    other = Builder(17)
    other.node("Transpose", ["x"], "s", perm=[1, 0, 2])
    other.node("MatMul", ["s", "w2"], "p")
    other.output("p", [None, None, 6])
    b = Builder(17)
    b.input("x", ["a", "b", 8])
    b.weight("w", random(8, 6))
    b.weight("w2", random(8, 6, seed=1))
    b.node("ReduceSum", ["x"], "sum", keepdims=0)
    b.weight("zero", 0.0)
    b.node("Greater", ["sum", "zero"], "c")
    b.node("If", ["c"], "y", then_branch=inner.graph("t"), else_branch=other.graph("e"))
    b.output("y", ["b", "a", 6])
    return b.model()


def crashing() -> Iterator[tuple[str, ModelProto]]:
    for opset in (11, 17, 21):
        yield f"opset {opset}", product(opset, [1, 0, 2])
    yield "to the last place", product(17, [1, 2, 0])
    yield "rank 4", product(17, [1, 2, 0, 3])
    for between in ("Identity", "Dropout"):
        yield between, product(17, [1, 0, 2], between)
    yield "weight in a Constant", product(17, [1, 0, 2], weight="constant")
    yield "weight read twice", product(17, [1, 0, 2], weight="shared")
    yield "IR version 3", product(11, [1, 0, 2], ir_version=3)
    yield "in 16 bits", product(17, [1, 0, 2], left=TensorProto.FLOAT16)
    yield "in a body", in_a_body()


class LoadableTest(ToolTest):
    def setUp(self) -> None:
        super().setUp()
        self.fixed, self.plan, self.result = (self.folder / name for name in ("fixed.onnx", "plan.json", "result.json"))

    def run_apart(self, model: pathlib.Path, sample: pathlib.Path) -> dict[str, np.ndarray] | None:
        """What ONNX Runtime gives; None where it crashes."""
        out = self.folder / f"{model.stem}_{sample.stem}.npz"
        done = subprocess.run([sys.executable, "-c", RUN, model, sample, out], capture_output=True, text=True)
        if done.returncode < 0:
            return None
        self.assertEqual(done.returncode, 0, done.stderr)
        return dict(np.load(out))

    def test_a_transpose_of_the_batch(self) -> None:
        """Else ONNX Runtime 1.32 ends with a segmentation fault."""
        for number, (name, model) in enumerate(crashing()):
            with self.subTest(name):
                left = model.graph.input[0].type.tensor_type
                kind = np.float16 if left.elem_type == TensorProto.FLOAT16 else np.float32
                shape = (3, 4, 5, 8) if len(left.shape.dim) == 4 else (3, 4, 8)
                if "last place" in name:
                    shape = (3, 4, 8)
                given = [{"x": (np.random.default_rng(i).standard_normal(shape)).astype(kind)} for i in range(2)]
                folder = self.folder / str(number)
                folder.mkdir()
                path, fixed = folder / "model.onnx", folder / "fixed.onnx"
                onnx.save(model, path)
                data = self.save_samples(given, f"{number}/samples")
                self.tool("fix", path, "--data", data, "-o", fixed, "--free-casts")
                onnx.checker.check_model(onnx.load(fixed), full_check=True)
                self.assertTrue(any(node.op_type == "Unsqueeze" for graph in support.graphs_of(onnx.load(fixed).graph) for node in graph[1].node))
                found = self.run_apart(fixed, data / "000.npz")
                self.assertIsNotNone(found, "ONNX Runtime crashes")
                wide = support.session(support.lifted(model), True).run(None, support.widened(given)[0])
                for output, want in zip(model.graph.output, wide, strict=True):
                    self.assertLess(fp16_reference.relative_l2(want, found[output.name].astype(np.float32)), 2e-3)
                # What is right as it is comes back.
                again = folder / "again.onnx"
                self.tool("fix", fixed, "--data", data, "-o", again, "--free-casts")

    # ------------------------------------------------------------ what fix and check say

    def scattered(self) -> tuple[pathlib.Path, pathlib.Path]:
        """A sum that ONNX Runtime's CPU provider has for FP32 alone, between operators that it has in FP16."""
        b = Builder(16)
        b.input("x", ["edges", 8])
        b.input("at", ["edges", 8], TensorProto.INT64)
        b.weight("zero", np.zeros((4, 8)))
        b.node("Slice", ["x", "begin", "end"], "part")
        b.weight("begin", [0, 0], np.int64)
        b.weight("end", [9, 8], np.int64)
        b.node("ScatterElements", ["zero", "at", "part"], "sum", axis=0, reduction="add", name="")
        b.node("Transpose", ["sum"], "y", perm=[1, 0])
        b.output("y", [8, 4])
        given = [{"x": random(9, 8, seed=i), "at": np.random.default_rng(i).integers(0, 4, (9, 8))} for i in range(2)]
        return self.save(b.model()), self.save_samples(given)

    def fix(self, *options: object) -> dict[str, Any]:
        model, data = self.model_and_data
        self.done = self.tool("fix", model, "--data", data, "-o", self.fixed, "--io", "fp16", "--free-casts", "--save-plan", self.plan,
                              "--json", self.result, *options)
        return read_json(self.result)

    def test_a_node_without_a_kernel_is_named(self) -> None:
        self.model_and_data = self.scattered()
        found = self.fix()["on_cpu"]
        self.assertEqual((found["runs"], found["stage"], found["node"]), (False, "run", "sum"))
        self.assertRegex(self.done.stdout, r"warning: ONNX Runtime's CPU provider does not run .*node sum \(ScatterElements\).*--runs-on-cpu")
        with self.assertRaisesRegex(Exception, "ScatterElements"):
            sample = dict(np.load(self.model_and_data[1] / "000.npz"))
            support.session(onnx.load(self.fixed), True).run(None, {**sample, "x": sample["x"].astype(np.float16)})
        self.assertIsNone(self.fix("--no-cpu-run")["on_cpu"])

    def test_it_stays_fp32_where_that_is_asked_for(self) -> None:
        self.model_and_data = self.scattered()
        result = self.fix("--runs-on-cpu")
        self.assertTrue(result["on_cpu"]["runs"])
        self.assertEqual([node["name"] for node in result["fp32_nodes"] if node["reason"] == "does-not-load"], ["sum"])
        again = self.folder / "again.onnx"
        self.tool("apply", self.model_and_data[0], "--plan", self.plan, "-o", again)
        self.assertEqual(again.read_bytes(), self.fixed.read_bytes())

    def test_a_crash_is_told(self) -> None:
        path = self.save(product(17, [1, 0, 2], left=TensorProto.FLOAT16))
        done = self.tool("check", path, path, "--data", self.save_samples([{"x": random(3, 4, 8).astype(np.float16)}]), "--json", self.result)
        found = read_json(self.result)["on_cpu"]
        self.assertEqual((found["runs"], found["runs_at_basic"]), (False, True))
        self.assertIn("signal 11", found["message"])
        self.assertIn('optimization level "basic"', done.stdout)

    def test_a_file_that_crashes_is_known(self) -> None:
        """Without this the test above shows nothing."""
        path = self.save(product(17, [1, 0, 2], left=TensorProto.FLOAT16), "model.onnx")
        data = self.save_samples([{"x": random(3, 4, 8).astype(np.float16)}])
        self.assertIsNone(self.run_apart(path, data / "000.npz"))


if __name__ == "__main__":
    unittest.main()
