"""Random ONNX graphs with samples, for relations that must hold whatever the graph: many operators and opsets, broadcasting,
bodies inside bodies, shared and unused constants, several outputs, left-out operands, values from 1e-30 to 1e30.

usage: random_graphs.py SEED OUT_DIR      writes model.onnx and samples/ of one seed, and prints its nodes

One seed gives one model, on any machine. Every name of a tensor or node holds one token (t12_, n7_), so that
renaming can be undone in any text. Shapes are known while building, the first axis of some inputs may differ among samples.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

F32, F16, F64, I64, BOOL = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL)
OPSETS = {11: 6, 13: 7, 15: 8, 17: 8, 18: 8, 19: 9, 21: 10, 22: 10}
FREE = "N"  # The axis whose size differs among samples; only ever the first one.
Dims = tuple[int | str, ...]


@dataclass(frozen=True)
class Value:
    name: str
    dims: Dims

    @property
    def rank(self) -> int:
        return len(self.dims)


@dataclass
class Names:
    """Names of one model. Each holds a token that no other name has."""

    rng: np.random.Generator
    count: int = 0

    def tensor(self) -> str:
        self.count += 1
        token = f"t{self.count}_"
        return str(self.rng.choice([token, token, token, f"/block/{token}", f"{token}:0", f"größe.{token}"]))

    def node(self) -> str:
        """Exporters leave names out, and give one to several nodes."""
        self.count += 1
        token = f"n{self.count}_"
        return str(self.rng.choice([token, token, f"/block/{token}", "", "", "n0_"]))


@dataclass
class Scope:
    """One graph while it is built. Values of `outer` scopes are seen, and may be read."""

    rng: np.random.Generator
    names: Names
    opset: int
    outer: Scope | None = None
    nodes: list[NodeProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)
    pool: list[Value] = field(default_factory=list)
    constants: list[Value] = field(default_factory=list)

    # ------------------------------------------------------------ choosing

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, among: Sequence) -> object:
        return among[int(self.rng.integers(len(among)))]

    def seen(self) -> list[Value]:
        return [*(self.outer.seen() if self.outer else []), *self.pool]

    def value(self, fits: Callable[[Value], bool] = lambda value: True) -> Value | None:
        """A value that fits, new ones more often: graphs get deep."""
        found = [value for value in self.seen() if fits(value)]
        if not found:
            return None
        place = len(found) - 1 - int(self.rng.exponential(3.0))
        return found[max(place, 0)]

    # ------------------------------------------------------------ adding

    def add(self, op: str, inputs: Sequence[str], *dims: Dims, **attributes) -> Value:
        """A node whose results have these shapes; the first one is returned, the others are there to be picked."""
        outputs = [Value(self.names.tensor(), one) for one in dims]
        self.node(op, inputs, [output.name for output in outputs], **attributes)
        self.pool += outputs
        return outputs[0]

    def node(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes) -> None:
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), self.names.node(), **attributes))

    def hidden(self, op: str, inputs: Sequence[str], **attributes) -> str:
        """A node whose result is no float, or not for picking."""
        name = self.names.tensor()
        self.node(op, inputs, [name], **attributes)
        return name

    def constant(self, values: object, dtype: type = np.float32) -> str:
        name, array = self.names.tensor(), np.asarray(values, dtype)
        if self.chance(0.8):
            self.weights.append(numpy_helper.from_array(array, name))
        else:
            self.node("Constant", [], [name], value=numpy_helper.from_array(array, name))
        return name

    def weight(self, dims: Sequence[int], spread: float | None = None) -> str:
        """A constant of floats; one that is there already, now and then."""
        dims = tuple(dims)
        shared = [constant for constant in self.constants if constant.dims == dims]
        if shared and spread is None and self.chance(0.3):
            return self.pick(shared).name
        size = 10.0 ** self.rng.uniform(-1, 1) if spread is None else spread
        name = self.constant(self.rng.standard_normal(dims) * size / max(1, int(np.prod(dims[:-1]))) ** 0.5)
        self.constants.append(Value(name, dims))
        return name

    def graph(self, name: str, inputs: list, outputs: list) -> GraphProto:
        return helper.make_graph(self.nodes, name, inputs, outputs, self.weights)


def info(name: str, dims: Dims | None, kind: int = F32) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def broadcast(one: Dims, other: Dims) -> Dims | None:
    """The shape of both together, or nothing where they don't fit. A free axis fits itself and 1."""
    length = max(len(one), len(other))
    result: list[int | str] = []
    for a, b in zip((1,) * (length - len(one)) + one, (1,) * (length - len(other)) + other):
        if a != b and 1 not in (a, b):
            return None
        result.append(b if a == 1 else a)
    # A free axis stays the first one.
    return None if FREE in result[1:] else tuple(result)


def elements(dims: Dims) -> int:
    return int(np.prod([4 if dim == FREE else dim for dim in dims], dtype=np.int64))


MOST_ELEMENTS = 4096


# ---------------------------------------------------------------- pieces: each adds a few nodes, or nothing where none fit


def unary(s: Scope) -> None:
    x = s.value()
    plain = ["Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Softplus", "Erf", "Floor", "Ceil", "Sign", "Identity", "Sin", "Exp",
             "LeakyRelu", "Elu", "Selu", "HardSigmoid", "ThresholdedRelu", "Softsign", "Round", "Reciprocal", "Sqrt", "Log",
             "Celu", "Shrink", *(["HardSwish"] if s.opset >= 14 else []), *(["Mish"] if s.opset >= 18 else []),
             *(["Gelu"] if s.opset >= 20 else [])]
    op = s.pick(plain)
    if op == "Celu" and s.opset < 12:
        op = "Elu"
    attributes = {}
    if op in ("LeakyRelu", "Elu", "ThresholdedRelu", "Celu") and s.chance(0.7):
        attributes["alpha"] = round(float(s.rng.uniform(0.05, 1.5)), 3)
    if op in ("Sqrt", "Log", "Reciprocal") and s.chance(0.9):  # The rest gives NaN, or infinity where x is 0.
        x = s.add("Abs", [x.name], x.dims)
        x = s.add("Add", [x.name, s.constant(10.0 ** s.rng.uniform(-12, 0))], x.dims)
    if op == "Exp" and s.chance(0.9):
        x = s.add("Min", [x.name, s.constant(s.rng.uniform(1, 20))], x.dims)
    s.add(op, [x.name], x.dims, **attributes)


def clip(s: Scope) -> None:
    x = s.value()
    low, high = -float(s.rng.uniform(0, 10)), 10.0 ** float(s.rng.uniform(-1, 5))
    bounds = [s.constant(low) if s.chance(0.7) else "", s.constant(high) if s.chance(0.8) else ""]
    while bounds and not bounds[-1]:
        bounds.pop()
    s.add("Clip", [x.name, *bounds], x.dims)


def binary(s: Scope) -> None:
    x = s.value()
    y = s.value(lambda other: broadcast(x.dims, other.dims) is not None
                and elements(broadcast(x.dims, other.dims)) <= MOST_ELEMENTS)
    op = s.pick(["Add", "Add", "Sub", "Mul", "Mul", "Max", "Min", "Div"])
    if op == "Div" and s.chance(0.9):
        away = s.add("Add", [s.add("Abs", [y.name], y.dims).name, s.constant(10.0 ** s.rng.uniform(-10, 0))], y.dims)
        y = away
    pair = [x.name, y.name] if s.chance(0.5) else [y.name, x.name]
    s.add(op, pair, broadcast(x.dims, y.dims))


def with_constant(s: Scope) -> None:
    x = s.value()
    last = x.dims[-1:] if x.rank and x.dims[-1] != FREE else ()
    dims = s.pick([(), (1,), last, (1, *last) if x.rank > 1 else last])
    c = s.weight(dims, None if s.chance(0.8) else 10.0 ** s.rng.uniform(-4, 4))
    op = s.pick(["Add", "Sub", "Mul", "Mul", "Max", "Min", "PRelu", "Sum", "Mean"])
    operands = [x.name, c] if op == "PRelu" or s.chance(0.7) else [c, x.name]
    wide = broadcast(x.dims, dims)
    if op == "PRelu" and wide != x.dims:
        op = "Mul"
    s.add(op, operands, wide)


def large_and_back(s: Scope) -> None:
    """A detour past FP16's range, or below it, which powers of two may bring back."""
    x = s.value()
    power = float(s.pick([s.rng.uniform(4, 9), s.rng.uniform(4, 9), -s.rng.uniform(4, 9)]))
    y = s.add("Mul", [x.name, s.constant(10.0**power)], x.dims)
    for _ in range(int(s.rng.integers(3))):
        op = s.pick(["Relu", "Neg", "Abs", "Identity", "LeakyRelu", "Dropout"])
        y = s.add(op, [y.name], y.dims)
    if s.chance(0.3):
        y = s.add("Add", [y.name, s.weight(y.dims[-1:] if y.rank and y.dims[-1] != FREE else (), 10.0**power)], y.dims)
    if s.chance(0.8):
        s.add(*s.pick([("Mul", [y.name, s.constant(10.0**-power)]), ("Div", [y.name, s.constant(10.0**power)])]), y.dims)


def power(s: Scope) -> None:
    x = s.value()
    exponent = float(s.pick([2.0, 2.0, 3.0, 0.5, 1.5, -1.0]))
    if exponent not in (2.0, 3.0):
        x = s.add("Add", [s.add("Abs", [x.name], x.dims).name, s.constant(1e-3)], x.dims)
    s.add("Pow", [x.name, s.constant(exponent)], x.dims)


def linear(s: Scope) -> None:
    x = s.value(lambda value: value.rank >= 2 and value.dims[-1] != FREE)
    if x is None:
        return
    width = int(s.rng.integers(1, 9))
    w = s.weight((x.dims[-1], width))
    if x.rank == 2 and s.chance(0.5):
        bias = [s.weight(s.pick([(width,), (1, width), ()]))] if s.chance(0.7) else []
        attributes = {"alpha": 0.7, "beta": 1.3} if s.chance(0.3) else {}
        if s.chance(0.3):
            w, attributes["transB"] = s.weight((width, x.dims[-1])), 1
        s.add("Gemm", [x.name, w, *bias], (x.dims[0], width), **attributes)
        return
    if s.chance(0.2) and s.opset >= 12:
        s.add("Einsum", [x.name, w], (*x.dims[:-1], width), equation="...ij,jk->...ik")
        return
    y = s.add("MatMul", [x.name, w], (*x.dims[:-1], width))
    if s.chance(0.5):
        s.add("Add", [y.name, s.weight((width,))], y.dims)


def product_of_two(s: Scope) -> None:
    x = s.value(lambda value: value.rank >= 2 and FREE not in value.dims[-2:])
    if x is None:
        return
    turned = s.add("Transpose", [x.name], (*x.dims[:-2], x.dims[-1], x.dims[-2]),
                   perm=[*range(x.rank - 2), x.rank - 1, x.rank - 2])
    scores = s.add("MatMul", [x.name, turned.name], (*x.dims[:-1], x.dims[-2]))
    if s.chance(0.5):
        scores = s.add("Mul", [scores.name, s.constant(x.dims[-1] ** -0.5)], scores.dims)
    if s.chance(0.3):
        size = scores.dims[-1]
        mask = s.constant(np.triu(np.full((size, size), float(s.pick([-1e4, -1e9, np.finfo(np.float32).min]))), 1))
        scores = s.add("Add", [scores.name, mask], scores.dims)
    weights = s.add("Softmax", [scores.name], scores.dims, axis=-1 if s.opset >= 13 else scores.rank - 1)
    s.add("MatMul", [weights.name, x.name], x.dims)


def image(s: Scope) -> None:
    """Operators on images, made from whatever there is."""
    x = s.value(lambda value: value.rank == 4 and FREE not in value.dims[1:])
    if x is None:
        return
    n, c, h, w = x.dims
    kind = s.pick(["Conv", "Conv", "Conv", "ConvTranspose", "BatchNormalization", "BatchNormalization", "MaxPool",
                   "AveragePool", "GlobalAveragePool", "InstanceNormalization", "LRN", "Resize", "DepthToSpace", "Pad"])
    if kind == "Conv":
        out, k = int(s.rng.integers(1, 6)), int(s.pick([1, 3]))
        bias = [s.weight((out,))] if s.chance(0.6) else []
        y = s.add("Conv", [x.name, s.weight((out, c, k, k)), *bias], (n, out, h, w), pads=[k // 2] * 4)
        if s.chance(0.5):
            s.add("Relu", [y.name], y.dims)
    elif kind == "ConvTranspose":
        out = int(s.rng.integers(1, 5))
        if elements(x.dims) * 4 * out // c <= MOST_ELEMENTS:
            s.add(kind, [x.name, s.weight((c, out, 2, 2))], (n, out, 2 * h, 2 * w), strides=[2, 2])
    elif kind == "BatchNormalization":
        variance = np.abs(s.rng.standard_normal(c)) * 10.0 ** s.rng.uniform(-6, 9) + 1e-6
        s.add(kind, [x.name, s.weight((c,)), s.weight((c,)), s.weight((c,)), s.constant(variance)], x.dims,
              epsilon=float(s.pick([1e-5, 1e-3, 1e-12])))
    elif kind in ("MaxPool", "AveragePool"):
        if h >= 2 and w >= 2:
            s.add(kind, [x.name], (n, c, h // 2, w // 2), kernel_shape=[2, 2], strides=[2, 2])
    elif kind == "GlobalAveragePool":
        s.add(kind, [x.name], (n, c, 1, 1))
    elif kind == "InstanceNormalization":
        if h * w > 1:
            s.add(kind, [x.name, s.weight((c,)), s.weight((c,))], x.dims, epsilon=1e-5)
    elif kind == "LRN":
        s.add(kind, [x.name], x.dims, size=3, alpha=0.01)
    elif kind == "Resize":
        if elements(x.dims) * 4 <= MOST_ELEMENTS:
            roi = [s.constant(np.zeros(0))] if s.opset < 13 else [""]
            s.add(kind, [x.name, *roi, s.constant([1, 1, 2, 2])], (n, c, 2 * h, 2 * w), mode=s.pick(["nearest", "linear"]))
    elif kind == "DepthToSpace":
        if c % 4 == 0:
            s.add(kind, [x.name], (n, c // 4, 2 * h, 2 * w), blocksize=2)
    elif elements(x.dims) * 2 <= MOST_ELEMENTS:
        fill = [s.constant(s.rng.uniform(-2, 2))] if s.chance(0.5) else []
        pads = s.constant([0, 0, 0, 1, 0, 0, 1, 0], np.int64)
        s.add("Pad", [x.name, pads, *fill], (n, c, h + 1, w + 1), mode="constant")


def normalization(s: Scope) -> None:
    x = s.value(lambda value: value.rank >= 2 and value.dims[-1] not in (FREE, 1))
    if x is None:
        return
    width = x.dims[-1]
    if s.opset >= 17 and s.chance(0.6):
        bias = [s.weight((width,))] if s.chance(0.5) else []
        s.add("LayerNormalization", [x.name, s.weight((width,)), *bias], x.dims, axis=-1,
              epsilon=float(s.pick([1e-5, 1e-12])))
        return
    mean = reduced(s, "ReduceMean", x, -1, True)
    centred = s.add("Sub", [x.name, mean.name], x.dims)
    squares = s.add(*s.pick([("Mul", [centred.name] * 2), ("Pow", [centred.name, s.constant(2.0)])]), x.dims)
    variance = reduced(s, "ReduceMean", squares, -1, True)
    safe = s.add("Add", [variance.name, s.constant(float(s.pick([1e-5, 1e-6, 1e-12])))], variance.dims)
    y = s.add("Div", [centred.name, s.add("Sqrt", [safe.name], safe.dims).name], x.dims)
    s.add("Mul", [y.name, s.weight((width,))], y.dims)


def reduced(s: Scope, op: str, x: Value, axis: int, keep: bool) -> Value:
    axis %= x.rank
    dims = (*x.dims[:axis], 1, *x.dims[axis + 1:]) if keep else (*x.dims[:axis], *x.dims[axis + 1:])
    attribute = s.opset < 18 if op != "ReduceSum" else s.opset < 13
    inputs = [x.name] if attribute else [x.name, s.constant([axis], np.int64)]
    return s.add(op, inputs, dims, keepdims=int(keep), **({"axes": [axis]} if attribute else {}))


def reduction(s: Scope) -> None:
    x = s.value(lambda value: value.rank >= 1)
    if x is None:
        return
    op = s.pick(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare",
                 "ReduceLogSumExp"])
    reduced(s, op, x, int(s.rng.integers(x.rank)), s.chance(0.6))


def softmax(s: Scope) -> None:
    x = s.value(lambda value: value.rank >= 1 and value.dims[-1] != FREE)
    if x is not None:
        s.add(s.pick(["Softmax", "Softmax", "LogSoftmax", "Hardmax"]), [x.name], x.dims, axis=x.rank - 1)


def moving(s: Scope) -> None:
    """Operators that only move values."""
    x = s.value()
    kind = s.pick(["Transpose", "Reshape", "Flatten", "Unsqueeze", "Squeeze", "Slice", "Split", "Gather", "Concat", "Expand",
                   "Tile", "Dropout", "CumSum", "TopK", "ScatterElements"])
    if kind == "Transpose":
        first = int(x.rank > 0 and x.dims[0] == FREE)
        perm = [*range(first), *(int(axis) for axis in first + s.rng.permutation(x.rank - first))]
        s.add(kind, [x.name], tuple(x.dims[axis] for axis in perm), perm=perm)
    elif kind == "Reshape":
        free = x.rank > 0 and x.dims[0] == FREE
        count = elements(x.dims[1:] if free else x.dims)
        part = int(s.pick([size for size in range(1, count + 1) if count % size == 0][:6])) if count else 1
        dims = (part, count // part)
        s.add(kind, [x.name, s.constant([0, *dims] if free else dims, np.int64)], (FREE, *dims) if free else dims)
    elif kind == "Flatten" and x.rank >= 1:
        s.add(kind, [x.name], (x.dims[0], elements(x.dims[1:])), axis=1)
    elif kind == "Unsqueeze" and x.rank < 4:
        axis = int(s.rng.integers(int(x.rank > 0 and x.dims[0] == FREE), x.rank + 1))
        inputs, attributes = ([x.name], {"axes": [axis]}) if s.opset < 13 else ([x.name, s.constant([axis], np.int64)], {})
        s.add(kind, inputs, (*x.dims[:axis], 1, *x.dims[axis:]), **attributes)
    elif kind == "Squeeze" and 1 in x.dims:
        axis = x.dims.index(1)
        inputs, attributes = ([x.name], {"axes": [axis]}) if s.opset < 13 else ([x.name, s.constant([axis], np.int64)], {})
        s.add(kind, inputs, (*x.dims[:axis], *x.dims[axis + 1:]), **attributes)
    elif kind in ("Slice", "Split", "Gather", "CumSum", "TopK", "ScatterElements"):
        along(s, kind, x)
    elif kind == "Concat" and x.rank >= 1:
        axis = x.rank - 1
        if x.dims[axis] == FREE:
            return
        y = s.value(lambda other: other.rank == x.rank and other.dims[:-1] == x.dims[:-1] and other.dims[-1] != FREE)
        s.add(kind, [x.name, y.name], (*x.dims[:axis], x.dims[axis] + y.dims[axis]), axis=s.pick([axis, -1]))
    elif kind == "Expand" and x.rank < 4 and FREE not in x.dims and 3 * elements(x.dims) <= MOST_ELEMENTS:
        s.add(kind, [x.name, s.constant([3, *x.dims], np.int64)], (3, *x.dims))
    elif kind == "Tile" and x.rank and x.dims[-1] != FREE and 2 * elements(x.dims) <= MOST_ELEMENTS:
        s.add(kind, [x.name, s.constant([1] * (x.rank - 1) + [2], np.int64)], (*x.dims[:-1], 2 * x.dims[-1]))
    elif kind == "Dropout":
        s.add(kind, [x.name], x.dims)


def along(s: Scope, kind: str, x: Value) -> None:
    """What takes parts along one axis."""
    axes = [axis for axis, dim in enumerate(x.dims) if dim != FREE and dim >= 2]
    if not axes:
        return
    axis = int(s.pick(axes))
    size = x.dims[axis]
    resized = lambda length: (*x.dims[:axis], length, *x.dims[axis + 1:])
    if kind == "Slice":
        begin = int(s.rng.integers(size))
        end = int(s.rng.integers(begin + 1, size + 1))
        s.add(kind, [x.name, *(s.constant([n], np.int64) for n in (begin, end, axis))], resized(end - begin))
    elif kind == "Split":
        cut = int(s.rng.integers(1, size))
        inputs, attributes = (([x.name], {"split": [cut, size - cut]}) if s.opset < 13
                              else ([x.name, s.constant([cut, size - cut], np.int64)], {}))
        s.add(kind, inputs, resized(cut), resized(size - cut), axis=axis, **attributes)
    elif kind == "Gather":
        places = s.rng.integers(size, size=int(s.rng.integers(1, 4)))
        s.add(kind, [x.name, s.constant(places, np.int64)], resized(len(places)), axis=axis)
    elif kind == "CumSum":
        s.add(kind, [x.name, s.constant(axis, np.int64)], x.dims)
    elif kind == "TopK":
        count = int(s.rng.integers(1, size + 1))
        values = Value(s.names.tensor(), resized(count))
        s.node(kind, [x.name, s.constant([count], np.int64)], [values.name, s.names.tensor()], axis=axis)
        s.pool.append(values)
    elif FREE not in x.dims:
        places = np.zeros(resized(1), np.int64) + int(s.rng.integers(size))
        s.add(kind, [x.name, s.constant(places, np.int64), s.weight(resized(1))], x.dims, axis=axis)


def choosing(s: Scope) -> None:
    """Comparisons and what hangs on them."""
    x = s.value()
    y = s.value(lambda other: other.dims == x.dims)
    other = y.name if s.chance(0.5) else s.constant(s.rng.normal())
    condition = s.hidden(s.pick(["Greater", "Less"]), [x.name, other])
    if s.chance(0.3):
        condition = s.hidden("Not", [condition])
    if s.chance(0.7):
        s.add("Where", [condition, x.name, s.pick([y.name, s.constant(s.pick([0.0, -1e9, 3e38]))])], x.dims)
    else:
        s.add("Cast", [condition], x.dims, to=F32)


def casting(s: Scope) -> None:
    """Casts of the model's own, and sizes as floats."""
    x = s.value()
    if s.chance(0.3) and x.rank:
        shape = s.hidden("Shape", [x.name])
        sizes = s.add("Cast", [shape], (x.rank,), to=F32)
        s.add("Mul", [sizes.name, s.constant(0.5)], (x.rank,))
        return
    if s.chance(0.3):
        top = s.hidden("ArgMax", [x.name], axis=x.rank - 1, keepdims=1) if x.rank else s.hidden("Cast", [x.name], to=I64)
        s.add("Cast", [top], (*x.dims[:-1], 1) if x.rank else (), to=F32)
        return
    kind = s.pick([F16, F64, F64])
    if kind == F16:
        x = s.add("Clip", [x.name, s.constant(-6e4), s.constant(6e4)], x.dims)
    s.add("Cast", [s.hidden("Cast", [x.name], to=kind)], x.dims, to=F32)


def recurrent(s: Scope) -> None:
    x = s.value(lambda value: value.rank == 3 and FREE not in value.dims)
    if x is None:
        return
    length, batch, width = x.dims
    hidden = int(s.rng.integers(1, 5))
    op, gates = s.pick([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
    first = Value(s.names.tensor(), (length, 1, batch, hidden))
    last = Value(s.names.tensor(), (1, batch, hidden))
    bias = [s.weight((1, 2 * gates * hidden))] if s.chance(0.5) else []
    s.node(op, [x.name, s.weight((1, gates * hidden, width)), s.weight((1, gates * hidden, hidden)), *bias],
           [first.name, last.name] if s.chance(0.5) else ["", last.name], hidden_size=hidden)
    s.pool += [first, last] if s.nodes[-1].output[0] else [last]


# ---------------------------------------------------------------- bodies


def inner(s: Scope) -> Scope:
    return Scope(s.rng, s.names, s.opset, s)


def branches(s: Scope) -> None:
    """An If, on a computed condition, with branches that read from outside."""
    model = s.value(lambda value: FREE not in value.dims)
    if model is None:
        return
    graphs = []
    for _ in range(2):
        body = inner(s)
        grow(body, int(s.rng.integers(1, 4)), bodies=depth(s) < 2)
        result = returned(body, model.dims)
        graphs.append(body.graph(f"g{s.names.count}", [], [info(result, model.dims)]))
    total = s.hidden("ReduceSum", [model.name], keepdims=0)
    condition = s.hidden("Greater", [total, s.constant(s.rng.normal())])
    s.add("If", [condition], model.dims, then_branch=graphs[0], else_branch=graphs[1])


def returned(body: Scope, dims: Dims) -> str:
    """The name of a float of this shape that the body computed last, or of one that it makes now."""
    own = [value for value in body.pool if value.dims == dims]
    if own:
        return own[-1].name
    fitting = body.value(lambda value: value.dims == dims)
    other = body.weight(dims)
    return body.add("Add", [fitting.name, other], dims).name if fitting else body.add("Neg", [other], dims).name


def depth(s: Scope) -> int:
    return 0 if s.outer is None else 1 + depth(s.outer)


def looping(s: Scope) -> None:
    """A Loop with a state that goes around, and a stacked result."""
    state = s.value(lambda value: FREE not in value.dims)
    if state is None:
        return
    body = inner(s)
    turn, going, inside = (s.names.tensor() for _ in range(3))
    body.pool.append(Value(inside, state.dims))
    grow(body, int(s.rng.integers(1, 4)), bodies=depth(s) < 2)
    # A state that only grows is infinite soon; one that is only scaled is not.
    fitting = body.add("Mul", [inside, body.constant(float(s.pick([0.5, 1.1, 30.0])))], state.dims)
    update = body.value(lambda value: value.dims == state.dims)
    after = body.add("Add", [fitting.name, update.name], state.dims)
    shown = body.add(s.pick(["Tanh", "Neg", "Relu"]), [after.name], state.dims)
    still = body.hidden("Identity", [going])
    graph = body.graph(f"g{s.names.count}", [info(turn, (), I64), info(going, (), BOOL), info(inside, state.dims)],
                       [info(still, (), BOOL), info(after.name, state.dims), info(shown.name, state.dims)])
    turns = int(s.rng.integers(1, 4))
    s.add("Loop", [s.constant(turns, np.int64), "", state.name], state.dims, (turns, *state.dims), body=graph)


def scanning(s: Scope) -> None:
    """A Scan over rows, with a running state."""
    rows = s.value(lambda value: value.rank >= 2 and FREE not in value.dims)
    if rows is None:
        return
    row = rows.dims[1:]
    body = inner(s)
    state, one = s.names.tensor(), s.names.tensor()
    body.pool += [Value(state, row), Value(one, row)]
    if s.chance(0.5):
        grow(body, int(s.rng.integers(1, 3)), bodies=False)
    after = body.add("Add", [state, one], row)
    scaled = body.value(lambda value: value.dims == row)
    shown = body.add("Mul", [scaled.name, body.weight(())], row)
    graph = body.graph(f"g{s.names.count}", [info(state, row), info(one, row)], [info(after.name, row), info(shown.name, row)])
    start = s.weight(row)
    s.add("Scan", [start, rows.name], row, rows.dims, body=graph, num_scan_inputs=1)


PIECES = [(unary, 6), (clip, 1), (binary, 5), (with_constant, 5), (large_and_back, 3), (power, 1), (linear, 4),
          (product_of_two, 1), (image, 5), (normalization, 2), (reduction, 2), (softmax, 1), (moving, 5), (choosing, 1),
          (casting, 1), (recurrent, 0.4)]
BODIES = [(branches, 0.6), (looping, 0.4), (scanning, 0.4)]


def grow(s: Scope, pieces: int, bodies: bool) -> None:
    table = PIECES + (BODIES if bodies else [])
    shares = np.array([share for _, share in table], float)
    for _ in range(pieces):
        if s.seen():
            table[int(s.rng.choice(len(table), p=shares / shares.sum()))][0](s)


# ---------------------------------------------------------------- whole models


Sample = dict[str, np.ndarray]


@dataclass
class RandomGraph:
    model: ModelProto
    samples: list[Sample]


def make(seed: int, samples: int = 3) -> RandomGraph:
    rng = np.random.default_rng([7, seed])
    opset = int(rng.choice(list(OPSETS)))
    s = Scope(rng, Names(rng), opset)
    free = s.chance(0.4)
    inputs = [Value(s.names.tensor(), (FREE if free and index == 0 else 2, *dims[1:])) for index, dims in
              enumerate(s.pick([(2, 8), (2, 3, 6), (2, 4, 6, 6), (2, 2, 5, 5)]) for _ in range(int(rng.integers(1, 4))))]
    s.pool += inputs
    grow(s, int(rng.integers(4, 16)), bodies=True)
    for _ in range(int(rng.integers(2))):
        s.weight((3, 2))  # Read by nobody.
    outputs = chosen_outputs(s, inputs)
    graph = s.graph("graph", [info(value.name, value.dims) for value in inputs],
                    [info(value.name, value.dims) for value in outputs])
    ir_version = OPSETS[opset]
    bodies = any(attribute.type == onnx.AttributeProto.GRAPH for node in s.nodes for attribute in node.attribute)
    if opset < 15 and not bodies and s.chance(0.2):
        ir_version = 3  # Constants are among the inputs there.
        graph.input.extend(info(tensor.name, tuple(tensor.dims), tensor.data_type) for tensor in graph.initializer)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version,
                              producer_name="halfsafe-tests")
    size = 10.0 ** rng.choice([0.0, 0.0, 0.0, -2.0, 2.0, 3.5])
    return RandomGraph(model, [{value.name: drawn(rng, value.dims, size) for value in inputs} for _ in range(samples)])


def drawn(rng: np.random.Generator, dims: Dims, size: float) -> np.ndarray:
    shape = [int(rng.integers(1, 4)) if dim == FREE else dim for dim in dims]
    return (rng.standard_normal(shape) * size).astype(np.float32)


def chosen_outputs(s: Scope, inputs: list[Value]) -> list[Value]:
    """Most of what nobody reads; the rest stays unused. Some of what is read, an input now and then."""
    read = {name for node in s.nodes for name in node.input}
    made = [value for value in s.pool if value not in inputs]
    chosen = [value for value in made if value.name not in read and s.chance(0.9)]
    chosen += [value for value in made if value.name in read and s.chance(0.05)]
    if s.chance(0.05):
        chosen.append(inputs[0])
    if not chosen:
        chosen = made[-1:] or [s.add("Neg", [inputs[0].name], inputs[0].dims)]
    return list(dict.fromkeys(chosen))


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    made, folder = make(int(sys.argv[1])), pathlib.Path(sys.argv[2])
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    onnx.save(made.model, folder / "model.onnx")
    for index, sample in enumerate(made.samples):
        # Names of inputs may hold a slash, which an archive can't.
        for name, values in sample.items():
            (folder / "samples" / str(index)).mkdir(exist_ok=True)
            np.save(folder / "samples" / str(index) / (name.replace("/", "_").replace(":", "_") + ".npy"), values)
    print(onnx.printer.to_text(made.model))
    return 0


if __name__ == "__main__":
    sys.exit(main())
