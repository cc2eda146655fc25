"""What --half, --free-casts and --allow-nan do, and models of which nothing can be in 16 bits.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import unittest
from typing import Any

import support
from support import Sample, ToolTest, np, onnx

import fp16_reference
from generated_models import BOOL, F32, I64, Builder
from onnx import ModelProto, TensorProto


def chain(*ops: str, opset: int = 22, width: int = 8) -> ModelProto:
    """Unary operators one behind the other."""
    b = Builder(opset)
    b.input("x", ["N", width])
    names = ["x", *(f"t{index}" for index in range(1, len(ops))), "y"]
    for op, source, result in zip(ops, names, names[1:]):
        b.node(op, [source], result, name=f"node_{result}")
    b.output("y", ["N", width])
    return b.model()


class HalfTest(ToolTest):
    def fix(self, model: ModelProto, samples: list[Sample], *options: object, code: int = 0) -> tuple[dict[str, Any], ModelProto]:
        path = self.save(model)
        data = self.folder / "samples"
        if not data.exists():
            self.save_samples(samples)
        plan, fixed = self.folder / "plan.json", self.folder / "fixed.onnx"
        self.tool("fix", path, "--data", data, "-o", fixed, "--save-plan", plan, *options, code=code)
        return support.read_json(plan), onnx.load(fixed)

    def precisions(self, plan: dict[str, Any]) -> list[str]:
        return [node["precision"] for node in plan["nodes"]]

    def samples(self, scale: float = 1.0, width: int = 8) -> list[Sample]:
        generator = np.random.default_rng(7)
        return [{"x": np.float32(scale * generator.standard_normal((3, width)))} for _ in range(2)]

    def test_free_casts(self) -> None:
        """A small model is FP32 for what Casts cost, and FP16 where they cost nothing."""
        model = chain("Tanh", "Exp")
        plan, _ = self.fix(model, self.samples())
        self.assertEqual({node["reason"] for node in plan["nodes"]}, {"cheaper-than-casts"})
        plan, fixed = self.fix(model, self.samples(), "--free-casts")
        self.assertEqual(self.precisions(plan), ["fp16", "fp16"])
        self.assertEqual(fixed.graph.input[0].type.tensor_type.elem_type, TensorProto.FLOAT)

    def test_bf16_everywhere(self) -> None:
        """Whatever has BF16 is BF16, values past 65504 included, and nothing is stored times a power of two."""
        model = chain("Neg", "Abs", "Sqrt")
        samples = self.samples(1e6)
        plan, fixed = self.fix(model, samples, "--half", "bf16", "--free-casts")
        self.assertEqual((plan["half"], self.precisions(plan), plan["tensors"]), ("bf16", ["bf16"] * 3, []))
        self.assertEqual({node["reason"] for node in plan["nodes"]}, {"safe"})
        onnx.checker.check_model(fixed, full_check=True)
        for error in fp16_reference.errors(model, fixed, samples).values():
            self.assertLess(error, 0.01)
            self.assertGreater(error, 0.0)

    def test_no_bf16_at_that_opset(self) -> None:
        b = Builder(17)  # Conv has BF16 from opset 22 on, Relu from 14 on.
        b.input("x", [1, 1, 8, 8])
        b.weight("w", np.ones((1, 1, 3, 3)))
        b.node("Conv", ["x", "w"], "c", name="conv")
        b.node("Relu", ["c"], "y", name="relu")
        b.output("y", [1, 1, 6, 6])
        samples = [{"x": np.ones((1, 1, 8, 8), np.float32)}]
        plan, _ = self.fix(b.model(), samples, "--half", "bf16", "--free-casts")
        found = {node["name"]: (node["precision"], node["reason"]) for node in plan["nodes"]}
        self.assertEqual(found, {"conv": ("fp32", "no-half-type"), "relu": ("bf16", "safe")})
        self.assertIn("Conv-11", plan["nodes"][0]["evidence"])
        plan, _ = self.fix(b.model(), samples, "--half", "bf16", "--free-casts", "--opset", 22)
        self.assertEqual(self.precisions(plan), ["bf16", "bf16"])

    def test_bf16_is_widened_and_taken_back(self) -> None:
        """What 8 bits are too few for becomes FP32 with the reason error, and the plan that says bf16 is kept to."""
        b = Builder(22)
        b.input("x", ["N", 8])
        b.weight("thousand", 1000.0)
        b.node("Add", ["x", "thousand"], "a", name="add")
        b.node("Sub", ["a", "thousand"], "s", name="sub")
        b.node("Tanh", ["s"], "y", name="tanh")
        b.output("y", ["N", 8])
        plan, _ = self.fix(b.model(), self.samples(), "--half", "bf16", "--free-casts")
        found = {node["name"]: (node["precision"], node["reason"]) for node in plan["nodes"]}
        self.assertEqual(found["add"], ("fp32", "error"))
        self.assertEqual(found["tanh"], ("bf16", "safe"))

    def test_nodes_without_names_are_widened(self) -> None:
        """A node that writes an output of the model and has no name is known by a name that the fixed model lacks."""
        model = chain("Softmax", opset=13)
        for node in model.graph.node:
            node.ClearField("name")
        samples = [{"x": np.float32([[0, 1, 2, 3, 9000, 9001, 9002, 9003]])}]
        plan, _ = self.fix(model, samples, "--free-casts")
        self.assertEqual([(node["precision"], node["reason"]) for node in plan["nodes"]], [("fp32", "error")])

    def test_half_and_io_contradict(self) -> None:
        done = self.tool("fix", self.save(chain("Tanh")), "--data", self.save_samples(self.samples()), "-o",
                         self.folder / "fixed.onnx", "--half", "bf16", "--io", "fp16", code=2)
        self.assertIn("--io fp16", done.stderr)

    def test_infinity_is_no_reason_for_fp32(self) -> None:
        """FP16 holds it: a mask of -inf stays, with the Softmax behind it."""
        b = Builder(17)
        b.input("x", ["N", 4])
        b.input("mask", ["N", 4])
        b.node("Add", ["x", "mask"], "s", name="add")
        b.node("Softmax", ["s"], "y", name="softmax")
        b.output("y", ["N", 4])
        mask = np.float32([[0, 0, -np.inf, 0], [0, -np.inf, -np.inf, 0]])
        samples = [{"x": np.float32(np.random.default_rng(1).standard_normal((2, 4))), "mask": mask}]
        plan, fixed = self.fix(b.model(), samples, "--free-casts")
        self.assertEqual(self.precisions(plan), ["fp16", "fp16"])
        for error in fp16_reference.errors(b.model(), fixed, samples).values():
            self.assertLess(error, 0.01)

    def test_a_cast_to_bool_is_no_index(self) -> None:
        b = Builder(17)
        b.input("n", [4], I64)
        b.input("x", [4])
        b.node("Cast", ["n"], "f", name="to_float", to=F32)
        b.node("Cast", ["f"], "b", name="to_bool", to=BOOL)
        b.node("Where", ["b", "x", "f"], "y", name="where")
        b.output("y", [4])
        samples = [{"n": np.int64([0, 1, 0, 1]), "x": np.float32([1, 2, 3, 4])}]
        plan, _ = self.fix(b.model(), samples, "--free-casts")
        self.assertEqual(self.precisions(plan), ["fp16"] * 3)

    def test_nan(self) -> None:
        b = Builder(17)
        b.input("x", [4])
        b.weight("zero", 0.0)
        b.node("IsNaN", ["x"], "missing", name="is_nan")
        b.node("Where", ["missing", "zero", "x"], "y", name="where")
        b.output("y", [4])
        samples = [{"x": np.float32([1, np.nan, 3, 4])}]
        data, path = self.save_samples(samples), self.save(b.model())
        for command in (["scan", path, "--data", data, "-o", self.folder / "ranges.json"],
                        ["check", path, path, "--data", data]):
            self.assertIn("--allow-nan", self.tool(*command, code=3).stderr)
            self.tool(*command, "--allow-nan")
        plan, fixed = self.fix(b.model(), samples, "--free-casts", "--allow-nan")
        self.assertEqual(self.precisions(plan), ["fp16", "fp16"])
        np.testing.assert_array_equal(support.session(fixed).run(None, samples[0])[0], np.float32([1, 0, 3, 4]))

    def test_results_that_stay_fp32(self) -> None:
        """Mean and inverse deviation of LayerNormalization are FP32 beside an FP16 result, as stash_type says."""
        b = Builder(17)
        b.input("x", [4, 8])
        b.weight("scale", np.ones(8))
        b.node("LayerNormalization", ["x", "scale"], "y", "mean", "deviation", name="norm")
        for name, shape in (("y", [4, 8]), ("mean", [4, 1]), ("deviation", [4, 1])):
            b.output(name, shape)
        samples = self.samples(width=8)
        samples = [{"x": np.concatenate([sample["x"], sample["x"][:1]])} for sample in samples]
        plan, fixed = self.fix(b.model(), samples, "--free-casts")
        self.assertEqual(self.precisions(plan), ["fp16"])
        onnx.checker.check_model(fixed, full_check=True)
        for error in fp16_reference.errors(b.model(), fixed, samples).values():
            self.assertLess(error, 0.01)

    def test_nothing_to_convert(self) -> None:
        """Nothing is run: not even what ONNX Runtime lacks is in the way."""
        b = Builder(17)
        b.input("n", [4], I64)
        b.node("Add", ["n", "n"], "y")
        b.output("y", [4], I64)
        path = self.save(b.model())
        result = self.folder / "result.json"
        done = self.tool("fix", path, "--random", 1, "-o", self.folder / "fixed.onnx", "--json", result)
        self.assertIn("RIGHT, LITTLE GAINED: the fixed model holds no 16-bit tensor", done.stdout)
        answer = support.read_json(result)
        self.assertEqual((answer["verdict"], answer["fixed_model"], answer["nodes"]), ("little-gained", None, 0))
        self.assertEqual(onnx.load(self.folder / "fixed.onnx").graph.node[0].op_type, "Add")

    def test_all_fp32_has_no_powers_of_two(self) -> None:
        """Widening leaves none in FP16: then neither powers of two nor the multiplications that they need are left."""
        b = Builder(17)
        b.input("x", ["N", 8])
        b.weight("large", 1e5)
        b.node("Mul", ["x", "large"], "m", name="mul")
        b.weight("small", 1e-10)
        b.node("Mul", ["m", "m"], "q", name="square")
        b.node("Mul", ["q", "small"], "y", name="back")
        b.output("y", ["N", 8])
        plan, _ = self.fix(b.model(), self.samples(), "--free-casts")
        self.assertNotEqual(plan["tensors"], [])
        plan, fixed = self.fix(b.model(), self.samples(), "--free-casts", "--rel-l2", 0)
        self.assertEqual(set(self.precisions(plan)), {"fp32"})
        self.assertEqual((plan["tensors"], plan["constants"]), ([], []))
        self.assertEqual([node.op_type for node in fixed.graph.node], ["Mul"] * 3)


if __name__ == "__main__":
    unittest.main()
