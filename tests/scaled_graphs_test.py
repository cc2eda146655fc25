"""Exponents of values that bodies read and hand around, and of the constants around scaled tensors.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import unittest
from collections import Counter

import support
from support import Sample, np

import operator_forms
from generated_models import BOOL, F32, I64, Builder
from onnx import GraphProto, ModelProto, helper, numpy_helper
from operator_forms import NODE
from operators_scale_test import ScaleTest, added, outputs_of


def inner(*nodes: tuple, inputs: dict[str, tuple] = {}, outputs: tuple[str, ...] = (), kinds: dict[str, int] = {},
          weights: dict[str, object] = {}) -> GraphProto:
    """A body: nodes are (operator, inputs, output), inputs are name: (shape, type)."""
    b = Builder()
    for name, (shape, kind) in inputs.items():
        b.input(name, shape, kind)
    for name, values in weights.items():
        b.weight(name, values)
    for op, read, written, *attributes in nodes:
        b.node(op, read, written, **(attributes[0] if attributes else {}))
    for name in outputs:
        b.output(name, None, kinds.get(name, F32))
    return b.graph(f"body_{'_'.join(outputs)}")


ROW = (4,)
K = np.float32([0.7, -1.3, 2.1, 0.9])


def started(opset: int) -> Builder:
    """An input times a constant: `a`."""
    b = Builder(opset)
    b.input("x", ROW)
    b.weight("k", K)
    b.node("Mul", ["x", "k"], "a")
    return b


def ended(b: Builder, *results: str) -> ModelProto:
    for result in results:
        b.node("Mul", [result, "k"], f"out_{result}")
        b.output(f"out_{result}", [None] * (2 if result.startswith("rows") else 1))
    return b.model()


def branching(opset: int) -> ModelProto:
    """Results of nodes, a constant and what lies outside, handed out by either branch."""
    b = started(opset)
    b.input("flag", [], BOOL)
    then = inner(("Mul", ["a", "own"], "t"), ("Relu", ["t"], "t2"), outputs=("t2", "fixed"),
                 weights={"own": K[::-1], "fixed": K})
    other = inner(("Identity", ["a"], "a2"), ("Sub", ["x", "a"], "e"), outputs=("a2", "e"))
    b.node("If", ["flag"], "y", "z", name=NODE, then_branch=then, else_branch=other)
    return ended(b, "y", "z")


def looping(opset: int) -> ModelProto:
    """A state that goes around through a constant, one that becomes a true value, and a stacked result."""
    b = started(opset)
    b.weight("turns", 3, np.int64)
    b.weight("go", True, np.bool_)
    body = inner(("Mul", ["s", "f"], "s2"), ("Tanh", ["u"], "u2"), ("Add", ["s2", "a"], "r"), ("Identity", ["c"], "c2"),
                 ("Constant", [], "half", {"value_float": 0.5}), ("Mul", ["r", "half"], "r2"),
                 inputs={"i": ((), I64), "c": ((), BOOL), "s": (ROW, F32), "u": (ROW, F32)}, kinds={"c2": BOOL},
                 weights={"f": K}, outputs=("c2", "s2", "u2", "r2"))
    b.node("Loop", ["turns", "go", "a", "a"], "y", "z", "rows", name=NODE, body=body)
    return ended(b, "y", "z", "rows")


def scanning(opset: int) -> ModelProto:
    """A running sum over rows."""
    b = started(opset)
    b.input("m", (5, 4))
    b.node("Mul", ["m", "k"], "n")
    body = inner(("Add", ["s", "row"], "s2"), ("Mul", ["s2", "row"], "r"), inputs={"s": (ROW, F32), "row": (ROW, F32)},
                 outputs=("s2", "r"))
    b.node("Scan", ["a", "n"], "y", "rows", name=NODE, body=body, num_scan_inputs=1)
    return ended(b, "y", "rows")


def nested(opset: int) -> ModelProto:
    """An If inside a Loop, whose branches read the state and what lies outside of both."""
    b = started(opset)
    b.weight("turns", 3, np.int64)
    b.weight("go", True, np.bool_)
    then = inner(("Mul", ["s", "a"], "t"), outputs=("t",))
    other = inner(("Sum", ["s", "a", "own"], "e"), outputs=("e",), weights={"own": K})
    body = inner(("ReduceSum", ["s"], "total", {"keepdims": 0}), ("Constant", [], "zero", {"value_float": 0.0}),
                 ("Greater", ["total", "zero"], "positive"), ("Identity", ["c"], "c2"),
                 ("If", ["positive"], "q", {"then_branch": then, "else_branch": other}),
                 inputs={"i": ((), I64), "c": ((), BOOL), "s": (ROW, F32)}, kinds={"c2": BOOL}, outputs=("c2", "q"))
    b.node("Loop", ["turns", "go", "a"], "y", name=NODE, body=body)
    return ended(b, "y")


CONTROL_FLOW = {"If": branching, "Loop": looping, "Scan": scanning, "nested": nested}
THEN, OTHER, BODY = f"{NODE}/then_branch/", f"{NODE}/else_branch/", f"{NODE}/body/"
# Exponents that fit together, so that nothing has to be added.
FITTING = {
    "If": lambda p: {"a": p, f"{THEN}t": p, f"{THEN}t2": p, f"{OTHER}a2": p, "y": p, f"{OTHER}e": p, "z": p},
    "Loop": lambda p: {"a": p, f"{BODY}s": p, f"{BODY}s2": p, f"{BODY}r": p, f"{BODY}r2": -p, "y": p, "rows": -p},
    "Scan": lambda p: {"a": p, "n": p, f"{BODY}s": p, f"{BODY}row": p, f"{BODY}s2": p, f"{BODY}r": 2 * p, "y": p,
                       "rows": 2 * p},
    "nested": lambda p: {"a": 0, f"{BODY}s": p, f"{BODY}q": p, f"{BODY}node_q/then_branch/t": p,
                         f"{BODY}node_q/else_branch/e": p, "y": p, f"{BODY}total": p},
}
# Multiplications all the same: `x` has no exponent, Tanh needs the true value, `a` becomes a state.
MULTIPLIED = {"If": 1, "Loop": 1, "Scan": 0, "nested": 1}


class ControlFlowTest(ScaleTest):
    """Values that bodies read, return and hand around."""

    def samples(self, model: ModelProto) -> list[Sample]:
        made: list[Sample] = []
        for index in range(4):
            generator = operator_forms.rng("control", index)
            made.append({"x": operator_forms.mixed(generator, ROW)})
            for value in model.graph.input[1:]:
                made[-1][value.name] = (np.array(index % 2 == 1) if value.name == "flag"
                                        else operator_forms.mixed(generator, (5, 4)))
        return made

    def check(self, name: str, tried: list[dict[str, int]], nodes: int | None) -> int:
        """Whatever is tried is exact or refused; gives how many were exact."""
        exact = 0
        for opset in (13, 21):
            model = CONTROL_FLOW[name](opset)
            path, samples = self.save(model), self.samples(model)
            want = outputs_of(model, samples, False)
            for exponents in tried:
                written, said = self.apply(path, exponents)
                if written is None:
                    self.assertIsNone(nodes, said)
                    self.assertRegex(said, NODE)
                    continue
                exact += 1
                if nodes is not None:
                    self.assertEqual(added(model, written), Counter(Mul=nodes) if nodes else Counter(), exponents)
                self.assert_same_bits(want, written, samples)
        return exact

    def test_fitting_exponents(self) -> None:
        for name, law in FITTING.items():
            with self.subTest(name):
                self.check(name, [law(p) for p in (4, -3)], MULTIPLIED[name])

    def test_any_exponents(self) -> None:
        for name, law in FITTING.items():
            with self.subTest(name):
                generator = operator_forms.rng("any", name)
                names = list(law(1))
                tried = [{tensor: int(generator.integers(-5, 6)) * int(generator.random() < 0.5) for tensor in names}
                         for _ in range(12)]
                # A result has the exponent of the state that it ends.
                tried += [{**exponents, "y": exponents.get(f"{BODY}s", exponents["y"])} for exponents in tried]
                self.assertGreater(self.check(name, tried, None), len(tried))

    def test_plan_where_a_state_becomes_a_true_value(self) -> None:
        """The first state is past FP16's range, those after it come from a Tanh: all of them have one exponent."""
        b = started(17)
        b.weight("large", 3e6)
        b.node("Mul", ["a", "large"], "first")
        b.input("turns", [], I64)
        b.weight("go", True, np.bool_)
        body = inner(("Mul", ["s", "small"], "t"), ("Tanh", ["t"], "u"), ("Identity", ["c"], "c2"), weights={"small": 1e-6},
                     inputs={"i": ((), I64), "c": ((), BOOL), "s": (ROW, F32)}, kinds={"c2": BOOL}, outputs=("c2", "u"))
        b.node("Loop", ["turns", "go", "first"], "y", name=NODE, body=body)
        b.weight("down", 1e-6)
        b.node("Mul", ["y", "down"], "z")
        model = ended(b, "z")
        samples = [{"x": K * (index + 1), "turns": np.array(index % 3)} for index in range(6)]
        path, plan = self.save(model), self.folder / "found.json"
        self.tool("fix", path, "--data", self.save_samples(samples), "-o", self.folder / "fixed.onnx", "--repair", "rescale",
                  "--free-casts", "--save-plan", plan)
        exponents = {row["name"]: row["exponent"] for row in support.read_json(plan)["tensors"]}
        self.assertGreater(exponents["first"], 0)
        self.assertEqual(exponents["y"], exponents[f"{BODY}s"])
        written, said = self.apply(path, exponents)
        self.assertIsNotNone(written, said)
        self.assert_same_bits(outputs_of(model, samples, False), written, samples)

    def test_state_and_result_differ(self) -> None:
        for name in ("Loop", "Scan", "nested"):
            model = CONTROL_FLOW[name](17)
            for exponents in ({"y": 3}, {f"{BODY}s": 3}, {f"{BODY}s": 3, "y": 4}):
                with self.subTest(name, exponents=exponents):
                    self.assert_refused(self.save(model), exponents, NODE)


class ConstantTest(ScaleTest):
    """What happens to the constants around scaled tensors."""

    def written(self, model: ModelProto, exponents: dict[str, int], nodes: Counter[str] = Counter()) -> ModelProto:
        """The rescaled model, which has the original's bits and the nodes that are stated more."""
        samples = [{"x": operator_forms.mixed(operator_forms.rng("constant", index), ROW)} for index in range(3)]
        written, said = self.apply(self.save(model), exponents)
        self.assertIsNotNone(written, said)
        self.assertEqual(added(model, written), nodes)
        self.assert_same_bits(outputs_of(model, samples, False), written, samples)
        return written

    def shared(self) -> ModelProto:
        b = started(17)
        b.weight("w", K[::-1])
        b.node("Mul", ["a", "w"], "c")
        b.node("Mul", ["c", "w"], "d")
        b.node("Add", ["d", "w"], "e")
        return ended(b, "e")

    def test_one_copy_a_factor(self) -> None:
        model = self.shared()
        for exponents, copies in (({"a": 3, "c": 3, "d": 3, "e": 3}, 2), ({"a": -2, "c": -2}, 2),
                                  ({"a": 5, "c": 8, "d": 8, "e": 8}, 3),
                                  ({"a": 5, "c": 7, "d": 9, "e": 9}, 2), ({"c": 4, "d": 8}, 2), ({}, 1)):
            with self.subTest(exponents=exponents):
                extra = Counter(Mul=1) if exponents.get("d") != exponents.get("e") else Counter()
                written = self.written(model, exponents, extra)
                weights = [tensor for tensor in written.graph.initializer if tuple(tensor.dims) == ROW and
                           np.all(np.frexp(numpy_helper.to_array(tensor))[0] == np.frexp(K[::-1])[0])]
                self.assertEqual(len(weights), copies)

    def test_constants_among_the_inputs(self) -> None:
        """As before IR version 4, where a copy has to be listed as well."""
        model = self.shared()
        model.ir_version = 3
        for tensor in model.graph.initializer:
            model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
        written = self.written(model, {"a": 5, "c": 8, "d": 8, "e": 8})
        self.assertEqual({tensor.name for tensor in written.graph.initializer} | {"x"},
                         {value.name for value in written.graph.input})

    def test_constant_in_a_body(self) -> None:
        for given in ("initializer", "node"):
            with self.subTest(given):
                b = started(17)
                b.weight("yes", True, np.bool_)
                nodes = [("Mul", ["a", "own"], "t"), ("Add", ["t", "own"], "t2")]
                if given == "node":
                    nodes.insert(0, ("Constant", [], "own", {"value": numpy_helper.from_array(K)}))
                then = inner(*nodes, weights={} if given == "node" else {"own": K}, outputs=("t2",))
                b.node("If", ["yes"], "y", name=NODE, then_branch=then, else_branch=inner(("Neg", ["a"], "e"), outputs=("e",)))
                exponents = {"a": 2, f"{THEN}t": 5, f"{THEN}t2": 5, f"{OTHER}e": 2, "y": 5}
                extra = Counter(Mul=1, Constant=1) if given == "node" else Counter(Mul=1)  # The other branch has a 2.
                self.written(ended(b, "y"), exponents, extra)

    def test_constant_nodes(self) -> None:
        for op, law in (("Mul", lambda p: {"a": p, "y": -p}), ("Add", lambda p: {"a": p, "y": p}),
                        ("Div", lambda p: {"a": p, "y": 2 * p}), ("Max", lambda p: {"a": p, "y": p})):
            for attributes in ({"value": numpy_helper.from_array(K)}, {"value_float": 0.37},
                               {"value_floats": [1.5, 2, -3, 0.25]},
                               {"value": numpy_helper.from_array(np.float32(-1.5))}):
                with self.subTest(op, attributes=str(attributes)):
                    b = started(17)
                    b.node("Constant", [], "c", **attributes)
                    b.node(op, ["a", "c"], "y")
                    b.node("Mul", ["a", "c"], "z")
                    # The two nodes read it with different factors.
                    self.written(ended(b, "y", "z"), {**law(3), "z": 3}, Counter(Constant=1))

    def test_variance_of_two_nodes(self) -> None:
        b = Builder(15)
        b.input("x", ROW)
        b.weight("k", K)
        b.weight("shape", [1, 4, 1], np.int64)
        b.node("Reshape", ["x", "shape"], "x3")
        for name in ("scale", "shift", "mean"):
            b.weight(name, operator_forms.mixed(operator_forms.rng(name), ROW))
        b.weight("var", [1e5, 3.0, 0.2, 7e6])
        for result in ("b", "c"):
            b.node("BatchNormalization", ["x3", "scale", "shift", "mean", "var"], result)
        b.weight("flat", [4], np.int64)
        b.node("Reshape", ["b", "flat"], "b1")
        b.node("Reshape", ["c", "flat"], "c1")
        b.node("Div", ["b1", "var"], "d")
        model = ended(b, "c1", "d")
        self.written(model, {"var": 10})
        self.written(model, {"var": -4, "b": 3, "b1": 3, "c": -1, "c1": -1, "d": 7})
        self.assert_refused(self.save(model), {"var": 5}, "var")

    def test_exponents_of_constants_inputs_and_results(self) -> None:
        model = self.shared()
        path = self.save(model)
        for name in ("w", "x", "k"):
            self.assert_refused(path, {name: 2}, name)
        self.assert_refused(path, {"nothing": 2}, "nothing")
        written = self.written(model, {"out_e": 4}, Counter(Mul=1))
        self.assertEqual([output.name for output in written.graph.output], ["out_e"])

    def test_steps_of_a_large_factor(self) -> None:
        """FP32 states any factor; FP16 states 2^14, and takes larger ones in steps."""
        b = started(17)
        b.node("Softmax", ["a"], "y")
        self.written(ended(b, "y"), {"a": 40}, Counter(Mul=1))
        self.written(ended(started(17), "a"), {"a": -60})


if __name__ == "__main__":
    unittest.main()
