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

import support
from support import ToolTest, np, onnx

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

    def test_a_file_that_crashes_is_known(self) -> None:
        """Without this the test above shows nothing."""
        path = self.save(product(17, [1, 0, 2], left=TensorProto.FLOAT16), "model.onnx")
        data = self.save_samples([{"x": random(3, 4, 8).astype(np.float16)}])
        self.assertIsNone(self.run_apart(path, data / "000.npz"))


if __name__ == "__main__":
    unittest.main()
