"""Holds a scan that runs element-wise operators as chains against one that runs them one by one.

HALFSAFE names the binary. `--no-graph-optimizations` gives a scan without chains, which other tests hold against numpy.
"""

from __future__ import annotations

import pathlib
import random
import unittest

import generated_models
import numpy as np
from generated_models import CASES, F32, Builder
from onnx import ModelProto
from support import Sample, ToolTest, read_json

EXACT = ("count", "min", "max", "abs_max", "nan_count", "inf_count", "overflow_count", "subnormal_count", "exponents",
         "row_max_min", "abs_max_sample")
BINARY = ("Add", "Sub", "Mul", "Div", "Min", "Max")
UNARY = ("Relu", "Abs", "Neg", "Sqrt", "Reciprocal", "HardSigmoid")
# What other operators are between the chains.
BARRIERS = ("Transpose", "Softmax", "Ceil", "ReduceMax")


class Generator:
    """A random graph on tensors [N, C, H, W], and what is broadcast to them."""

    def __init__(self, seed: int, free: bool) -> None:
        self.random = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.builder = Builder(opset=self.random.choice((11, 13, 17)))
        self.channels = self.random.choice((1, 3, 8))
        self.free = free
        self.tensors = [self.builder.input("x", self.declared()), self.builder.input("y", self.declared())]
        self.count = 0

    def declared(self) -> list[int | str] | None:
        return ["n", self.channels, "h", "w"] if self.free else [2, self.channels, 9, 40]

    def constant(self, shape: list[int], low: float = -2.0, high: float = 2.0) -> str:
        self.count += 1
        return self.builder.weight(f"c{self.count}", self.numbers.uniform(low, high, shape).astype(np.float32))

    def operand(self) -> str:
        c = self.channels
        shape = self.random.choice(([], [1], [1, 1, 1, 1], [c, 1, 1], [1, c, 1, 1], None, None, None, None))
        return self.random.choice(self.tensors) if shape is None else self.constant(shape)

    def node(self, op: str, inputs: list[str], **attributes: object) -> str:
        self.count += 1
        name = self.builder.node(op, inputs, f"t{self.count}", **attributes)
        self.tensors.append(name)
        return name

    def step(self) -> None:
        # Mostly recent tensors, so that chains grow long; sometimes far ones, so that they meet again.
        last = self.tensors[-self.random.randint(1, min(4, len(self.tensors)))]
        kind = self.random.random()
        if kind < 0.5:
            operands = [last, self.operand()]
            self.random.shuffle(operands)
            self.node(self.random.choice(BINARY), operands)
        elif kind < 0.7:
            self.node(self.random.choice(UNARY), [last])
        elif kind < 0.75:
            bounds = [self.constant([]), self.constant([])]
            self.node("Clip", [last, *self.random.choice((bounds, bounds[:1], ["", bounds[0]]))])
        elif kind < 0.8:
            self.node("Pow", [last, self.builder.weight(f"p{self.count}", self.random.choice((2.0, 3.0)))])
        elif kind < 0.85:
            self.node("Max", [last, self.operand(), self.operand()])
        else:
            self.barrier(last)

    def barrier(self, tensor: str) -> None:
        op = self.random.choice(BARRIERS)
        if op == "Transpose":
            self.node("Transpose", [self.node("Transpose", [tensor], perm=[0, 1, 3, 2])], perm=[0, 1, 3, 2])
            self.tensors.pop(-2)
        elif op == "ReduceMax":
            # [N, C, 1, 1], or [N, 1, H, 1]: a broadcast that no period describes.
            self.node("ReduceMax", [tensor], axes=self.random.choice(([2, 3], [1, 3])), keepdims=1)
        elif op == "Softmax":
            self.node("Softmax", [tensor], axis=3)
        else:
            self.node(op, [tensor])

    def model(self) -> ModelProto:
        for _ in range(self.random.randint(5, 40)):
            self.step()
        for name in dict.fromkeys([self.tensors[-1], *self.random.sample(self.tensors[2:], 2)]):
            self.builder.output(name)
        return self.builder.model()

    def samples(self) -> list[Sample]:
        samples = []
        for index in range(3):
            h, w = (self.random.choice((0, 1, 7, 33)), self.random.choice((1, 5, 64))) if self.free else (9, 40)
            n = self.random.choice((1, 2)) if self.free else 2
            sample = {name: self.values((n, self.channels, h, w)) for name in ("x", "y")}
            if index == 2 and sample["x"].size > 6:  # Limits of FP32, from which steps make infinities and NaN.
                sample["x"].flat[:6] = (3e38, -3e38, 0.0, -0.0, 1e-42, 70000)
            samples.append(sample)
        return samples

    def values(self, shape: tuple[int, ...]) -> np.ndarray:
        return (self.numbers.standard_normal(shape) * 2.0 ** self.numbers.integers(-12, 6, shape)).astype(np.float32)


class ChainTest(ToolTest):
    def scan(self, model: pathlib.Path, samples: pathlib.Path, *arguments: object) -> dict[str, dict]:
        out = self.folder / "ranges.json"
        self.tool("scan", model, "--data", samples, "-o", out, *arguments)
        return {tensor["name"]: tensor for tensor in read_json(out)["tensors"]}

    def compare(self, model: ModelProto, samples: list[Sample], name: str, tolerance: float = 0.0) -> None:
        path, data = self.save(model, f"{name}.onnx"), self.save_samples(samples, f"{name}_samples")
        chained, plain = self.scan(path, data), self.scan(path, data, "--no-graph-optimizations")
        self.assertEqual(list(chained), list(plain))
        for tensor, stats in plain.items():
            self.compare_tensor(chained[tensor], stats, tolerance)

    def compare_tensor(self, found: dict, expected: dict, tolerance: float) -> None:
        message = f"{expected['name']}: {found} {expected}"
        if tolerance == 0.0:
            for field in EXACT:
                self.assertEqual(found.get(field), expected.get(field), f"{field} of {message}")
            self.assertLessEqual(abs((found["abs_sum"] or 0.0) - (expected["abs_sum"] or 0.0)),
                                 1e-4 * (expected["abs_sum"] or 0.0), message)
            return
        size = max(abs(expected["abs_max"] or 0.0), 1e-30)
        for field in ("min", "max", "abs_max"):
            self.assertLessEqual(abs((found[field] or 0.0) - (expected[field] or 0.0)), tolerance * size, message)
        for field in ("count", "nan_count", "inf_count"):
            self.assertEqual(found.get(field), expected.get(field), f"{field} of {message}")

    def test_fixed_shapes(self) -> None:
        for seed in range(30):
            with self.subTest(seed=seed):
                generator = Generator(seed, free=False)
                self.compare(generator.model(), generator.samples(), f"fixed{seed}")

    def test_free_shapes(self) -> None:
        for seed in range(100, 130):
            with self.subTest(seed=seed):
                generator = Generator(seed, free=True)
                self.compare(generator.model(), generator.samples(), f"free{seed}")

    def test_large_tensors(self) -> None:
        """More than one task, and blocks that end inside of channels."""
        b = Builder()
        b.input("x", [1, 3, 123, 457])
        b.node("Mul", ["x", b.weight("m", np.linspace(-2, 3, 3).reshape(3, 1, 1))], "a")
        b.node("Add", ["a", b.weight("row", np.linspace(-1, 1, 457))], "b")
        b.node("Sub", ["b", b.weight("column", np.linspace(-1, 1, 123).reshape(123, 1))], "c")
        b.node("Mul", ["c", b.weight("odd", np.linspace(-1, 1, 3 * 457).reshape(3, 1, 457))], "d")
        b.node("Div", ["a", "d"], "e")
        b.output("e"), b.output("b")
        samples = [{"x": np.random.default_rng(seed).standard_normal((1, 3, 123, 457)).astype(np.float32)} for seed in (1, 2)]
        self.compare(b.model(), samples, "large")

    def test_batch_normalization(self) -> None:
        b = Builder()
        numbers = np.random.default_rng(5)
        b.input("x", [2, 6, 17, 19])
        b.weight("w", numbers.standard_normal((6, 6, 1, 1)))
        b.node("Conv", ["x", "w"], "conv")
        names = [b.weight(name, numbers.uniform(0.5, 2.0, 6)) for name in ("scale", "shift", "mean", "variance")]
        b.node("BatchNormalization", ["conv", *names], "normal", epsilon=1e-3)
        b.node("Relu", ["normal"], "relu")
        b.node("Add", ["relu", "x"], "sum")
        b.output("sum")
        samples = [{"x": numbers.standard_normal((2, 6, 17, 19)).astype(np.float32)} for _ in range(3)]
        self.compare(b.model(), samples, "bn", tolerance=1e-5)

    def test_chains_that_would_make_a_cycle(self) -> None:
        """x feeds a gate, which scales x: the two element-wise parts cannot be one."""
        b = Builder()
        b.input("x", [1, 4, 8, 8])
        b.node("Add", ["x", b.weight("one", 1.0)], "a")
        b.node("Relu", ["a"], "r")
        b.node("GlobalAveragePool", ["r"], "pool")
        b.node("HardSigmoid", ["pool"], "gate")
        b.node("Mul", ["r", "gate"], "scaled")
        b.node("Add", ["scaled", "a"], "sum")
        b.output("sum")
        self.compare(b.model(), [{"x": np.random.default_rng(1).standard_normal((1, 4, 8, 8)).astype(np.float32)}], "gate")

    def test_body_reads_inside_of_a_chain(self) -> None:
        then = Builder()
        then.node("Neg", ["b"], "then_out")
        then.output("then_out", [4])
        other = Builder()
        other.node("Identity", ["c"], "else_out")
        other.output("else_out", [4])
        b = Builder()
        b.input("x", [4]), b.input("choose", [], generated_models.BOOL)
        b.node("Add", ["x", "x"], "a")
        b.node("Mul", ["a", "x"], "b")
        b.node("Abs", ["b"], "c")
        b.node("If", ["choose"], "chosen", then_branch=then.graph("then"), else_branch=other.graph("else"))
        b.node("Add", ["chosen", "c"], "end")
        b.output("end", [4])
        samples = [{"x": np.float32([1, -2, 3, 4]), "choose": np.array(choice)} for choice in (True, False)]
        self.compare(b.model(), samples, "body")

    def test_generated_models(self) -> None:
        for name, make in CASES.items():
            with self.subTest(name):
                case = make()
                self.compare(case.model, case.samples, f"case_{name}", tolerance=1e-5)

    def test_saved_outputs(self) -> None:
        """Tensors inside of a chain can be saved."""
        b = Builder()
        b.input("x", [5])
        b.node("Add", ["x", "x"], "a")
        b.node("Mul", ["a", "x"], "b")
        b.node("Neg", ["b"], "c")
        b.output("c")
        path, data = self.save(b.model()), self.save_samples([{"x": np.float32([1, 2, 3, 4, 5])}])
        self.scan(path, data, "--save-outputs", self.folder / "saved.json", "--tensors", "^(a|b)$")
        out = self.folder / "recorded.json"
        self.tool("scan", path, "--from-outputs", self.folder / "saved.json", "-o", out)
        recorded = {tensor["name"]: tensor for tensor in read_json(out)["tensors"]}
        self.assertEqual((recorded["a"]["max"], recorded["b"]["max"]), (10.0, 50.0))
        self.assertNotIn("c", recorded)

    def test_operands_that_do_not_broadcast(self) -> None:
        b = Builder()
        b.input("x", ["n"]), b.input("y", ["m"])
        b.node("Add", ["x", "y"], "sum")
        b.output("sum")
        path, data = self.save(b.model()), self.save_samples([{"x": np.zeros(2, np.float32), "y": np.zeros(3, np.float32)}])
        result = self.tool("scan", path, "--data", data, "-o", self.folder / "out.json", code=3)
        self.assertIn("000.npz", result.stderr)


if __name__ == "__main__":
    unittest.main()
