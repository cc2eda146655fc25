"""Constants that FP16 would make zero and that guard another value from being zero.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import unittest

from support import np, read_json

import fp16_reference
from fix_test import FixTest
from generated_models import Builder
from onnx import ModelProto, numpy_helper

EPSILON = 1e-9
SMALLEST = 2.0**-24


def normalization() -> ModelProto:
    """y = x / sqrt(v + epsilon), with a v that a sample can choose."""
    b = Builder(17)
    b.input("x", [4])
    b.input("v", [4])
    b.weight("epsilon", EPSILON)
    b.node("Add", ["v", "epsilon"], "guarded")
    b.node("Sqrt", ["guarded"], "root")
    b.node("Div", ["x", "root"], "y")
    b.output("y", [4])
    return b.model()


class GuardTest(FixTest):
    def fix(self, smallest: float) -> tuple[dict, ModelProto]:
        """What fix plans and writes if v goes down to `smallest` on the samples."""
        model = self.save(normalization())
        values = smallest * np.array([1, 1.5, 2, 3], np.float32)
        data = self.save_samples([{"x": np.array([1, -1, 2, 3], np.float32), "v": values.astype(np.float32)}],
                                 f"samples_{smallest}")
        fixed, plan = self.folder / "fixed.onnx", self.folder / "plan.json"
        self.tool("fix", model, "--data", data, "-o", fixed, "--save-plan", plan, "--io", "fp16", "--repair", "fp32")
        return read_json(plan), self.check_written(normalization(), fixed)

    def test_guards_values_that_fp16_holds_in_full(self) -> None:
        for smallest in (2.0**-14, 2.0**-13.5, 2.0**-12, 1.0):
            with self.subTest(smallest):
                plan, fixed = self.fix(smallest)
                self.assertEqual({node["precision"] for node in plan["nodes"]}, {"fp16"})
                self.assertEqual([constant["name"] for constant in plan["constants"]], ["epsilon"])
                stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in fixed.graph.initializer}
                self.assertEqual([array.item() for array in stored.values()], [SMALLEST])
                self.check_zero_is_guarded(fixed)

    def check_zero_is_guarded(self, fixed: ModelProto) -> None:
        runner = fp16_reference.session(fp16_reference.emulate(fixed))
        found, = runner.run(None, fp16_reference.fed(runner, {"x": np.ones(4), "v": np.zeros(4)}))
        self.assertTrue(np.isfinite(found).all())

    def test_smaller_values_keep_their_epsilon(self) -> None:
        plan, _ = self.fix(2.0**-15)
        reasons = {node["name"]: node.get("reason") for node in plan["nodes"] if node["precision"] == "fp32"}
        self.assertEqual(reasons.get("node_guarded"), "constant-vanishes")
        self.assertEqual(plan["constants"], [])

    def test_a_bias_that_vanishes_moves_results_less_than_rounding(self) -> None:
        """What exporters fold BatchNormalization into has such biases where means are next to nothing."""
        b = Builder(17)
        b.input("x", [2, 4])
        b.weight("w", np.eye(4) * 2)
        b.weight("bias", [1e-9, -2e-9, 3e-9, 0])
        b.node("Gemm", ["x", "w", "bias"], "product")
        b.node("Relu", ["product"], "y")
        b.output("y", [2, 4])
        model, fixed, plan = self.save(b.model()), self.folder / "fixed.onnx", self.folder / "plan.json"
        data = self.save_samples([{"x": np.array([[1, -1, 2, 3], [0, 0, 0, 0]], np.float32)}])
        self.tool("fix", model, "--data", data, "-o", fixed, "--save-plan", plan, "--io", "fp16")
        self.assertEqual({node["precision"] for node in read_json(plan)["nodes"]}, {"fp16"})
        self.check_written(b.model(), fixed)

    def test_one_unit_in_the_last_place_at_most(self) -> None:
        """All FP16 values from 2^-14 on, by numpy's arithmetic."""
        values = np.arange(0x0400, 0x7C00, dtype=np.uint16).view(np.float16)
        moved = (values.astype(np.float64) + SMALLEST).astype(np.float16).view(np.uint16) - values.view(np.uint16)
        self.assertLessEqual(moved.max(), 1)
        self.assertEqual(moved[values >= 2.0**-12].max(), 0)


if __name__ == "__main__":
    unittest.main()
