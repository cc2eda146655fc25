#!/usr/bin/env python3
"""Two networks with tensors as large as a GPU wants them, each with samples.

usage: large_models.py OUT_DIR        writes OUT_DIR/conv_20 and OUT_DIR/transformer_6, laid out as tests/real_models.py does
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SAMPLES = 4


class Net:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(1)

    def weight(self, *shape: int, fan_in: int = 1) -> str:
        values = self.random.standard_normal(shape).astype(np.float32) / np.float32(fan_in**0.5)
        return self.constant(values)

    def constant(self, values: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(values, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def node(self, op: str, *inputs: str, **attributes: object) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def model(self, shape: list[int], output: str) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [output], ["y"], "last"))
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in (("x", shape), ("y", None)))
        graph = helper.make_graph(self.nodes, "large", [x], [y], self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def conv_20() -> tuple[onnx.ModelProto, list[int]]:
    """20 convolutions of 64 channels on 512 x 512, with residuals."""
    shape, net = [1, 64, 512, 512], Net()
    stream = "x"
    for layer in range(20):
        branch = net.node("Conv", stream, net.weight(64, 64, 3, 3, fan_in=576), net.weight(64), pads=[1, 1, 1, 1])
        branch = net.node("Relu", branch)
        stream = branch if layer % 2 == 0 else net.node("Add", stream, branch)
    return net.model(shape, stream), shape


def transformer_6() -> tuple[onnx.ModelProto, list[int]]:
    """6 pre-norm blocks, 768 wide, 12 heads, 8 sequences of 512 tokens."""
    batch, tokens, width, heads = 8, 512, 768, 12
    shape, net = [batch, tokens, width], Net()
    split = net.constant(np.array([batch, tokens, heads, width // heads], np.int64))
    joined = net.constant(np.array(shape, np.int64))
    scale = net.constant(np.float32((width // heads) ** -0.5))
    stream = "x"
    for _ in range(6):
        normal = net.node("LayerNormalization", stream, net.weight(width), net.weight(width), axis=-1)
        query, key, value = (net.node("Reshape", net.node("MatMul", normal, net.weight(width, width, fan_in=width)), split)
                             for _ in range(3))
        scores = net.node("MatMul", net.node("Transpose", query, perm=[0, 2, 1, 3]), net.node("Transpose", key, perm=[0, 2, 3, 1]))
        weights = net.node("Softmax", net.node("Mul", scores, scale), axis=-1)
        mixed = net.node("MatMul", weights, net.node("Transpose", value, perm=[0, 2, 1, 3]))
        mixed = net.node("Reshape", net.node("Transpose", mixed, perm=[0, 2, 1, 3]), joined)
        stream = net.node("Add", stream, net.node("MatMul", mixed, net.weight(width, width, fan_in=width)))
        normal = net.node("LayerNormalization", stream, net.weight(width), net.weight(width), axis=-1)
        hidden = net.node("Relu", net.node("MatMul", normal, net.weight(width, 4 * width, fan_in=width)))
        stream = net.node("Add", stream, net.node("MatMul", hidden, net.weight(4 * width, width, fan_in=4 * width)))
    return net.model(shape, stream), shape


def main() -> None:
    for build in (conv_20, transformer_6):
        model, shape = build()
        folder = Path(sys.argv[1], build.__name__)
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        onnx.save(model, folder / "model.onnx")
        for index in range(SAMPLES):
            values = np.random.default_rng(index).standard_normal(shape).astype(np.float32)
            np.savez(folder / "samples" / f"{index:03}.npz", x=values)


if __name__ == "__main__":
    main()
