#!/usr/bin/env python3
"""Models of any size, with their weights in external data, to test and to measure on.

usage: large_models.py OUT_DIR BYTES [--samples N]

Writes OUT_DIR/model.onnx, OUT_DIR/weights.bin of about BYTES, and OUT_DIR/samples/000.npz, 001.npz, ... Weights go out
block by block, so that writing takes little memory. Nothing is random from run to run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

WIDEST = 8192  # One weight is then 268 MB.
FEWEST_LAYERS = 8
BLOCK_ROWS = 128
RELU_EVERY = 5  # so many layers, one has a bias and a Relu
BIAS = 2.0  # So that of values from N(0, 1) a Relu cuts one in forty: more, and errors would grow from layer to layer.


def width_and_layers(size: float) -> tuple[int, int]:
    """The chain whose weights come closest to `size` bytes, with a power of two as its width."""
    width = WIDEST
    while 4 * width * width * FEWEST_LAYERS > size and width > 2 * BLOCK_ROWS:
        width //= 2
    return width, max(1, round(size / (4 * width * width)))


def weight_blocks(width: int, layers: int) -> Iterator[bytes]:
    """For each weight the rows that it repeats: random numbers for all of it would take most of the time. Rows come with
    their negatives, so that what all inputs have in common, the bias, cancels."""
    random = np.random.default_rng(0)
    for _ in range(layers):
        rows = random.standard_normal((BLOCK_ROWS, width), dtype=np.float32) / np.float32(width**0.5)
        yield np.concatenate([rows, -rows]).tobytes()


def external_weight(name: str, width: int, offset: int) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[width, width], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "weights.bin"), ("offset", offset), ("length", 4 * width * width)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def chain(width: int, layers: int) -> ModelProto:
    """MatMuls, some with a bias and a Relu, that pass FP16's range halfway."""
    random = np.random.default_rng(1)
    nodes: list[NodeProto] = []
    weights = [numpy_helper.from_array(np.float32(value), name) for name, value in (("up", 1e6), ("down", 1e-6))]
    last = "x"

    def node(op: str, other: str, result: str, name: str) -> str:
        nodes.append(helper.make_node(op, [last, other] if other else [last], [result], name))
        return result

    for layer in range(layers):
        weights.append(external_weight(f"w{layer}", width, layer * 4 * width * width))
        last = node("MatMul", f"w{layer}", f"h{layer}", f"layer{layer}")
        if layer % RELU_EVERY == 1:
            bias = BIAS + 0.1 * random.standard_normal(width, dtype=np.float32)
            weights.append(numpy_helper.from_array(bias.astype(np.float32), f"b{layer}"))
            last = node("Add", f"b{layer}", f"sum{layer}", f"bias{layer}")
            last = node("Relu", "", f"relu{layer}", f"relu{layer}")
        if layer == layers // 2:
            last = node("Mul", "up", "large", "grow")
            last = node("Mul", "down", "small", "shrink")
    graph = helper.make_graph(nodes, "chain", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, width])],
                              [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, width])], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_model(folder: Path, size: float) -> int:
    """Writes model.onnx and weights.bin into `folder`; returns the size of its external data, about `size`."""
    width, layers = width_and_layers(size)
    (folder / "model.onnx").write_bytes(chain(width, layers).SerializeToString())
    with open(folder / "weights.bin", "wb") as file:
        for block in weight_blocks(width, layers):
            for _ in range(4 * width * width // len(block)):
                file.write(block)
        return file.tell()


def write_samples(folder: Path, size: float, count: int) -> None:
    width, _ = width_and_layers(size)
    random = np.random.default_rng(2)
    folder.mkdir(exist_ok=True)
    for index in range(count):
        np.savez(folder / f"{index:03}.npz", x=random.standard_normal((1, width), dtype=np.float32))


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes a model of about so many bytes, with samples.")
    parser.add_argument("out", type=Path)
    parser.add_argument("size", type=float, metavar="BYTES")
    parser.add_argument("--samples", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(write_model(arguments.out, arguments.size))
    write_samples(arguments.out / "samples", arguments.size, arguments.samples)
    return 0


if __name__ == "__main__":
    sys.exit(main())
