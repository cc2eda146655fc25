#!/usr/bin/env python3
"""Operators that ONNX Runtime lacks: cut off at a graph's tail for scan and check, kept in the result, refused elsewhere."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

HALFSAFE = os.environ["HALFSAFE"]


def overflowing_model(extra_nodes: list, outputs: list) -> onnx.ModelProto:
    """x * w * 30000 / 30000, which passes 65504 on the way, with `extra_nodes` behind it."""
    weights = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"], name="matmul"),
             helper.make_node("Mul", ["a", "large"], ["b"], name="up"),
             helper.make_node("Mul", ["b", "small"], ["c"], name="down"),
             helper.make_node("Relu", ["c"], ["d"], name="relu"), *extra_nodes]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 16])], outputs,
        [helper.make_tensor("w", TensorProto.FLOAT, [16, 16], weights.ravel()),
         helper.make_tensor("large", TensorProto.FLOAT, [], [30000.0]),
         helper.make_tensor("small", TensorProto.FLOAT, [], [1 / 30000.0])])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("TRT", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


class PluginTest(unittest.TestCase):
    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = Path(holder.name)
        np.savez(self.folder / "s.npz", x=np.random.default_rng(1).standard_normal((4, 16)).astype(np.float32))

    def fix(self, model: onnx.ModelProto, *options: str) -> subprocess.CompletedProcess:
        onnx.save(model, self.folder / "m.onnx")
        return subprocess.run([HALFSAFE, "fix", "m.onnx", "--data", "s.npz", "-o", "f.onnx", *options], cwd=self.folder,
                              capture_output=True, text=True)

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


if __name__ == "__main__":
    unittest.main()
