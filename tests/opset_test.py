"""Holds `--opset` against ONNX's checker and version converter and ONNX Runtime: a converted model gives the bits of the
original, keeps its names and all that it says, and serves every stage as `fix` uses it.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import unittest
from typing import Any

import support
from support import Sample, ToolTest, np, onnx, read_json

import fix_test
import fp16_reference
import generated_models
import operator_forms
import sweep
from generated_models import BOOL, CASES, F32, F64, Builder, Case, random
from onnx import ModelProto, TensorProto, helper, numpy_helper

NEWEST = onnx.defs.onnx_opset_version()
# ONNX Runtime has no kernel for the newest form of these.
NOT_RUN = {"qdq"}
# Operators whose form of opset 22 ONNX Runtime does not run, and those whose newer kernel adds up in another order.
FORMS_NOT_RUN = {"RoiAlign", "GlobalLpPool", "MaxRoiPool"}
OTHER_ORDER = {"AveragePool"}
# What is refused: a result whose declared shape only the newer form's inference finds wrong, a mask that was no bool
# before opset 10, and an operator that the checker refuses without `axes` from opset 13 on.
FORMS_REFUSED = {("Compress", 9), ("Dropout", 7), ("MeanVarianceNormalization", 9)}
# Before opset 12 ONNX does not say what a mask holds outside of training.
FORMS_WITHOUT_MEANING = {("Dropout", 10)}


def opset_of(model: ModelProto) -> int:
    return next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def tensor_names(model: ModelProto) -> set[str]:
    return {path + name for path, graph in support.graphs_of(model.graph)
            for node in graph.node for name in node.output if name}


def same(one: Any, other: Any) -> bool:
    """The same bits."""
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return (one.shape, one.dtype, one.tobytes()) == (other.shape, other.dtype, other.tobytes())


class OpsetTest(ToolTest):
    def plan_for(self, path: pathlib.Path, **fields: object) -> pathlib.Path:
        """A plan that leaves the model, at the opset that it is for, as it is."""
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        empty = {name: [] for name in ("nodes", "tensors", "constants", "io", "warnings")}
        plan = self.folder / "empty.json"
        plan.write_text(json.dumps({"format": "halfsafe-plan", "version": 1, "model_sha256": sha256, **empty, **fields}))
        return plan

    def convert(self, model: ModelProto, opset: int, code: int = 0) -> ModelProto | str:
        """The converted model, or what the tool said when it refused."""
        path, out = self.save(model), self.folder / "converted.onnx"
        out.unlink(missing_ok=True)
        done = self.tool("apply", path, "--plan", self.plan_for(path, opset=opset), "-o", out, code=code)
        self.assertEqual(out.exists(), code == 0)
        return onnx.load(out) if code == 0 else done.stderr

    def check_converted(self, model: ModelProto, samples: list[Sample], opset: int, run: bool = True) -> ModelProto:
        converted = self.convert(model, opset)
        onnx.checker.check_model(support.dense(converted), full_check=True)
        self.assertEqual(opset_of(converted), opset)
        needed = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
        own = opset_of(model) == opset
        self.assertEqual(converted.ir_version, model.ir_version if own else max(model.ir_version, needed))
        # What has 16 bits becomes the FP32 model behind it.
        halves = support.holds_halves(model)
        model = support.lifted(model) if halves else model
        self.check_kept(support.without_functions(model), support.dense(converted) if halves else converted)
        if run:
            samples = support.widened(samples) if halves else samples
            one, other = support.session(model), support.session(converted)
            for sample in samples:
                self.assertTrue(same(one.run(None, sample), other.run(None, sample)), "other bits")
        return converted

    def check_kept(self, model: ModelProto, converted: ModelProto) -> None:
        before, after = ({name: node for name, node in support.nodes_of(which.graph).items() if node.name}
                         for which in (model, converted))
        self.assertEqual([name for name in after if name in before], list(before), "nodes in another order, or gone")
        self.assertLessEqual(tensor_names(model), tensor_names(converted))
        replaced = {"Upsample": "Resize", "Scatter": "ScatterElements"}
        for name, node in before.items():
            self.assertIn(after[name].op_type, (node.op_type, replaced.get(node.op_type)), name)
            self.assertEqual(list(after[name].output)[1:], list(node.output)[1:], name)
        for (_, one), (_, other) in zip(support.graphs_of(model.graph), support.graphs_of(converted.graph), strict=True):
            for field in ("name", "output", "value_info", "initializer", "sparse_initializer", "quantization_annotation"):
                self.assertEqual(getattr(one, field), getattr(other, field), field)
        self.assertEqual(model.metadata_props, converted.metadata_props)


class ConversionTest(OpsetTest):
    def test_generated_models(self) -> None:
        cases = {**{name: make() for name, make in CASES.items()},
                 **{f"conv_net at {opset}": generated_models.conv_net(opset) for opset in generated_models.OPSETS}}
        for name, case in cases.items():
            for opset in (22, NEWEST):
                with self.subTest(name, opset=opset):
                    if opset_of(case.model) <= opset:
                        self.check_converted(case.model, case.samples, opset, run=opset < NEWEST or name not in NOT_RUN)

    def test_every_form_of_every_operator(self) -> None:
        for op, forms in {**operator_forms.FORMS, **operator_forms.TRUE_FORMS}.items():
            for number, form in sweep.tenth((number, form) for number, form in enumerate(forms) if form.opset < 22):
                with self.subTest(f"{op} {number}", form=str(form)[:300]):
                    self.check_form(op, form)

    def check_form(self, op: str, form: operator_forms.Form) -> None:
        model, samples = operator_forms.make_model(op, form), operator_forms.make_samples(op, form)
        refused = (op, form.opset) in FORMS_REFUSED and (op != "Dropout" or len(form.outputs) > 1)
        if refused:
            self.assertIn("22", self.convert(model, 22, code=3))
            return
        loose = op in FORMS_NOT_RUN | OTHER_ORDER or (op, form.opset) in FORMS_WITHOUT_MEANING
        converted = self.check_converted(model, samples, 22, run=not loose)
        if op in OTHER_ORDER:
            one, other = support.session(model), support.session(converted)
            for sample in samples:
                for want, have in zip(one.run(None, sample), other.run(None, sample), strict=True):
                    np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)

    def test_real_models(self) -> None:
        """ONNX's own converter, on the whole model at once, gives the same."""
        for name in ("magika", "ppocr_cls", "ppocr_rec"):
            with self.subTest(name):
                folder, samples = support.real_model(name, 1, self.folder)
                model = onnx.load(folder / "model.onnx")
                # From opset 19 on ONNX Runtime averages in another order.
                exact = "AveragePool" not in {node.op_type for node in model.graph.node}
                converted = self.check_converted(model, samples, 22, run=exact)
                self.check_converted(model, samples, 18)
                theirs = support.session(onnx.version_converter.convert_version(model, 22))
                for sample in samples:
                    self.assertTrue(same(theirs.run(None, sample), support.session(converted).run(None, sample)))

    def test_own_opset_changes_nothing(self) -> None:
        for model in (generated_models.conv_net(13).model, generated_models.initializers_among_inputs().model):
            self.assertEqual(self.convert(model, opset_of(model)), model)

    def test_twice_the_same(self) -> None:
        model = generated_models.conv_net(7).model
        self.convert(model, 22)
        first = (self.folder / "converted.onnx").read_bytes()
        self.convert(model, 22)
        self.assertEqual((self.folder / "converted.onnx").read_bytes(), first)

    def test_weights_are_no_inputs_any_more(self) -> None:
        """From IR version 4 on, inputs could replace them, and ONNX Runtime would fold nothing."""
        case = generated_models.initializers_among_inputs()
        converted = self.check_converted(case.model, case.samples, 13)
        self.assertEqual([value.name for value in converted.graph.input], ["x"])


class MeaningTest(OpsetTest):
    """Operators whose words meant something else before."""

    def one_node(self, opset: int, op: str, inputs: list[str], shape: list, name: str | None, weights: dict | None = None,
                 **attributes: object) -> ModelProto:
        builder = Builder(opset)
        builder.input("x", shape)
        for weight, values in (weights or {}).items():
            builder.weight(weight, values)
        builder.node(op, inputs, "h", name=name, **attributes)
        builder.node("Relu", ["h"], "y")
        builder.output("y", [f"size{axis}" for axis in range(len(shape))])
        return builder.model()

    def test_softmax_over_several_axes(self) -> None:
        samples = [{"x": random(2, 3, 4, 5)}]
        for op in ("Softmax", "LogSoftmax", "Hardmax"):
            for axis in (None, 0, 1, 2, 3, -1, -3):
                for name in ("s", ""):
                    for shape in ([2, 3, 4, 5], ["a", "b", "c", "d"]):
                        with self.subTest(op, axis=axis, name=name, shape=shape):
                            opset = 11 if (axis or 0) < 0 else 9
                            model = self.one_node(opset, op, ["x"], shape, name, **({} if axis is None else {"axis": axis}))
                            converted = self.check_converted(model, samples, 22)
                            node = next(node for node in converted.graph.node if node.op_type == op)
                            several = axis not in (3, -1)
                            # Under the name that it had, or went by.
                            self.assertEqual(node.name, name or ("h" if several else ""))
                            self.assertEqual(node.output[0] == "h", not several)

    def test_resize_reads_where_it_did(self) -> None:
        for mode in ("nearest", "linear"):
            for scales in ([1, 1, 2, 2], [1, 1, 1.5, 2.5], [1, 1, 0.5, 0.5]):
                for opset, op in ((9, "Upsample"), (10, "Resize")):
                    if op == "Resize" or min(scales) >= 1:
                        with self.subTest(op, mode=mode, scales=scales):
                            model = self.one_node(opset, op, ["x", "s"], [1, 2, 6, 4], "u", {"s": scales}, mode=mode)
                            self.check_converted(model, [{"x": random(1, 2, 6, 4)}], 22)

    def test_added_nodes_are_named_after_what_they_are_for(self) -> None:
        builder = Builder(9)
        builder.input("x", [2, 3])
        builder.node("Clip", ["x"], "c:Constant", name="", min=-1.0)
        builder.node("Clip", ["c:Constant"], "d", name="c", min=-0.5, max=0.5)
        builder.node("Slice", ["d"], "y", name="", starts=[0], ends=[2], axes=[1])
        builder.output("y", [2, 2])
        converted = self.check_converted(builder.model(), [{"x": random(2, 3)}], 22)
        self.assertEqual([(node.name, *node.output) for node in converted.graph.node if node.op_type == "Constant"],
                         [("c:Constant:Constant", "c:Constant:Constant"), ("c:Constant", "c:Constant#2"),
                          ("c:Constant#2", "c:Constant#3"), ("y:Constant", "y:Constant"),
                          ("y:Constant#2", "y:Constant#2"), ("y:Constant#3", "y:Constant#3")])


def bodies(opset: int = 9) -> Case:
    """Both branches read a Softmax of the main graph, and hold nodes of one name whose forms have changed since."""
    def branch(name: str, low: float) -> onnx.GraphProto:
        inner = Builder(opset)
        inner.node("Clip", ["p"], f"{name}c", name="clip", min=low)
        inner.node("ReduceSum", [f"{name}c"], f"{name}s", name="sum", axes=[1], keepdims=1)
        inner.node("Softmax", [f"{name}s"], f"{name}p", name="softmax", axis=0)
        inner.node("Unsqueeze", [f"{name}p"], name, name="unsqueeze", axes=[0])
        inner.output(name, [1, 2, 1, 4])
        return inner.graph(name)

    builder = Builder(opset)
    builder.input("x", [2, 3, 4])
    builder.input("go", [], BOOL)
    builder.node("Softmax", ["x"], "p", name="outer", axis=1)
    builder.node("If", ["go"], "y", name="if", then_branch=branch("t", 0.05), else_branch=branch("e", 0.2))
    builder.output("y", [1, 2, 1, 4])
    builder.output("p", [2, 3, 4])
    return Case(builder.model(), [{"x": random(2, 3, 4), "go": np.array(go)} for go in (True, False)])


class WholeModelTest(OpsetTest):
    def test_bodies(self) -> None:
        case = bodies()
        for opset in (11, 13, 18, 22):
            converted = self.check_converted(case.model, case.samples, opset)
            names = [name for _, graph in support.graphs_of(converted.graph)
                     for node in graph.node for name in node.output]
            self.assertEqual(len(names), len(set(names)), "a name that hides another")

    def test_what_a_model_says_of_itself(self) -> None:
        """Texts, large weights in bodies and attributes, and whatever else conversion has no business with."""
        original = fix_test.annotated(fix_test.weights_everywhere())
        original.graph.sparse_initializer.append(helper.make_sparse_tensor(
            numpy_helper.from_array(np.float32([1, 2]), "sparse"), numpy_helper.from_array(np.int64([0, 3])), [5]))
        annotation = original.graph.quantization_annotation.add(tensor_name="a")
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="bias")
        original.opset_import.append(helper.make_opsetid("example.com", 3))
        converted = self.convert(original, 22)
        original.opset_import[0].version = 22
        self.assertEqual(converted, original)

    def test_texts_of_nodes_that_change(self) -> None:
        case = bodies()
        original = fix_test.annotated(case.model)
        converted = self.convert(original, 22)
        before, after = support.nodes_of(original.graph), support.nodes_of(converted.graph)
        for name, node in before.items():
            self.assertEqual((after[name].doc_string, after[name].metadata_props), (node.doc_string, node.metadata_props))

    def test_operators_of_other_domains(self) -> None:
        builder = Builder(11)
        builder.input("x", [2, 3])
        builder.node("Gelu", ["x"], "g", domain="com.microsoft")
        builder.node("ReduceSum", ["g"], "s", axes=[1])
        builder.node("Nothing", ["s"], "n", name="nothing", domain="example.com", axes=[1])
        builder.output("n", [2, 1])
        model = builder.model(domains=("com.microsoft", "example.com"))
        converted = self.check_converted(model, [], 22, run=False)
        self.assertEqual(support.nodes_of(converted.graph)["nothing"], support.nodes_of(model.graph)["nothing"])

    def test_external_data(self) -> None:
        case = generated_models.conv_net(9)
        folder = self.folder / "external"
        folder.mkdir()
        onnx.save(generated_models.conv_net(9).model, folder / "model.onnx", save_as_external_data=True,
                  location="weights.bin", size_threshold=512)
        data = self.save_samples(case.samples)
        for name, model in (("one", folder / "model.onnx"), ("other", self.save(case.model))):
            self.tool("fix", model, "--data", data, "--opset", 22, "-o", self.folder / f"{name}.onnx", "--repair", "bf16",
                      "--io", "fp16", "--rel-l2", "0.1")
        one, other = (onnx.load(self.folder / f"{name}.onnx") for name in ("one", "other"))
        onnx.checker.check_model(one, full_check=True)
        self.assertEqual(one.graph, other.graph)


class StageTest(OpsetTest):
    def setUp(self) -> None:
        super().setUp()
        self.case = generated_models.conv_net(13)
        self.model, self.data = self.save(self.case.model), self.save_samples(self.case.samples)
        self.fixed, self.result = self.folder / "fixed.onnx", self.folder / "result.json"

    def fix(self, *options: object, code: int = 0) -> dict[str, Any]:
        self.tool("fix", self.model, "--data", self.data, "-o", self.fixed, "--json", self.result, *options, code=code)
        onnx.checker.check_model(onnx.load(self.fixed), full_check=True)
        return read_json(self.result)

    def conv_types(self) -> dict[str, int]:
        weights = {tensor.name: tensor.data_type for tensor in onnx.load(self.fixed).graph.initializer}
        return {name.partition(".")[0]: element for name, element in weights.items() if name.startswith("w")}

    def test_conv_becomes_bf16(self) -> None:
        options = ("--repair", "bf16", "--io", "fp16", "--rel-l2", "0.1")
        answer = self.fix(*options)
        self.assertEqual((answer["bf16_nodes"], answer["opset"]), ([], None))
        self.assertEqual(self.conv_types()["w2"], F32)
        answer = self.fix(*options, "--opset", 22)
        self.assertEqual(answer["opset"], 22)
        self.assertIn("Conv", {node["op_type"] for node in answer["bf16_nodes"]})
        self.assertEqual(self.conv_types()["w2"], TensorProto.BFLOAT16)
        self.assertEqual(opset_of(onnx.load(self.fixed)), 22)
        self.assertIn("CPU provider does not load", " ".join(answer["warnings"]))
        done = self.tool("check", self.model, self.fixed, "--data", self.data, "--rel-l2", "0.1")
        self.assertIn("CPU provider does not load", done.stdout)

    def test_errors_are_against_the_original(self) -> None:
        answer = self.fix("--opset", 22, "--io", "fp16", "--repair", "rescale")
        emulated = fp16_reference.emulate(onnx.load(self.fixed))
        expected = support.emulated_errors(self.case.model, emulated, self.case.samples, stored=onnx.load(self.fixed))
        for output in answer["outputs"]:
            self.assertTrue(fix_test.agree(output["rel_l2"], expected[output["name"]]))

    def test_a_conversion_that_changes_results_is_not_right(self) -> None:
        """Where it shrinks, ONNX Runtime's Resize of opset 10 rounds up, which the newer one can't for all axes at once."""
        builder = Builder(10)
        builder.input("x", [1, 2, 7, 9])
        builder.weight("scales", [1, 1, 0.6, 0.7])
        builder.node("Resize", ["x", "scales"], "r", mode="nearest")
        builder.node("Relu", ["r"], "y")
        builder.output("y", [1, 2, 4, 6])
        self.model = self.save(builder.model(), "resize.onnx")
        self.data = self.save_samples([{"x": random(1, 2, 7, 9)}], "shrunk")
        self.assertNotEqual(self.fix()["verdict"], "not-right")
        self.assertEqual(self.fix("--opset", 22, code=1)["verdict"], "not-right")

    def test_newest(self) -> None:
        self.assertEqual(self.fix("--opset", NEWEST)["verdict"], "little-gained")
        self.assertEqual(opset_of(onnx.load(self.fixed)), NEWEST)

    def stages(self, *options: object) -> None:
        """Each stage by itself gives what `fix` gives, byte by byte."""
        mine = {name: self.folder / f"mine-{name}" for name in ("ranges", "plan", "fixed")}
        theirs = {"ranges": self.folder / "ranges", "plan": self.folder / "plan"}
        tolerance = [option for option in options if option in ("--rel-l2", "2e-3")]
        planning = [option for option in options if option not in tolerance]
        answer = self.fix("--opset", 22, "--save-ranges", theirs["ranges"], "--save-plan", theirs["plan"], *options)
        self.tool("scan", self.model, "--data", self.data, "--opset", 22, "-o", mine["ranges"])
        self.assertEqual(read_json(mine["ranges"]), read_json(theirs["ranges"]))
        self.tool("plan", self.model, "--ranges", mine["ranges"], "-o", mine["plan"], *planning)
        self.assertEqual(read_json(mine["plan"]) == read_json(theirs["plan"]), not answer["widenings"])
        for _ in range(10):
            self.tool("apply", self.model, "--plan", mine["plan"], "-o", mine["fixed"])
            check = self.tool("check", self.model, mine["fixed"], "--data", self.data, "--widen", mine["plan"], *tolerance,
                              code=None)
            if check.returncode == 0:
                break
        self.assertEqual(read_json(mine["plan"])["nodes"], read_json(theirs["plan"])["nodes"])
        self.assertEqual(mine["fixed"].read_bytes(), self.fixed.read_bytes())
        self.assertEqual({read_json(path)["opset"] for path in (*mine.values(), *theirs.values()) if path != mine["fixed"]},
                         {22})

    def test_stages(self) -> None:
        self.stages("--io", "fp16")

    def test_stages_of_a_model_that_widens(self) -> None:
        folder, _ = support.real_model("magika", 2, self.folder)
        self.model, self.data = folder / "model.onnx", folder / "samples"
        self.stages("--rel-l2", "2e-3")

    def test_ranges_of_two_opsets_are_not_merged(self) -> None:
        self.tool("scan", self.model, "--data", self.data, "-o", self.folder / "one")
        self.tool("scan", self.model, "--data", self.data, "-o", self.folder / "other", "--opset", 22)
        done = self.tool("merge", self.folder / "one", self.folder / "other", "-o", self.folder / "both", code=3)
        self.assertIn("opset 22", done.stderr)
        self.assertFalse((self.folder / "both").exists())


class RefusalTest(OpsetTest):
    def refuse(self, code: int, opset: object, model: ModelProto, *expected: str) -> None:
        path, out = self.save(model), self.folder / "out"
        for command in (("fix", "-o", out), ("scan", "-o", out)):
            done = self.tool(command[0], path, "--random", 1, *command[1:], "--opset", opset, code=code)
            self.assertEqual(done.stdout, "")
            for text in expected:
                self.assertIn(text, done.stderr)
            self.assertFalse(out.exists())

    def small(self, opset: int, op: str = "Relu", inputs: int = 1, **attributes: object) -> ModelProto:
        builder = Builder(opset)
        names = [builder.input(name, [2, 3]) for name in "xuvwz"[:inputs]]
        builder.node(op, names, "y", name="only", **attributes)
        builder.output("y", [2, 3])
        return builder.model()

    def test_opsets_that_are_none(self) -> None:
        for opset in (12, 0, -3, NEWEST + 1, 10**6):
            self.refuse(2, opset, self.small(13), f"opset {opset} was asked for", "13", str(NEWEST), "model.onnx")
        for opset in ("newest", "22.5", "", 10**30):
            self.refuse(2, opset, self.small(13), "opset")

    def test_what_has_no_form_there(self) -> None:
        self.refuse(3, 22, self.small(5, "Add", 2, broadcast=1), "opset is 5", "model.onnx")
        self.refuse(3, 22, self.small(17, "Gelu"), "only (Gelu)", "17", "22", "model.onnx")
        model = self.small(7, "BatchNormalization", 5, spatial=0)
        self.refuse(3, 22, model, "only (BatchNormalization)", "from opset 7 to 22", "spatial", "model.onnx")

    def test_scan_with_a_batch_axis(self) -> None:
        body = Builder(8)
        body.input("state", [3])
        body.input("step", [3])
        body.node("Add", ["state", "step"], "next")
        body.node("Identity", ["next"], "shown")
        body.output("next", [3])
        body.output("shown", [3])
        builder = Builder(8)
        builder.input("start", [1, 3])
        builder.input("x", [1, 4, 3])
        builder.node("Scan", ["", "start", "x"], "end", "y", name="scan", body=body.graph(), num_scan_inputs=1)
        builder.output("end", [1, 3])
        builder.output("y", [1, 4, 3])
        self.refuse(3, 22, builder.model(), "scan (Scan)", "from opset 8 to 22", "batch axis")

    def test_types_that_do_not_fit(self) -> None:
        """The converter makes bounds of Clip FP32, whatever the operand is."""
        builder = Builder(10)
        builder.input("x", [2], F64)
        builder.node("Clip", ["x"], "y", name="clip", min=0.0)
        builder.output("y", [2], F64)
        self.refuse(3, 22, builder.model(), "from opset 10 to 22", "clip")

    def test_plans_and_ranges_for_no_opset(self) -> None:
        path, out = self.save(self.small(13)), self.folder / "out"
        for opset, expected in ((12, "opset 12"), (10**6, "opset 1000000"), (0, "above zero"), ("22", "a whole number")):
            plan = self.plan_for(path, opset=opset)
            done = self.tool("apply", path, "--plan", plan, "-o", out, code=3)
            self.assertIn(expected, done.stderr)
            self.assertIn("empty.json", done.stderr)
            ranges = self.folder / "ranges.json"
            self.tool("scan", path, "--random", 1, "-o", ranges)
            ranges.write_text(json.dumps({**read_json(ranges), "opset": opset}))
            done = self.tool("plan", path, "--ranges", ranges, "-o", out, code=3)
            self.assertIn(expected, done.stderr)
            self.assertFalse(out.exists())

    def test_a_plan_for_another_model(self) -> None:
        """That is said first, whatever opset it is for."""
        other = self.plan_for(self.save(self.small(13, "Neg"), "other.onnx"), opset=12)
        done = self.tool("apply", self.save(self.small(13)), "--plan", other, "-o", self.folder / "out", code=3)
        self.assertIn("another model", done.stderr)


if __name__ == "__main__":
    unittest.main()
