"""Small models as PyTorch's two exporters write them, and what exporters do that once kept nodes in FP32 or was refused.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing. tests/data/exports is written by
conformance/exported/make.py; `scripts/conformance --exports` runs large ones too.
"""

from __future__ import annotations

import unittest
from pathlib import Path

from support import ToolTest, np, read_json

from conformance import exports, run
from generated_models import Builder
from onnx import ModelProto, TensorProto, helper

MODELS = Path(__file__).resolve().parent / "data/exports"
# Nodes that stay FP32 under --half fp16, by model; none in the others.
FP32_NODES = {"branched-dynamo-18": 3, "spectral-script_raw-17": 1}


class ExportedTest(unittest.TestCase):
    def test_all_are_right(self) -> None:
        cases = [exports.folder_case(path.parent, "exports") for path in sorted(MODELS.glob("*/model.onnx"))]
        self.assertGreater(len(cases), 10)
        for outcome in run.run_cases(cases):
            with self.subTest(outcome.case, half=outcome.half):
                # Not every opset has BF16 for what these have; then the plan says so.
                kinds = ("right",) if outcome.half == "fp16" else ("right", "fp32")
                self.assertIn(outcome.kind, kinds, f"{outcome.detail} {outcome.precisions}")
                if outcome.half == "fp16":
                    most = FP32_NODES.get(outcome.case.split("/")[1], 0)
                    self.assertLessEqual(outcome.precisions.get("fp32", 0), most, outcome.precisions)


class PatternTest(ToolTest):
    """Each by itself, so that what broke is plain."""

    def plan_of(self, model: ModelProto, samples: list[dict[str, np.ndarray]]) -> dict:
        plan = self.folder / "plan.json"
        self.tool("fix", self.save(model), "--data", self.save_samples(samples), "-o", self.folder / "fixed.onnx",
                  "--save-plan", plan, "--io", "fp16")
        return read_json(plan)

    def assert_all_fp16(self, plan: dict) -> None:
        self.assertEqual([node for node in plan["nodes"] if node["precision"] != "fp16"], [])

    def test_a_mask_of_infinities(self) -> None:
        """Scaled dot product attention: Where gives 0 or -infinity, and scores are added."""
        b = Builder(17)
        b.input("scores", [4, 4])
        b.input("allowed", [4, 4], TensorProto.BOOL)
        b.weight("zero", np.float32(0))
        b.weight("never", np.float32(-np.inf))
        b.node("Where", ["allowed", "zero", "never"], "mask")
        b.node("Add", ["scores", "mask"], "masked")
        b.node("Softmax", ["masked"], "y", axis=-1)
        b.output("y", [4, 4])
        scores = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
        self.assert_all_fp16(self.plan_of(b.model(), [{"scores": scores, "allowed": np.tri(4, dtype=bool)}]))

    def test_a_tensor_that_is_read_for_its_shape_alone(self) -> None:
        """Assigning to a slice: the slice is taken only to know how large it is."""
        b = Builder(17)
        b.input("x", [2, 6])
        b.weight("start", [1], np.int64)
        b.weight("end", [4], np.int64)
        b.weight("axis", [1], np.int64)
        b.node("Slice", ["x", "start", "end", "axis"], "part")
        b.node("Shape", ["part"], "size")
        b.node("ConstantOfShape", ["size"], "zeros")
        b.node("Concat", ["x", "zeros"], "y", axis=1)
        b.output("y", [2, 9])
        self.assert_all_fp16(self.plan_of(b.model(), [{"x": np.ones((2, 6), np.float32)}]))

    def test_a_last_batch_normalization_that_starts_at_zero(self) -> None:
        """Its scale is zero, so that any exponent will do for its variance; one that FP32 can't hold must not be chosen."""
        b = Builder(15)
        b.input("x", [1, 2, 3, 3])
        b.weight("w", np.array([[3e4, -2e4], [1e4, 4e4]]).reshape(2, 2, 1, 1))
        for name, values in (("scale", [0, 0]), ("shift", [0, 0]), ("mean", [20.0, -30.0]), ("variance", [9e8, 3e8])):
            b.weight(name, values)
        b.node("Conv", ["x", "w"], "large")
        b.node("BatchNormalization", ["large", "scale", "shift", "mean", "variance"], "none")
        b.node("Add", ["x", "none"], "y")
        b.output("y", [1, 2, 3, 3])
        x = np.random.default_rng(0).standard_normal((1, 2, 3, 3)).astype(np.float32)
        plan = self.plan_of(b.model(), [{"x": x}])
        self.assert_all_fp16(plan)
        self.assertLess(max(abs(tensor["exponent"]) for tensor in plan["tensors"]), 40)

    def test_sizes_computed_from_scalars(self) -> None:
        """Detectors resize by a scalar that they compute; its shape has to reach ONNX Runtime through the taps."""
        b = Builder(17)
        b.input("x", [1, 1, 4, 4])
        b.weight("target", np.float32(6.4))
        b.weight("axis", [0], np.int64)
        b.weight("first", [0], np.int64)
        b.weight("second", [2], np.int64)
        b.weight("none", np.zeros(0))
        b.node("ReduceMax", ["x"], "peak", keepdims=0)
        b.node("Mul", ["peak", "target"], "product")
        b.node("Floor", ["product"], "whole")
        b.node("Unsqueeze", ["whole", "axis"], "one")
        b.node("Concat", ["one", "one"], "both", axis=0)
        b.node("Cast", ["both"], "spatial", to=TensorProto.INT64)
        b.node("Shape", ["x"], "shape")
        b.node("Slice", ["shape", "first", "second"], "leading")
        b.node("Concat", ["leading", "spatial"], "sizes", axis=0)
        b.node("Resize", ["x", "", "", "sizes"], "y", mode="nearest")
        b.output("y", None)
        x = np.linspace(0, 1, 16, dtype=np.float32).reshape(1, 1, 4, 4)
        self.plan_of(b.model(), [{"x": x}])

    def test_a_branch_that_these_shapes_do_not_fit(self) -> None:
        """A branch for another rank: ONNX Runtime refuses it where shapes are known."""
        flat = helper.make_graph([helper.make_node("Neg", ["x"], ["a"], "flat")], "then", [],
                                 [helper.make_tensor_value_info("a", TensorProto.FLOAT, None)])
        square = helper.make_graph([helper.make_node("Transpose", ["x"], ["b"], "square", perm=[1, 0])], "else", [],
                                   [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)])
        b = Builder(17)
        b.input("x", None)
        b.weight("one", np.int64(1), np.int64)
        b.node("Shape", ["x"], "shape")
        b.node("Size", ["shape"], "rank")
        b.node("Equal", ["rank", "one"], "is_flat")
        b.node("If", ["is_flat"], "y", then_branch=flat, else_branch=square)
        b.output("y", None)
        self.plan_of(b.model(), [{"x": np.ones(3, np.float32)}])


if __name__ == "__main__":
    unittest.main()
