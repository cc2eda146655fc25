"""Relations between runs of the tool that must hold whatever the model: what a change that means nothing may not change.

A relation is a function that takes a Subject, one random graph in a folder of its own, and raises Broken where it doesn't
hold. RELATIONS lists them all. metamorphic_test.py runs them on many graphs.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import pathlib
import re
import subprocess
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, helper, numpy_helper

import exactness
import random_graphs
from random_graphs import F16, F32, Sample

HALFSAFE = os.environ["HALFSAFE"]


class Broken(AssertionError):
    """A relation does not hold."""


def demand(holds: bool, message: str) -> None:
    if not holds:
        raise Broken(message)


def same(one: Any, other: Any, what: str) -> None:
    """Demands equality, and shows the first difference."""
    if one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            if one.get(key) != other.get(key):
                raise Broken(f"{what}: {key}: {one.get(key)} became {other.get(key)}")
        raise Broken(f"{what}: another order")
    if isinstance(one, str) and isinstance(other, str):
        for a, b in itertools.zip_longest(one.splitlines(), other.splitlines()):
            if a != b:
                raise Broken(f"{what}: {a} became {b}")
    raise Broken(f"{what}: {one} became {other}")


class Subject:
    """A random graph with samples, in a folder, and what the tool says of it."""

    def __init__(self, seed: int, folder: pathlib.Path) -> None:
        self.seed, self.folder, self.made = seed, folder, 0
        made = random_graphs.make(seed)
        self.model, self.samples = made.model, made.samples
        self.path = self.save(self.model, "model")
        self.data = self.save_samples(self.samples, "samples")

    def rng(self, *key: object) -> np.random.Generator:
        digest = hashlib.sha256(repr((self.seed, *key)).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "little"))

    # ------------------------------------------------------------ files

    def save(self, model: ModelProto, name: str) -> pathlib.Path:
        path = self.folder / f"{name}.onnx"
        onnx.save(model, path)
        return path

    def save_samples(self, samples: Iterable[Sample], name: str) -> list[pathlib.Path]:
        (self.folder / name).mkdir()
        paths = []
        for index, sample in enumerate(samples):
            paths.append(self.folder / name / f"{index}.npz")
            np.savez(paths[-1], **sample)
        return paths

    def new(self, suffix: str) -> pathlib.Path:
        """A path where nothing is."""
        self.made += 1
        return self.folder / f"made{self.made}.{suffix}"

    # ------------------------------------------------------------ the tool

    def tool(self, *arguments: object, codes: Sequence[int] = (0,)) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([HALFSAFE, *map(str, arguments)], capture_output=True, text=True, timeout=300, cwd=self.folder)
        demand(done.returncode in codes,
               f"halfsafe {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr[-1500:]}{done.stdout[-500:]}")
        return done

    def scan(self, model: pathlib.Path, data: Sequence[pathlib.Path], *options: object) -> pathlib.Path:
        path = self.new("json")
        self.tool("scan", model, "--data", *data, "-o", path, "-q", *options)
        return path

    def plan(self, model: pathlib.Path, ranges: pathlib.Path, *options: object) -> pathlib.Path:
        path = self.new("json")
        self.tool("plan", model, "--ranges", ranges, "-o", path, "-q", *options)
        return path

    def apply(self, model: pathlib.Path, plan: pathlib.Path, *options: object) -> pathlib.Path:
        path = self.new("onnx")
        self.tool("apply", model, "--plan", plan, "-o", path, "-q", *options)
        return path

    def fix(self, model: pathlib.Path, data: Sequence[pathlib.Path], *options: object) -> tuple[pathlib.Path, dict[str, Any]]:
        path, result = self.new("onnx"), self.new("json")
        self.tool("fix", model, "--data", *data, "-o", path, "--json", result, "-q", *options, codes=(0, 1))
        return path, read_json(result)

    def plan_of(self, model: pathlib.Path, **parts: list) -> pathlib.Path:
        """A plan by hand."""
        path = self.new("json")
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
        path.write_text(json.dumps({"format": "halfsafe-plan", "version": 1, "model_sha256": digest, "nodes": [], "tensors": [],
                                    "constants": [], "io": [], "warnings": [], **parts}))
        return path

    # ------------------------------------------------------------ what several relations start from

    @functools.cached_property
    def ranges(self) -> pathlib.Path:
        return self.scan(self.path, self.data)

    @functools.cached_property
    def outputs(self) -> list[list[np.ndarray]]:
        return run(self.model, self.samples)

    def same_bits(self, path: pathlib.Path, what: str) -> None:
        """Demands that the model at `path` gives the original's outputs, as written, to the bit."""
        names = [output.name for output in self.model.graph.output]
        for index, (want, have) in enumerate(zip(self.outputs, run(onnx.load(path), self.samples), strict=True)):
            for name, one, other in zip(names, want, have, strict=True):
                difference = exactness.difference(name, index, False, one, other)
                demand(difference.allowed, f"{what}: {difference}")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------- models


def graphs_of(graph: GraphProto) -> Iterable[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs_of(attribute.g)


def copy_of(model: ModelProto) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(model)
    return result


def finite(results: list[list[np.ndarray]]) -> list[int]:
    """How many values of each result are finite."""
    return [int(np.isfinite(array).sum()) for arrays in results for array in arrays if array.dtype.kind == "f"]


def run(model: ModelProto, samples: Sequence[Sample]) -> list[list[np.ndarray]]:
    """Outputs of the model as it is written. ONNX Runtime refuses names that nodes share, so they have none here."""
    model = copy_of(model)
    for graph in graphs_of(model.graph):
        for node in graph.node:
            node.ClearField("name")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    halves = {value.name for value in session.get_inputs() if value.type == "tensor(float16)"}
    return [session.run(None, {name: array.astype(np.float16) if name in halves else array for name, array in sample.items()})
            for sample in samples]


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for graph in graphs_of(model.graph) for node in graph.node]


TOKEN = re.compile(r"([tn])(\d+)_")


def renamed(text: str, numbers: dict[str, str]) -> str:
    """The text with the number in each token replaced; n0_, which nodes share, stays."""
    return TOKEN.sub(lambda found: f"{found[1]}{numbers.get(found[2], found[2])}_", text)


def rename(graph: GraphProto, change: Callable[[str], str]) -> None:
    for value in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        value.name = change(value.name)
    for node in graph.node:
        node.name = change(node.name)
        node.input[:] = [change(name) for name in node.input]
        node.output[:] = [change(name) for name in node.output]
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                rename(attribute.g, change)


def reads(node: NodeProto) -> set[str]:
    """What a node needs, its bodies included."""
    names = set(node.input)
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            for inside in attribute.g.node:
                names |= reads(inside)
            names |= {output.name for output in attribute.g.output}
    return names


def reorder(graph: GraphProto, rng: np.random.Generator) -> None:
    """Another topological order, and constants in any order."""
    left = list(graph.node)
    made = {name for node in left for name in node.output if name}
    ordered: list[NodeProto] = []
    while left:
        ready = [node for node in left if not reads(node) & made]
        chosen = ready[int(rng.integers(len(ready)))]
        left.remove(chosen)
        made -= set(chosen.output)
        ordered.append(chosen)
    weights = [graph.initializer[int(index)] for index in rng.permutation(len(graph.initializer))]
    for field, items in ((graph.node, ordered), (graph.initializer, weights)):
        copies = [type(item)() for item in items]
        for copy, item in zip(copies, items):
            copy.CopyFrom(item)
        del field[:]
        field.extend(copies)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                reorder(attribute.g, rng)


# ---------------------------------------------------------------- what is compared


def tensors(path: pathlib.Path) -> dict[str, dict]:
    return {row["name"]: row for row in read_json(path)["tensors"]}


def decisions(path: pathlib.Path) -> dict[str, tuple[str, str]]:
    return {row["name"]: (row["precision"], row["reason"]) for row in read_json(path)["nodes"]}


def text_without_hash(path: pathlib.Path) -> str:
    return re.sub(r'"model_sha256": "\w*"', "", path.read_text(encoding="utf-8"))


THRESHOLD = 10000  # The tool's own, which counts as overflow.
PLACEMENT = ("safe", "cheaper-than-casts")  # Not reasons of a node's own.


def pinned(path: pathlib.Path) -> dict[str, str]:
    return {name: reason for name, (_, reason) in decisions(path).items() if reason not in PLACEMENT}


# ---------------------------------------------------------------- relations of scans


def merge_in_any_order_and_grouping(s: Subject) -> None:
    parts = [s.scan(s.path, [sample]) for sample in s.data]
    merge = lambda *files: (path := s.new("json"), s.tool("merge", *files, "-o", path))[0]
    a, b, c = parts
    for joined in (merge(a, b, c), merge(merge(b, c), a), merge(b, merge(c, a))):
        same(s.ranges.read_text(), joined.read_text(), "merged")


def samples_in_any_order(s: Subject) -> None:
    order = [s.data[index] for index in (2, 0, 1)]
    same(s.ranges.read_text(), s.scan(s.path, order).read_text(), "samples 2, 0, 1")


def samples_given_twice(s: Subject) -> None:
    """Counts double, nothing else does."""
    twice = tensors(s.scan(s.path, [*s.data, *s.data]))
    for name, row in tensors(s.ranges).items():
        if not row.get("constant"):
            for key in row:
                if key.endswith("count"):
                    row[key] *= 2
            row["exponents"] = {power: 2 * count for power, count in row["exponents"].items()}
        same(row, twice[name], name)


def shares_make_the_whole(s: Subject) -> None:
    parts = [s.scan(s.path, s.data, "--shard", share) for share in ("1/2", "2/2")]
    path = s.new("json")
    s.tool("merge", *parts, "-o", path)
    same(s.ranges.read_text(), path.read_text(), "both shares")


# ---------------------------------------------------------------- relations of plans


def renamed_model(s: Subject) -> None:
    """Other names, in another alphabetical order: the same ranges and plans, but for the names."""
    count = max(int(number) for _, number in TOKEN.findall(str(s.model.graph)))
    numbers = {str(number): str(int(other) + 1000) for number, other in
               zip(range(1, count + 1), s.rng("rename").permutation(count))}
    back = {other: number for number, other in numbers.items()}
    model = copy_of(s.model)
    rename(model.graph, lambda name: renamed(name, numbers))
    path = s.save(model, "renamed")
    data = s.save_samples([{renamed(name, numbers): array for name, array in sample.items()} for sample in s.samples], "other")
    ranges = s.scan(path, data)
    as_before = lambda file: renamed(text_without_hash(file), back).replace("other/", "samples/")
    same(text_without_hash(s.ranges), as_before(ranges), "ranges")
    for options in ((), ("--io", "fp16"), ("--repair", "fp32")):
        same(text_without_hash(s.plan(s.path, s.ranges, *options)), as_before(s.plan(path, ranges, *options)),
             f"plan {' '.join(options)}")


def reordered_model(s: Subject) -> None:
    """Nodes in another topological order, constants in any. The search for powers of two goes along the graph and ends in
    a local minimum, which the order may change: so plans are compared without them."""
    model = copy_of(s.model)
    reorder(model.graph, s.rng("reorder"))
    path = s.save(model, "reordered")
    ranges = s.scan(path, s.data)
    before, after = tensors(s.ranges), tensors(ranges)
    same(dict(sorted(before.items())), dict(sorted(after.items())), "ranges")
    for options in (("--repair", "fp32"), ("--repair", "fp32", "--io", "fp16")):
        same(dict(sorted(decisions(s.plan(s.path, s.ranges, *options)).items())),
             dict(sorted(decisions(s.plan(path, ranges, *options)).items())), "plan")


def constants_as_nodes(s: Subject) -> None:
    """Initializers of the main graph become Constant nodes."""
    model = copy_of(s.model)
    weights = list(model.graph.initializer)
    names = {weight.name for weight in weights}
    inputs = [value for value in model.graph.input if value.name not in names]
    nodes = [helper.make_node("Constant", [], [weight.name], value=weight) for weight in weights] + list(model.graph.node)
    graph = helper.make_graph(nodes, "graph", inputs, list(model.graph.output))
    path = s.save(helper.make_model(graph, opset_imports=model.opset_import, ir_version=max(model.ir_version, 6)), "nodes")
    ranges = s.scan(path, s.data)
    same(dict(sorted(tensors(s.ranges).items())), dict(sorted(tensors(ranges).items())), "ranges")
    for options in ((), ("--io", "fp16")):
        before, after = (read_json(s.plan(model, file, *options)) for model, file in ((s.path, s.ranges), (path, ranges)))
        for part in ("nodes", "tensors", "constants"):
            same({row["name"]: row for row in before[part]}, {row["name"]: row for row in after[part]}, part)


def external_data(s: Subject) -> None:
    """Weights in a file beside the model: the same ranges, plan and fixed model."""
    path = s.folder / "external.onnx"
    onnx.save(copy_of(s.model), path, save_as_external_data=True, location="external.bin", size_threshold=0,
              convert_attribute=True)
    ranges = s.scan(path, s.data)
    same(text_without_hash(s.ranges), text_without_hash(ranges), "ranges")
    plans = s.plan(s.path, s.ranges, "--io", "fp16"), s.plan(path, ranges, "--io", "fp16")
    same(*map(text_without_hash, plans), "plan")
    models = [onnx.load(s.apply(model, plan)) for model, plan in zip((s.path, path), plans)]
    for model in models:
        for graph in graphs_of(model.graph):
            for weight in graph.initializer:
                weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight), weight.name))
            for node in graph.node:
                for attribute in node.attribute:
                    if attribute.HasField("t"):
                        attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t)))
    same(*(str(model.graph) for model in models), "fixed model")


def types_of_inputs_and_outputs(s: Subject) -> None:
    """FP16 inputs and outputs pin no node. Only those stay FP32 that overflow, and outputs of operators without FP16."""
    kept, half = (s.plan(s.path, s.ranges, "--repair", "fp32", "--io", io) for io in ("keep", "fp16"))
    same(pinned(kept), pinned(half), "reasons")
    written = onnx.load(s.apply(s.path, half))
    seen, reasons = tensors(s.ranges), pinned(half)
    names = {node.output[0]: node.name for node in s.model.graph.node}
    for value in [*written.graph.input, *written.graph.output]:
        row = seen.get(value.name)
        name = names.get(value.name)
        without_half = "no-half-type" in (reasons.get(name), reasons.get(value.name))
        if row and not row.get("constant") and not without_half:
            fits = not row["inf_count"] and (row["abs_max"] or 0) <= THRESHOLD
            demand(not fits or value.type.tensor_type.elem_type != F32, f"{value.name} is FP32")
    rows = decisions(half).values()
    if rows and all(precision == "fp16" for precision, _ in rows):
        same(operators(s.model).count("Cast"), operators(written).count("Cast"), "Casts, where every node is FP16")


# ---------------------------------------------------------------- relations of rewritten models


def nothing_planned(s: Subject) -> None:
    """A plan of nothing, or of FP32 alone, is the same model."""
    everything = [{"name": name, "precision": "fp32"} for name in decisions(s.plan(s.path, s.ranges))]
    for nodes in ([], everything):
        written = s.apply(s.path, s.plan_of(s.path, nodes=nodes))
        same(operators(s.model), operators(onnx.load(written)), "operators")
        s.same_bits(written, "a plan of nothing")


def near_the_end_of_fp32(s: Subject) -> bool:
    """Whether a power of two may lead past what FP32 holds with all its digits."""
    return any(abs(int(power)) > 90 for row in tensors(s.ranges).values() for power in row["exponents"])


def powers_of_two_keep_bits(s: Subject) -> None:
    """The exponents that planning finds, in FP32. Low limits ask for many of them."""
    if near_the_end_of_fp32(s):
        return
    for options in ((), ("--threshold", 30, "--margin", 3)):
        plan = read_json(s.plan(s.path, s.ranges, "--repair", "rescale", "--io", "fp16", *options))
        path = s.apply(s.path, s.plan_of(s.path, tensors=plan["tensors"]))
        s.same_bits(path, f"exponents {({row['name']: row['exponent'] for row in plan['tensors']})}")


def _written_with(s: Subject, exponents: list[dict]) -> list[dict]:
    """The exponents, where they are taken and exact; nothing, where they are refused."""
    path = s.new("onnx")
    done = s.tool("apply", s.path, "--plan", s.plan_of(s.path, tensors=exponents), "-o", path, "-q", codes=(0, 3))
    if done.returncode == 3:
        demand(not path.exists(), "a refused plan was written")
        return []
    s.same_bits(path, f"exponents {exponents}")
    return exponents


def any_power_of_two_keeps_bits(s: Subject) -> None:
    """Exponents that nobody would choose: exact or refused, one by one and together."""
    if near_the_end_of_fp32(s):
        return
    rng = s.rng("exponents")
    names = [name for name, row in tensors(s.ranges).items() if not row.get("constant") and row["dtype"] == "float32"]
    chosen = [str(name) for name in rng.choice(names, min(len(names), 4), replace=False)]
    fitting: list[dict] = []
    for name in chosen:
        fitting += _written_with(s, [{"name": name, "exponent": int(rng.choice([-6, -3, -1, 1, 2, 5]))}])
    if len(fitting) > 1:
        _written_with(s, fitting)


# ---------------------------------------------------------------- relations of fix and check


def fix_is_its_stages(s: Subject) -> None:
    """Widening measures errors, in which a model in low memory differs by roundings; the rest may not differ at all."""
    ranges, plan = s.new("json"), s.new("json")
    fixed, result = s.fix(s.path, s.data, "--save-plan", plan, "--save-ranges", ranges, "--io", "fp16")
    same(s.ranges.read_text(), ranges.read_text(), "ranges")
    same(onnx.load(fixed), onnx.load(s.apply(s.path, plan)), "fixed model")
    slow, again = s.fix(s.path, s.data, "--io", "fp16", "--low-memory")
    if not result["widenings"] and not again["widenings"]:
        demand(fixed.read_bytes() == slow.read_bytes(), "--low-memory: another model")


def identities_between(s: Subject) -> None:
    """Identity nodes on the way: what was right stays right, no tensor changes, and no reason of a node that reads what it
    did (one that doesn't is spared a neighbour's)."""
    model, rng = copy_of(s.model), s.rng("identities")
    nodes, moved = [], set()
    for node in model.graph.node:
        nodes.append(node)
        for slot, name in enumerate(node.input):
            seen = tensors(s.ranges).get(name)
            if seen and not seen.get("constant") and seen["dtype"] == "float32" and rng.random() < 0.2:
                between = f"identity {len(nodes)}"
                nodes.insert(-1, helper.make_node("Identity", [name], [between], between))
                node.input[slot] = between
                moved |= {node.name, *node.output}
    graph = helper.make_graph(nodes, "graph", model.graph.input, model.graph.output, model.graph.initializer)
    path = s.save(helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version), "identities")
    ranges = s.scan(path, s.data)
    after = tensors(ranges)
    for name, row in tensors(s.ranges).items():
        same({**row, "row_max_min": None}, {**after[name], "row_max_min": None}, name)
    before, reasons = (pinned(s.plan(model, file, "--repair", "fp32")) for model, file in ((s.path, s.ranges), (path, ranges)))
    moved |= {name for name in reasons if name.startswith("identity ")}
    same(*({name: reason for name, reason in found.items() if name not in moved} for found in (before, reasons)), "reasons")
    same(s.fix(s.path, s.data)[1]["verdict"] != "not-right", s.fix(path, s.data)[1]["verdict"] != "not-right", "verdict")


def check_against_itself(s: Subject) -> None:
    result = s.new("json")
    s.tool("check", s.path, s.path, "--data", *s.data, "--json", result, "-q")
    for output in read_json(result)["outputs"]:
        errors = {key: output[key] for key in ("rel_l2", "max_abs", "new_nonfinite", "flips", "problem")}
        same({"rel_l2": 0, "max_abs": 0, "new_nonfinite": 0, "flips": 0, "problem": ""}, errors, output["name"])


def fixed_twice(s: Subject) -> None:
    """A model that is fixed stays right. Where it is FP16 throughout, nothing is left to do."""
    # No BF16: the reference has no kernels for it.
    fixed, result = s.fix(s.path, s.data, "--io", "fp16", "--repair", "rescale")
    if result["verdict"] == "not-right" or result["nodes"] == len(result["fp32_nodes"]):
        return
    model = onnx.load(fixed)
    halves = {value.name for value in model.graph.input if value.type.tensor_type.elem_type == F16}
    samples = [{name: array.astype(np.float16) if name in halves else array for name, array in sample.items()} for sample in s.samples]
    # ONNX Runtime has Softplus and ReduceLogSumExp in FP16 by their definitions alone, which overflow from 89 on.
    defined = {"Softplus", "ReduceLogSumExp"} & set(operators(model))
    if defined and finite(run(model, samples)) != finite(run(s.model, s.samples)):
        return
    data = s.save_samples(samples, "halves")
    again, second = s.fix(fixed, data, "--io", "fp16", "--repair", "rescale")
    demand(second["verdict"] != "not-right", "not right any more")
    if not result["fp32_nodes"] and not any(op in ("Cast", "Constant") for op in operators(model)):
        same(operators(model), operators(onnx.load(again)), "operators")


RELATIONS: dict[str, Callable[[Subject], None]] = {
    relation.__name__: relation for relation in (
        merge_in_any_order_and_grouping, samples_in_any_order, samples_given_twice, shares_make_the_whole, renamed_model,
        reordered_model, constants_as_nodes, external_data, types_of_inputs_and_outputs, nothing_planned,
        powers_of_two_keep_bits, any_power_of_two_keeps_bits, fix_is_its_stages, identities_between, check_against_itself,
        fixed_twice)}
