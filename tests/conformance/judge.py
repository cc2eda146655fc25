"""Whether a fixed model is right, by ONNX Runtime and ONNX's own tools: halfsafe has no part in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.reference
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper

import fp16_reference
import support
from conformance.cases import ROUNDINGS, Case, Value, as_tensor, runtime_inputs

# What a value may be off by, as a share of the largest of its tensor, and the whole tensor in relative L2 norm. Inputs and
# weights are rounded, which operators may magnify: 32 roundings of a half. The norm is what halfsafe promises, and half of
# it again, for kernels that add up in another order or in 16 bits.
UNIT = {"fp16": 2.0**-11, "bf16": 2.0**-8}
REL_L2 = 0.015
# What two runtimes differ by in FP32.
FP32_TOLERANCE = 1e-3


class CannotRun(Exception):
    """No engine runs the model."""


# ---------------------------------------------------------------- engines

Engine = Callable[[ModelProto, Sequence[Value]], list[Value]]


def by_runtime(model: ModelProto, inputs: Sequence[Value]) -> list[Value]:
    """ONNX Runtime's own kernels, nothing optimized. Tensors are given as constants and exotic results taken as FP32,
    because Python's arrays have no BF16, no 8-bit floats and no 4-bit integers."""
    closed = ModelProto()
    closed.CopyFrom(model)
    fed: dict[str, Any] = {}
    for declared, value in zip(runtime_inputs(model), inputs, strict=True):
        if declared.type.WhichOneof("value") != "tensor_type":
            fed[declared.name] = value
            continue
        tensor = TensorProto()
        tensor.CopyFrom(as_tensor(value))
        tensor.name = declared.name
        closed.graph.initializer.append(tensor)
        closed.graph.input.remove(next(entry for entry in closed.graph.input if entry.name == declared.name))
    for output in closed.graph.output:
        kind = output.type.tensor_type.elem_type
        if kind and helper.tensor_dtype_to_np_dtype(kind).kind == "V" or kind == TensorProto.BFLOAT16:
            closed.graph.node.append(helper.make_node("Cast", [output.name], [f"{output.name}/widened"], to=TensorProto.FLOAT))
            output.name += "/widened"
            output.type.tensor_type.elem_type = TensorProto.FLOAT
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(closed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, fed)


def by_reference(model: ModelProto, inputs: Sequence[Value]) -> list[Value]:
    """ONNX's own evaluator, in numpy."""
    arrays = [numpy_helper.to_array(value) if isinstance(value, TensorProto) else value for value in inputs]
    names = [declared.name for declared in runtime_inputs(model)]
    return list(onnx.reference.ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True))))


def by_rounding(model: ModelProto, inputs: Sequence[Value]) -> list[Value]:
    """In FP32 by ONNX Runtime, with what the model stores in 16 bits rounded by written Casts."""
    return by_runtime(fp16_reference.emulate(model), [_widened(value) for value in inputs])


def _widened(value: Value) -> Value:
    array = numpy_helper.to_array(value) if isinstance(value, TensorProto) else value
    halves = isinstance(array, np.ndarray) and array.dtype in (np.float16, ml_dtypes.bfloat16)
    return array.astype(np.float32) if halves else value


# What adds up in FP32, as hardware does, comes before ONNX's evaluator, which adds up in 16 bits.
ENGINES: dict[str, Engine] = {"onnxruntime": by_runtime, "rounding": by_rounding, "onnx.reference": by_reference}


def run(model: ModelProto, inputs: Sequence[Value], engines: Sequence[str] = tuple(ENGINES)) -> tuple[list[Value], str]:
    """Results, and which engine gave them: the first that can."""
    problems = []
    for name in engines:
        try:
            return ENGINES[name](model, inputs), name
        except Exception as error:  # Each engine has its own, of many classes.
            problems.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
    raise CannotRun("; ".join(problems))


# ---------------------------------------------------------------- comparison


def difference(expected: Value, found: Value, tolerance: Tolerance) -> str:
    """What is wrong with a result; empty where nothing is."""
    if isinstance(expected, TensorProto):
        expected = numpy_helper.to_array(expected)
    if expected is None or found is None:
        return "" if expected is None and found is None else f"one of {expected!r} and {found!r} is empty"
    if isinstance(expected, (list, tuple)):
        if not isinstance(found, (list, tuple)) or len(found) != len(expected):
            return f"a sequence of {len(expected)} became {np.shape(found)}"
        pairs = zip(expected, found)
        return next(filter(None, (difference(want, have, tolerance) for want, have in pairs)), "")
    want, have = np.asarray(expected), np.asarray(found)
    if want.shape != have.shape:
        return f"shape {list(want.shape)} became {list(have.shape)}"
    if want.dtype.kind in "OSU":
        return "" if (want == have).all() else "strings differ"
    if want.dtype.kind == "c":
        return _float_difference(want.view(np.float64), have.view(np.float64), tolerance)
    if want.dtype.kind in "iub":
        differing = int(np.count_nonzero(want != have))
        return f"{differing} of {want.size} integers differ" if differing else ""
    return _float_difference(want.astype(np.float64), have.astype(np.float64), tolerance)


@dataclass(frozen=True)
class Tolerance:
    rel_l2: float
    of_largest: float


def _float_difference(want: np.ndarray, have: np.ndarray, tolerance: Tolerance) -> str:
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(have)):
        return f"{np.count_nonzero(finite & ~np.isfinite(have))} values are no longer finite, " \
               f"{np.count_nonzero(~finite & np.isfinite(have))} became finite"
    if not np.array_equal(want[~finite], have[~finite], equal_nan=True):
        return "infinities or NaN are others"
    off = np.abs(want - have, where=finite, out=np.zeros_like(want))
    if not off.any():
        return ""
    largest = np.max(np.abs(want), where=finite, initial=0.0)
    norm, distance = np.linalg.norm(want[finite]), np.linalg.norm(off)
    if distance > tolerance.rel_l2 * norm:
        return f"relative L2 error {distance / norm if norm else np.inf:.3g}"
    if off.max() > tolerance.of_largest * largest:
        return f"off by {off.max():.3g} where the largest is {largest:.3g}"
    return ""


def differences(expected: Sequence[Value], found: Sequence[Value], tolerance: Tolerance) -> str:
    if len(expected) != len(found):
        return f"{len(expected)} outputs became {len(found)}"
    found_problems = (difference(want, have, tolerance) for want, have in zip(expected, found))
    return next((f"output {index}: {problem}" for index, problem in enumerate(found_problems) if problem), "")


def unchanged(original: ModelProto, fixed: ModelProto) -> bool:
    """Whether the two are one model, but for what halfsafe notes in metadata."""
    return _without_notes(original) == _without_notes(fixed)


def _without_notes(model: ModelProto) -> bytes:
    copy = ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        del node.metadata_props[:]
    return copy.SerializeToString(deterministic=True)


NUDGES = 4
RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")


def unsteady(original: ModelProto, inputs: Sequence[Value], want: Sequence[Value], half: str, tolerance: Tolerance, by: str) -> bool:
    """Whether the original itself, in FP32, gives something else when its inputs and weights are off by a rounding: a detector
    does whose boxes have nearly equal scores. Then it hangs on the order in which a kernel adds up, and says nothing of a model."""
    for seed in range(NUDGES):
        random = np.random.default_rng(seed)

        def nudged(value: np.ndarray) -> np.ndarray:
            return (value * (1 + random.choice([-1, 1], value.shape) * UNIT[half])).astype(value.dtype)

        model = ModelProto()
        model.CopyFrom(original)
        for weight in model.graph.initializer:
            if weight.data_type == TensorProto.FLOAT:
                weight.CopyFrom(numpy_helper.from_array(nudged(numpy_helper.to_array(weight)), weight.name))
        moved = [nudged(value) if isinstance(value, np.ndarray) and value.dtype.kind == "f" else value for value in inputs]
        if differences(want, run(model, moved, (by,))[0], tolerance):
            return True
    return False


@dataclass(frozen=True)
class Verdict:
    """On the fixed model's results."""

    problem: str = ""  # What is wrong; empty where nothing is.
    engine: str = ""  # What gave them.
    note: str = ""  # What of them was not judged.


def judge_outputs(case: Case, original: ModelProto, fixed: ModelProto, half: str) -> Verdict:
    tolerance = Tolerance(REL_L2, case.roundings * UNIT[half])
    engine, left_out, why = "", 0, ""
    if fixed != original and any(node.op_type in RANDOM for node in original.graph.node):
        return Verdict(engine="random numbers")
    in_fp32 = support.lifted(original, interface=True) if case.expected is None else original
    for index, inputs in enumerate(case.samples):
        try:
            found, engine = run(fixed, inputs)
        except CannotRun as error:
            if unchanged(original, fixed):
                return Verdict(engine="unchanged")
            return Verdict(f"no engine runs the fixed model: {error}")
        if case.expected is not None:
            problem = differences(case.expected[index], found, tolerance)
            if not problem:
                continue
            if unchanged(original, fixed):
                return Verdict(engine="unchanged")  # Random numbers, or the engine's own opinion.
        # An engine may have an opinion of its own on what an operator means: then it is held against itself.
        try:
            want, by = run(in_fp32, inputs, (engine.replace("rounding", "onnxruntime"), *ENGINES))
        except CannotRun as error:
            return Verdict(f"no engine runs the original: {error}", engine)
        own_opinion = case.expected is None or differences(case.expected[index], want, Tolerance(FP32_TOLERANCE, FP32_TOLERANCE))
        if not own_opinion:
            return Verdict(f"{problem} ({engine})", engine)
        problem = differences(want, found, tolerance)
        if problem and unchanged(original, fixed):
            return Verdict(engine="unchanged")  # Random numbers.
        if problem and unsteady(in_fp32, inputs, want, half, tolerance, by):
            left_out, why = left_out + 1, problem
        elif problem:
            return Verdict(f"{problem} ({engine}, against the original by {by})", engine)
        engine += ", own opinion"
    if not left_out:
        return Verdict(engine=engine)
    if left_out == len(case.samples):
        return Verdict(f"{why} ({engine}), and no sample is steady", engine)
    return Verdict(engine=engine, note=f"{left_out} of {len(case.samples)} samples left out as unsteady")


def is_broken(case: Case, original: ModelProto) -> bool:
    """Whether some output has no finite value in any sample: what `.half()` makes of weights past its range ends so."""
    runs = [run(support.lifted(original, interface=True), inputs)[0] for inputs in case.samples]
    return any(all(value.dtype.kind == "f" and value.size and not np.isfinite(value).any() for value in outputs)
               for outputs in zip(*runs, strict=True) if all(isinstance(value, np.ndarray) for value in outputs))


def judge_bits(case: Case, original: ModelProto, scaled: ModelProto) -> str:
    """What is not the same to the bit in ONNX Runtime, nothing optimized."""
    in_halves = support.holds_halves(original)
    for sample in case.samples:
        inputs = [_widened(value) for value in sample] if in_halves else sample
        try:
            want, have = by_runtime(support.lifted(original), inputs), by_runtime(scaled, inputs)
        except Exception:  # What it can't run has no bits of its.
            return ""
        for index, (one, other) in enumerate(zip(want, have, strict=True)):
            if isinstance(one, np.ndarray) and one.dtype.kind == "f" and one.tobytes() != other.tobytes():
                return f"output {index}: powers of two change FP32's bits"
    return ""


# ---------------------------------------------------------------- the model itself


def judge_model(original: ModelProto, fixed: ModelProto, plan: dict[str, Any]) -> str:
    """What is wrong with the fixed model as a model: validity, interface, types."""
    problem = _invalid(fixed)
    if problem and not _invalid(original):
        return f"onnx.checker refuses the fixed model: {problem}"
    for what, before, after in (("inputs", runtime_inputs(original), runtime_inputs(fixed)),
                                ("outputs", original.graph.output, fixed.graph.output)):
        if [value.name for value in before] != [value.name for value in after]:
            return f"{what} have other names"
        if [_element_type(value.type) for value in before] != [_element_type(value.type) for value in after]:
            return f"{what} have other types"
    return judge_types(original, fixed, plan)


def _invalid(model: ModelProto) -> str:
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:
        return str(error)[:300] or type(error).__name__
    return ""


def _element_type(kind: onnx.TypeProto) -> Any:
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        return kind.tensor_type.elem_type
    return which, _element_type(getattr(kind, which).elem_type) if which in ("sequence_type", "optional_type") else None


TYPES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16, "fp32": TensorProto.FLOAT}


def judge_types(original: ModelProto, fixed: ModelProto, plan: dict[str, Any]) -> str:
    """Whether nodes of the main graph have the types that the plan says, by ONNX's inference. Nodes stand in the original's
    order, with others between them that say so."""
    if plan["opset"]:  # Conversion makes other nodes.
        return ""
    if list(original.graph.node) == list(fixed.graph.node):  # A file that was in 16 bits already and is right.
        return ""
    original = support.lifted(original)
    before, after = _types(original), _types(fixed)
    nodes = [node for node in fixed.graph.node
             if node.op_type != "Constant" and all(entry.key != "halfsafe.inserted" for entry in node.metadata_props)]
    originals = [node for node in original.graph.node if node.op_type != "Constant"]
    if original.functions or [node.op_type for node in nodes] != [node.op_type for node in originals]:
        return "" if original.functions else "its nodes are not those of the original"
    planned = {node["name"]: node["precision"] for node in plan["nodes"]}
    for old, new in zip(originals, nodes):
        precision = planned.get(old.name or next(filter(None, old.output), old.op_type))
        if precision is None or any(attribute.HasField("g") for attribute in old.attribute):
            continue
        schema = _schema(original, old)
        slots = [(after.get(new.output[slot]), formal) for slot, name, formal in _operands(schema, old.output, "outputs")
                 if before.get(name) == TensorProto.FLOAT]
        slots += [(after.get(new.input[slot]), formal) for slot, name, formal in _operands(schema, old.input, "inputs")
                  if before.get(name) == TensorProto.FLOAT]
        read = {formal.type_str for formal in schema.inputs} if schema else set()
        for found, formal in slots:
            follows = formal is not None and not formal.type_str.startswith("tensor(")
            if follows and formal.type_str not in read:  # An attribute's to say, and the checker's to see.
                continue
            wanted = TYPES[precision] if follows else TensorProto.FLOAT
            if found not in (None, 0, wanted):
                return f"{old.op_type} {old.name} is to be {precision}, and has a tensor of type {found}"
    return ""


def _types(model: ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    types.update((value.name, value.type.tensor_type.elem_type) for value in [*graph.input, *graph.value_info, *graph.output])
    return types


def _schema(model: ModelProto, node: onnx.NodeProto) -> Any:
    version = next((entry.version for entry in model.opset_import if entry.domain == node.domain), 0)
    try:
        return onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return None


def _operands(schema: Any, names: Sequence[str], which: str) -> list[tuple[int, str, Any]]:
    """Slot, name and formal parameter; the last one stands for all that follow."""
    formals = getattr(schema, which) if schema else []
    return [(slot, name, formals[min(slot, len(formals) - 1)] if formals else None) for slot, name in enumerate(names) if name]
