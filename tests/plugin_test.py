#!/usr/bin/env python3
"""Operators that ONNX Runtime lacks: cut off at a graph's tail for scan and check, kept in the result, refused elsewhere;
with a library that has them, run wherever they stand.

HALFSAFE names the binary, CUSTOM_OPS a library that has test.ops.DoubleIt.
"""

import json
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

HALFSAFE = os.environ["HALFSAFE"]
CUSTOM_OPS = os.environ["CUSTOM_OPS"]


def overflowing_model(extra_nodes: list, outputs: list, width: int = 16) -> onnx.ModelProto:
    """x * w * 30000 / 30000, which passes 65504 on the way, with `extra_nodes` behind it."""
    weights = np.random.default_rng(0).standard_normal((width, width)).astype(np.float32) * np.float32(4 / width**0.5)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"], name="matmul"),
             helper.make_node("Mul", ["a", "large"], ["b"], name="up"),
             helper.make_node("Mul", ["b", "small"], ["c"], name="down"),
             helper.make_node("Relu", ["c"], ["d"], name="relu"), *extra_nodes]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, width])], outputs,
        [helper.make_tensor("w", TensorProto.FLOAT, [width, width], weights.ravel()),
         helper.make_tensor("large", TensorProto.FLOAT, [], [30000.0]),
         helper.make_tensor("small", TensorProto.FLOAT, [], [1 / 30000.0])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("TRT", 1), helper.make_opsetid("test.ops", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


class OverflowingModelTest(unittest.TestCase):
    width = 16

    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        np.savez(self.folder / "s.npz", x=np.random.default_rng(1).standard_normal((4, self.width)).astype(np.float32))

    def fix(self, model: onnx.ModelProto, *options: str) -> subprocess.CompletedProcess:
        onnx.save(model, self.folder / "m.onnx")
        return self.run_tool("fix", "m.onnx", "--data", "s.npz", "-o", "f.onnx", *options)

    def run_tool(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([HALFSAFE, *arguments], cwd=self.folder, capture_output=True, text=True)


class PluginTest(OverflowingModelTest):
    def test_a_plugin_at_the_tail_stays_and_reads_fp32(self) -> None:
        nms = helper.make_node("EfficientNMS_TRT", ["d", "c"], ["count", "boxes"], name="nms", domain="TRT")
        outputs = [helper.make_tensor_value_info("count", TensorProto.INT32, [1, 1]),
                   helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [1, 10, 4])]
        run = self.fix(overflowing_model([nms], outputs), "--io", "fp16")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn("tail:nms:0", run.stdout)
        fixed = onnx.load(self.folder / "f.onnx")
        kept = [node for node in fixed.graph.node if node.op_type == "EfficientNMS_TRT"]
        self.assertEqual(len(kept), 1)
        casts = {node.output[0]: node.attribute[0].i for node in fixed.graph.node if node.op_type == "Cast"}
        for name in kept[0].input:
            self.assertNotEqual(casts.get(name), TensorProto.FLOAT16)

    def test_a_plugin_in_the_middle_is_refused_with_node_and_option(self) -> None:
        plugin = helper.make_node("Odd_TRT", ["d"], ["e"], name="odd", domain="TRT")
        after = helper.make_node("Relu", ["e"], ["y"], name="after")
        run = self.fix(overflowing_model([plugin, after], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 16])]))
        self.assertEqual(run.returncode, 3)
        for word in ("odd", "Odd_TRT", "after", "--custom-ops"):
            self.assertIn(word, run.stderr)
        self.assertFalse((self.folder / "f.onnx").exists())


def doubling_model() -> onnx.ModelProto:
    """The overflowing net, work, DoubleIt, and work behind it whose types only a run can tell."""
    nodes = [helper.make_node("MatMul", ["d", "w"], ["g"], name="before"), helper.make_node("Sigmoid", ["g"], ["h"], name="calm"),
             helper.make_node("DoubleIt", ["h"], ["e"], name="double", domain="test.ops"),
             helper.make_node("MatMul", ["e", "w"], ["f"], name="after"), helper.make_node("Tanh", ["f"], ["y"], name="last")]
    return overflowing_model(nodes, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 256])], width=256)


class CustomOpTest(OverflowingModelTest):
    width = 256  # Large enough for FP16 to be worth Casts.

    def test_without_the_library(self) -> None:
        run = self.fix(doubling_model())
        self.assertEqual(run.returncode, 3)
        for word in ("double", "DoubleIt", "--custom-ops"):
            self.assertIn(word, run.stderr)

    def test_a_library_that_is_none(self) -> None:
        (self.folder / "no.so").write_text("text")
        run = self.fix(doubling_model(), "--custom-ops", "no.so")
        self.assertEqual(run.returncode, 3)
        self.assertIn("no.so", run.stderr)

    def test_fix(self) -> None:
        run = self.fix(doubling_model(), "--custom-ops", CUSTOM_OPS, "--io", "fp16", "--json", "r.json")
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertEqual(json.loads((self.folder / "r.json").read_text())["verdict"], "right")
        fixed = onnx.load(self.folder / "f.onnx")
        made_by = {name: node for node in fixed.graph.node for name in node.output}
        double = made_by["e"] if "e" in made_by else made_by["e.fp32"]
        self.assertEqual((double.op_type, made_by[double.input[0]].op_type), ("DoubleIt", "Cast"))
        self.assertEqual(made_by[double.input[0]].attribute[0].i, TensorProto.FLOAT)
        readers = [node for node in fixed.graph.node if double.output[0] in node.input]
        self.assertEqual([(node.op_type, node.attribute[0].i) for node in readers], [("Cast", TensorProto.FLOAT16)])
        self.compare_with_numpy(fixed)

    def compare_with_numpy(self, fixed: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.register_custom_ops_library(CUSTOM_OPS)
        session = onnxruntime.InferenceSession(fixed.SerializeToString(), options, providers=["CPUExecutionProvider"])
        x = np.load(self.folder / "s.npz")["x"]
        weights = onnx.numpy_helper.to_array(doubling_model().graph.initializer[0])
        calm = 1 / (1 + np.exp(-(np.maximum(x @ weights, 0) @ weights)))
        expected = np.tanh(2 * calm @ weights)
        (found,) = session.run(None, {"x": x.astype(np.float16)})
        self.assertEqual(found.dtype, np.float16)
        self.assertLess(np.linalg.norm(found - expected), 1e-2 * np.linalg.norm(expected))

    def test_stages(self) -> None:
        """Each stage by itself, with the library, gives the model that fix gives."""
        self.assertEqual(self.fix(doubling_model(), "--custom-ops", CUSTOM_OPS).returncode, 0)
        for arguments in (["scan", "m.onnx", "--data", "s.npz", "-o", "r.json"],
                          ["plan", "m.onnx", "--ranges", "r.json", "-o", "p.json"],
                          ["apply", "m.onnx", "--plan", "p.json", "-o", "g.onnx"],
                          ["check", "m.onnx", "g.onnx", "--data", "s.npz"],
                          ["mark", "m.onnx", "-o", "marked.onnx"], ["inspect", "m.onnx"]):
            run = self.run_tool(*arguments, "--custom-ops", CUSTOM_OPS)
            self.assertEqual(run.returncode, 0, f"{arguments[0]}: {run.stderr}")
        self.assertEqual((self.folder / "g.onnx").read_bytes(), (self.folder / "f.onnx").read_bytes())
        ranges = {tensor["name"]: tensor for tensor in json.loads((self.folder / "r.json").read_text())["tensors"]}
        self.assertEqual(ranges["e"]["abs_max"], 2 * ranges["h"]["abs_max"])
        self.assertEqual(ranges["f"]["dtype"], "float32")
        self.assertGreater(ranges["b"]["overflow_count"], 0)


if __name__ == "__main__":
    unittest.main()
