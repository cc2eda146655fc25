"""Holds what halfsafe makes of models that are in FP16 or BF16 already against the same models written in FP32, which ONNX
Runtime runs, and against what their files hold.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import pathlib
import unittest
from collections.abc import Callable
from typing import Any

import support
from support import Sample, ToolTest, ml_dtypes, np, onnx, read_json

from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

F32, F16, BF16, I64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT64
NUMPY = {F32: np.dtype(np.float32), F16: np.dtype(np.float16), BF16: np.dtype(ml_dtypes.bfloat16), I64: np.dtype(np.int64)}
WIDTH = 16
RANDOM = np.random.default_rng(0)
WEIGHT = (RANDOM.standard_normal((WIDTH, WIDTH)) * 4).astype(np.float16).astype(np.float32)
INPUTS = [(RANDOM.standard_normal((3, WIDTH)) * scale).astype(np.float32) for scale in (1, 5, 40, 100)]


def constant(name: str, kind: int, values: Any) -> TensorProto:
    return numpy_helper.from_array(np.asarray(values).astype(NUMPY[kind]), name)


def model_of(nodes: list[NodeProto], inputs: dict[str, Any], outputs: dict[str, Any], weights: list[TensorProto],
             opset: int = 17, functions: Any = ()) -> ModelProto:
    """Inputs and outputs by name: a type, for tensors of any number of rows, or a value_info's type."""

    def value(name: str, kind: Any) -> onnx.ValueInfoProto:
        if isinstance(kind, int):
            return helper.make_tensor_value_info(name, kind, ["n", WIDTH])
        return helper.make_value_info(name, kind)

    graph = helper.make_graph(nodes, "g", [value(*item) for item in inputs.items()],
                              [value(*item) for item in outputs.items()], weights)
    opsets = [helper.make_opsetid("", opset)] + ([helper.make_opsetid("local", 1)] if functions else [])
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions)


def normalized(kind: int, *, end: str = "y") -> list[NodeProto]:
    """Squares that pass FP16's range on the way to a root mean square, as in case `half`."""
    return [helper.make_node("MatMul", ["x", "w"], ["h"], "product"), helper.make_node("Mul", ["h", "h"], ["q"], "square"),
            helper.make_node("ReduceMean", ["q"], ["m"], "mean", axes=[-1], keepdims=1),
            helper.make_node("Sqrt", ["m"], ["s"], "root"), helper.make_node("Div", ["h", "s"], [end], "divide")]


def whole(kind: int) -> ModelProto:
    return model_of(normalized(kind), {"x": kind}, {"y": kind}, [constant("w", kind, WEIGHT)])


def mixed(kind: int) -> ModelProto:
    """FP32 outside, and `kind` between Casts."""
    nodes = [helper.make_node("Cast", ["in"], ["x"], "enter", to=kind), *normalized(kind, end="half"),
             helper.make_node("Cast", ["half"], ["y"], "leave", to=F32)]
    return model_of(nodes, {"in": F32}, {"y": F32}, [constant("w", kind, WEIGHT)])


def bodies(kind: int) -> ModelProto:
    """An If and a Loop whose bodies cast what lies outside, and write Casts as their outputs."""

    def body(nodes: list[NodeProto], outputs: dict[str, int], inputs: Any = ()) -> GraphProto:
        return helper.make_graph(nodes, "body", list(inputs), [helper.make_tensor_value_info(name, t, None) for name, t in outputs.items()])

    scalar = helper.make_tensor_value_info
    then = body([helper.make_node("Cast", ["h"], ["wide"], "widen", to=F32), helper.make_node("Mul", ["wide", "wide"], ["q"], "square"),
                 helper.make_node("Cast", ["q"], ["taken"], "narrow", to=kind)], {"taken": kind})
    other = body([helper.make_node("Neg", ["h"], ["other"], "negate")], {"other": kind})
    loop = body([helper.make_node("Cast", ["state"], ["inner"], "again", to=F32),
                 helper.make_node("Mul", ["inner", "tenth"], ["less"], "shrink"),
                 helper.make_node("Cast", ["less"], ["next"], "back", to=kind), helper.make_node("Identity", ["go"], ["on"], "goes_on")],
                {"on": TensorProto.BOOL, "next": kind},
                [scalar("i", I64, []), scalar("go", TensorProto.BOOL, []), scalar("state", kind, None)])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "product"), helper.make_node("ReduceSum", ["h"], ["sum"], "sum", keepdims=0),
             helper.make_node("Cast", ["sum"], ["any"], "as_bool", to=TensorProto.BOOL),
             helper.make_node("If", ["any"], ["chosen"], "choose", then_branch=then, else_branch=other),
             helper.make_node("Loop", ["three", "", "chosen"], ["y"], "repeat", body=loop)]
    return model_of(nodes, {"x": kind}, {"y": kind}, [constant("w", kind, WEIGHT), constant("tenth", F32, 0.1), constant("three", I64, 3)])


def function(kind: int) -> ModelProto:
    square = helper.make_function("local", "Square", ["a"], ["b"], [helper.make_node("Mul", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)])
    nodes = normalized(kind)
    nodes[1] = helper.make_node("Square", ["h"], ["q"], "square", domain="local")
    return model_of(nodes, {"x": kind}, {"y": kind}, [constant("w", kind, WEIGHT)], functions=[square])


def sequences(kind: int) -> ModelProto:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "product"), helper.make_node("Mul", ["h", "h"], ["q"], "square"),
             helper.make_node("SequenceConstruct", ["h", "q"], ["both"], "construct"),
             helper.make_node("SequenceAt", ["both", "one"], ["again"], "pick"),
             helper.make_node("SequenceEmpty", [], ["none"], "empty", dtype=kind),
             helper.make_node("SequenceInsert", ["none", "again"], ["some"], "insert"),
             helper.make_node("ConcatFromSequence", ["some"], ["all"], "concat", axis=0),
             helper.make_node("Mul", ["all", "small"], ["y"], "shrink")]
    return model_of(nodes, {"x": kind}, {"y": kind},
                    [constant("w", kind, WEIGHT), constant("one", I64, 1), constant("small", kind, 2.0**-12)])


MODELS: dict[str, Callable[[int], ModelProto]] = {"whole": whole, "mixed": mixed, "bodies": bodies, "function": function,
                                                  "sequences": sequences}


def rounded(values: np.ndarray, kind: int) -> np.ndarray:
    return values.astype(NUMPY[kind]).astype(np.float32)


class LiftTest(ToolTest):
    def setUp(self) -> None:
        super().setUp()
        self.fixed, self.result, self.ranges = (self.folder / name for name in ("fixed.onnx", "result.json", "ranges.json"))

    def samples(self, kind: int, name: str = "x", folder: str = "samples") -> pathlib.Path:
        return self.save_samples(({name: values.astype(NUMPY[kind])} for values in INPUTS), folder)

    def fix(self, model: pathlib.Path, data: pathlib.Path, *options: object, code: int = 0) -> dict[str, Any]:
        self.done = self.tool("fix", model, "--data", data, "-o", self.fixed, "--json", self.result, *options, code=code)
        onnx.checker.check_model(onnx.load(self.fixed), full_check=True)
        return read_json(self.result)

    def types(self, path: pathlib.Path | None = None) -> tuple[list[int], list[int]]:
        graph = onnx.load(path or self.fixed).graph
        return tuple([value.type.tensor_type.elem_type for value in values] for values in (graph.input, graph.output))

    def outputs(self, path: pathlib.Path | ModelProto, samples: list[Sample]) -> list[np.ndarray]:
        return [run["y"].astype(np.float32) for run in support.run_all(onnx.load(path) if isinstance(path, pathlib.Path) else path, samples)]

    def assert_close(self, found: list[np.ndarray], expected: list[np.ndarray]) -> None:
        for a, b in zip(found, expected, strict=True):
            self.assertLess(np.linalg.norm(a - b), 0.01 * np.linalg.norm(b))

    # ------------------------------------------------------------ the lifted model

    def test_ranges_are_those_of_the_model_in_fp32(self) -> None:
        """Every tensor that both have, to the last bit: the weights are FP16's, and no Cast rounds."""
        for name, make in MODELS.items():
            for kind in (F16, BF16):
                with self.subTest(model=name, kind=kind):
                    model, given = self.save(make(kind)), "in" if name == "mixed" else "x"
                    data = self.samples(F32 if name == "mixed" else kind, given, f"{name}{kind}")
                    found = self.scan(model, data)
                    in_fp32 = self.save(in_fp32_of(make, kind), "fp32.onnx")
                    wide = self.save_samples(({given: rounded(values, F32 if name == "mixed" else kind)} for values in INPUTS),
                                             f"{name}{kind}wide")
                    expected = self.scan(in_fp32, wide)
                    shared = set(found) & set(expected)
                    self.assertLess({"h", "w"}, shared)
                    self.assertEqual({tensor: found[tensor] for tensor in shared}, {tensor: expected[tensor] for tensor in shared})

    def scan(self, model: pathlib.Path, data: pathlib.Path) -> dict[str, Any]:
        self.tool("scan", model, "--data", data, "-o", self.ranges)
        kept = ("dtype", "count", "min", "max", "abs_max", "nan_count", "inf_count", "overflow_count", "subnormal_count")
        return {tensor["name"]: [tensor[key] for key in kept] for tensor in read_json(self.ranges)["tensors"]}

    def test_all_are_fixed(self) -> None:
        for name, make in MODELS.items():
            with self.subTest(model=name):
                given = "in" if name == "mixed" else "x"
                kind = F32 if name == "mixed" else F16
                result = self.fix(self.save(make(F16)), self.samples(kind, given, name), "--free-casts")
                self.assertFalse(result["plain_fp16"]["right"])
                self.assertEqual(self.types(), ([kind], [kind]))
                samples = [{given: rounded(values, kind)} for values in INPUTS]
                expected = self.outputs(in_fp32_of(make, F16), samples)
                self.assert_close(self.outputs(self.fixed, [{given: values.astype(NUMPY[kind])} for values in INPUTS]), expected)

    def test_casts_to_other_types_keep_their_meaning(self) -> None:
        """To integers, bool and FP64 and back."""
        nodes = [helper.make_node("Cast", ["x"], ["whole"], "as_int", to=I64), helper.make_node("Cast", ["whole"], ["back"], "as_half", to=F16),
                 helper.make_node("Cast", ["x"], ["double"], "as_double", to=TensorProto.DOUBLE),
                 helper.make_node("Cast", ["double"], ["half"], "again", to=F16),
                 helper.make_node("Cast", ["x"], ["wide"], "as_float", to=F32), helper.make_node("Cast", ["wide"], ["narrow"], "narrowed", to=F16),
                 helper.make_node("CastLike", ["wide", "x"], ["like"], "like"), helper.make_node("Sum", ["back", "half", "narrow", "like"], ["y"], "sum")]
        model = self.save(model_of(nodes, {"x": F16}, {"y": F16}, []))
        self.fix(model, self.samples(F16), "--free-casts", "--io", "fp32")  # As it is, the file is right.
        ops = {node.name: node.op_type for node in onnx.load(self.fixed).graph.node}
        self.assertLessEqual({"as_int", "as_half", "as_double", "again"}, set(ops))
        self.assertFalse({"as_float", "narrowed", "like"} & set(ops))
        for values, found in zip(INPUTS, self.outputs(self.fixed, [{"x": rounded(v, F16)} for v in INPUTS])):
            half = values.astype(np.float16).astype(np.float32)
            np.testing.assert_allclose(found, np.trunc(half) + 3 * half, rtol=2e-3)

    def test_a_cast_that_is_an_output_becomes_an_identity(self) -> None:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "product"), helper.make_node("Cast", ["h"], ["y"], "leave", to=F32),
                 helper.make_node("Neg", ["y"], ["z"], "negate")]
        model = self.save(model_of(nodes, {"x": F16}, {"y": F32, "z": F32}, [constant("w", F16, WEIGHT)]))
        self.fix(model, self.samples(F16), "--free-casts", "--io", "fp32")  # As it is, the file is right.
        self.assertEqual({node.name: node.op_type for node in onnx.load(self.fixed).graph.node}["leave"], "Identity")
        self.assertEqual(self.types(), ([F32], [F32, F32]))

    # ------------------------------------------------------------ check

    def test_a_broken_file_is_not_right(self) -> None:
        model = self.save(whole(F16))
        done = self.tool("check", model, model, "--data", self.samples(F16), "--json", self.result, code=1)
        result = read_json(self.result)
        self.assertEqual(result["verdict"], "not-right")
        self.assertEqual(result["fixed_model"]["first_inf"]["tensor"], "q")
        self.assertIn("first infinity at q", done.stdout)

    def test_a_good_file_is_right(self) -> None:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["y"])]
        model = self.save(model_of(nodes, {"x": F16}, {"y": F16}, [constant("w", F16, WEIGHT / 256)]))
        self.tool("check", model, model, "--data", self.samples(F16))

    def test_nothing_shows_what_is_right_where_fp32_has_no_value(self) -> None:
        """A weight that the export made infinite: FP32 gives NaN alone, and so does whatever is made of the file."""
        weight = WEIGHT.astype(np.float32)
        weight[0] = np.inf
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Sub", ["h", "h"], ["y"])]
        for kind in (F16, F32):
            with self.subTest(kind=kind):
                model, data = self.save(model_of(nodes, {"x": kind}, {"y": kind}, [constant("w", kind, weight)])), self.samples(kind, folder=f"samples{kind}")
                for command in (("fix", model, "-o", self.fixed), ("check", model, model)):
                    self.tool(*command, "--data", data, "--json", self.result, code=1)
                    [output] = read_json(self.result)["outputs"]
                    self.assertEqual((output["compared"], output["right"]), (0, False))

    def test_infinities_that_fp32_has_too_are_none_of_the_casts(self) -> None:
        """A mask of -inf passes a Cast that the lifted model doesn't have."""
        mask = np.where(np.tril(np.ones((WIDTH, WIDTH))), 0, -np.inf)
        nodes = [helper.make_node("Cast", ["mask"], ["half"], "cast", to=F16), helper.make_node("MatMul", ["x", "w"], ["h"]),
                 helper.make_node("MatMul", ["wt", "h"], ["s"]), helper.make_node("Mul", ["s", "large"], ["q"]),
                 helper.make_node("Mul", ["q", "small"], ["r"]), helper.make_node("Add", ["r", "half"], ["a"]),
                 helper.make_node("Softmax", ["a"], ["y"])]
        weights = [constant("mask", F32, mask), constant("w", F16, WEIGHT), constant("wt", F16, np.ones((WIDTH, 3)) / 256),
                   constant("large", F16, 60000), constant("small", F16, 1 / 60000)]
        model = model_of(nodes, {"x": F16}, {"y": F16}, weights)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 3 if value.name == "x" else WIDTH
        path = self.save(model)
        self.tool("check", path, path, "--data", self.samples(F16), "--json", self.result, code=1)
        self.assertEqual(read_json(self.result)["fixed_model"]["first_inf"]["tensor"], "q")

    # ------------------------------------------------------------ types

    def test_bf16_becomes_fp16_or_stays(self) -> None:
        model, data = self.save(whole(BF16)), self.samples(BF16)
        for options, kind in (((), F16), (("--half", "bf16"), BF16)):
            self.fix(model, data, "--free-casts", *options)
            self.assertEqual(self.types(), ([BF16], [BF16]))
            self.assertEqual({w.data_type for w in onnx.load(self.fixed).graph.initializer if w.name == "w"}, {kind})

    def test_io(self) -> None:
        model, data = self.save(whole(F16)), self.samples(F16)
        self.fix(model, data, "--io", "fp32")
        self.assertEqual(self.types(), ([F32], [F32]))
        bf16 = self.save(whole(BF16), "bf16.onnx")
        self.fix(bf16, self.samples(BF16, folder="bf16"), "--io", "fp16")
        self.assertEqual(self.types(), ([F16], [F16]))

    def test_sequences_keep_their_elements_types(self) -> None:
        """As input and as output, and inside of a body too."""
        kind = helper.make_sequence_type_proto(helper.make_tensor_type_proto(F16, ["n", WIDTH]))
        branch = helper.make_graph([helper.make_node("SequenceAt", ["x", "one"], ["second"])], "body", [],
                                   [helper.make_tensor_value_info("second", F16, None)])
        other = helper.make_graph([helper.make_node("SequenceAt", ["x", "zero"], ["first"])], "body", [],
                                  [helper.make_tensor_value_info("first", F16, None)])
        nodes = [helper.make_node("SequenceLength", ["x"], ["n"]), helper.make_node("Cast", ["n"], ["any"], to=TensorProto.BOOL),
                 helper.make_node("If", ["any"], ["chosen"], then_branch=branch, else_branch=other),
                 helper.make_node("MatMul", ["chosen", "w"], ["h"]), helper.make_node("Mul", ["h", "h"], ["q"]),
                 helper.make_node("Mul", ["q", "small"], ["r"]), helper.make_node("SequenceInsert", ["x", "r"], ["y"]),
                 helper.make_node("ReduceMax", ["r"], ["z"], keepdims=0)]
        model = model_of(nodes, {"x": kind}, {"y": kind, "z": helper.make_tensor_type_proto(F16, [])},
                         [constant("w", F16, WEIGHT), constant("one", I64, 1), constant("zero", I64, 0), constant("small", F16, 2.0**-12)])
        folder = self.folder / "data"
        for i, values in enumerate(INPUTS):
            (folder / f"test_data_set_{i}").mkdir(parents=True)
            sequence = numpy_helper.from_list([values.astype(np.float16), (values * 2).astype(np.float16)], "x")
            (folder / f"test_data_set_{i}" / "input_0.pb").write_bytes(sequence.SerializeToString())
        self.fix(self.save(model), folder, "--free-casts")
        graph = onnx.load(self.fixed).graph
        for value in (graph.input[0], graph.output[0]):
            self.assertEqual(value.type.sequence_type.elem_type.tensor_type.elem_type, F16)
        for values in INPUTS:
            x = [values.astype(np.float16), (values * 2).astype(np.float16)]
            found, _ = support.session(self.fixed).run(None, {"x": x})
            expected = np.square(x[1].astype(np.float32) @ WEIGHT) / 2**12
            self.assertEqual([array.dtype for array in found], [np.float16] * 3)
            np.testing.assert_array_equal(found[:2], x)
            self.assert_close([found[2].astype(np.float32)], [expected])
        self.tool("check", self.folder / "model.onnx", self.fixed, "--data", folder)
        # Widening finds the nodes of the original beside those that were inserted.
        self.fix(self.save(model), folder, "--free-casts", "--rel-l2", "1e-4", code=None)

    def test_an_output_past_its_type_is_not_right(self) -> None:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Mul", ["h", "h"], ["y"])]
        model, data = self.save(model_of(nodes, {"x": F16}, {"y": F16}, [constant("w", F16, WEIGHT)])), self.samples(F16)
        result = self.fix(model, data, code=1)
        self.assertEqual(result["verdict"], "not-right")
        self.assertIn("--io fp32", self.done.stdout + self.done.stderr)
        done = self.tool("check", model, model, "--data", data, code=1)
        self.assertIn("--io fp32", done.stdout + done.stderr)
        self.fix(model, data, "--io", "fp32")

    def test_what_is_given_to_the_stages_gives_what_fix_gives(self) -> None:
        model, data = self.save(whole(F16)), self.samples(F16)
        self.fix(model, data)
        plan, step = self.folder / "plan.json", self.folder / "step.onnx"
        self.tool("scan", model, "--data", data, "-o", self.ranges)
        self.tool("plan", model, "--ranges", self.ranges, "-o", plan)
        self.tool("apply", model, "--plan", plan, "-o", step)
        self.assertEqual(step.read_bytes(), self.fixed.read_bytes())
        self.tool("check", model, step, "--data", data, "--report", self.folder / "page.html")

    # ------------------------------------------------------------ samples

    def test_samples_of_fp32_are_rounded_for_reference_and_fixed(self) -> None:
        """Values between two of FP16, of which the difference is taken: unrounded, the reference would be another."""
        nodes = [helper.make_node("Sub", ["x", "c"], ["d"]), helper.make_node("MatMul", ["d", "w"], ["y"])]
        model = self.save(model_of(nodes, {"x": F16}, {"y": F16}, [constant("w", F16, WEIGHT / 64), constant("c", F16, 1024)]))
        values = [(1024 + RANDOM.random((3, WIDTH)) * 2).astype(np.float32) for _ in range(3)]
        result = self.fix(model, self.save_samples({"x": value} for value in values))
        self.assertLess(result["fixed_model"]["outputs"][0]["rel_l2"], 1e-3)
        self.assertEqual((self.done.stdout + self.done.stderr).count("float32 in the samples"), 1)
        done = self.tool("fix", model, "--data", self.save_samples(({"x": v.astype(np.float16)} for v in values), "half"),
                         "-o", self.folder / "other.onnx")
        self.assertNotIn("float32 in the samples", done.stdout + done.stderr)
        self.assertEqual((self.folder / "other.onnx").read_bytes().replace(b"half/", b"samples/"), self.fixed.read_bytes())

    def test_samples_of_bf16(self) -> None:
        """As arrays of ml_dtypes and as ONNX test data."""
        model = self.save(whole(BF16))
        folder = self.folder / "data"
        folder.mkdir()
        for i, values in enumerate(INPUTS):
            (folder / f"test_data_set_{i}").mkdir()
            tensor = numpy_helper.from_array(values.astype(ml_dtypes.bfloat16), "x")
            (folder / f"test_data_set_{i}" / "input_0.pb").write_bytes(tensor.SerializeToString())
        self.assertEqual(self.scan(model, folder), self.scan(model, self.samples(BF16)))

    def test_samples_of_another_type_are_refused(self) -> None:
        model = self.save(whole(F16))
        data = self.save_samples({"x": values.astype(np.float64)} for values in INPUTS)
        done = self.tool("scan", model, "--data", data, code=3)
        for text in ("'x'", "float64", "float16", "float32"):
            self.assertIn(text, done.stderr)

    # ------------------------------------------------------------ what exports leave behind

    def test_clamps_of_t5(self) -> None:
        """A Clip behind a Cast and a residual Add, whose bounds depend on whether there are infinities."""
        def t5(kind: int, clamp: bool) -> ModelProto:
            nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "product"), helper.make_node("Mul", ["h", "h"], ["q"], "square"),
                     helper.make_node("Add", ["q", "x"], ["r"], "residual")]
            if clamp:
                nodes += [helper.make_node("IsInf", ["r"], ["inf"], "isinf"),
                          helper.make_node("Cast", ["inf"], ["infs"], "count", to=F32), helper.make_node("ReduceMax", ["infs"], ["most"], "any", keepdims=0),
                          helper.make_node("Cast", ["most"], ["any"], "as_bool", to=TensorProto.BOOL),
                          helper.make_node("Where", ["any", "less", "limit"], ["high"], "bound"),
                          helper.make_node("Neg", ["high"], ["low"], "lower"), helper.make_node("Clip", ["r", "low", "high"], ["c"], "clamp"),
                          helper.make_node("Min", ["c", "limit"], ["c2"], "min"), helper.make_node("Max", ["lowest", "c2"], ["c3"], "max")]
            nodes.append(helper.make_node("Mul", ["c3" if clamp else "r", "small"], ["y"], "shrink"))
            weights = [constant("w", kind, WEIGHT), constant("small", kind, 2.0**-12)]
            if clamp:
                weights += [constant("less", kind, 64504), constant("limit", kind, 65504), constant("lowest", kind, -65504)]
            return model_of(nodes, {"x": kind}, {"y": kind}, weights, opset=20)

        model, data = self.save(t5(F16, True)), self.samples(F16)
        names = [node.name for node in t5(F16, True).graph.node]
        samples = [{"x": rounded(values, F16)} for values in INPUTS]
        self.fix(model, data, "--free-casts", code=0)
        self.assertIn("--lift-clamps", self.done.stdout + self.done.stderr)
        self.assertIn("clamp", [node.name for node in onnx.load(self.fixed).graph.node])
        self.fix(model, data, "--lift-clamps", "--free-casts")
        # What only they read goes with them.
        fixed = onnx.load(self.fixed).graph
        self.assertEqual([node.name for node in fixed.node if node.name in names], ["product", "square", "residual", "shrink"])
        self.assertEqual([weight.name for weight in fixed.initializer if weight.name in ("less", "limit", "lowest")], [])
        expected = self.outputs(t5(F32, False), samples)
        self.assert_close(self.outputs(self.fixed, [{"x": values.astype(np.float16)} for values in INPUTS]), expected)
        self.tool("check", model, self.fixed, "--data", data, code=1)
        self.tool("check", model, self.fixed, "--data", data, "--lift-clamps")
        # Ranges and plans remember it.
        plan, step = self.folder / "plan.json", self.folder / "step.onnx"
        self.tool("scan", model, "--data", data, "-o", self.ranges, "--lift-clamps")
        self.tool("plan", model, "--ranges", self.ranges, "-o", plan, "--free-casts")
        self.tool("apply", model, "--plan", plan, "-o", step)
        self.assertEqual(step.read_bytes(), self.fixed.read_bytes())

    def test_weights_that_the_export_broke_are_named(self) -> None:
        broken = WEIGHT.copy()
        broken[0, 0] = 1e6
        limited = WEIGHT.copy()
        limited[1, 1] = 65504
        nodes = [helper.make_node("MatMul", ["x", "broken"], ["h"]), helper.make_node("MatMul", ["h", "limited"], ["i"]),
                 helper.make_node("Mul", ["i", "i"], ["q"]), helper.make_node("Add", ["q", "epsilon"], ["e"]), helper.make_node("Sqrt", ["e"], ["s"]),
                 helper.make_node("Div", ["i", "s"], ["y"])]
        with np.errstate(over="ignore"):
            weights = [constant("broken", F16, broken), constant("limited", F16, limited), constant("epsilon", F16, 1e-12)]
        model = self.save(model_of(nodes, {"x": F16}, {"y": F16}, weights))
        self.fix(model, self.samples(F16), code=None)
        said = self.done.stdout + self.done.stderr
        for name, what in (("broken", "infinite"), ("limited", "65504"), ("epsilon", "zero")):
            self.assertRegex(said, f"{what}.*: {name}")
        self.assertIn("export the model in FP32", said)

    def test_masks_of_the_lowest_number(self) -> None:
        for kind in (F16, BF16):
            with self.subTest(kind=kind):
                lowest = float(ml_dtypes.finfo(NUMPY[kind]).min)
                mask = np.where(np.tril(np.ones((WIDTH, WIDTH))), 0, lowest)
                nodes = [helper.make_node("MatMul", ["x", "w"], ["s"]), helper.make_node("Add", ["s", "mask"], ["a"], "masks"),
                         helper.make_node("Softmax", ["a"], ["y"], "softmax")]
                model = model_of(nodes, {"x": kind}, {"y": kind}, [constant("w", kind, WEIGHT / 16), constant("mask", kind, mask)])
                for value in (*model.graph.input, *model.graph.output):
                    value.type.tensor_type.shape.dim[0].dim_value = WIDTH
                data = self.save_samples(({"x": RANDOM.standard_normal((WIDTH, WIDTH)).astype(NUMPY[kind])} for _ in range(3)), f"masks{kind}")
                plan = self.folder / "plan.json"
                self.fix(self.save(model), data, "--save-plan", plan, "--free-casts")
                found = read_json(plan)
                if kind == BF16:
                    self.assertEqual([(c["name"], c["reason"]) for c in found["constants"]], [("mask", "mask")])
                self.assertEqual({node["precision"] for node in found["nodes"]}, {"fp16"})

    # ------------------------------------------------------------ fix of a fix

    def refix(self, model: pathlib.Path, data: pathlib.Path, *options: object) -> None:
        self.fix(model, data, *options)
        first, folder = self.fixed, self.folder / "again"
        folder.mkdir()
        self.fixed = folder / first.name
        self.fix(first, data, *options)
        self.assertIn("right as it is", self.done.stdout + self.done.stderr)
        for path in self.folder.glob(f"{first.name}*"):
            self.assertEqual((folder / path.name).read_bytes(), path.read_bytes(), path.name)

    def test_a_repaired_file_comes_back(self) -> None:
        self.refix(self.save(whole(F32)), self.samples(F32), "--io", "fp16")

    def test_a_repaired_file_with_other_inputs_comes_back(self) -> None:
        self.refix(self.save(whole(F32)), self.samples(F32), "--free-casts")

    def test_a_file_with_fp32_for_overflow_comes_back(self) -> None:
        self.refix(self.save(whole(F32)), self.samples(F32), "--free-casts", "--repair", "fp32")

    def test_a_file_with_fp32_for_its_error_comes_back(self) -> None:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "product"), helper.make_node("Add", ["h", "thousand"], ["a"], "add"),
                 helper.make_node("Sub", ["a", "thousand"], ["d"], "subtract"), helper.make_node("MatMul", ["d", "w"], ["y"], "last")]
        model = self.save(model_of(nodes, {"x": F32}, {"y": F32}, [constant("w", F32, WEIGHT / 64), constant("thousand", F32, 1000)]))
        plan = self.folder / "plan.json"
        self.refix(model, self.samples(F32), "--free-casts", "--save-plan", plan)
        self.assertIn("error", {node["reason"] for node in read_json(plan)["nodes"]})

    def test_a_file_comes_back_where_an_option_finds_nothing_to_do(self) -> None:
        self.refix(self.save(whole(F16)), self.samples(F16), "--free-casts", "--lift-clamps")

    def test_a_file_that_was_raised_comes_back(self) -> None:
        self.refix(self.save(whole(F32)), self.samples(F32), "--free-casts", "--opset", 22)

    def test_a_file_whose_nodes_have_another_type_than_its_inputs_comes_back(self) -> None:
        """Casts at its inputs and outputs are no nodes of another type than was asked for."""
        self.refix(self.save(whole(F16)), self.samples(F16), "--free-casts", "--half", "bf16")

    def test_a_good_file_of_another_tool_comes_back(self) -> None:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["y"])]
        model = self.save(model_of(nodes, {"x": F16}, {"y": F16}, [constant("w", F16, WEIGHT / 256)]))
        self.fix(model, self.samples(F16))
        self.assertEqual(self.fixed.read_bytes(), model.read_bytes())
        # Other types are asked for: it does not fit.
        self.fix(model, self.samples(F16, folder="again"), "--io", "fp32")
        self.assertEqual(self.types(), ([F32], [F32]))


def in_fp32_of(make: Callable[[int], ModelProto], kind: int) -> ModelProto:
    """The same model written in FP32, with the weights that it has in `kind`."""
    model = make(F32)
    narrow = {weight.name: numpy_helper.to_array(weight).astype(np.float32) for weight in make(kind).graph.initializer
              if weight.data_type == kind}
    for weight in model.graph.initializer:
        if weight.name in narrow:
            weight.CopyFrom(numpy_helper.from_array(narrow[weight.name], weight.name))
    return model


if __name__ == "__main__":
    unittest.main()
