"""Holds the models that `halfsafe fix`, `plan`, `apply` and `check` give against ONNX's checker, its strict shape
inference, ONNX Runtime, and an emulation of FP16 that is not halfsafe's own (fp16_reference.py).

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import copy
import hashlib
import json
import pathlib
import random
import re
import unittest
import zlib
from collections import Counter
from typing import Any

import support
from support import Sample, ToolTest, np, onnx, read_json

import fp16_reference
import generated_models
import scan_test
from generated_models import CASES, F16, F32, Builder, Case
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto

# Plain FP16 does not even run there: a size is computed in it.
# Elsewhere the reference rounds what has no FP16 form: QuantizeLinear before opset 19, outputs that are weights.
NO_PLAIN_REFERENCE = {"index_arithmetic", "index_resize", "qdq", "constant_is_output"}


def agree(found: float | None, expected: float, exact: bool = False) -> bool:
    """Errors are small numbers made of roundings: a sum in another order moves a few of them."""
    value = float("inf") if found is None else found
    if value == expected or abs(value - expected) <= 1e-6:
        return True
    return not exact and abs(value - expected) <= 0.02 * max(abs(value), abs(expected))


class FixTest(ToolTest):
    # ------------------------------------------------------------ every written model

    def check_written(self, original: ModelProto, path: pathlib.Path, as_it_is: bool = False) -> ModelProto:
        """What holds for every model that the tool writes. ONNX's inference does not follow sparse constants."""
        written = onnx.load(path)
        original = original if as_it_is else support.lifted(original)
        onnx.checker.check_model(written)
        fixed = support.dense(written)
        onnx.checker.check_model(fixed, full_check=True)
        support.session(path)
        self.check_declared_types(fixed)
        self.check_casts(support.inlined(original), fixed)
        self.check_kept(original, fixed)
        self.check_weights(support.inlined(original), fixed)
        return fixed

    def check_declared_types(self, fixed: ModelProto) -> None:
        """What value_info states is what strict inference finds when it is left out."""
        bare = ModelProto()
        bare.CopyFrom(fixed)
        for _, graph in support.graphs_of(bare.graph):
            del graph.value_info[:]
        inferred = onnx.shape_inference.infer_shapes(bare, strict_mode=True)
        for (path, stated), (_, found) in zip(support.graphs_of(fixed.graph), support.graphs_of(inferred.graph)):
            types = _types(found)
            for name, element in _types(stated).items():
                if types.get(name, 0) and element:
                    self.assertEqual(element, types[name], f"type of {path}{name}")

    def check_casts(self, original: ModelProto, fixed: ModelProto) -> None:
        """Each Cast that was added changes a type, is read, is the only one of its kind, and undoes no other."""
        known = set(support.nodes_of(original.graph))
        for path, graph in support.graphs_of(fixed.graph):
            added = {node.output[0]: node for node in graph.node
                     if node.op_type == "Cast" and path + support.node_name(node) not in known}
            kinds = Counter((node.input[0], node.attribute[0].i) for node in added.values())
            self.assertEqual([kind for kind, times in kinds.items() if times > 1], [], "two Casts of one tensor to one type")
            for node in added.values():
                self.assertNotIn(node.input[0], added, f"{node.name} follows another Cast that was added")
                self.assertIn(node.output[0], _read_in(graph), f"{node.name} is read by nothing")
                self.assertNotEqual(_types(graph).get(node.input[0]), node.attribute[0].i, f"{node.name} changes nothing")

    def check_kept(self, original: ModelProto, fixed: ModelProto) -> None:
        """Names, order and operators of nodes; inputs and outputs; what the model says of itself."""
        # A node without a name goes by its first output, which may get another name behind a Cast.
        before, after = ({name: node for name, node in support.nodes_of(graph).items() if node.name}
                         for graph in (support.inlined(original).graph, fixed.graph))
        self.assertEqual(set(before) - set(after), set(), "nodes that are gone")
        self.assertEqual([name for name in after if name in before], list(before), "nodes in another order")
        for name, node in before.items():
            self.assertEqual((node.op_type, node.domain), (after[name].op_type, after[name].domain), name)
        for field in ("input", "output"):
            names = [value.name for value in getattr(original.graph, field)]
            kept = [value.name for value in getattr(fixed.graph, field)]
            self.assertEqual([name for name in kept if name in names], names, field)
        for field in ("ir_version", "producer_name", "doc_string"):
            self.assertEqual(getattr(original, field), getattr(fixed, field), field)
        # Domains of model-local functions may go when the functions are inlined.
        local = {function.domain for function in original.functions}
        versions = ({entry.domain: entry.version for entry in model.opset_import if entry.domain not in local}
                    for model in (original, fixed))
        self.assertEqual(*versions)
        self.assertEqual(list(original.metadata_props), list(fixed.metadata_props))

    def check_weights(self, original: ModelProto, fixed: ModelProto) -> None:
        """No weight is left that nobody reads."""
        used = _read_anywhere(original.graph)
        idle = {tensor.name for _, graph in support.graphs_of(original.graph) for tensor in graph.initializer} - used
        used = _read_anywhere(fixed.graph)
        for _, graph in support.graphs_of(fixed.graph):
            for tensor in graph.initializer:
                self.assertTrue(tensor.name in used or tensor.name in idle, f"weight {tensor.name} is read by nothing")

    def assert_same_model(self, one: ModelProto, other: ModelProto) -> None:
        """Fields that are empty in one and left out in the other are no difference."""
        self.assertEqual(one.graph, other.graph)
        for field in ("ir_version", "producer_name", "producer_version", "domain", "model_version", "doc_string"):
            self.assertEqual(getattr(one, field), getattr(other, field), field)
        self.assertEqual(list(one.opset_import), list(other.opset_import))
        self.assertEqual(list(one.metadata_props), list(other.metadata_props))

    # ------------------------------------------------------------ errors

    def reference(self, original: ModelProto, fixed: ModelProto, samples: list[Sample]) -> dict[str, float]:
        # What has 16 bits is held against the FP32 model behind it, rounded to the types that it has outside.
        return support.emulated_errors(support.lifted(original, interface=True), fp16_reference.emulate(fixed), samples, stored=fixed)

    def assert_errors(self, outputs: list[dict[str, Any]], expected: dict[str, float]) -> None:
        found = {output["name"]: output for output in outputs}
        self.assertEqual(set(found), set(expected))
        for name, error in expected.items():
            floating = "float" in found[name]["dtype"]
            value = found[name]["rel_l2" if floating else "flip_share"]
            self.assertTrue(agree(value, error, exact=not floating), f"{name}: check says {value}, the reference {error}")

    def plan_of(self, path: pathlib.Path) -> dict[str, str]:
        return {node["name"]: node["precision"] for node in read_json(path)["nodes"]}


def _types(graph: GraphProto) -> dict[str, int]:
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.input, *graph.value_info, *graph.output]}
    return {**types, **{tensor.name: tensor.data_type for tensor in graph.initializer}}


def _read_in(graph: GraphProto) -> set[str]:
    """Tensors that nodes of the graph, those of the bodies inside it, or its outputs read."""
    read = {output.name for output in graph.output}
    for node in graph.node:
        read.update(node.input)
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                read |= _read_in(attribute.g)
    return read


_read_anywhere = _read_in


class RealModelTest(FixTest):
    def check(self, name: str, count: int, share: float = 0.8, error: float = 1e-2) -> None:
        folder, samples = support.real_model(name, count, self.folder)
        model, data = folder / "model.onnx", ["--data", folder / "samples"]
        path, plan, result = (self.folder / name for name in ("fixed.onnx", "plan.json", "result.json"))
        ranges = self.folder / "ranges.json"
        self.tool("fix", model, *data, "-o", path, "--save-plan", plan, "--save-ranges", ranges, "--json", result)
        original, answer = onnx.load(model), read_json(result)
        fixed = self.check_written(original, path)
        expected = self.reference(original, fixed, samples)
        self.assert_errors(answer["outputs"], expected)
        self.assertLessEqual(max(expected.values()), error)
        plain = support.emulated_errors(original, fp16_reference.emulate_plain(original), samples)
        self.assert_errors(answer["plain_fp16"]["outputs"], plain)
        self.assertGreaterEqual(answer["fp16_multiply_adds"], share)
        self.check_stages(model, data, path, plan, ranges, widened=bool(answer["widenings"]))

    def check_stages(self, model: pathlib.Path, data: list, path: pathlib.Path, plan: pathlib.Path,
                     ranges: pathlib.Path, widened: bool) -> None:
        """Each stage by itself gives what `fix` gives, widening included, byte by byte."""
        mine = {name: self.folder / f"mine-{name}" for name in ("ranges.json", "plan.json", "fixed.onnx")}
        self.tool("scan", model, *data, "-o", mine["ranges.json"])
        self.assertEqual(read_json(mine["ranges.json"]), read_json(ranges))
        self.tool("apply", model, "--plan", plan, "-o", mine["fixed.onnx"])
        self.assertEqual(mine["fixed.onnx"].read_bytes(), path.read_bytes())
        self.tool("plan", model, "--ranges", mine["ranges.json"], "-o", mine["plan.json"])
        self.assertEqual(read_json(mine["plan.json"]) == read_json(plan), not widened)
        for _ in range(20):
            self.tool("apply", model, "--plan", mine["plan.json"], "-o", mine["fixed.onnx"])
            check = self.tool("check", model, mine["fixed.onnx"], *data, "--widen", mine["plan.json"], code=None)
            if check.returncode == 0:
                break
        self.assertEqual(check.returncode, 0, "widening by hand comes to no end")
        self.tool("check", model, mine["fixed.onnx"], *data, "--narrow", mine["plan.json"])
        self.tool("apply", model, "--plan", mine["plan.json"], "-o", mine["fixed.onnx"])
        self.assertEqual(self.plan_of(mine["plan.json"]), self.plan_of(plan))
        self.assertEqual(mine["fixed.onnx"].read_bytes(), path.read_bytes())

    def test_magika(self) -> None:
        self.check("magika", 3)

    def test_minilm(self) -> None:
        self.check("minilm", 3, error=2e-3)

    def test_ppocr_cls(self) -> None:
        self.check("ppocr_cls", 3)

    def test_ppocr_det(self) -> None:
        self.check("ppocr_det", 1, error=5e-3)

    def test_ppocr_rec(self) -> None:
        self.check("ppocr_rec", 2)


class GeneratedModelTest(FixTest):
    def run_fix(self, name: str, case: Case, *options: object, code: int | None = 0,
                repair: str = "fp32") -> tuple[dict, pathlib.Path]:
        folder = self.folder / name
        folder.mkdir()
        model = onnx.shape_inference.infer_shapes(case.model)
        onnx.save(model, folder / "model.onnx")
        data = self.save_samples(case.samples, f"{name}/samples")
        self.tool("fix", folder / "model.onnx", "--data", data, "-o", folder / "fixed.onnx", "--save-plan",
                  folder / "plan.json", "--json", folder / "result.json", "--repair", repair, *options, code=code)
        return read_json(folder / "result.json"), folder

    def check_errors(self, name: str, case: Case, answer: dict, fixed: ModelProto) -> None:
        if answer["fixed_model"] is None:  # Nothing in it can be in 16 bits that isn't: it was not run.
            self.assertEqual([node.op_type for node in fixed.graph.node], [node.op_type for node in case.model.graph.node])
            return
        self.assert_errors(answer["outputs"], self.reference(case.model, fixed, case.samples))
        if name not in NO_PLAIN_REFERENCE:
            inlined = support.inlined(case.model)
            as_it_is = support.holds_halves(case.model)
            emulated = fp16_reference.emulate(inlined) if as_it_is else fp16_reference.emulate_plain(inlined)
            plain = support.emulated_errors(support.lifted(case.model, interface=True), emulated, case.samples)
            for output in answer["plain_fp16"]["outputs"]:
                # What is no number at all in one is none in the other; how wrong wrong answers are is chance.
                wrong = plain[output["name"]] > 0.5
                value = output["rel_l2"] if "float" in output["dtype"] else output["flip_share"]
                self.assertTrue(agree(value, plain[output["name"]]) or wrong and (value is None or value > 0.5),
                                f"plain {output['name']}: check says {value}, the reference {plain[output['name']]}")

    def check_precisions(self, case: Case, plan: dict[str, str]) -> None:
        for node in case.fp32:
            self.assertEqual(plan.get(node), "fp32", f"{node} has to stay FP32")

    def test_every_model(self) -> None:
        for name, make in CASES.items():
            with self.subTest(name):
                case = make()
                answer, folder = self.run_fix(name, case)
                self.assertIn(answer["verdict"], ("right", "little-gained"))
                as_it_is = any("right as it is" in warning for warning in answer["warnings"])
                fixed = self.check_written(case.model, folder / "fixed.onnx", as_it_is)
                self.check_errors(name, case, answer, fixed)
                self.check_precisions(case, self.plan_of(folder / "plan.json"))
                if case.overflowing is not None:
                    self.assertEqual({tensor["tensor"] for tensor in answer["overflowing"]}, set(case.overflowing))
                _same_interface(self, case.model, fixed)

    def test_every_model_with_fp16_inputs_and_outputs(self) -> None:
        for name, make in CASES.items():
            with self.subTest(name):
                case = make()
                # In-range but coarse: the type of an output alone may cost what is written here.
                answer, folder = self.run_fix(name, case, "--io", "fp16", code=None)
                fixed = self.check_written(case.model, folder / "fixed.onnx")
                self.check_errors(name, case, answer, fixed)
                plan = self.plan_of(folder / "plan.json")
                self.check_precisions(case, plan)
                self.assertEqual([node for node in case.fp16 if plan[node] != "fp16"], [])
                # Its output is so small that FP16 has but a few bits for it.
                self.assertIn(answer["verdict"], ("not-right",) if name == "scan_calm" else ("right", "little-gained"))

    def test_bodies_whose_paths_are_equal(self) -> None:
        case = generated_models.twin_ifs()
        for number, options in enumerate(([], ["--io", "fp16"])):
            answer, folder = self.run_fix(f"twins{number}", case, *options)
            self.assertEqual(answer["verdict"], "right" if options else "little-gained")
            self.assertEqual([entry["tensor"] for entry in answer["overflowing"]], list(case.overflowing))
            fixed = self.check_written(case.model, folder / "fixed.onnx")
            self.check_errors("twins", case, answer, fixed)
            self.check_precisions(case, self.plan_of(folder / "plan.json"))
        plan = self.plan_of(folder / "plan.json")
        self.assertEqual([plan[f"p/then_branch/{node}"] for node in ("up", "down")], ["fp16", "fp16"])
        calm, wild = (next(attribute.g for attribute in node.attribute if attribute.name == "then_branch")
                      for node in fixed.graph.node if node.op_type == "If")
        self.assertEqual([{tensor.data_type for tensor in body.initializer} for body in (calm, wild)], [{F16}, {F32}])

    def test_nodes_of_one_name(self) -> None:
        """ONNX Runtime refuses them, other runtimes don't."""
        case = generated_models.twin_ifs("If_1", "If_1")
        answer, folder = self.run_fix("twins", case, "--io", "fp16")
        self.assertEqual(answer["verdict"], "right")
        self.check_precisions(case, self.plan_of(folder / "plan.json"))
        self.assertEqual([node.name for node in onnx.load(folder / "fixed.onnx").graph.node].count("If_1"), 2)

    def test_masks(self) -> None:
        """A mask may be cut to -2^15 only where rows keep a score, and nothing but Softmax sees it."""
        clamped = {"mask_bert": "lowest", "mask_bert_infinite": "lowest", "mask_where": "lowest",
                   "mask_where_then_add": "lowest", "mask_constant": "causal"}
        for name in (*clamped, "mask_bert_fully", "mask_where_fully", "mask_shared_with_output"):
            with self.subTest(name):
                _, folder = self.run_fix(name, CASES[name](), "--io", "fp16")
                constants = {entry["name"]: entry["clamp"] for entry in read_json(folder / "plan.json")["constants"]}
                self.assertEqual(constants, {clamped[name]: 2.0**15} if name in clamped else {})

    def test_any_plan_gives_a_valid_model(self) -> None:
        """Whatever precisions a plan asks for, the model is well typed, and `check` measures it right."""
        for name, make in CASES.items():
            with self.subTest(name):
                case = make()
                folder = self.folder / name
                folder.mkdir()
                onnx.save(onnx.shape_inference.infer_shapes(case.model), folder / "model.onnx")
                data = ["--data", self.save_samples(case.samples, f"{name}/samples")]
                self.tool("scan", folder / "model.onnx", *data, "-o", folder / "ranges.json")
                self.tool("plan", folder / "model.onnx", "--ranges", folder / "ranges.json", "-o", folder / "plan.json")
                for share in (1.0, 0.5):
                    self.check_random_plan(name, case, folder, data, share)

    def check_random_plan(self, name: str, case: Case, folder: pathlib.Path, data: list, share: float) -> None:
        plan = read_json(folder / "plan.json")
        generator = random.Random(zlib.crc32(name.encode()))
        for node in plan["nodes"]:
            if node["reason"] not in ("no-half-type", "index-arithmetic"):
                node["precision"] = "fp16" if generator.random() < share else "fp32"
        (folder / "random.json").write_text(json.dumps(plan), encoding="utf-8")
        self.tool("apply", folder / "model.onnx", "--plan", folder / "random.json", "-o", folder / "random.onnx")
        fixed = self.check_written(case.model, folder / "random.onnx")
        result = folder / "check.json"
        self.tool("check", folder / "model.onnx", folder / "random.onnx", *data, "--json", result, code=None)
        self.assert_errors(read_json(result)["outputs"], self.reference(case.model, fixed, case.samples))

    def test_bodies_of_unnamed_nodes_are_emulated(self) -> None:
        model, samples = scan_test.unnamed_ifs()
        self.check_fully_fp16(Case(model, samples))

    def test_large_weights_inside_bodies(self) -> None:
        model, samples = scan_test.body_weights()
        self.check_fully_fp16(Case(model, samples))

    def check_fully_fp16(self, case: Case) -> None:
        answer, folder = self.run_fix("case", case, "--io", "fp16")
        fixed = self.check_written(case.model, folder / "fixed.onnx")
        self.check_errors("case", case, answer, fixed)
        self.assertEqual(set(self.plan_of(folder / "plan.json").values()), {"fp16"})

    def test_node_that_onnx_cannot_type_in_fp16(self) -> None:
        """The function that ONNX defines MeanVarianceNormalization by holds an FP32 constant."""
        builder = Builder(17)
        builder.input("x", [2, 4, 6])
        builder.node("MeanVarianceNormalization", ["x"], "m", axes=[0, 2])
        builder.node("Relu", ["m"], "y")
        builder.output("y", [2, 4, 6])
        case = Case(builder.model(), generated_models.samples(x=(2, 4, 6)))
        _, folder = self.run_fix("mvn", case, "--io", "fp16")
        self.check_written(case.model, folder / "fixed.onnx")

    def test_bitcast_keeps_its_width(self) -> None:
        builder = Builder(26)
        builder.input("x", [2, 4])
        builder.node("Relu", ["x"], "h")
        builder.node("BitCast", ["h"], "y", to=onnx.TensorProto.INT32)
        builder.output("y", [2, 4], onnx.TensorProto.INT32)
        case = Case(builder.model(ir_version=11), generated_models.samples(x=(2, 4)))
        _, folder = self.run_fix("bitcast", case, "--keep-op", "Relu", "--io", "fp16", "--max-flips", 1)
        self.check_written(case.model, folder / "fixed.onnx")
        self.assertNotEqual(self.plan_of(folder / "plan.json").get("node_y"), "fp16")


def _same_interface(test: unittest.TestCase, original: ModelProto, fixed: ModelProto) -> None:
    """By default inputs and outputs keep their types."""
    for field in ("input", "output"):
        before = {value.name: value.type.tensor_type.elem_type for value in getattr(original.graph, field)}
        after = {value.name: value.type.tensor_type.elem_type for value in getattr(fixed.graph, field)}
        weights = {tensor.name for tensor in original.graph.initializer}
        for name in set(before) - weights:
            test.assertEqual(after[name], before[name], name)


class ApplyTest(FixTest):
    def write_plan(self, model: pathlib.Path, **fields: list) -> pathlib.Path:
        path = self.folder / "plan.json"
        empty = {name: [] for name in ("nodes", "tensors", "constants", "io", "warnings")}
        sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
        path.write_text(json.dumps({"format": "halfsafe-plan", "version": 1, "model_sha256": sha256, **empty, **fields}))
        return path

    def test_a_plan_without_nodes_changes_nothing(self) -> None:
        """Every text that a model may hold about itself stays, beside tensors of more than a few bytes too."""
        original = annotated(weights_everywhere())
        model = self.save(original)
        self.tool("apply", model, "--plan", self.write_plan(model), "-o", self.folder / "same.onnx")
        self.assertEqual(onnx.load(self.folder / "same.onnx"), original)

    def test_a_plan_in_fp16_keeps_what_is_said(self) -> None:
        original = annotated(weights_everywhere())
        model = self.save(original)
        nodes = [{"name": name, "precision": "fp16"} for name, node in support.nodes_of(original.graph).items()
                 if node.op_type != "Constant"]
        self.tool("apply", model, "--plan", self.write_plan(model, nodes=nodes), "-o", self.folder / "half.onnx")
        half = onnx.load(self.folder / "half.onnx")
        self.assertEqual({tensor.data_type for tensor in half.graph.initializer}, {F16, onnx.TensorProto.INT64})
        self.assertEqual(_texts(half), _texts(original))


def weights_everywhere() -> ModelProto:
    """Large tensors as an initializer, in a Constant and in a body, and a small one."""
    constant = lambda seed: onnx.numpy_helper.from_array(generated_models.random(40, 40, seed=seed))
    yes, no = Builder(), Builder()
    yes.weight("w", generated_models.random(40, 40, seed=1))
    yes.node("MatMul", ["h", "w"], "t")
    yes.output("t")
    no.node("Constant", [], "k", value=constant(2))
    no.node("MatMul", ["h", "k"], "e")
    no.output("e")
    builder = Builder(17)
    builder.input("x", [2, 40])
    builder.input("go", [], generated_models.BOOL)
    builder.weight("first", generated_models.random(40, 40, seed=3))
    builder.weight("bias", generated_models.random(40, seed=4))
    builder.weight("shape", [40], np.int64)
    builder.node("Constant", [], "second", value=constant(5))
    builder.node("ConstantOfShape", ["shape"], "filled", value=onnx.numpy_helper.from_array(np.float32([0.5])))
    builder.node("MatMul", ["x", "first"], "a")
    builder.node("MatMul", ["a", "second"], "b")
    builder.node("Add", ["b", "filled"], "c")
    builder.node("Add", ["c", "bias"], "h")
    builder.node("If", ["go"], "y", name="If_1", then_branch=yes.graph("yes"), else_branch=no.graph("no"))
    builder.output("y", [2, 40])
    return onnx.shape_inference.infer_shapes(builder.model(ir_version=10))


def annotated(message: Any, path: str = "model") -> Any:
    """Fills every doc_string and metadata_props, and gives a name to what has none, here and further inside."""
    for name, field in message.DESCRIPTOR.fields_by_name.items():
        if name in ("doc_string", "producer_version", "overload") or isinstance(message, onnx.TensorProto) and name == "name":
            setattr(message, name, getattr(message, name) or f"{name} of {path}")
        elif name == "metadata_props":
            message.metadata_props.add(key="said of", value=path)
        elif field.message_type and field.is_repeated:
            for number, inside in enumerate(getattr(message, name)):
                annotated(inside, f"{path}.{name}[{number}]")
        elif field.message_type and message.HasField(name):
            annotated(getattr(message, name), f"{path}.{name}")
    return message


def _texts(message: Any) -> list[str]:
    """What `annotated` wrote."""
    return sorted(re.findall(r'"((?:\w+ of )?model[^"]*)"', str(message)))


class OptionTest(FixTest):
    def setUp(self) -> None:
        super().setUp()
        self.case = generated_models.conv_net(17)
        self.model = self.save(self.case.model)
        self.data = ["--data", self.save_samples(self.case.samples)]
        self.plan, self.fixed, self.result = (self.folder / name for name in ("plan.json", "fixed.onnx", "result.json"))

    def fix(self, *options: object, code: int = 0) -> dict[str, str]:
        self.tool("fix", self.model, *self.data, "-o", self.fixed, "--save-plan", self.plan, "--json", self.result,
                  *options, code=code)
        self.check_written(self.case.model, self.fixed)
        return self.plan_of(self.plan)

    def weights(self) -> dict[str, int]:
        return {tensor.name: tensor.data_type for tensor in onnx.load(self.fixed).graph.initializer}

    def test_io_fp16(self) -> None:
        plan = self.fix("--io", "fp16", "--repair", "fp32")
        self.assertEqual({plan["node_c1"], plan["node_logits"]}, {"fp16"})
        graph = onnx.load(self.fixed).graph
        self.assertEqual([value.type.tensor_type.elem_type for value in [graph.input[0], graph.output[0]]], [F16, F16])
        self.assertEqual((self.weights()["w1"], self.weights()["w3"]), (F16, F32))

    def test_io_past_the_range_stays_fp32(self) -> None:
        case = generated_models.output_read_inside()
        model, data = self.save(case.model, "out.onnx"), self.save_samples(case.samples, "out")
        done = self.tool("fix", model, "--data", data, "-o", self.fixed, "--io", "fp16")
        types = {value.name: value.type.tensor_type.elem_type for value in onnx.load(self.fixed).graph.output}
        self.assertEqual(types, {"y": F16, "large": F32, "a": F16})
        self.assertIn("large", done.stderr + done.stdout)

    def test_keep_nodes(self) -> None:
        plan = self.fix("--io", "fp16", "--keep", "^node_c1$")
        self.assertEqual((plan["node_c1"], plan["node_logits"]), ("fp32", "fp16"))

    def test_keep_operators(self) -> None:
        plan = self.fix("--io", "fp16", "--keep-op", "Gemm", "--keep-op", "Softmax")
        self.assertEqual((plan["node_logits"], plan["node_y"], plan["node_c1"]), ("fp32", "fp32", "fp16"))

    def test_threshold(self) -> None:
        plan = self.fix("--io", "fp16", "--threshold", "1e-3")
        self.assertEqual(set(plan.values()), {"fp32"})

    def test_accumulate_in_fp16(self) -> None:
        """4 x 64 values of 3000: their mean is in range, the sum on the way to it is not."""
        builder = Builder(17)
        builder.input("x", [1, 4, 8, 8])
        builder.node("GlobalAveragePool", ["x"], "pooled")
        builder.node("Relu", ["pooled"], "y")
        builder.output("y", [1, 4, 1, 1])
        model = self.save(builder.model(), "sum.onnx")
        data = self.save_samples([{"x": np.full((1, 4, 8, 8), 3000, dtype=np.float32)}], "sums")
        for option, expected in (("fp32", "fp16"), ("fp16", "fp32")):
            self.tool("fix", model, "--data", data, "-o", self.fixed, "--save-plan", self.plan, "--io", "fp16",
                      "--accumulate", option, "--repair", "fp32")
            self.assertEqual(self.plan_of(self.plan)["node_pooled"], expected)

    def test_holdout(self) -> None:
        self.fix("--holdout", "0.34")
        answer = read_json(self.result)
        self.assertEqual(answer["samples"] + answer["holdout"]["samples"] if "samples" in answer["holdout"] else 3, 3)
        self.assertTrue(answer["holdout"])
        self.assertTrue(answer["holdout"]["outputs"][0]["right"])

    def test_holdout_finds_what_calibration_missed(self) -> None:
        """The last sample is a million times larger than those that the plan was made from."""
        builder = Builder(17)
        builder.input("x", [None, 4])
        builder.node("Mul", ["x", "x"], "square")
        builder.node("Sqrt", ["square"], "y")
        builder.output("y", [None, 4])
        made = generated_models.samples(2, x=(2, 4))
        made.append({"x": np.full((2, 4), 3e4, dtype=np.float32)})
        model, data = self.save(builder.model(), "late.onnx"), self.save_samples(made, "late")
        arguments = ["fix", model, "--data", data, "-o", self.fixed, "--io", "fp16"]
        self.tool(*arguments, "--holdout", "0.34", code=1)
        self.tool(*arguments, code=0)

    def test_a_choice_that_the_last_bit_makes(self) -> None:
        """64 products that are all nearly one: which is the largest is another one where the scan's kernels do two steps in one."""
        for seed in range(3):
            random = np.random.default_rng(seed)
            builder = Builder(17)
            builder.input("x", [1, 64, 1, 1])
            weights = random.uniform(0.5, 2, (64, 1, 1, 1)).astype(np.float32)
            builder.node("Conv", ["x", builder.weight("w", weights)], "c", group=64)
            builder.node("Mul", ["c", builder.weight("s", 1 / weights[:, 0])], "m")
            builder.node("Flatten", ["m"], "f")
            builder.node("ArgMax", ["f"], "best", axis=1)
            builder.output("best", [1, 1], TensorProto.INT64)
            model = self.save(builder.model(), f"jump{seed}.onnx")
            x = np.full((1, 64, 1, 1), random.uniform(1, 1.5), dtype=np.float32)
            self.tool("fix", model, "--data", self.save_samples([{"x": x}], f"jump{seed}"), "-o", self.fixed, "--free-casts")
            before, after = (support.session(path, True).run(None, {"x": x})[0] for path in (model, self.fixed))
            self.assertEqual(before, after)
            # A page takes a scan, and changes no verdict.
            data = self.folder / f"jump{seed}"
            self.tool("check", model, self.fixed, "--data", data, "--report", self.folder / "page.html",
                      "--save-outputs", self.folder / f"outputs{seed}")

    def test_empty_plan_changes_nothing(self) -> None:
        for name in ("conv_net_9", "nested_bodies", "mixed_types", "qdq", "constants", "sparse_constants"):
            with self.subTest(name):
                case = CASES[name]()
                model = self.save(case.model)
                self.tool("scan", model, "--data", self.save_samples(case.samples, name), "-o", self.folder / "r.json")
                self.tool("plan", model, "--ranges", self.folder / "r.json", "-o", self.plan)
                plan = read_json(self.plan)
                for field in ("nodes", "tensors", "constants", "io"):
                    plan[field] = []
                self.plan.write_text(json.dumps(plan), encoding="utf-8")
                self.tool("apply", model, "--plan", self.plan, "-o", self.fixed)
                # What has 16 bits becomes the FP32 model behind it.
                original = onnx.load(model)
                if support.holds_halves(original):
                    nodes = [support.nodes_of(support.dense(graph).graph) for graph in (support.lifted(original), onnx.load(self.fixed))]
                    self.assertEqual(*nodes)
                    continue
                self.assert_same_model(onnx.load(self.fixed), original)

    def test_fixing_twice_changes_nothing_more(self) -> None:
        for options in ([], ["--io", "fp16"]):
            self.fix(*options)
            fixed = onnx.load(self.fixed)
            samples = self.case.samples
            if options:
                samples = [{"x": sample["x"].astype(np.float16)} for sample in samples]
            data = self.save_samples(samples, f"again{len(options)}")
            self.tool("fix", self.fixed, "--data", data, "-o", self.folder / "twice.onnx", *options)
            twice = onnx.load(self.folder / "twice.onnx")
            self.assertEqual(Counter(node.op_type for node in twice.graph.node),
                             Counter(node.op_type for node in fixed.graph.node))
            onnx.checker.check_model(twice, full_check=True)

    def test_bf16_where_the_schema_has_none_is_refused(self) -> None:
        self.fix()
        plan = read_json(self.plan)
        for node in plan["nodes"]:
            node["precision"] = "bf16" if node["name"] == "node_c1" else "fp32"
        self.plan.write_text(json.dumps(plan), encoding="utf-8")
        out = self.folder / "bf16.onnx"
        done = self.tool("apply", self.model, "--plan", self.plan, "-o", out, code=3)
        self.assertIn("node_c1", done.stderr)
        self.assertFalse(out.exists())

    def test_shared_weight_is_there_once_a_type(self) -> None:
        case = generated_models.shared_weight()
        model, data = self.save(case.model, "shared.onnx"), self.save_samples(case.samples, "shared")
        self.tool("fix", model, "--data", data, "-o", self.fixed, "--io", "fp16", "--repair", "fp32")
        matrices = [tensor.data_type for tensor in onnx.load(self.fixed).graph.initializer if list(tensor.dims) == [8, 8]]
        self.assertEqual(sorted(matrices), [F32, F16])

    def test_metadata_is_kept(self) -> None:
        self.case.model.metadata_props.add(key="author", value="somebody")
        self.case.model.doc_string = "what it is"
        self.case.model.graph.doc_string = "of the graph"
        self.case.model.graph.node[0].doc_string = "of a node"
        self.model = self.save(self.case.model)
        self.fix("--io", "fp16")
        fixed = onnx.load(self.fixed)
        self.assertEqual((fixed.graph.doc_string, fixed.doc_string), ("of the graph", "what it is"))
        self.assertIn("of a node", [node.doc_string for node in fixed.graph.node])

    def test_names_that_are_taken(self) -> None:
        """Tensors and nodes of the model already have the names that new ones would get."""
        names = [value.name for value in onnx.load(self.model).graph.node]
        self.fix("--io", "fp16", "--repair", "fp32")
        fixed = onnx.load(self.fixed)
        added = [node for node in fixed.graph.node if node.name not in names]
        self.assertTrue(added)
        renamed = ModelProto()
        renamed.CopyFrom(self.case.model)
        taken = [*(node.name for node in added), *(node.output[0] for node in added),
                 *(tensor.name for tensor in fixed.graph.initializer)]
        weights = {tensor.name for tensor in renamed.graph.initializer}
        for index, name in enumerate(name for name in taken if name not in weights):
            renamed.graph.node.append(onnx.helper.make_node("Identity", ["b1"], [name], name + "/node" if index % 2 else name))
        self.case = Case(renamed, self.case.samples)
        self.model = self.save(renamed)
        self.fix("--io", "fp16", "--repair", "fp32")

    def test_external_data(self) -> None:
        case = generated_models.conv_net(17)
        folder = self.folder / "external"
        folder.mkdir()
        onnx.save_model(copy.deepcopy(case.model), str(folder / "m.onnx"), save_as_external_data=True, size_threshold=0)
        self.fix()
        inside = self.fixed.read_bytes()
        self.tool("fix", folder / "m.onnx", *self.data, "-o", self.fixed)
        self.assert_same_model(onnx.load_from_string(inside), onnx.load(self.fixed))


class AnswerTest(FixTest):
    """A model, its data, and what `check` says of another model."""

    model: pathlib.Path
    data: list[object]

    def answer(self, fixed: ModelProto, *options: object, code: int) -> dict[str, Any]:
        self.tool("check", self.model, self.save(fixed, "other.onnx"), *self.data, "--json", self.folder / "r.json",
                  *options, code=code)
        return read_json(self.folder / "r.json")


class CheckTest(AnswerTest):
    """What `check` says of models that did not come from `fix`."""

    def setUp(self) -> None:
        super().setUp()
        self.case = generated_models.conv_net(17)
        self.model = self.save(self.case.model)
        self.data = ["--data", self.save_samples(self.case.samples)]

    def test_the_same_model_is_right(self) -> None:
        answer = self.answer(self.case.model, code=0)
        self.assertEqual(answer["outputs"][0]["rel_l2"], 0)
        self.assertEqual(answer["verdict"], "little-gained")
        self.assertIn("the original itself", answer["little_gained"][0])
        self.answer(self.case.model, "--fail-on", "little-gained", code=1)

    def test_a_model_without_16_bits_gains_nothing(self) -> None:
        """Nor do models in the wrong order. Tensors and nodes are those of the model that is checked."""
        renamed = copy.deepcopy(self.case.model)
        renamed.producer_name = "another"
        answer = self.answer(renamed, code=0)
        self.assertEqual((answer["verdict"], answer["little_gained"][0]), ("little-gained", "the fixed model holds no 16-bit tensor"))
        fixed = self.folder / "fixed.onnx"
        self.tool("fix", self.model, *self.data, "-o", fixed, "--free-casts")
        kinds = {value.name: value.type.tensor_type.elem_type
                 for value in onnx.shape_inference.infer_shapes(onnx.load(fixed)).graph.value_info}
        graph = onnx.load(fixed).graph
        floats = {name for name, kind in kinds.items() if kind in support.FLOAT_TYPES}
        floats |= {value.name for value in [*graph.input, *graph.output] if value.type.tensor_type.elem_type in support.FLOAT_TYPES}
        answer = self.answer(onnx.load(fixed), code=0)
        self.assertEqual((answer["verdict"], answer["tensors"]), ("right", len(floats)))
        self.tool("check", fixed, self.model, *self.data, "--json", self.folder / "swapped.json", code=None)
        swapped = read_json(self.folder / "swapped.json")
        if swapped["verdict"] != "not-right":
            self.assertIn("wrong order", swapped["little_gained"][0])

    def test_plain_fp16_names_where_it_breaks(self) -> None:
        answer = self.answer(self.case.model, code=0)
        self.assertEqual(answer["plain_fp16"]["first_inf"]["tensor"], "c2")
        self.assertEqual(answer["plain_fp16"]["first_inf"]["node"], "node_c2")

    def test_another_model_is_wrong(self) -> None:
        other = copy.deepcopy(self.case.model)
        for tensor in other.graph.initializer:
            if tensor.name == "w4":
                tensor.raw_data = (1.1 * np.frombuffer(tensor.raw_data, dtype=np.float32)).astype(np.float32).tobytes()
        expected = support.emulated_errors(self.case.model, other, self.case.samples)["y"]
        answer = self.answer(other, code=1)
        self.assertTrue(agree(answer["outputs"][0]["rel_l2"], expected))
        self.answer(other, "--rel-l2", 2 * expected, code=0)
        self.answer(other, "--rel-l2", 1, "--rtol", 1e-6, "--atol", 1e-7, code=1)
        needed = answer["outputs"][0]["max_abs"]
        self.answer(other, "--rel-l2", 1, "--atol", 1.01 * needed, code=0)

    def test_outputs_of_integers(self) -> None:
        def model(factor: float) -> ModelProto:
            builder = Builder(17)
            builder.input("x", [8])
            builder.weight("factor", factor)
            builder.node("Mul", ["x", "factor"], "scaled")
            builder.node("Cast", ["scaled"], "y", to=onnx.TensorProto.INT32)
            builder.output("y", [8], onnx.TensorProto.INT32)
            return builder.model()

        self.model = self.save(model(1.0), "ints.onnx")
        self.data = ["--data", self.save_samples([{"x": np.arange(8, dtype=np.float32)}], "ints")]
        answer = self.answer(model(1.25), code=1)
        flips = int(np.count_nonzero(np.arange(8) != (np.arange(8) * 1.25).astype(int)))
        self.assertEqual((answer["outputs"][0]["flips"], answer["outputs"][0]["flip_share"]), (flips, flips / 8))
        self.answer(model(1.25), "--max-flips", 0.5, code=0)

    def test_another_shape_fails(self) -> None:
        other = copy.deepcopy(self.case.model)
        for node in other.graph.node:
            if node.name == "node_y":
                node.op_type = "Concat"
                node.input.append("logits")
        other.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 10
        output, = self.answer(other, code=1)["outputs"]
        self.assertIn("[", output["problem"])
        self.assertEqual([output[field] for field in ("rel_l2", "max_abs", "cosine", "flip_share")], [None, None, None, 1])

    def test_saved_outputs(self) -> None:
        from polygraphy.comparator import RunResults

        folder = self.folder / "outputs"
        self.answer(self.case.model, "--save-outputs", folder, code=0)
        self.assertEqual(sorted(path.name for path in folder.iterdir()), ["fixed", "fp16", "fp32"])
        runner = support.session(self.case.model, optimize=True)
        for path, sample in zip(sorted((folder / "fp32").iterdir()), self.case.samples):
            ((_, (found,)),) = RunResults.load(str(path)).items()
            np.testing.assert_allclose(found["y"], runner.run(["y"], sample)[0], rtol=1e-5, atol=1e-7)


class SequenceTest(AnswerTest):
    """Outputs that are sequences of tensors count as one output; those of optionals and maps are refused."""

    def split(self, factor: float = 1.0, parts: tuple = (1, 3), kind: int = F32) -> ModelProto:
        builder = Builder(17)
        builder.input("x", ["N", 4])
        builder.weight("up", 1e6)
        builder.weight("down", 1e-6 * factor)
        builder.weight("parts", parts, np.int64)
        builder.node("Mul", ["x", "up"], "large")
        builder.node("Mul", ["large", "down"], "h")
        builder.node("Cast", ["h"], "c", to=kind)
        builder.node("SplitToSequence", ["c", "parts"], "y", axis=1)
        builder.outputs.append(onnx.helper.make_tensor_sequence_value_info("y", kind, None))
        return builder.model()

    def use(self, model: ModelProto, samples: list[Sample]) -> None:
        self.model = self.save(model, "split.onnx")
        self.samples, self.data = samples, ["--data", self.save_samples(samples, f"split{len(samples)}")]

    def setUp(self) -> None:
        super().setUp()
        self.use(self.split(), generated_models.samples(2, x=(2, 4)))

    def test_fix(self) -> None:
        fixed, result, saved = (self.folder / name for name in ("fixed.onnx", "fix.json", "saved"))
        self.tool("fix", self.model, *self.data, "-o", fixed, "--json", result, "--save-outputs", saved)
        answer = read_json(result)
        self.assertEqual((answer["verdict"], answer["plain_fp16"]["right"]), ("little-gained", False))
        self.assertEqual(answer["plain_fp16"]["nonfinite_outputs"], ["y"])
        onnx.checker.check_model(onnx.load(fixed), full_check=True)
        runner = support.session(self.split())
        for path, sample in zip(sorted((saved / "fp32").iterdir()), self.samples):
            text = path.read_text(encoding="utf-8")
            self.assertTrue("y[0]" in text and "y[1]" in text and "y[2]" not in text)
        for mine, theirs in zip(runner.run(None, self.samples[0])[0], support.session(fixed).run(None, self.samples[0])[0]):
            np.testing.assert_allclose(mine, theirs, rtol=1e-3)

    def test_errors_are_those_of_all_tensors_together(self) -> None:
        answer = self.answer(self.split(factor=1.1), "--rel-l2", 0.2, code=0)
        (output,) = answer["outputs"]
        self.assertEqual((output["name"], output["dtype"], output["count"]), ("y", "float32", 16))
        self.assertAlmostEqual(output["rel_l2"], 0.1, places=5)
        self.assertAlmostEqual(output["max_abs"], 0.1 * max(np.abs(sample["x"]).max() for sample in self.samples), places=5)

    def test_integers(self) -> None:
        self.use(self.split(kind=onnx.TensorProto.INT32), [{"x": np.arange(8, dtype=np.float32).reshape(2, 4)}])
        answer = self.answer(self.split(factor=1.25, kind=onnx.TensorProto.INT32), code=1)
        flips = int(np.count_nonzero(np.arange(8) != (np.arange(8) * 1.25).astype(int)))
        self.assertEqual((answer["outputs"][0]["flips"], answer["outputs"][0]["flip_share"]), (flips, flips / 8))

    def test_another_length_or_shape(self) -> None:
        for parts, problem in (((1, 1, 2), "a sequence of 3 in sample"), ((2, 2), "element 0: float32 [2, 2] in sample")):
            answer = self.answer(self.split(parts=parts), code=1)
            self.assertIn(problem, answer["outputs"][0]["problem"])

    def test_others_are_refused(self) -> None:
        sequence = self.split()
        optional = copy.deepcopy(sequence)
        optional.graph.node.append(onnx.helper.make_node("Optional", ["h"], ["o"], "node_o"))
        kind = onnx.helper.make_optional_type_proto(onnx.helper.make_tensor_type_proto(F32, None))
        optional.graph.output.append(onnx.helper.make_value_info("o", kind))
        path = self.save(optional, "o.onnx")
        for arguments in (["check", path, path], ["fix", path, "-o", self.folder / "no.onnx"]):
            done = self.tool(*arguments, *self.data, code=3)
            self.assertIn(f"output o of {path} is neither a tensor nor a sequence of tensors", done.stderr)


if __name__ == "__main__":
    unittest.main()
