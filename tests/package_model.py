"""The model and the samples that installed programs are tried on: package_model.py FOLDER."""

from __future__ import annotations

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 256  # So wide that FP16 saves more than Casts cost.


def write_model_and_samples(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """model.onnx, in which the tensor "big" overflows FP16, and samples/ for it."""
    random = np.random.default_rng(7)
    weights = {"w": random.normal(0, 0.05, (WIDTH, WIDTH)), "up": np.float32(60000.0), "down": np.float32(0.001)}
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"], "first"), helper.make_node("Mul", ["h", "up"], ["big"], "grow"),
         helper.make_node("Mul", ["big", "down"], ["y"], "shrink")], "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, WIDTH])],
        [numpy_helper.from_array(np.asarray(values, np.float32), name) for name, values in weights.items()])
    model = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), model)
    samples = folder / "samples"
    samples.mkdir()
    for index in range(2):
        np.savez(samples / f"{index}.npz", x=random.normal(0, 1.5, (8, WIDTH)).astype(np.float32))
    return model, samples


if __name__ == "__main__":
    write_model_and_samples(pathlib.Path(sys.argv[1]))
