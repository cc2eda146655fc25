#!/usr/bin/env python3
"""Writes the small models of docs/howto/, each of which breaks in FP16 in one way, and samples for them.

usage: make_models.py NAME FOLDER

Writes FOLDER/model.onnx in FP32, FOLDER/samples/*.npz, and FOLDER/naive_fp16.onnx: the same model with every weight clamped
to FP16's range and every tensor in FP16, as simple converters make it. A FOLDER that is there is replaced.

    stream       a residual stream that grows past 65504, and a LayerNormalization behind it
    layernorm    a LayerNorm written out as Sub, Pow, ReduceMean ...: the squares pass 65504
    mask         attention with a padding mask of -3.4e38
    mask_empty   the same with larger scores and a sample that hides every position
    weights      a BatchNormalization with a variance of 1e8
    epsilon      a norm with an epsilon of 1e-12, and rows of zeros
    cancel       a difference of two numbers near 2000: nothing overflows, and the result is wrong
    exported     a residual stream in FP16 throughout, as a model exported after .half() is, with a clamp at 65504
    custom       an operator of a library that only ONNX Runtime knows (tests/custom_op)
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 256  # So wide that FP16 saves more than Casts cost.
ROWS = 64
OPSET = 17
LARGEST_HALF = float(np.finfo(np.float16).max)
LOWEST_FLOAT = np.finfo(np.float32).min

Samples = list[dict[str, np.ndarray]]


class Graph:
    """A graph that is built node by node; each node's only result has the node's name."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(2024)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, op_type: str, name: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name, **attributes))
        return name

    def constant(self, name: str, values: object, dtype: type = np.float32) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def weight(self, name: str, *shape: int, gain: float = 1.0) -> str:
        """Drawn so that what it is multiplied with keeps its size, times gain."""
        fan_in = np.prod(shape[1:]) if len(shape) == 4 else shape[0]
        return self.constant(name, self.random.normal(0, gain / np.sqrt(fan_in), shape))

    def linear(self, name: str, x: str, gain: float = 1.0) -> str:
        return self.node("MatMul", name, x, self.weight(name + ".weight", WIDTH, WIDTH, gain=gain))

    def model(self, inputs: dict[str, tuple[int, list[int]]], output: str, shape: list[int]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes, "model", [helper.make_tensor_value_info(name, *spec) for name, spec in inputs.items()],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)], self.constants)
        domains = sorted({node.domain for node in self.nodes} - {""})
        opsets = [helper.make_opsetid("", OPSET), *(helper.make_opsetid(domain, 1) for domain in domains)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def rows(graph: Graph, count: int = 4, size: float = 1.0) -> Samples:
    return [{"x": graph.random.normal(0, size, (1, ROWS, WIDTH)).astype(np.float32)} for _ in range(count)]


def rows_model(graph: Graph, output: str) -> onnx.ModelProto:
    shape = [1, ROWS, WIDTH]
    return graph.model({"x": (TensorProto.FLOAT, shape)}, output, shape)


def stream() -> tuple[onnx.ModelProto, Samples]:
    graph = Graph()
    x = "x"
    for index, gain in enumerate((30.0, 40.0, 500.0)):
        up = graph.node("Relu", f"/block.{index}/act/Relu", graph.linear(f"/block.{index}/up/MatMul", x))
        x = graph.node("Add", f"/block.{index}/Add", x, graph.linear(f"/block.{index}/down/MatMul", up, gain))
    scale, bias = graph.constant("norm.weight", np.ones(WIDTH)), graph.constant("norm.bias", np.zeros(WIDTH))
    y = graph.linear("/head/MatMul", graph.node("LayerNormalization", "/norm/LayerNormalization", x, scale, bias))
    model = rows_model(graph, y)
    # The last two samples are larger than the others: what they show, the others do not.
    return model, rows(graph, 6, 0.01) + rows(graph, 2)


def layernorm() -> tuple[onnx.ModelProto, Samples]:
    graph = Graph()
    x = graph.linear("/proj/MatMul", "x", 150.0)
    mean = graph.node("ReduceMean", "/norm/ReduceMean", x, axes=[-1])
    centred = graph.node("Sub", "/norm/Sub", x, mean)
    squares = graph.node("Pow", "/norm/Pow", centred, graph.constant("two", 2.0))
    variance = graph.node("ReduceMean", "/norm/ReduceMean_1", squares, axes=[-1])
    guarded = graph.node("Add", "/norm/Add", variance, graph.constant("epsilon", 1e-5))
    ratio = graph.node("Div", "/norm/Div", centred, graph.node("Sqrt", "/norm/Sqrt", guarded))
    scaled = graph.node("Mul", "/norm/Mul", ratio, graph.constant("norm.weight", np.ones(WIDTH)))
    shifted = graph.node("Add", "/norm/Add_1", scaled, graph.constant("norm.bias", np.zeros(WIDTH)))
    y = graph.linear("/head/MatMul", shifted)
    return rows_model(graph, y), rows(graph)


def mask(lengths: tuple[int, ...] = (ROWS, 40, 12, 3), gain: float = 1.0) -> tuple[onnx.ModelProto, Samples]:
    graph = Graph()
    query = graph.linear("/query/MatMul", "x", gain)
    key, value = (graph.linear(f"/{name}/MatMul", "x") for name in ("key", "value"))
    scores = graph.node("MatMul", "/attention/MatMul", query, graph.node("Transpose", "/key/Transpose", key, perm=[0, 2, 1]))
    scores = graph.node("Div", "/attention/Div", scores, graph.constant("root", np.sqrt(WIDTH)))
    seen = graph.node("Cast", "/mask/Cast", graph.node("Unsqueeze", "/mask/Unsqueeze", "attention_mask",
                                                       graph.constant("axis", [1], np.int64)), to=TensorProto.FLOAT)
    hidden = graph.node("Sub", "/mask/Sub", graph.constant("one", 1.0), seen)
    added = graph.node("Mul", "/mask/Mul", hidden, graph.constant("lowest", LOWEST_FLOAT))
    share = graph.node("Softmax", "/attention/Softmax", graph.node("Add", "/attention/Add", scores, added), axis=-1)
    y = graph.linear("/out/MatMul", graph.node("MatMul", "/attention/MatMul_1", share, value))
    shape = [1, ROWS, WIDTH]
    model = graph.model({"x": (TensorProto.FLOAT, shape), "attention_mask": (TensorProto.INT64, [1, ROWS])}, y, shape)
    samples = rows(graph)
    for sample, length in zip(samples, lengths):
        sample["attention_mask"] = (np.arange(ROWS) < length).astype(np.int64)[None]
    return model, samples


def mask_empty() -> tuple[onnx.ModelProto, Samples]:
    return mask((ROWS, 40, 12, 0), 12.0)


def weights() -> tuple[onnx.ModelProto, Samples]:
    graph = Graph()
    channels, size = 64, 48
    kernel = graph.random.normal(0, 1 / np.sqrt(27), (channels, 3, 3, 3))
    kernel[:4] *= 5000.0
    variance = np.ones(channels)
    variance[:4] = [2.5e7, 2.4e7, 9.8e7, 1.1e7]
    x = graph.node("Conv", "/stem/Conv", "x", graph.constant("stem.weight", kernel), pads=[1, 1, 1, 1])
    x = graph.node("BatchNormalization", "/stem/BatchNormalization", x, graph.constant("bn.weight", np.ones(channels)),
                   graph.constant("bn.bias", np.zeros(channels)), graph.constant("bn.running_mean", np.zeros(channels)),
                   graph.constant("bn.running_var", variance))
    x = graph.node("Relu", "/stem/Relu", x)
    y = graph.node("Conv", "/head/Conv", x, graph.weight("head.weight", channels, channels, 3, 3), pads=[1, 1, 1, 1])
    model = graph.model({"x": (TensorProto.FLOAT, [1, 3, size, size])}, y, [1, channels, size, size])
    return model, [{"x": graph.random.normal(0, 1, (1, 3, size, size)).astype(np.float32)} for _ in range(4)]


def epsilon() -> tuple[onnx.ModelProto, Samples]:
    graph = Graph()
    x = graph.linear("/proj/MatMul", "x")
    mean = graph.node("ReduceMean", "/norm/ReduceMean", graph.node("Mul", "/norm/Mul", x, x), axes=[-1])
    guarded = graph.node("Add", "/norm/Add", mean, graph.constant("epsilon", 1e-12))
    y = graph.linear("/head/MatMul", graph.node("Div", "/norm/Div", x, graph.node("Sqrt", "/norm/Sqrt", guarded)))
    samples = rows(graph)
    for index, sample in enumerate(samples):
        sample["x"][:, ROWS - 8 * index:] = 0  # Padding.
    return rows_model(graph, y), samples


def cancel() -> tuple[onnx.ModelProto, Samples]:
    graph = Graph()
    far = graph.constant("offset", np.full(WIDTH, 2000.0))
    left = graph.node("Add", "/left/Add", graph.linear("/left/MatMul", "x"), far)
    right = graph.node("Add", "/right/Add", graph.linear("/right/MatMul", "x"), far)
    y = graph.linear("/head/MatMul", graph.node("Sub", "/Sub", left, right))
    return rows_model(graph, y), rows(graph)


def exported() -> tuple[onnx.ModelProto, Samples]:
    """What `.half()` and an export make of `stream` once the overflow has been clamped, as transformers does for T5: a file that
    is FP16 throughout, its inputs and outputs too."""
    graph = Graph()
    x = graph.linear("/embed/MatMul", "x", gain=40.0)
    squared = graph.node("Mul", "/ffn/Mul", x, x)
    residual = graph.node("Add", "/residual/Add", x, graph.linear("/ffn/down/MatMul", squared, gain=4.0))
    clamped = graph.node("Clip", "/residual/Clip", residual, graph.constant("lowest", -LARGEST_HALF),
                         graph.constant("largest", LARGEST_HALF))
    square = graph.node("Pow", "/norm/Pow", clamped, graph.constant("two", 2.0))
    mean = graph.node("ReduceMean", "/norm/ReduceMean", square, axes=[-1])
    root = graph.node("Sqrt", "/norm/Sqrt", graph.node("Add", "/norm/Add", mean, graph.constant("epsilon", 1e-8)))
    normed = graph.node("Div", "/norm/Div", clamped, root)
    head = graph.linear("/head/MatMul", normed)
    half = graph.model({"x": (TensorProto.FLOAT16, [1, ROWS, WIDTH])}, head, [1, ROWS, WIDTH])
    half.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in half.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    return half, [{"x": sample["x"].astype(np.float16)} for sample in rows(graph)]


def custom() -> tuple[onnx.ModelProto, Samples]:
    graph = Graph()
    x = graph.node("DoubleIt", "/double/DoubleIt", graph.linear("/proj/MatMul", "x"), domain="test.ops")
    y = graph.linear("/head/MatMul", x)
    return rows_model(graph, y), rows(graph)


MODELS: dict[str, Callable[[], tuple[onnx.ModelProto, Samples]]] = {
    make.__name__: make for make in (stream, layernorm, mask, mask_empty, weights, epsilon, cancel, exported, custom)}


def naive(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every weight clamped and converted, every float tensor FP16, inputs and outputs as they were."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            clamped = np.clip(numpy_helper.to_array(tensor), -LARGEST_HALF, LARGEST_HALF).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(clamped, tensor.name))
    casts = []
    for value in graph.input:
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            for node in graph.node:
                node.input[:] = [name + "_fp16" if name == value.name else name for name in node.input]
            casts.append(helper.make_node("Cast", [value.name], [value.name + "_fp16"], to=TensorProto.FLOAT16))
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.FLOAT16
        node.output[:] = [name + "_fp16" if name == graph.output[0].name else name for name in node.output]
    for cast in reversed(casts):
        graph.node.insert(0, cast)
    output = graph.output[0].name
    graph.node.append(helper.make_node("Cast", [output + "_fp16"], [output], to=TensorProto.FLOAT))
    return half


def main() -> int:
    if len(sys.argv) != 3 or sys.argv[1] not in MODELS:
        print(__doc__, file=sys.stderr)
        return 2
    name, folder = sys.argv[1], Path(sys.argv[2])
    model, samples = MODELS[name]()
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "samples").mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    if name not in ("custom", "exported"):
        onnx.save(naive(model), folder / "naive_fp16.onnx")
    for index, sample in enumerate(samples):
        np.savez(folder / "samples" / f"{index:03}.npz", **sample)
    return 0


if __name__ == "__main__":
    sys.exit(main())
