#!/usr/bin/env python3
"""Stacks of any number of small blocks on one residual stream that passes 65504. Used by bench/growth.

usage: residual_stack.py OUT_DIR NODES

Writes OUT_DIR/model.onnx and OUT_DIR/samples/000.npz. Everything on the stream is tied, so that the choice of exponents and
the minimum cut see the graph as a whole; tensors are small, so that what grows is the work on the graph.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

WIDTH = 8
BLOCK = 5  # nodes of one block of the stack
GROWING = 50  # every so many blocks one adds values of about LARGE to the stream
LARGE = 3e4


def residual_stack(nodes: int) -> ModelProto:
    """x + relu(layer_norm(x) w + b) again and again, and a layer_norm at the end."""
    random = np.random.default_rng(0)
    stack: list[NodeProto] = []
    weights: list[TensorProto] = []

    def weight(name: str, values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def layer_norm(source: str, block: object, gain: float) -> str:
        scale, shift = weight(f"scale{block}", np.full(WIDTH, gain)), weight(f"shift{block}", np.zeros(WIDTH))
        stack.append(helper.make_node("LayerNormalization", [source, scale, shift], [f"norm{block}"], f"norm{block}"))
        return f"norm{block}"

    stream = "x"
    for block in range(max(1, nodes // BLOCK)):
        normal = layer_norm(stream, block, LARGE if block % GROWING == 0 else 1.0)
        w = weight(f"w{block}", random.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5)
        b = weight(f"b{block}", random.standard_normal(WIDTH) / 100)
        for op, inputs, name in (("MatMul", [normal, w], "product"), ("Add", [f"product{block}", b], "sum"),
                                 ("Relu", [f"sum{block}"], "relu"), ("Add", [stream, f"relu{block}"], "stream")):
            stack.append(helper.make_node(op, inputs, [f"{name}{block}"], f"{name}{block}"))
        stream = f"stream{block}"
    last = layer_norm(stream, "_last", 1.0)
    shape = ["N", 4, WIDTH]
    graph = helper.make_graph(stack, "residual_stack", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    folder, nodes = Path(sys.argv[1]), int(sys.argv[2])
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    onnx.save(residual_stack(nodes), folder / "model.onnx")
    x = np.random.default_rng(1).standard_normal((2, 4, WIDTH)).astype(np.float32)
    np.savez(folder / "samples" / "000.npz", x=x)
    return 0


if __name__ == "__main__":
    sys.exit(main())
