"""Exponents through every operator that src/model/scale_table.cc has a row for: what `apply` writes for a plan of
exponents only gives the original's bits, and what it can't give it refuses. Of each operator's forms, a tenth (sweep.py).

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
import re
import unittest
from collections import Counter

import support
from support import Sample, ToolTest, np, onnx

import exactness
import operator_forms
import sweep
from generated_models import Builder
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator
from operator_forms import FORMS, NODE, Active, Form, make_model, make_samples

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Operators and opsets that ONNX Runtime's CPU provider does not run: ONNX's own evaluator does.
REFERENCE_ONLY = {("RoiAlign", 22)}


def outputs_of(model: ModelProto | pathlib.Path, samples: list[Sample], reference: bool) -> list[list[np.ndarray]]:
    if reference:
        evaluator = ReferenceEvaluator(model if isinstance(model, ModelProto) else onnx.load(model))
        return [evaluator.run(None, sample) for sample in samples]
    session = support.session(model)
    return [session.run(None, sample) for sample in samples]


class ScaleTest(ToolTest):
    def apply(self, model: pathlib.Path, exponents: dict[str, int]) -> tuple[ModelProto | None, str]:
        """The rescaled model, or nothing and what the tool said when it refused."""
        plan = {"format": "halfsafe-plan", "version": 1, "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
                "nodes": [], "constants": [], "io": [], "warnings": [],
                "tensors": [{"name": name, "exponent": exponent} for name, exponent in exponents.items() if exponent]}
        path, rescaled = self.folder / "plan.json", self.folder / "rescaled.onnx"
        path.write_text(json.dumps(plan))
        rescaled.unlink(missing_ok=True)
        done = self.tool("apply", model, "--plan", path, "-o", rescaled, code=None)
        self.assertIn(done.returncode, (0, 3), done.stderr)
        if done.returncode == 3:
            self.assertFalse(rescaled.exists())
            return None, done.stderr
        written = onnx.load(rescaled)
        onnx.checker.check_model(written, full_check=True)
        return written, done.stderr

    def assert_same_bits(self, want: list[list[np.ndarray]], written: ModelProto, samples: list[Sample],
                         reference: bool = False) -> None:
        for sample, (wanted, found) in enumerate(zip(want, outputs_of(written, samples, reference), strict=True)):
            for slot, (one, other) in enumerate(zip(wanted, found, strict=True)):
                what = exactness.difference(str(slot), sample, False, np.asarray(one), np.asarray(other))
                self.assertTrue(what.allowed, f"output {what}")

    def assert_refused(self, model: pathlib.Path, exponents: dict[str, int], *names: str) -> None:
        written, said = self.apply(model, exponents)
        self.assertIsNone(written, f"{exponents} should be refused")
        for name in names:
            self.assertIn(name, said)


def added(original: ModelProto, written: ModelProto) -> Counter[str]:
    return (Counter(node.op_type for node in support.nodes_of(written.graph).values())
            - Counter(node.op_type for node in support.nodes_of(original.graph).values()))


class OperatorTest(ScaleTest):
    """One test an operator, made below."""

    def check_operator(self, op: str) -> None:
        for number, form in sweep.tenth(enumerate(FORMS[op])):
            with self.subTest(f"{op} {number}", form=str(form)[:300]):
                self.check_form(op, form)

    def check_form(self, op: str, form: Form) -> None:
        model = make_model(op, form)
        samples = make_samples(op, form)
        path = self.save(model)
        reference = (op, form.opset) in REFERENCE_ONLY
        want = outputs_of(model, samples, reference)
        self.assertTrue(all(np.isfinite(array).any() for array in want[0] if array.dtype.kind == "f" and array.size))
        generator = operator_forms.rng(op, "exponents", str(form.attributes))
        count = operator_forms.free_integers(form.law)
        for values in ([3, -5, 4][:count], [int(n) for n in generator.integers(-9, 10, count)]):
            exponents = form.law(*values)
            written, said = self.apply(path, exponents)
            self.assertIsNotNone(written, f"{exponents} fit together: {said}")
            self.assertEqual(added(model, written), Counter(), f"{exponents} need no further node")
            self.assert_same_bits(want, written, samples, reference)
        self.check_misfits(path, model, form, want, samples, reference)

    def check_misfits(self, path: pathlib.Path, model: ModelProto, form: Form, want: list[list[np.ndarray]],
                      samples: list[Sample], reference: bool) -> None:
        """Exponents that don't fit: a multiplication makes up for it, or the node is named."""
        names = [name for name, operand in zip(operator_forms.letters(form), form.operands)
                 if isinstance(operand, Active)]
        count = operator_forms.free_integers(form.law)
        results = [name for name in form.law(*[1] * count) if name in "yzwv"]
        tried = [{name: 5 - 3 * index for index, name in enumerate([*names, *results])},
                 *({name: -3} for name in [*names, *results])]
        for exponents in tried:
            written, said = self.apply(path, exponents)
            if written is None:
                self.assertIn(NODE, said)
            else:
                self.assertLessEqual(set(added(model, written)), {"Mul", "Clip"})
                self.assert_same_bits(want, written, samples, reference)
        for name in operator_forms.results(form):
            if name and name not in results:
                self.assert_refused(path, {name: 2}, name)


for _op in FORMS:
    setattr(OperatorTest, f"test_{_op}", lambda self, op=_op: self.check_operator(op))


class TrueValueTest(ScaleTest):
    """Operators that need true values: a multiplication gives them, and no exponent is left for the result."""

    def test_operators_without_a_row(self) -> None:
        for op, forms in operator_forms.TRUE_FORMS.items():
            self.assertNotIn(op, FORMS)
            for number, form in sweep.tenth(enumerate(forms)):
                with self.subTest(f"{op} {number}", form=str(form)[:300]):
                    self.check_form(op, form, Counter(Mul=1))

    def test_operators_that_saturate(self) -> None:
        for op in ("Erf", "Sigmoid", "Tanh"):
            for form in sweep.tenth(FORMS[op]):
                with self.subTest(op, form=str(form)[:300]):
                    self.check_form(op, form, Counter(Clip=1, Mul=1))

    def check_form(self, op: str, form: Form, nodes: Counter[str]) -> None:
        model = make_model(op, form)
        samples = make_samples(op, form)
        path = self.save(model)
        want = outputs_of(model, samples, False)
        for exponent in (8, -3):
            written, said = self.apply(path, {"a": exponent})
            self.assertIsNotNone(written, said)
            self.assertEqual(added(model, written), nodes)
            self.assert_same_bits(want, written, samples)
        for name in filter(None, operator_forms.results(form)):
            self.assert_refused(path, {name: 3}, name)


# Around where the functions stop to change, and far from there.
NEAR = {"Tanh": ((8.9, 10.1),), "Erf": ((3.8, 4.1),), "Sigmoid": ((15.0, 20.0), (87.0, 105.0))}


def every_float(low: float, high: float) -> np.ndarray:
    """All positive floats between the two."""
    bits = np.float32([low, high]).view(np.int32)
    return np.arange(bits[0], bits[1] + 1, dtype=np.int32).view(np.float32)


def both_signs(op: str) -> np.ndarray:
    return np.concatenate([sign * every_float(*span) for span in NEAR[op] for sign in (-1, 1)])


def saturating(op: str, opset: int) -> ModelProto:
    b = Builder(opset)
    b.input("x", ["N"])
    b.weight("one", 1.0)
    b.node("Mul", ["x", "one"], "a")
    b.node(op, ["a"], "y", name=NODE)
    b.output("y", ["N"])
    return b.model()


class SaturationTest(ScaleTest):
    """Tanh, Erf and Sigmoid read a clamped value where the tensor has an exponent."""

    def samples(self, op: str) -> list[Sample]:
        ordinary = operator_forms.mixed(operator_forms.rng(op), [4099])
        large = np.float32(np.geomspace(1, 1e30, 1001))
        special = np.float32([np.nan, np.inf, -np.inf, 0.0, -0.0])
        # A single value takes another path through vectorized kernels.
        return [{"x": values} for values in (both_signs(op), ordinary, large, -large, special, *special.reshape(-1, 1))]

    def test_same_bits_with_the_clamp(self) -> None:
        for op in NEAR:
            for opset in (9, 13):
                model = saturating(op, opset)
                path = self.save(model)
                samples = self.samples(op)
                want = outputs_of(model, samples, False)
                self.assertTrue(np.isnan(want[4][0][0]), f"{op} keeps NaN")
                for exponent in (8, -8, 20):
                    with self.subTest(op, opset=opset, exponent=exponent):
                        written, said = self.apply(path, {"a": exponent})
                        self.assertIsNotNone(written, said)
                        self.assertEqual(added(model, written)["Clip"], 1)
                        self.assert_same_bits(want, written, samples)

    def test_nothing_changes_past_the_limits(self) -> None:
        """Neither for the exactly rounded function nor for ONNX Runtime's kernel, whichever stops later."""
        exact = {"Tanh": np.tanh, "Erf": np.vectorize(math.erf), "Sigmoid": lambda x: 1 / (1 + np.exp(-x))}
        source = (ROOT / "src/model/scale_table.cc").read_text(encoding="utf-8")
        rows = re.findall(r'ScaleRule\{"(\w+)", "1", 0, \{\}, (\S+), (\S+)\}', source)
        self.assertEqual({row[0] for row in rows}, set(NEAR))
        for op, *limits in rows:
            session = support.session(saturating(op, 13))
            for limit in map(float, limits):
                past = np.float32(np.sign(limit)) * np.concatenate(
                    [every_float(abs(limit), abs(limit) + 0.1), np.geomspace(abs(limit), 1e30, 5000, dtype=np.float32),
                     np.float32([np.inf])])
                with self.subTest(op, limit=limit), np.errstate(over="ignore"):
                    self.assertEqual(len(np.unique(session.run(None, {"x": past})[0])), 1)
                    self.assertEqual(len(np.unique(np.float32(exact[op](np.float64(past))))), 1)


class PowerTest(unittest.TestCase):
    """Roots and powers are computed by a function that rounds almost exactly, so that nothing but a count can tell
    whether a power of two in front changes its results."""

    def test_quarters(self) -> None:
        b = Builder(17)
        b.input("x", ["N"])
        b.input("power", [])
        b.node("Pow", ["x", "power"], "y")
        b.output("y", ["N"])
        session = support.session(b.model())
        values = every_float(1.0, 4.0)[::97]
        for quarters in (q for q in range(-64, 65) if q):
            step = 4 // math.gcd(4, abs(quarters))  # The exponent of x is a multiple of it.
            with self.subTest(power=quarters / 4):
                def result(exponent: int) -> np.ndarray:
                    scaled = np.ldexp(values, -exponent)
                    return session.run(None, {"x": scaled, "power": np.array(quarters / 4, np.float32)})[0]

                for exponent in (step, -step):
                    back = np.ldexp(result(exponent), exponent * quarters // 4)
                    self.assertEqual(np.count_nonzero(back != result(0)), 0)


class TableTest(unittest.TestCase):
    def test_every_row_has_forms(self) -> None:
        source = (ROOT / "src/model/scale_table.cc").read_text(encoding="utf-8")
        table = source.split("kScaleRules = {")[1].split("};\n")[0]
        rows = re.findall(r'^    \w+[({]"(\w+)"', table, flags=re.M)
        self.assertEqual(rows, sorted(rows))
        self.assertEqual(rows, sorted(FORMS))
        self.assertTrue(all(FORMS.values()))


if __name__ == "__main__":
    unittest.main()
