"""Models and messages around TensorRT that need neither it nor a GPU: weakly typed models, products summed in FP32, and what a
build without TensorRT says.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import json
import unittest

import support
from support import np, onnx, read_json

import exactness
from onnx import TensorProto, helper, numpy_helper

OK, USAGE, UNAVAILABLE = 0, 2, 5


def run(path, feeds):
    return exactness.session(path, optimized=False).run(None, feeds)


class TensorRtTest(support.ToolTest):
    def setUp(self) -> None:
        super().setUp()
        rng = np.random.default_rng(5)
        self.x = rng.normal(size=(4, 16)).astype(np.float32)
        weights = [numpy_helper.from_array((rng.normal(size=(16, 16)) * scale).astype(np.float32), name)
                   for name, scale in (("w", 4e4), ("v", 1e-5))]
        nodes = [helper.make_node("MatMul", ["x", "w"], ["big"], name="first"),
                 helper.make_node("Relu", ["big"], ["r"], name="relu"),
                 helper.make_node("MatMul", ["r", "v"], ["p"], name="second"),
                 helper.make_node("Exp", ["p"], ["y"], name="exp")]
        graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 16])], weights)
        self.model = self.folder / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), self.model)
        np.savez(self.folder / "0.npz", x=self.x)

    def fix(self, *options: str):
        plan = self.folder / "plan.json"
        self.tool("fix", self.model, "--data", self.folder / "0.npz", "-o", self.folder / "fixed.onnx",
                  "--save-plan", plan, *options)
        return plan

    def test_a_weakly_typed_model_has_the_plans_values_and_none_of_its_types(self) -> None:
        plan = self.fix("--io", "fp16")  # Or all of so small a model would be FP32, which needs no other values.
        weak = self.folder / "weak.onnx"
        self.tool("apply", self.model, "--plan", plan, "--typing", "weak", "-o", weak)
        proto = onnx.load(weak)
        onnx.checker.check_model(proto, full_check=True)
        self.assertEqual({tensor.data_type for tensor in proto.graph.initializer}, {TensorProto.FLOAT})
        self.assertNotIn("Cast", {node.op_type for node in proto.graph.node})
        original = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(self.model).graph.initializer}
        self.assertTrue(any(np.abs(numpy_helper.to_array(tensor)).max() < np.abs(original[tensor.name]).max()
                            for tensor in proto.graph.initializer if tensor.name in original))
        np.testing.assert_array_equal(run(weak, {"x": self.x})[0], run(self.model, {"x": self.x})[0])

    def test_products_are_summed_in_fp32_between_casts(self) -> None:
        plan = self.fix("--io", "fp16")
        content = read_json(plan)
        for node in content["nodes"]:
            node["precision"] = "fp16"
        plan.write_text(json.dumps(content), encoding="utf-8")
        wide = self.folder / "wide.onnx"
        self.tool("apply", self.model, "--plan", plan, "--accumulate", "fp32", "-o", wide)
        proto = onnx.load(wide)
        onnx.checker.check_model(proto, full_check=True)
        producers = {output: node for node in proto.graph.node for output in node.output}
        readers = {name: node for node in proto.graph.node for name in node.input}
        products = [node for node in proto.graph.node if node.op_type == "MatMul"]
        self.assertEqual(len(products), 2)
        for product in products:
            self.assertEqual([producers[name].op_type for name in product.input], ["Cast", "Cast"])
            self.assertEqual(readers[product.output[0]].op_type, "Cast")
            self.assertEqual(readers[product.output[0]].attribute[0].i, TensorProto.FLOAT16)
        np.testing.assert_allclose(run(wide, {"x": self.x.astype(np.float16)})[0], run(self.model, {"x": self.x})[0],
                                   rtol=1e-2)

    def test_casts_need_strong_typing(self) -> None:
        done = self.tool("apply", self.model, "--plan", self.fix(), "--typing", "weak", "--accumulate", "fp32",
                         "-o", self.folder / "out.onnx", code=USAGE)
        self.assertIn("--accumulate fp32", done.stderr)

    def test_a_build_without_tensorrt_says_how_to_get_it(self) -> None:
        out = self.folder / "model.engine"
        (self.folder / "old.engine").write_bytes(b"ftrt")
        for arguments in (("build", self.model, "-o", out), ("build", self.model, "--parse-only"),
                          ("bench", self.model, self.folder / "old.engine", "--data", self.folder / "0.npz"),
                          ("engine", self.folder / "old.engine"),
                          ("engine", self.model, "--trace", "--data", self.folder / "0.npz")):
            done = self.tool(*arguments, code=UNAVAILABLE)
            if "no GPU" in done.stderr:
                self.skipTest("this build has TensorRT")
            self.assertIn("--preset tensorrt", done.stderr)
            self.assertFalse(out.exists())


if __name__ == "__main__":
    unittest.main()
