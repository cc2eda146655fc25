"""Small models, made on the spot, each with samples: every shape of graph that a converter has to get right.

A case is a function that returns a Case. Names in CASES are what tests choose by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, ValueInfoProto, helper, numpy_helper

Sample = dict[str, np.ndarray]
F32, F16, BF16, F64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE
I32, I64, BOOL = TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL
Shape = Sequence[int | str | None] | None

OPSETS = (7, 9, 11, 13, 15, 17, 19, 21, 23, 25)


@dataclass
class Case:
    model: ModelProto
    samples: list[Sample]
    # Nodes that must be FP32 whatever else happens, by name.
    fp32: tuple[str, ...] = ()
    # Nodes that are FP16 where inputs and outputs are: these graphs are too small to be worth a Cast.
    fp16: tuple[str, ...] = ()
    # Tensors past the threshold, exactly; None where a case makes no statement.
    overflowing: tuple[str, ...] | None = None


@dataclass
class Builder:
    """Collects the parts of a graph; `node` returns the name of the first output."""

    opset: int = 17
    nodes: list[NodeProto] = field(default_factory=list)
    inputs: list[ValueInfoProto] = field(default_factory=list)
    outputs: list[ValueInfoProto] = field(default_factory=list)
    weights: list[TensorProto] = field(default_factory=list)

    def input(self, name: str, shape: Shape, dtype: int = F32) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, name: str, shape: Shape = None, dtype: int = F32) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def weight(self, name: str, values: np.ndarray | Sequence | float, dtype: type = np.float32) -> str:
        self.weights.append(numpy_helper.from_array(np.asarray(values, dtype=dtype), name))
        return name

    def node(self, op: str, inputs: Iterable[str], *outputs: str, name: str | None = None, **attributes) -> str:
        # A name of None is the usual one, made from the first output; "" leaves the node without.
        chosen = f"node_{outputs[0]}" if name is None else name
        self.nodes.append(helper.make_node(op, list(inputs), list(outputs), chosen, **attributes))
        return outputs[0]

    def graph(self, name: str = "graph") -> GraphProto:
        return helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.weights)

    def model(self, ir_version: int = 8, domains: Sequence[str] = (), functions: Sequence = ()) -> ModelProto:
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        return helper.make_model(self.graph(), opset_imports=opsets, ir_version=ir_version, functions=list(functions),
                                 producer_name="halfsafe-tests")


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)


def samples(count: int = 3, /, **shapes: Sequence[int]) -> list[Sample]:
    return [{name: random(*shape, seed=100 + index) for name, shape in shapes.items()} for index in range(count)]


# ---------------------------------------------------------------- conv nets, every opset


def conv_net(opset: int, ir_version: int = 8) -> Case:
    """A conv net that passes 65504 in its middle, with the operators whose form changed from opset to opset."""
    b = Builder(opset)
    b.input("x", ["N", 3, 16, 16])
    b.weight("w1", random(8, 3, 3, 3, seed=1, scale=0.3))
    b.weight("b1", random(8, seed=2))
    b.node("Conv", ["x", "w1", "b1"], "c1", pads=[1, 1, 1, 1])
    for name, values in (("scale", np.ones(8)), ("shift", np.zeros(8)), ("mean", np.zeros(8)), ("var", np.ones(8))):
        b.weight(name, values)
    b.node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], "n1")
    b.node("Relu", ["n1"], "r1")
    b.weight("w2", random(8, 8, 3, 3, seed=3, scale=3e5))
    b.node("Conv", ["r1", "w2"], "c2", pads=[1, 1, 1, 1])
    b.node("Relu", ["c2"], "r2")
    b.weight("w3", random(4, 8, 1, 1, seed=4, scale=1e-6))
    b.node("Conv", ["r2", "w3"], "c3")
    _clip(b, "c3", "clipped")
    b.node("MaxPool", ["clipped"], "pooled", kernel_shape=[2, 2], strides=[2, 2])
    _upsample(b, "pooled", "up")
    _reduce_mean(b, "up", "mean4")
    _squeeze(b, "mean4", "flat")
    b.weight("w4", random(4, 5, seed=5))
    b.weight("b4", random(5, seed=6))
    b.node("Gemm", ["flat", "w4", "b4"], "logits")
    b.node("Softmax", ["logits"], "y", axis=1)
    b.output("y", ["N", 5])
    # The second Conv writes what overflows, the Relu and the third Conv read it.
    return Case(b.model(ir_version), [{"x": random(n, 3, 16, 16, seed=n)} for n in (1, 2, 1)],
                fp32=("node_c2", "node_r2", "node_c3"), fp16=("node_c1", "node_logits"), overflowing=("c2", "r2"))


def _clip(b: Builder, source: str, result: str) -> None:
    if b.opset < 11:
        b.node("Clip", [source], result, min=-6.0, max=6.0)
        return
    b.weight("low", -6.0)
    b.weight("high", 6.0)
    b.node("Clip", [source, "low", "high"], result)


def _upsample(b: Builder, source: str, result: str) -> None:
    scales = [1.0, 1.0, 2.0, 2.0]
    if b.opset < 9:
        b.node("Upsample", [source], result, scales=scales, mode="nearest")
        return
    b.weight("scales", scales)
    if b.opset < 10:
        b.node("Upsample", [source, "scales"], result, mode="nearest")
    elif b.opset < 11:
        b.node("Resize", [source, "scales"], result, mode="nearest")
    elif b.opset < 13:
        b.weight("roi", np.zeros(0))
        b.node("Resize", [source, "roi", "scales"], result, mode="nearest")
    else:
        b.node("Resize", [source, "", "scales"], result, mode="nearest")


def _reduce_mean(b: Builder, source: str, result: str) -> None:
    if b.opset < 18:
        b.node("ReduceMean", [source], result, axes=[2, 3], keepdims=1)
    else:
        b.weight("mean_axes", [2, 3], np.int64)
        b.node("ReduceMean", [source, "mean_axes"], result, keepdims=1)


def _squeeze(b: Builder, source: str, result: str) -> None:
    if b.opset < 13:
        b.node("Squeeze", [source], result, axes=[2, 3])
    else:
        b.weight("squeeze_axes", [2, 3], np.int64)
        b.node("Squeeze", [source, "squeeze_axes"], result)


def initializers_among_inputs() -> Case:
    case = conv_net(9, ir_version=3)
    for tensor in case.model.graph.initializer:
        case.model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return case


def unnamed_nodes() -> Case:
    case = conv_net(17)
    for node in case.model.graph.node:
        node.name = ""
    case.fp32 = ("c2", "r2", "c3")
    case.fp16 = ("c1", "logits")
    return case


# ---------------------------------------------------------------- transformers and masks


def transformer() -> Case:
    """Pre-norm blocks: the residual stream grows past 65504, every block normalizes it before reading."""
    b = Builder(17)
    b.input("x", ["N", 6, 16])
    stream = "x"
    for block in range(3):
        p = f"b{block}_"
        b.weight(p + "g", np.ones(16))
        b.weight(p + "s", np.zeros(16))
        b.node("LayerNormalization", [stream, p + "g", p + "s"], p + "norm", epsilon=1e-5)
        b.weight(p + "w1", random(16, 32, seed=block, scale=0.3))
        b.node("MatMul", [p + "norm", p + "w1"], p + "up")
        b.node("Relu", [p + "up"], p + "act")
        b.weight(p + "w2", random(32, 16, seed=block + 9, scale=3e4))
        b.node("MatMul", [p + "act", p + "w2"], p + "down")
        stream = b.node("Add", [stream, p + "down"], p + "sum")
    b.weight("g", np.ones(16))
    b.node("LayerNormalization", [stream, "g"], "y")
    b.output("y", ["N", 6, 16])
    return Case(b.model(), [{"x": random(n, 6, 16, seed=n)} for n in (1, 3, 2)],
                fp32=("node_b0_down", "node_b2_sum", "node_y"))


LOWEST = float(np.finfo(np.float32).min)


def _attention(b: Builder, scores: str, masked: str) -> None:
    b.node("Softmax", [masked], "weights", axis=-1)
    b.node("MatMul", ["weights", "v"], "y")
    b.output("y", [None, 8, 4])


def _scores(b: Builder) -> None:
    b.input("q", ["N", 8, 4])
    b.input("k", ["N", 4, 8])
    b.input("v", ["N", 8, 4])
    b.node("MatMul", ["q", "k"], "scores")


def _mask_samples(fully_masked: bool = False, dtype: type = np.float32) -> list[Sample]:
    made = samples(3, q=(2, 8, 4), k=(2, 4, 8), v=(2, 8, 4))
    for index, sample in enumerate(made):
        mask = np.ones((2, 1, 8), dtype=dtype)
        mask[:, :, 8 - 2 * index:] = 0
        if fully_masked and index == 1:
            mask[1] = 0
        sample["mask"] = mask
    return made


def mask_bert(fully_masked: bool = False, lowest: float = LOWEST) -> Case:
    """(1 - mask) * -3.4e38, added to the scores."""
    b = Builder(17)
    _scores(b)
    b.input("mask", ["N", 1, 8])
    b.weight("one", 1.0)
    b.weight("lowest", lowest)
    b.node("Sub", ["one", "mask"], "inverse")
    b.node("Mul", ["inverse", "lowest"], "penalty")
    b.node("Add", ["scores", "penalty"], "masked")
    _attention(b, "scores", "masked")
    held = ("node_penalty", "node_masked", "node_weights") if fully_masked else ()
    return Case(b.model(), _mask_samples(fully_masked), fp32=held, fp16=("node_scores",))


def mask_where(fully_masked: bool = False) -> Case:
    """Where(mask, scores, -3.4e38)."""
    b = Builder(17)
    _scores(b)
    b.input("mask", ["N", 1, 8], BOOL)
    b.weight("lowest", LOWEST)
    b.node("Where", ["mask", "scores", "lowest"], "masked")
    _attention(b, "scores", "masked")
    held = ("node_masked", "node_weights") if fully_masked else ()
    return Case(b.model(), _mask_samples(fully_masked, np.bool_), fp32=held, fp16=("node_scores",))


def mask_where_then_add() -> Case:
    """A bias of zeros and -3.4e38 is made by Where from two constants, then added."""
    b = Builder(17)
    _scores(b)
    b.input("mask", ["N", 1, 8], BOOL)
    b.weight("lowest", LOWEST)
    b.weight("zero", 0.0)
    b.node("Where", ["mask", "zero", "lowest"], "bias")
    b.node("Add", ["scores", "bias"], "masked")
    _attention(b, "scores", "masked")
    return Case(b.model(), _mask_samples(dtype=np.bool_), fp16=("node_scores",))


def mask_constant(shift: float = 0.0) -> Case:
    """A causal mask as a constant: zeros and -3.4e38."""
    b = Builder(17)
    _scores(b)
    b.weight("causal", np.triu(np.full((8, 8), LOWEST), 1))
    b.node("Add", ["scores", "causal"], "masked")
    _attention(b, "scores", "masked")
    made = _mask_samples()
    for sample in made:
        del sample["mask"]
        sample["q"] += shift
    return Case(b.model(), made, fp16=("node_scores",))


def mask_two_added() -> Case:
    """A causal and a padding mask, added to each other first: -inf in FP32 where both are set."""
    b = Builder(17)
    _scores(b)
    b.input("mask", ["N", 1, 8])
    b.weight("one", 1.0)
    b.weight("lowest", LOWEST / 2)
    b.weight("causal", np.triu(np.full((8, 8), LOWEST / 2), 1))
    b.node("Sub", ["one", "mask"], "inverse")
    b.node("Mul", ["inverse", "lowest"], "penalty")
    b.node("Add", ["causal", "penalty"], "both")
    b.node("Add", ["scores", "both"], "masked")
    _attention(b, "scores", "masked")
    return Case(b.model(), _mask_samples(), fp16=("node_scores", "node_masked", "node_weights"))


def mask_two_in_a_row() -> Case:
    """Two masks, one added after the other."""
    b = Builder(17)
    _scores(b)
    b.input("mask", ["N", 1, 8])
    b.weight("one", 1.0)
    b.weight("lowest", LOWEST / 2)
    b.weight("causal", np.triu(np.full((8, 8), LOWEST / 2), 1))
    b.node("Sub", ["one", "mask"], "inverse")
    b.node("Mul", ["inverse", "lowest"], "penalty")
    b.node("Add", ["scores", "causal"], "masked_once")
    b.node("Add", ["masked_once", "penalty"], "masked")
    _attention(b, "scores", "masked")
    return Case(b.model(), _mask_samples(), fp16=("node_scores", "node_masked", "node_weights"))


def mask_filled() -> Case:
    """As exporters write it today: filled with -3.4e38 by the shape of the scores, Trilu; padding by a Where on top."""
    b = Builder(17)
    _scores(b)
    b.input("mask", ["N", 1, 8], BOOL)
    b.node("Shape", ["scores"], "shape")
    b.weight("first", [1], np.int64)
    b.weight("last", [3], np.int64)
    b.weight("shift", 1, np.int64)
    b.weight("lowest", LOWEST)
    b.node("Slice", ["shape", "first", "last"], "square")
    b.node("ConstantOfShape", ["square"], "full", value=numpy_helper.from_array(np.array([LOWEST], np.float32)))
    b.node("Trilu", ["full", "shift"], "causal", upper=1)
    b.node("Where", ["mask", "causal", "lowest"], "both")
    b.node("Add", ["scores", "both"], "masked")
    _attention(b, "scores", "masked")
    return Case(b.model(), _mask_samples(dtype=np.bool_), fp16=("node_scores", "node_causal", "node_masked", "node_weights"))


def mask_given(fully_masked: bool = False) -> Case:
    """A mask of zeros and -3.4e38 that is an input."""
    b = Builder(17)
    _scores(b)
    b.input("mask", ["N", 1, 8])
    b.node("Add", ["scores", "mask"], "masked")
    _attention(b, "scores", "masked")
    made = _mask_samples(fully_masked)
    for sample in made:
        sample["mask"] = np.where(sample["mask"] > 0, 0, LOWEST).astype(np.float32)
    held = ("node_masked", "node_weights") if fully_masked else ()
    return Case(b.model(), made, fp32=held, fp16=("node_scores", *(() if fully_masked else ("node_masked", "node_weights"))))


def mask_shared_with_output() -> Case:
    """The penalty is an output too: clamping it would change what the user sees."""
    case = mask_bert()
    case.model.graph.output.append(helper.make_tensor_value_info("penalty", F32, ["N", 1, 8]))
    case.fp32 = ("node_penalty", "node_masked", "node_weights")
    return case


def tiny_epsilon() -> Case:
    """A written-out LayerNormalization whose epsilon FP16 turns into zero; constant rows divide by it alone."""
    b = Builder(17)
    b.input("x", ["N", 8])
    b.weight("eps", 1e-12)
    b.node("ReduceMean", ["x"], "mean", axes=[-1])
    b.node("Sub", ["x", "mean"], "centred")
    b.node("Mul", ["centred", "centred"], "square")
    b.node("ReduceMean", ["square"], "variance", axes=[-1])
    b.node("Add", ["variance", "eps"], "safe")
    b.node("Sqrt", ["safe"], "deviation")
    b.node("Div", ["centred", "deviation"], "y")
    b.output("y", ["N", 8])
    made = samples(2, x=(3, 8))
    made[1]["x"][1] = 0.5
    return Case(b.model(), made, fp32=("node_safe", "node_deviation"))


def index_arithmetic() -> Case:
    """Sizes computed in float: 3001 is not an FP16 number."""
    b = Builder(17)
    b.input("x", ["N", "L"])
    b.node("Shape", ["x"], "shape")
    b.weight("one", [1], np.int64)
    b.node("Gather", ["shape", "one"], "length")
    b.node("Cast", ["length"], "length_f", to=F32)
    b.weight("factor", [1.0])
    b.node("Mul", ["length_f", "factor"], "wanted_f")
    b.node("Floor", ["wanted_f"], "floor_f")
    b.node("Cast", ["floor_f"], "wanted", to=I64)
    b.weight("minus_one", [-1], np.int64)
    b.node("Concat", ["minus_one", "wanted"], "new_shape", axis=0)
    b.node("Reshape", ["x", "new_shape"], "reshaped")
    b.node("Relu", ["reshaped"], "y")
    b.output("y", ["N", "L"])
    return Case(b.model(), [{"x": random(n, length)} for n, length in ((2, 3001), (1, 2049))],
                fp32=("node_length_f", "node_wanted_f", "node_floor_f"), fp16=("node_y",))


def index_resize() -> Case:
    """Output sizes of a Resize, computed through float as exporters do."""
    b = Builder(13)
    b.input("x", ["N", 2, "H", "W"])
    b.node("Shape", ["x"], "shape")
    for name, values in (("first", [0]), ("two", [2]), ("four", [4]), ("axis", [0])):
        b.weight(name, values, np.int64)
    b.node("Slice", ["shape", "first", "two", "axis"], "outer")
    b.node("Slice", ["shape", "two", "four", "axis"], "inner")
    b.node("Cast", ["inner"], "inner_f", to=F32)
    b.weight("factor", [1.5])
    b.node("Mul", ["inner_f", "factor"], "size_f")
    b.node("Cast", ["size_f"], "size", to=I64)
    b.node("Concat", ["outer", "size"], "sizes", axis=0)
    b.node("Resize", ["x", "", "", "sizes"], "y", mode="linear", coordinate_transformation_mode="align_corners")
    b.output("y", ["N", 2, None, None])
    return Case(b.model(), [{"x": random(1, 2, 3, 1367)}, {"x": random(1, 2, 4, 5)}], fp32=("node_inner_f", "node_size_f"))


# ---------------------------------------------------------------- weights and graph ends


def shared_weight() -> Case:
    """One weight read by a node that overflows and by one that doesn't."""
    b = Builder(17)
    b.input("x", ["N", 8])
    b.weight("w", random(8, 8, seed=1))
    b.weight("big", 1e6)
    b.weight("small", 1e-6)
    b.node("MatMul", ["x", "w"], "a")
    b.node("Mul", ["a", "big"], "large")
    b.node("MatMul", ["large", "w"], "b")
    b.node("Mul", ["b", "small"], "c")
    b.node("Add", ["a", "c"], "y")
    b.output("y", ["N", 8])
    return Case(b.model(), samples(x=(2, 8)), fp32=("node_large", "node_b", "node_c"), overflowing=("large", "b"))


def large_weight() -> Case:
    """A BatchNormalization variance far past FP16, as PP-OCR has, between two Convs."""
    b = Builder(17)
    b.input("x", ["N", 3, 8, 8])
    b.weight("w1", random(4, 3, 3, 3, seed=1, scale=500))
    b.node("Conv", ["x", "w1"], "c1")
    for name, values in (("scale", [1, 2, 3, 4]), ("shift", [0, 0, 1, 1]), ("mean", [0] * 4), ("var", [9e7, 1e7, 5e6, 9e6])):
        b.weight(name, values)
    b.node("BatchNormalization", ["c1", "scale", "shift", "mean", "var"], "n1")
    b.weight("w2", random(2, 4, 3, 3, seed=2))
    b.node("Conv", ["n1", "w2"], "y")
    b.output("y", ["N", 2, 4, 4])
    return Case(b.model(), samples(x=(1, 3, 8, 8)), fp16=("node_y",))


def output_read_inside() -> Case:
    b = Builder(17)
    b.input("x", ["N", 8])
    b.weight("w", random(8, 8, seed=1))
    b.weight("big", 1e6)
    b.weight("small", 1e-6)
    b.node("MatMul", ["x", "w"], "a")
    b.node("Mul", ["a", "big"], "large")
    b.node("Mul", ["large", "small"], "b")
    b.node("Relu", ["b"], "y")
    for name in ("y", "large", "a"):
        b.output(name, ["N", 8])
    return Case(b.model(), samples(x=(2, 8)), fp32=("node_large", "node_b"), overflowing=("large",))


def input_is_output() -> Case:
    b = Builder(17)
    b.input("x", ["N", 4])
    b.input("z", ["N", 4])
    b.node("Relu", ["x"], "y")
    for name in ("y", "x", "z"):
        b.output(name, ["N", 4])
    return Case(b.model(), samples(x=(2, 4), z=(2, 4)))


def constant_is_output() -> Case:
    b = Builder(17)
    b.input("x", ["N", 4])
    b.weight("w", random(4, seed=1))
    b.node("Add", ["x", "w"], "y")
    b.node("Constant", [], "k", value=numpy_helper.from_array(np.float32([1.1, 2.2])))
    b.output("y", ["N", 4])
    b.output("w", [4])
    b.output("k", [2])
    return Case(b.model(), samples(x=(2, 4)))


def several_outputs() -> Case:
    """Split, TopK and LSTM; one part of the Split overflows, and an output of the LSTM is left out."""
    b = Builder(17)
    b.input("x", [3, 2, 8])
    b.weight("parts", [4, 4], np.int64)
    b.node("Split", ["x", "parts"], "low", "high", axis=2)
    b.weight("big", 1e6)
    b.node("Mul", ["high", "big"], "large")
    b.weight("small", 1e-6)
    b.node("Mul", ["large", "small"], "again")
    b.weight("w", random(1, 24, 4, seed=1, scale=0.5))
    b.weight("r", random(1, 24, 6, seed=2, scale=0.5))
    b.node("LSTM", ["low", "w", "r"], "seq", "", "cell", hidden_size=6)
    b.weight("k", [2], np.int64)
    b.node("TopK", ["again", "k"], "top", "where", axis=2)
    b.node("ReduceSum", ["seq"], "sum", keepdims=0)
    b.output("top", [3, 2, 2])
    b.output("cell", [1, 2, 6])
    b.output("sum", [])
    b.output("where", [3, 2, 2], I64)
    return Case(b.model(), samples(x=(3, 2, 8)), fp32=("node_large", "node_again"))


def resize_and_nms() -> Case:
    b = Builder(17)
    b.input("x", [1, 1, 6, 4])
    b.weight("scales", [1, 1, 1, 1])
    b.node("Resize", ["x", "", "scales"], "resized", mode="linear")
    b.node("Sigmoid", ["resized"], "boxes4")
    b.weight("boxes_shape", [1, 6, 4], np.int64)
    b.node("Reshape", ["boxes4", "boxes_shape"], "boxes")
    b.node("ReduceMax", ["boxes"], "best", axes=[2], keepdims=1)
    b.node("Transpose", ["best"], "scores", perm=[0, 2, 1])
    b.weight("most", [4], np.int64)
    b.weight("iou", [0.5])
    b.weight("floor", [0.1])
    b.node("NonMaxSuppression", ["boxes", "scores", "most", "iou", "floor"], "chosen")
    b.node("Relu", ["boxes"], "y")
    b.output("chosen", [None, 3], I64)
    b.output("y", [1, 6, 4])
    return Case(b.model(), samples(x=(1, 1, 6, 4)))


def qdq() -> Case:
    """A quantized model: QuantizeLinear and DequantizeLinear around a Conv, the weight stored in int8."""
    b = Builder(17)
    b.input("x", ["N", 3, 8, 8])
    b.weight("sx", 0.02)
    b.weight("zx", 0, np.int8)
    b.weight("sw", np.float32([0.01, 0.02]))
    b.weight("zw", [0, 0], np.int8)
    b.weight("wq", np.random.default_rng(1).integers(-128, 128, (2, 3, 3, 3)), np.int8)
    b.node("QuantizeLinear", ["x", "sx", "zx"], "xq")
    b.node("DequantizeLinear", ["xq", "sx", "zx"], "xd")
    b.node("DequantizeLinear", ["wq", "sw", "zw"], "wd", axis=0)
    b.node("Conv", ["xd", "wd"], "c")
    b.node("Relu", ["c"], "r")
    b.weight("w2", random(4, 2, 3, 3, seed=2))
    b.node("Conv", ["r", "w2"], "y")
    b.output("y", ["N", 4, 4, 4])
    return Case(b.model(), samples(x=(1, 3, 8, 8)))


def mixed_types() -> Case:
    """FP16, FP32, FP64 and BF16 in one model, with an overflow in the FP32 part."""
    b = Builder(17)
    b.input("x", ["N", 4])
    b.input("h", ["N", 4], F16)
    b.weight("wh", random(4, 4, seed=1), np.float16)
    b.node("MatMul", ["h", "wh"], "mh")
    b.node("Cast", ["mh"], "mf", to=F32)
    b.weight("big", 3e5)
    b.node("Mul", ["x", "big"], "large")
    b.node("Add", ["large", "mf"], "sum")
    b.node("Cast", ["sum"], "sum64", to=F64)
    b.weight("factor", 1e-6, np.float64)
    b.node("Mul", ["sum64", "factor"], "scaled64")
    b.node("Cast", ["scaled64"], "scaled", to=F32)
    b.node("Cast", ["x"], "xb", to=BF16)
    b.node("Cast", ["xb"], "xr", to=F32)
    b.node("Add", ["scaled", "xr"], "y")
    b.node("Cast", ["y"], "y16", to=F16)
    b.output("y", ["N", 4])
    b.output("scaled64", ["N", 4], F64)
    b.output("y16", ["N", 4], F16)
    made = samples(x=(2, 4), h=(2, 4))
    for sample in made:
        sample["h"] = sample["h"].astype(np.float16)
    return Case(b.model(), made, fp32=("node_large", "node_sum"))


def all_fp16() -> Case:
    """Nothing to do: the model is FP16 already."""
    b = Builder(17)
    b.input("x", ["N", 4], F16)
    b.weight("w", random(4, 4, seed=1), np.float16)
    b.node("MatMul", ["x", "w"], "m")
    b.node("Relu", ["m"], "y")
    b.output("y", ["N", 4], F16)
    return Case(b.model(), [{"x": random(2, 4).astype(np.float16)}])


# ---------------------------------------------------------------- bodies and functions


def if_inside() -> Case:
    """Both branches read a tensor from outside; one overflows on its way."""
    yes, no = Builder(), Builder()
    yes.weight("big", 1e6)
    yes.weight("small", 1e-6)
    yes.node("Mul", ["h", "big"], "large")
    yes.node("Mul", ["large", "small"], "t")
    yes.output("t", None)
    no.node("Relu", ["h"], "e")
    no.output("e", None)
    b = Builder(17)
    b.input("x", ["N", 4])
    b.weight("w", random(4, 4, seed=1))
    b.weight("zero", 0.0)
    b.node("MatMul", ["x", "w"], "h")
    b.node("ReduceSum", ["x"], "total", keepdims=0)
    b.node("Greater", ["total", "zero"], "positive")
    b.node("If", ["positive"], "picked", name="If_3", then_branch=yes.graph("yes"), else_branch=no.graph("no"))
    b.node("Sigmoid", ["picked"], "y")
    b.output("y", ["N", 4])
    made = [{"x": np.full((2, 4), value, dtype=np.float32)} for value in (0.5, -0.25, 1.5)]
    return Case(b.model(), made, fp32=("If_3/then_branch/node_large", "If_3/then_branch/node_t"),
                overflowing=("If_3/then_branch/large",))


def if_outside() -> Case:
    """What the branches read from outside overflows."""
    yes, no = Builder(), Builder()
    yes.weight("small", 1e-6)
    yes.node("Mul", ["large", "small"], "t")
    yes.output("t", None)
    no.weight("smaller", 1e-7)
    no.node("Mul", ["large", "smaller"], "e")
    no.output("e", None)
    b = Builder(17)
    b.input("x", ["N", 4])
    b.weight("big", 1e6)
    b.weight("zero", 0.0)
    b.node("Mul", ["x", "big"], "large")
    b.node("ReduceSum", ["x"], "total", keepdims=0)
    b.node("Greater", ["total", "zero"], "positive")
    b.node("If", ["positive"], "y", name="If_3", then_branch=yes.graph("yes"), else_branch=no.graph("no"))
    b.output("y", ["N", 4])
    made = [{"x": np.full((2, 4), value, dtype=np.float32)} for value in (0.5, -0.25)]
    return Case(b.model(), made, fp32=("node_large", "If_3/then_branch/node_t", "If_3/else_branch/node_e"),
                overflowing=("large",))


def twin_ifs(first: str = "", second: str = "p", outer: str = "p/then_branch/large") -> Case:
    """Two Ifs that go by one name, whose bodies call their tensors the same: one is calm, the other overflows, and
    types differ. A tensor of the main graph has a name that looks like the path of one of them."""
    def branches(factor: float, kind: int, negative: str) -> dict[str, GraphProto]:
        yes, no = Builder(), Builder()
        yes.weight("factor", factor)
        yes.weight("back", 1 / factor)
        yes.node("Mul", ["h", "factor"], "large", name="up")
        yes.node("Mul", ["large", "back"], "small", name="down")
        yes.node("Cast", ["small"], "other", name="cast", to=kind)
        yes.node("Cast", ["other"], "t", name="uncast", to=F32)
        yes.output("t")
        no.node(negative, ["h"], "e", name="negative")
        no.output("e")
        return {"then_branch": yes.graph("yes"), "else_branch": no.graph("no")}

    b = Builder(17)
    b.input("x", [2, 4])
    for go in ("go", "also"):
        b.input(go, [], BOOL)
    b.node("Relu", ["x"], "h")
    b.node("If", ["go"], "p", name=first, **branches(2.0, TensorProto.DOUBLE, "Neg"))
    b.node("If", ["also"], "q", name=second, **branches(1e6, F32, "Softplus"))
    b.node("Sigmoid", ["h"], outer)
    b.node("Sum", ["p", "q", outer], "y")
    b.output("y", [2, 4])
    made = [{"x": random(2, 4, seed=n), "go": np.array(n != 2), "also": np.array(n != 0)} for n in range(3)]
    body = f"{first or 'p'}/then_branch#2/"
    return Case(b.model(), made, fp32=(body + "up", body + "down"), overflowing=(body + "large",))


def if_passes_through() -> Case:
    """Branches whose outputs are a tensor from outside and a constant, with no node at all in one of them."""
    yes, no = Builder(), Builder()
    yes.node("Identity", ["h"], "t")
    yes.output("t", None)
    no.weight("e", random(2, 4, seed=7))
    no.output("e", None)
    b = Builder(17)
    b.input("x", [2, 4])
    b.input("positive", [], BOOL)
    b.node("Relu", ["x"], "h")
    b.node("If", ["positive"], "picked", name="If_3", then_branch=yes.graph("yes"), else_branch=no.graph("no"))
    b.node("Sigmoid", ["picked"], "y")
    b.output("y", [2, 4])
    return Case(b.model(), [{"x": random(2, 4, seed=n), "positive": np.array(n == 1)} for n in range(2)])


def loop(overflow: bool = True) -> Case:
    """A Loop that carries a value and stacks a scan output; it grows past 65504 on the way."""
    body = Builder()
    body.input("i", [], I64)
    body.input("going", [], BOOL)
    body.input("state", [2, 4])
    body.node("Identity", ["going"], "still")
    body.weight("factor", 10.0 if overflow else 1.1)
    body.node("Mul", ["state", "factor"], "grown")
    body.node("Add", ["grown", "h"], "next")
    body.node("Tanh", ["next"], "shown")
    body.output("still", [], BOOL)
    body.output("next", [2, 4])
    body.output("shown", [2, 4])
    b = Builder(17)
    b.input("x", [2, 4])
    b.weight("times", 7, np.int64)
    b.weight("start", random(2, 4, seed=3))
    b.node("Relu", ["x"], "h")
    b.node("Loop", ["times", "", "start"], "last", "all", name="Loop_1", body=body.graph("body"))
    b.weight("small", 1e-6)
    b.node("Mul", ["last", "small"], "y")
    b.output("y", [2, 4])
    b.output("all", [None, 2, 4])
    held = ("Loop_1", "Loop_1/body/node_grown", "Loop_1/body/node_next") if overflow else ()
    return Case(b.model(), samples(x=(2, 4)), fp32=held)


def scan(overflow: bool = True) -> Case:
    """A Scan over rows with a running sum."""
    body = Builder()
    body.input("state", [4])
    body.input("row", [4])
    body.weight("factor", 1e5 if overflow else 1.0)
    body.node("Mul", ["row", "factor"], "scaled")
    body.node("Add", ["state", "scaled"], "next")
    body.node("Sigmoid", ["next"], "shown")
    body.output("next", [4])
    body.output("shown", [4])
    b = Builder(17)
    b.input("x", ["L", 4])
    b.weight("start", np.zeros(4))
    b.node("Relu", ["x"], "h")
    b.node("Scan", ["start", "h"], "last", "all", name="Scan_1", body=body.graph("body"), num_scan_inputs=1)
    b.weight("small", 1e-6)
    b.node("Mul", ["last", "small"], "y")
    b.output("y", [4])
    b.output("all", ["L", 4])
    held = ("Scan_1", "Scan_1/body/node_scaled", "Scan_1/body/node_next") if overflow else ()
    return Case(b.model(), [{"x": random(rows, 4, seed=rows)} for rows in (3, 5)], fp32=held)


def nested_bodies() -> Case:
    """An If inside a Loop inside an If, each reading from every level above."""
    inner_yes, inner_no, body, yes, no = (Builder() for _ in range(5))
    inner_yes.node("Add", ["state", "h"], "iy")
    inner_yes.output("iy", [2, 4])
    inner_no.weight("half", 0.5)
    inner_no.node("Mul", ["state", "half"], "im")
    inner_no.output("im", [2, 4])
    body.input("i", [], I64)
    body.input("going", [], BOOL)
    body.input("state", [2, 4])
    body.weight("two", 2, np.int64)
    body.node("Identity", ["going"], "still")
    body.node("Less", ["i", "two"], "early")
    body.node("If", ["early"], "chosen", name="If_in", then_branch=inner_yes.graph("iy"), else_branch=inner_no.graph("im"))
    body.node("Mul", ["chosen", "scale"], "next")
    body.output("still", [], BOOL)
    body.output("next", [2, 4])
    yes.weight("scale", 3.0)
    yes.weight("times", 4, np.int64)
    yes.node("Loop", ["times", "", "h"], "looped", name="Loop_in", body=body.graph("body"))
    yes.output("looped", [2, 4])
    no.node("Neg", ["h"], "negative")
    no.output("negative", [2, 4])
    b = Builder(17)
    b.input("x", [2, 4])
    b.input("go", [], BOOL)
    b.node("Relu", ["x"], "h")
    b.node("If", ["go"], "picked", name="If_out", then_branch=yes.graph("yes"), else_branch=no.graph("no"))
    b.node("Sigmoid", ["picked"], "y")
    b.output("y", [2, 4])
    return Case(b.model(), [{"x": random(2, 4, seed=n), "go": np.array(n != 1)} for n in range(3)])


def loop_captures_overflow() -> Case:
    """A body reads from outside what overflows, and a weight from outside."""
    body = Builder()
    body.input("i", [], I64)
    body.input("going", [], BOOL)
    body.input("state", [2, 4])
    body.node("Identity", ["going"], "still")
    body.node("Mul", ["large", "small"], "back")
    body.node("MatMul", ["back", "w"], "turned")
    body.node("Add", ["state", "turned"], "next")
    body.output("still", [], BOOL)
    body.output("next", [2, 4])
    b = Builder(17)
    b.input("x", [2, 4])
    for name, value in (("big", 1e6), ("small", 1e-6)):
        b.weight(name, value)
    b.weight("w", random(4, 4, seed=1))
    b.weight("times", 3, np.int64)
    b.node("Mul", ["x", "big"], "large")
    b.node("MatMul", ["x", "w"], "start")
    b.node("Loop", ["times", "", "start"], "y", name="Loop_1", body=body.graph("body"))
    b.output("y", [2, 4])
    return Case(b.model(), samples(x=(2, 4)), fp32=("node_large", "Loop_1/body/node_back"), overflowing=("large",))


def functions() -> Case:
    """A model-local function that calls another, with an attribute passed through, used twice."""
    opset = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    slope = helper.make_node("LeakyRelu", ["fa"], ["fb"], "leak")
    slope.attribute.append(onnx.AttributeProto(name="alpha", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    inner = helper.make_function("local", "Inner", ["fa"], ["fb"], [slope], opset, ["slope"])
    call = helper.make_node("Inner", ["fm"], ["fn"], "call", domain="local")
    call.attribute.append(onnx.AttributeProto(name="slope", type=onnx.AttributeProto.FLOAT, ref_attr_name="slope"))
    outer = helper.make_function("local", "Outer", ["fx", "fw"], ["fy"], [
        helper.make_node("MatMul", ["fx", "fw"], ["fm"], "mm"), call,
        helper.make_node("Constant", [], ["fc"], "c", value_float=2e5),
        helper.make_node("Mul", ["fn", "fc"], ["fl"], "large"),
        helper.make_node("Constant", [], ["fd"], "d", value_float=1e-5),
        helper.make_node("Mul", ["fl", "fd"], ["fy"], "small")], opset, ["slope"])
    b = Builder(17)
    b.input("x", ["N", 4])
    b.weight("w", random(4, 4, seed=1))
    b.node("Outer", ["x", "w"], "one", domain="local", slope=0.1)
    b.node("Outer", ["one", "w"], "two", domain="local", slope=0.2)
    b.node("Relu", ["two"], "y")
    b.output("y", ["N", 4])
    return Case(b.model(domains=["local"], functions=[inner, outer]), samples(x=(2, 4)))


# ---------------------------------------------------------------- constants, odd sizes, broken numbers


def constants() -> Case:
    """Constant nodes of every kind, and ConstantOfShape."""
    b = Builder(17)
    b.input("x", ["N", 4])
    b.node("Constant", [], "tensor", value=numpy_helper.from_array(random(4, seed=1)))
    b.node("Constant", [], "typed", value=helper.make_tensor("typed", F32, [4], [0.25, -7e4, 3.0, 1e-7]))
    b.node("Constant", [], "scalar", value_float=1.25)
    b.node("Constant", [], "list", value_floats=[1.0, 2.0, 3.0, 4.0])
    b.node("Constant", [], "double", value=numpy_helper.from_array(np.float64([1e300, 1, 0, -1])))
    b.node("Constant", [], "half", value=numpy_helper.from_array(np.float16([60000, 1e-7, 0, -1])))
    b.node("Constant", [], "axis", value_int=0)
    b.node("Constant", [], "shape", value_ints=[1, 4])
    b.node("ConstantOfShape", ["shape"], "filled", value=numpy_helper.from_array(np.float32([2.5])))
    b.node("ConstantOfShape", ["shape"], "zeros")
    b.node("Sum", ["x", "tensor", "typed", "scalar", "list", "filled", "zeros"], "sum")
    b.weight("small", 1e-6)
    b.node("Mul", ["sum", "small"], "y")
    b.node("Cast", ["half"], "half_f", to=F32)
    b.node("Cast", ["double"], "double_n", to=I64)
    b.node("Gather", ["sum", "axis"], "row", axis=0)
    b.output("y", ["N", 4])
    b.output("half_f", [4])
    b.output("double_n", [4], I64)
    b.output("row", [4])
    return Case(b.model(), samples(x=(2, 4)))


def sparse(name: str, values: np.ndarray, by_dimension: bool = False) -> SparseTensorProto:
    """What of `values` is not zero, with one index a value or one a dimension."""
    places = np.nonzero(values)
    indices = np.stack(places, axis=1) if by_dimension else np.ravel_multi_index(places, values.shape)
    return helper.make_sparse_tensor(numpy_helper.from_array(values[places], name),
                                     numpy_helper.from_array(indices.astype(np.int64)), values.shape)


def sparse_constants() -> Case:
    """Sparse initializers and Constant nodes, in bodies too, of several types and past FP16's range."""
    def filled(shape: tuple[int, ...], seed: int, dtype: type = np.float32) -> np.ndarray:
        return np.where(random(*shape, seed=seed) > 0.5, random(*shape, seed=seed + 1), 0).astype(dtype)

    body = Builder(17)
    body.node("Constant", [], "inner", sparse_value=sparse("", filled((4, 8), 5)))
    body.node("MatMul", ["f", "inner"], "from_node")
    body.node("MatMul", ["from_node", "square"], "then")
    body.output("then", ["N", 8])
    then_branch = body.graph("then")
    then_branch.sparse_initializer.append(sparse("square", filled((8, 8), 6), by_dimension=True))
    other = Builder(17)
    other.node("Concat", ["f", "f"], "else", axis=1)
    other.output("else", ["N", 8])

    b = Builder(17)
    b.input("x", ["N", 4])
    past = filled((4,), 1)
    past[2] = 3e5
    b.node("Constant", [], "past", sparse_value=sparse("", past, by_dimension=True))
    b.node("Constant", [], "half", sparse_value=sparse("", filled((4, 4), 2, np.float16)))
    b.node("Constant", [], "shape", sparse_value=sparse("", np.int64([0, 4])))
    b.node("Constant", [], "zero", sparse_value=sparse("", np.zeros(4, np.float32)))
    b.node("MatMul", ["x", "weight"], "m")
    b.node("Add", ["m", "past"], "a")
    b.node("Sub", ["a", "past"], "d")
    b.node("Cast", ["half"], "half_f", to=F32)
    b.node("MatMul", ["d", "half_f"], "e")
    b.node("Reshape", ["e", "shape"], "r")
    b.node("Add", ["r", "zero"], "f")
    b.node("ReduceSum", ["f"], "total", keepdims=0)
    b.node("Greater", ["total", "zero_scalar"], "positive")
    b.weight("zero_scalar", 0.0)
    b.node("If", ["positive"], "y", then_branch=then_branch, else_branch=other.graph("else"))
    b.output("d", ["N", 4])
    b.output("y", ["N", 8])
    model = b.model()
    model.graph.sparse_initializer.append(sparse("weight", filled((4, 4), 3)))
    return Case(model, samples(x=(2, 4)))


def odd_sizes() -> Case:
    """Scalars, tensors without elements, and a size of zero that only one sample has."""
    b = Builder(17)
    b.input("x", ["N", 4])
    b.input("s", [])
    b.weight("empty", np.zeros((0, 4)))
    b.weight("one", 1.5)
    b.node("Concat", ["x", "empty"], "joined", axis=0)
    b.node("Mul", ["joined", "s"], "scaled")
    b.node("Add", ["s", "one"], "next")
    b.node("Relu", ["empty"], "nothing")
    b.node("Add", ["scaled", "next"], "y")
    b.output("y", ["N", 4])
    b.output("nothing", [0, 4])
    b.output("next", [])
    return Case(b.model(), [{"x": random(n, 4, seed=n), "s": np.array(n + 0.5, dtype=np.float32)} for n in (2, 0, 1)])


def broken_numbers() -> Case:
    """NaN and infinity in FP32 already, and numbers of every size."""
    b = Builder(17)
    b.input("x", ["N", 8])
    b.node("Log", ["x"], "log")
    b.node("Sqrt", ["log"], "root")
    b.node("Div", ["x", "x"], "quotient")
    b.node("Relu", ["x"], "y")
    b.weight("square", 1e30)
    b.node("Mul", ["x", "square"], "huge")
    for name in ("y", "root", "quotient", "huge"):
        b.output(name, ["N", 8])
    edges = np.float32([0, -0.0, 65504, -65520, 1e-8, 6.1e-5, 2**-25, 3e38])
    return Case(b.model(), [{"x": edges[None]}, {"x": np.float32([[1, -1, 1e-40, 1e9, 2**-14, 2**-24, 5, -3e38]])}])


def every_size(count: int = 70000) -> Case:
    """Numbers of every power of two, enough of them to be split among threads."""
    b = Builder(17)
    b.input("x", ["N"])
    b.node("Neg", ["x"], "y")
    b.output("y", ["N"])
    generator = np.random.default_rng(5)
    bits = generator.integers(0, 2**32, count, dtype=np.uint32).view(np.float32)
    return Case(b.model(), [{"x": np.nan_to_num(bits, nan=1.0)}, {"x": np.nan_to_num(bits[: count // 3], nan=-1.0)}])


def normalizations() -> Case:
    """GroupNormalization-like parts, InstanceNormalization, pools: sums that can pass 65504 on the way."""
    b = Builder(17)
    b.input("x", ["N", 4, 8, 8])
    b.weight("g", np.ones(4))
    b.weight("s", np.zeros(4))
    b.node("InstanceNormalization", ["x", "g", "s"], "inorm")
    b.node("GlobalAveragePool", ["x"], "pool")
    b.node("ReduceL2", ["x"], "norm", axes=[1], keepdims=1)
    b.node("AveragePool", ["inorm"], "avg", kernel_shape=[2, 2], strides=[2, 2])
    b.node("ReduceMean", ["avg"], "mean", axes=[2, 3], keepdims=1)
    b.node("Add", ["pool", "mean"], "y")
    b.output("y", ["N", 4, 1, 1])
    b.output("norm", ["N", 1, 8, 8])
    made = [{"x": random(1, 4, 8, 8, seed=n, scale=2000) + 3000} for n in range(2)]
    return Case(b.model(), made)


def chain_of_reshapes() -> Case:
    """Operators that only move values."""
    b = Builder(17)
    b.input("x", ["N", 2, 6])
    b.weight("shape", [-1, 12], np.int64)
    b.node("Reshape", ["x", "shape"], "flat")
    b.weight("axis", [0], np.int64)
    b.node("Unsqueeze", ["flat", "axis"], "more")
    b.node("Transpose", ["more"], "turned", perm=[0, 2, 1])
    b.node("Identity", ["turned"], "same")
    b.node("Flatten", ["same"], "level", axis=1)
    b.weight("big", 1e5)
    b.node("Mul", ["level", "big"], "large")
    b.node("Reshape", ["large", "shape"], "large_flat")
    b.weight("small", 1e-5)
    b.node("Mul", ["large_flat", "small"], "y")
    b.output("y", ["N", 12])
    return Case(b.model(), [{"x": random(n, 2, 6, seed=n)} for n in (1, 2)],
                fp32=("node_large", "node_large_flat", "node_y"), overflowing=("large", "large_flat"))


def dropout_and_optional() -> Case:
    """Left-out inputs and outputs, in the middle and at the end."""
    b = Builder(17)
    b.input("x", ["N", 4])
    b.weight("high", 6.0)
    b.node("Clip", ["x", "", "high"], "clipped")
    b.weight("ratio", 0.0)
    b.node("Dropout", ["clipped", "ratio"], "dropped", "kept")
    b.node("Relu", ["dropped"], "y")
    b.output("y", ["N", 4])
    b.output("kept", ["N", 4], BOOL)
    return Case(b.model(), samples(x=(2, 4)))


def casts_in_the_model() -> Case:
    """FP32 -> FP16 -> FP32 written by the user: rounding on purpose, which must stay."""
    b = Builder(17)
    b.input("x", ["N", 4])
    b.node("Cast", ["x"], "h", to=F16)
    b.node("Cast", ["h"], "f", to=F32)
    b.weight("w", random(4, 4, seed=1))
    b.node("MatMul", ["f", "w"], "m")
    b.node("Cast", ["m"], "n", to=I32)
    b.node("Cast", ["n"], "y", to=F32)
    b.output("y", ["N", 4])
    made = samples(x=(2, 4))
    for sample in made:
        sample["x"] = np.round(sample["x"] * 10)
    return Case(b.model(), made)


def einsum_and_friends() -> Case:
    b = Builder(17)
    b.input("x", ["N", 3, 4])
    b.weight("w", random(4, 5, seed=1))
    b.node("Einsum", ["x", "w"], "e", equation="nij,jk->nik")
    b.node("CumSum", ["e", "axis"], "c")
    b.weight("axis", 1, np.int64)
    b.node("HardSwish", ["c"], "hs")
    b.node("Gelu", ["hs"], "g") if b.opset >= 20 else b.node("Elu", ["hs"], "g")
    b.node("ArgMax", ["g"], "top", axis=2, keepdims=0)
    b.node("Pad", ["g", "pads", "fill"], "y", mode="constant")
    b.weight("pads", [0, 0, 0, 0, 1, 1], np.int64)
    b.weight("fill", -1.0)
    b.output("y", ["N", 4, 6])
    b.output("top", ["N", 3], I64)
    return Case(b.model(), samples(x=(2, 3, 4)))


def random_generators() -> Case:
    """Operators that make floats from nothing: Range, EyeLike, OneHot, ConstantOfShape."""
    b = Builder(17)
    b.input("x", ["N", 4])
    b.weight("r0", 0.0)
    b.weight("r1", 4.0)
    b.weight("r2", 1.0)
    b.node("Range", ["r0", "r1", "r2"], "range")
    b.node("EyeLike", ["square"], "eye", dtype=F32)
    b.weight("square", np.zeros((4, 4)), np.int64)
    b.weight("ids", [0, 3], np.int64)
    b.weight("depth", 4, np.int64)
    b.weight("off_on", [0.0, 1.0])
    b.node("OneHot", ["ids", "depth", "off_on"], "hot")
    b.node("MatMul", ["x", "eye"], "m")
    b.node("Add", ["m", "range"], "a")
    b.node("Add", ["a", "hot"], "y")
    b.output("y", [2, 4])
    return Case(b.model(), samples(x=(2, 4)))


def sequences() -> Case:
    b = Builder(17)
    b.input("x", ["N", 4])
    b.node("SplitToSequence", ["x"], "seq", axis=1, keepdims=1)
    b.weight("one", 1, np.int64)
    b.node("SequenceAt", ["seq", "one"], "second")
    b.node("ConcatFromSequence", ["seq"], "joined", axis=1)
    b.node("Add", ["joined", "second"], "y")
    b.output("y", ["N", 4])
    return Case(b.model(), samples(x=(2, 4)))


CASES: dict[str, Callable[[], Case]] = {
    **{f"conv_net_{opset}": (lambda opset=opset: conv_net(opset, 8 if opset < 19 else 9 if opset < 21 else 10))
       for opset in OPSETS},
    "initializers_among_inputs": initializers_among_inputs,
    "unnamed_nodes": unnamed_nodes,
    "transformer": transformer,
    "mask_bert": mask_bert,
    "mask_bert_fully": lambda: mask_bert(fully_masked=True),
    "mask_bert_infinite": lambda: mask_bert(lowest=-1e9),
    "mask_where": mask_where,
    "mask_where_fully": lambda: mask_where(fully_masked=True),
    "mask_where_then_add": mask_where_then_add,
    "mask_constant": mask_constant,
    "mask_two_added": mask_two_added,
    "mask_two_in_a_row": mask_two_in_a_row,
    "mask_filled": mask_filled,
    "mask_given": mask_given,
    "mask_given_fully": lambda: mask_given(fully_masked=True),
    "mask_shared_with_output": mask_shared_with_output,
    "tiny_epsilon": tiny_epsilon,
    "index_arithmetic": index_arithmetic,
    "index_resize": index_resize,
    "shared_weight": shared_weight,
    "large_weight": large_weight,
    "output_read_inside": output_read_inside,
    "input_is_output": input_is_output,
    "constant_is_output": constant_is_output,
    "several_outputs": several_outputs,
    "resize_and_nms": resize_and_nms,
    "qdq": qdq,
    "mixed_types": mixed_types,
    "all_fp16": all_fp16,
    "if_inside": if_inside,
    "if_outside": if_outside,
    "if_passes_through": if_passes_through,
    "loop": loop,
    "loop_calm": lambda: loop(overflow=False),
    "scan": scan,
    "scan_calm": lambda: scan(overflow=False),
    "nested_bodies": nested_bodies,
    "loop_captures_overflow": loop_captures_overflow,
    "functions": functions,
    "constants": constants,
    "sparse_constants": sparse_constants,
    "odd_sizes": odd_sizes,
    "broken_numbers": broken_numbers,
    "every_size": every_size,
    "normalizations": normalizations,
    "chain_of_reshapes": chain_of_reshapes,
    "dropout_and_optional": dropout_and_optional,
    "casts_in_the_model": casts_in_the_model,
    "einsum_and_friends": einsum_and_friends,
    "random_generators": random_generators,
    "sequences": sequences,
}
