#!/usr/bin/env python3
"""What a mixed-precision ONNX model computes where FP16 is really FP16: an emulation that shares no code with halfsafe.

usage: fp16_reference.py ORIGINAL FIXED SAMPLES_DIR     errors of a converted model
       fp16_reference.py --plain ORIGINAL SAMPLES_DIR   errors of the original with every tensor stored in FP16

ONNX Runtime's CPU provider computes FP16 nodes in FP32 and drops the casts that it put around them, so running a
converted model there shows no overflow. It keeps casts that are written in the model, though. The emulation is an
FP32 model in which every tensor that the converted model stores in FP16 (or BF16) goes through a written
Cast to that type and a Cast back: what a GPU does that accumulates in FP32 and stores in FP16.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx.inliner
import onnxruntime
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

Sample = dict[str, np.ndarray]
# From a tensor's element type in the given model to the type it is to be stored in.
Storage = Mapping[int, int]

AS_WRITTEN: Storage = {TensorProto.FLOAT16: TensorProto.FLOAT16, TensorProto.BFLOAT16: TensorProto.BFLOAT16}
ALL_FP16: Storage = {**AS_WRITTEN, TensorProto.FLOAT: TensorProto.FLOAT16}
NUMPY_TYPES = {TensorProto.FLOAT16: np.float16, TensorProto.BFLOAT16: ml_dtypes.bfloat16}
# Integer attributes that hold an element type.
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")


def emulate(model: ModelProto) -> ModelProto:
    """An FP32 model that rounds where `model` stores FP16 or BF16. Inputs and outputs become FP32, names stay."""
    return _rounding_model(model, AS_WRITTEN)


def emulate_plain(model: ModelProto) -> ModelProto:
    """An FP32 model that rounds every floating-point tensor of `model` to FP16; weights past the range are clamped."""
    return _rounding_model(model, ALL_FP16)


def errors(original: ModelProto, fixed: ModelProto, samples: Iterable[Sample]) -> dict[str, float]:
    """Relative L2 error of each output, the worst of all samples; infinity where a value became non-finite."""
    return compare(original, emulate(fixed), samples)


def compare(original: ModelProto, other: ModelProto, samples: Iterable[Sample]) -> dict[str, float]:
    first, second = session(original), session(other)
    names = [output.name for output in first.get_outputs()]
    worst = dict.fromkeys(names, 0.0)
    for sample in samples:
        expected, found = first.run(names, fed(first, sample)), second.run(names, fed(second, sample))
        for name, want, have in zip(names, expected, found):
            worst[name] = max(worst[name], relative_l2(want, have))
    return worst


def relative_l2(expected: np.ndarray, found: np.ndarray) -> float:
    if expected.shape != found.shape:
        return float("inf")
    want, have = expected.astype(np.float64), found.astype(np.float64)
    # Infinities that both have in the same place are no difference, but their subtraction is NaN.
    same = (want == have) | (np.isnan(want) & np.isnan(have))
    difference = np.subtract(want, have, out=np.zeros_like(want), where=~same)
    if not np.isfinite(difference).all():
        return float("inf")
    size = np.linalg.norm(want[np.isfinite(want)])
    distance = np.linalg.norm(difference)
    if distance == 0:
        return 0.0
    return float(distance / size) if size > 0 else float("inf")


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    # A fusion might take an emulated rounding along with it.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def fed(runner: onnxruntime.InferenceSession, sample: Sample) -> Sample:
    """The sample in the types that a model declares: a converted model may take FP16 where the original took FP32."""
    types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    return {
        declared.name: sample[declared.name].astype(types.get(declared.type, sample[declared.name].dtype), copy=False)
        for declared in runner.get_inputs()
    }


# ---------------------------------------------------------------- building the FP32 model


def _rounding_model(model: ModelProto, storage: Storage) -> ModelProto:
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    # Strict, so that a tensor whose type cannot be told stops here instead of being left unrounded.
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    # Inference fills in subgraphs too. What it says of shapes is no longer needed, only element types are.
    _Rounding(storage).rewrite(typed.graph, is_body=False)
    return typed


class _Rounding:
    """Rewrites a graph and the graphs inside its nodes, in place."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def rewrite(self, graph: GraphProto, is_body: bool) -> None:
        types = _element_types(graph)
        constants = {tensor.name for tensor in graph.initializer}
        nodes: list[NodeProto] = []
        # What enters a body was rounded where it was made: outside, or by the body's previous turn.
        if not is_body:
            for name in [value.name for value in graph.input if value.name not in constants]:
                if types[name] in self.storage:
                    nodes += _cast_pair(name, f"{name}/stored", self.storage[types[name]])
                    _rename_reads(graph, name, f"{name}/stored")
        for node in graph.node:
            self._rewrite_attributes(node)
            nodes += self._rounded(node, types)
        for tensor in graph.initializer:
            tensor.CopyFrom(self._as_fp32(tensor))
        for tensor in graph.sparse_initializer:
            if tensor.values.data_type in self.storage:
                raise ValueError(f"sparse initializer {tensor.values.name} is not supported")
        for value in [*graph.input, *graph.output]:
            _declare_fp32(value.type, self.storage)
        del graph.node[:]
        graph.node.extend(nodes)
        del graph.value_info[:]

    def _rounded(self, node: NodeProto, types: Mapping[str, int]) -> Iterator[NodeProto]:
        """The node, followed by a pair of casts for each output that is to be rounded. The last cast takes the
        output's name, so that readers, those in bodies included, need no change."""
        pairs: list[NodeProto] = []
        for index, name in enumerate(node.output):
            if not name:
                continue
            if name not in types:
                raise ValueError(f"the type of {name}, made by {node.op_type} {node.name}, is unknown")
            if types[name] in self.storage:
                node.output[index] = f"{name}/computed"
                pairs += _cast_pair(node.output[index], name, self.storage[types[name]])
        yield node
        yield from pairs

    def _rewrite_attributes(self, node: NodeProto) -> None:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                self.rewrite(attribute.g, is_body=True)
            elif attribute.type == AttributeProto.TENSOR:
                attribute.t.CopyFrom(self._as_fp32(attribute.t))
            elif attribute.type == AttributeProto.INT and attribute.name in TYPE_ATTRIBUTES:
                if attribute.i in self.storage:
                    attribute.i = TensorProto.FLOAT

    def _as_fp32(self, tensor: TensorProto) -> TensorProto:
        if tensor.data_type not in self.storage:
            return tensor
        values = numpy_helper.to_array(tensor)
        kind = NUMPY_TYPES[self.storage[tensor.data_type]]
        if values.dtype == np.float32:  # Converters clamp weights instead of making them infinite.
            largest = float(ml_dtypes.finfo(kind).max)
            values = np.clip(values, -largest, largest)
        return numpy_helper.from_array(values.astype(kind).astype(np.float32), tensor.name)


def _cast_pair(source: str, result: str, stored: int) -> list[NodeProto]:
    middle = f"{result}/narrow"
    return [
        helper.make_node("Cast", [source], [middle], f"{result}/round", to=stored),
        helper.make_node("Cast", [middle], [result], f"{result}/widen", to=TensorProto.FLOAT),
    ]


def _element_types(graph: GraphProto) -> dict[str, int]:
    """Element type of every tensor; 0 for sequences and the like, which are refused if they hold FP16."""
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type" and _holds_fp16(value.type):
            raise ValueError(f"{value.name} is a {kind} of FP16 values, which is not supported")
        types[value.name] = value.type.tensor_type.elem_type
    return types


def _holds_fp16(kind: TypeProto) -> bool:
    inner = {"sequence_type": kind.sequence_type, "optional_type": kind.optional_type}.get(kind.WhichOneof("value"))
    return _holds_fp16(inner.elem_type) if inner is not None else kind.tensor_type.elem_type in AS_WRITTEN


def _declare_fp32(kind: TypeProto, storage: Storage) -> None:
    if kind.tensor_type.elem_type in storage:
        kind.tensor_type.elem_type = TensorProto.FLOAT


def _rename_reads(graph: GraphProto, old: str, new: str) -> None:
    """Readers of one tensor, those inside bodies included: ONNX lets no inner name hide an outer one."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                _rename_reads(attribute.g, old, new)


# ---------------------------------------------------------------- the emulation's own proof


def _self_test_model(stored: int) -> ModelProto:
    """y = x + 0 and, through an If whose branches read x from outside, z = x + 0; both in the given type."""

    def outputs(*names: str) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(name, stored, [None]) for name in names]

    def branch(name: str) -> GraphProto:
        return helper.make_graph([helper.make_node("Add", ["h", "zero"], [name])], name, [], outputs(name))

    zero = helper.make_tensor("zero", stored, [1], [0.0])
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    nodes = [
        helper.make_node("Cast", ["x"], ["h"], to=stored),
        helper.make_node("Add", ["h", "zero"], ["y"]),
        helper.make_node("If", ["yes"], ["z"], then_branch=branch("a"), else_branch=branch("b")),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])]
    graph = helper.make_graph(nodes, "self-test", inputs, outputs("y", "z"), [zero, yes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _prove_rounding() -> None:
    """Stops the import if ONNX Runtime dropped the casts: every error measured would be a lie."""
    values = np.array([1e5, -65520, 65519, 1 + 2**-12, 2**-26], dtype=np.float32)
    expected = {
        TensorProto.FLOAT16: [np.inf, -np.inf, 65504, 1, 0],
        TensorProto.BFLOAT16: [99840, -65536, 65536, 1, 2**-26],
    }
    for stored, want in expected.items():
        for found in session(emulate(_self_test_model(stored))).run(None, {"x": values}):
            if not np.array_equal(found, np.array(want, dtype=np.float32)):
                raise RuntimeError(f"this ONNX Runtime does not round through written casts: {values} gave {found}")


_prove_rounding()


def main() -> int:
    parser = argparse.ArgumentParser(description="Errors of a mixed-precision model whose FP16 is emulated.")
    parser.add_argument("--plain", action="store_true", help="no FIXED: round every tensor of ORIGINAL")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    if len(arguments.files) != (2 if arguments.plain else 3):
        parser.error("give ORIGINAL FIXED SAMPLES_DIR, or --plain ORIGINAL SAMPLES_DIR")
    original = onnx.load(arguments.files[0])
    other = emulate_plain(original) if arguments.plain else emulate(onnx.load(arguments.files[1]))
    samples = (dict(np.load(path)) for path in sorted(arguments.files[-1].glob("*.npz")))
    for name, error in compare(original, other, samples).items():
        print(f"{error:.3g}\t{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
