"""Models of the tests in FP16 or BF16 throughout, as `.half()` or `.bfloat16()` and an export make them, and their twins: the same
models in FP32 with the same weights. By ONNX's schemas and numpy alone; nothing here is halfsafe's.

A tensor of the result is in FP32 only where the operator's schema has no such type: there are Casts around it. A constant that is
read in such places only stays FP32, as the factors of Resize do. What is beyond a type's range becomes infinity, or, where a model
is `limited` as other converters do it, the largest finite number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import ml_dtypes
import numpy as np
import onnx
import onnx.defs
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, helper, numpy_helper

import fix_test
import generated_models
import rescale_models
import resnet_model
import scan_test
import support
from generated_models import BF16, F16, F32, Builder, Case, Sample

NUMPY = {F16: np.dtype(np.float16), BF16: np.dtype(ml_dtypes.bfloat16), F32: np.dtype(np.float32)}
NAMES = {F16: "float16", BF16: "bfloat16", F32: "float"}
FLOATS = tuple(NUMPY)
# Operators that make FP32 unless an attribute says otherwise.
TYPED_BY = {"RandomNormal": "dtype", "RandomUniform": "dtype", "SequenceEmpty": "dtype", "HannWindow": "output_datatype",
            "HammingWindow": "output_datatype", "BlackmanWindow": "output_datatype"}
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "output_datatype")
ADDED = "added_cast"  # What the names of Casts begin with that the twin doesn't have.


class CannotConvert(Exception):
    """Why a model has no form in that type."""


def converted(model: ModelProto, kind: int, limited: bool = False) -> ModelProto:
    """The model in `kind`; checked. Functions are inlined."""
    result = _Conversion(model, kind, limited, wide=False).model
    _check(result, kind)
    return result


def twin(model: ModelProto, kind: int, limited: bool = False) -> ModelProto:
    """The model in FP32, with the weights that `converted` has."""
    return _Conversion(model, kind, limited, wide=True).model


def narrowed(array: np.ndarray, kind: int, limited: bool = False) -> np.ndarray:
    values = array.astype(np.float32)
    if limited:
        largest = np.float32(ml_dtypes.finfo(NUMPY[kind]).max)
        values = np.where(np.isfinite(values), np.clip(values, -largest, largest), values)
    with np.errstate(over="ignore"):
        return values.astype(NUMPY[kind])


def stored(model: ModelProto, samples: Sequence[Sample]) -> list[Sample]:
    """Samples in the types of a converted model's inputs."""
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    result = [{name: narrowed(array, kinds[name]) if kinds[name] in (F16, BF16) else array for name, array in sample.items()}
              for sample in samples]
    for given, rounded in zip(samples, result):
        for name, array in given.items():
            if array.dtype.kind == "f" and (np.isfinite(array) & ~np.isfinite(rounded[name].astype(np.float64))).any():
                raise CannotConvert("samples past the type's range")
    return result


def _check(model: ModelProto, kind: int) -> None:
    """ONNX finds it well typed, and only what the conversion left in FP32 there."""
    sparse = any(graph.sparse_initializer for _, graph in support.graphs_of(model.graph))
    onnx.checker.check_model(model, full_check=not sparse)  # ONNX's inference does not follow sparse ones.
    dense = support.dense(model)
    onnx.checker.check_model(dense, full_check=True)
    other = [one for one in FLOATS if one != kind]
    for _, graph in support.graphs_of(onnx.shape_inference.infer_shapes(dense, strict_mode=True).graph):
        narrow = {name for node in graph.node if node.name.startswith(ADDED) for name in (*node.input, *node.output)}
        for value in (*graph.value_info, *graph.output):
            if value.name not in narrow and element(value.type) in other and value.name not in _fp32_constants(graph):
                raise AssertionError(f"{value.name} is not {NAMES[kind]}")


def _fp32_constants(graph: GraphProto) -> set[str]:
    return {node.output[0] for node in graph.node if node.op_type == "Constant"}


# ---------------------------------------------------------------- types


def element(kind: TypeProto) -> int:
    which = kind.WhichOneof("value")
    if which in ("sequence_type", "optional_type"):
        return element(getattr(kind, which).elem_type)
    return kind.tensor_type.elem_type if which == "tensor_type" else 0


def _set_element(kind: TypeProto, element: int) -> None:
    which = kind.WhichOneof("value")
    if which in ("sequence_type", "optional_type"):
        _set_element(getattr(kind, which).elem_type, element)
    else:
        kind.tensor_type.elem_type = element


def _text(kind: TypeProto, element: int) -> str:
    """The type as schemas write it, with another element type."""
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        return f"tensor({NAMES[element]})"
    outer = {"sequence_type": "seq", "optional_type": "optional"}[which]
    return f"{outer}({_text(getattr(kind, which).elem_type, element)})"


def _tensor_type(element: int) -> TypeProto:
    return helper.make_tensor_type_proto(element, None)


class _Conversion:
    def __init__(self, model: ModelProto, kind: int, limited: bool, wide: bool) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(support.without_functions(model))
        for _, graph in support.graphs_of(self.model.graph):
            del graph.value_info[:]
        self.kind, self.limited, self.target, self.wide = kind, limited, F32 if wide else kind, wide
        self.opsets = {entry.domain: entry.version for entry in self.model.opset_import}
        if NAMES[kind] not in str(self._constraints(self._schema_of("Cast", ""))["T2"]):
            raise CannotConvert(f"opset {self.opsets['']} has no Cast to {NAMES[kind]}")
        inferred = onnx.shape_inference.infer_shapes(support.dense(self.model), strict_mode=True)
        self.inferred: Iterator[GraphProto] = (graph for _, graph in support.graphs_of(inferred.graph))
        self.casts = 0
        self._convert(self.model.graph, {})
        sparse = any(graph.sparse_initializer for _, graph in support.graphs_of(self.model.graph))
        if not sparse:
            self.model = onnx.shape_inference.infer_shapes(self.model)

    # ------------------------------------------------------------ schemas

    def _schema_of(self, op: str, domain: str) -> onnx.defs.OpSchema:
        domain = "" if domain == "ai.onnx" else domain
        try:
            return onnx.defs.get_schema(op, self.opsets.get(domain, 1), domain)
        except onnx.defs.SchemaError as error:
            raise CannotConvert(f"no schema of {op}") from error

    @staticmethod
    def _constraints(schema: onnx.defs.OpSchema) -> dict[str, set[str]]:
        return {entry.type_param_str: set(entry.allowed_type_strs) for entry in schema.type_constraints}

    def _takes(self, node: NodeProto, index: int, kind: TypeProto, output: bool = False) -> bool:
        """Whether an input or output of a node may be of the type converted to."""
        schema = self._schema_of(node.op_type, node.domain)
        formals = schema.outputs if output else schema.inputs
        # The statistics of a normalization are in the type of its own arithmetic; the function that defines the other one holds
        # an FP32 constant.
        if output and index and node.op_type == "LayerNormalization" or node.op_type == "MeanVarianceNormalization":
            return False
        stated = formals[min(index, len(formals) - 1)].type_str
        takes = _text(kind, self.kind) in self._constraints(schema).get(stated, {stated})
        if not takes and (kind.WhichOneof("value") != "tensor_type" or any(a.HasField("g") for a in node.attribute)):
            raise CannotConvert(f"{node.op_type} of opset {self.opsets['']} has no {_text(kind, self.kind)}")
        return takes

    # ------------------------------------------------------------ graphs

    def _convert(self, graph: GraphProto, outer: dict[str, TypeProto]) -> None:
        found = next(self.inferred)
        types = {**outer, **{value.name: value.type for value in (*found.input, *found.value_info, *found.output)},
                 **{tensor.name: _tensor_type(tensor.data_type) for tensor in found.initializer}}
        fp32 = self._constants_in_fp32(graph, types)
        for tensor in graph.initializer:
            if tensor.name not in fp32:
                tensor.CopyFrom(self._rounded(tensor))
        for sparse in graph.sparse_initializer:
            sparse.values.CopyFrom(self._rounded(sparse.values))
        for value in (*graph.input, *graph.output):
            if element(value.type) in FLOATS and value.name not in fp32:
                _set_element(value.type, self.target)
        # From here on, types of what stays FP32 are none that are converted.
        types = {name: kind for name, kind in types.items() if name not in fp32}
        nodes: list[NodeProto] = []
        widened: dict[str, str] = {}
        for node in graph.node:
            self._convert_node(node, types, fp32, nodes, widened)
        del graph.node[:]
        graph.node.extend(nodes)

    def _convert_node(self, node: NodeProto, types: dict[str, TypeProto], fp32: set[str], nodes: list[NodeProto],
                      widened: dict[str, str]) -> None:
        def is_float(name: str) -> bool:
            return bool(name) and name in types and element(types[name]) in FLOATS

        if node.op_type == "BitCast" and any(is_float(name) for name in (*node.input, *node.output)):
            raise CannotConvert("BitCast of 32 bits")
        if node.op_type == "Constant" and node.output[0] in fp32:
            nodes.append(node)
            return
        narrow_inputs = [i for i, name in enumerate(node.input) if is_float(name) and not self._takes(node, i, types[name])]
        narrow_outputs = [i for i, name in enumerate(node.output) if is_float(name) and not self._takes(node, i, types[name], True)]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                self._convert(attribute.g, types)
        floats = [i for i, name in enumerate(node.output) if is_float(name)]
        if floats and not narrow_outputs:
            self._convert_attributes(node)
        if self.wide:
            nodes.append(node)
            return
        for i in narrow_inputs:
            name = node.input[i]
            if name not in widened:
                widened[name] = f"{name}/fp32_{self.casts}"
                nodes.append(self._cast(name, widened[name], F32))
            node.input[i] = widened[name]
        nodes.append(node)
        for i in narrow_outputs:
            name, node.output[i] = node.output[i], f"{node.output[i]}/made_in_fp32"
            nodes.append(self._cast(node.output[i], name, self.kind))

    def _cast(self, source: str, result: str, to: int) -> NodeProto:
        self.casts += 1
        return helper.make_node("Cast", [source], [result], f"{ADDED}_{self.casts}", to=to)

    def _convert_attributes(self, node: NodeProto) -> None:
        if node.op_type in TYPED_BY and not any(a.name == TYPED_BY[node.op_type] for a in node.attribute):
            node.attribute.append(helper.make_attribute(TYPED_BY[node.op_type], self.target))
        if node.op_type == "ConstantOfShape" and not node.attribute:
            node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1, NUMPY[self.target]))))
        for attribute in node.attribute:
            if attribute.name in TYPE_ATTRIBUTES and attribute.type == AttributeProto.INT and attribute.i in FLOATS:
                attribute.i = self.target
            elif attribute.type == AttributeProto.TENSOR:
                attribute.t.CopyFrom(self._rounded(attribute.t))
            elif attribute.type == AttributeProto.SPARSE_TENSOR:
                attribute.sparse_tensor.values.CopyFrom(self._rounded(attribute.sparse_tensor.values))
            elif node.op_type == "Constant" and attribute.name in ("value_float", "value_floats"):
                values = np.float32(attribute.f if attribute.name == "value_float" else attribute.floats)
                attribute.CopyFrom(helper.make_attribute("value", self._rounded(numpy_helper.from_array(values))))

    def _rounded(self, tensor: TensorProto) -> TensorProto:
        if tensor.data_type not in FLOATS:
            return tensor
        values = narrowed(numpy_helper.to_array(tensor), self.kind, self.limited)
        return numpy_helper.from_array(values.astype(NUMPY[self.target]), tensor.name)

    def _constants_in_fp32(self, graph: GraphProto, types: dict[str, TypeProto]) -> set[str]:
        """FP32 constants of this graph that are read only where the schema has no other type."""
        constants = {tensor.name for tensor in graph.initializer if tensor.data_type == F32}
        constants |= {node.output[0] for node in graph.node
                      if node.op_type == "Constant" and element(types[node.output[0]]) == F32}
        read, wanted = set(), {value.name for _, inner in support.graphs_of(graph) for value in inner.output}
        for _, inner in support.graphs_of(graph):
            for node in inner.node:
                for index, name in enumerate(node.input):
                    if name in constants:
                        read.add(name)
                        if self._takes(node, index, types[name]):
                            wanted.add(name)
        return (constants & read) - wanted


# ---------------------------------------------------------------- the models


def mean_variance() -> Case:
    builder = Builder(17)
    builder.input("x", [2, 4, 6])
    builder.node("MeanVarianceNormalization", ["x"], "m", axes=[0, 2])
    builder.node("Relu", ["m"], "y")
    builder.output("y", [2, 4, 6])
    return Case(builder.model(), generated_models.samples(x=(2, 4, 6)))


def bitcast() -> Case:
    builder = Builder(26)
    builder.input("x", [2, 4])
    builder.node("Relu", ["x"], "h")
    builder.node("BitCast", ["h"], "y", to=TensorProto.INT32)
    builder.output("y", [2, 4], TensorProto.INT32)
    return Case(builder.model(ir_version=11), generated_models.samples(x=(2, 4)))


def split() -> Case:
    """A sequence as the output."""
    builder = Builder(17)
    builder.input("x", ["N", 4])
    builder.weight("up", 1e4)
    builder.weight("down", 1e-4)
    builder.weight("parts", (1, 3), np.int64)
    builder.node("Mul", ["x", "up"], "large")
    builder.node("Mul", ["large", "up"], "larger")
    builder.node("Mul", ["larger", "down"], "less")
    builder.node("Mul", ["less", "down"], "h")
    builder.node("SplitToSequence", ["h", "parts"], "y", axis=1)
    builder.outputs.append(helper.make_tensor_sequence_value_info("y", F32, None))
    return Case(builder.model(), generated_models.samples(2, x=(2, 4)))


def _weights_everywhere() -> Case:
    made = [{"x": generated_models.random(2, 40, seed=n), "go": np.array(n > 0)} for n in range(2)]
    return Case(fix_test.weights_everywhere(), made)


def _rescale(name: str, gain: float | None) -> Case:
    return Case(rescale_models.make_model(name, gain), rescale_models.make_samples(name, 2))


MODELS: dict[str, Callable[[], Case]] = {
    **generated_models.CASES,
    **{f"rescale_{name}": (lambda name=name: _rescale(name, None)) for name in rescale_models.RESCALE_MODELS},
    **{f"calm_{name}": (lambda name=name: _rescale(name, 1.0)) for name in rescale_models.RESCALE_MODELS},
    "twin_ifs": generated_models.twin_ifs,
    "unnamed_ifs": lambda: Case(*scan_test.unnamed_ifs()),
    "body_weights": lambda: Case(*scan_test.body_weights()),
    "weights_everywhere": _weights_everywhere,
    "resnet": lambda: Case(resnet_model.make_model(), resnet_model.make_samples(2)),
    "mean_variance": mean_variance,
    "bitcast": bitcast,
    "split": split,
}
