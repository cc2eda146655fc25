"""Small models that the tests share, and their samples."""

import unittest

import numpy as np

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as error:
    raise unittest.SkipTest(str(error)) from error

WIDTH = 128
ROWS = 32  # Of a sample.


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values, np.float32), name)


def model_of(nodes, inputs, outputs, initializers=(), opset=17):
    """A model of these nodes; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(nodes, "tiny", [helper.make_tensor_value_info(*entry) for entry in inputs],
                              [helper.make_tensor_value_info(*entry) for entry in outputs], list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def overflowing():
    """Goes past 65504 and comes back, with weights large enough that FP16 saves more than Casts cost."""
    random = np.random.default_rng(7)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["wide"], "first"),
        helper.make_node("Mul", ["wide", "up"], ["big"], "big"),
        helper.make_node("Mul", ["big", "down"], ["back"], "back"),
        helper.make_node("MatMul", ["back", "v"], ["y"], "second"),
    ]
    weights = [constant("w", random.normal(0, 0.1, (WIDTH, 4 * WIDTH))), constant("v", random.normal(0, 0.1, (4 * WIDTH, WIDTH))),
               constant("up", 60000.0), constant("down", 1 / 60000)]
    return model_of(nodes, [("x", TensorProto.FLOAT, ["n", WIDTH])], [("y", TensorProto.FLOAT, ["n", WIDTH])], weights)


def product():
    """y = a * b: one rounding of each operand and of the result."""
    return model_of([helper.make_node("Mul", ["a", "b"], ["y"], "product")],
                    [("a", TensorProto.FLOAT, ["n", 8]), ("b", TensorProto.FLOAT, ["n", 8])],
                    [("y", TensorProto.FLOAT, ["n", 8])])


def identity(dtype=TensorProto.FLOAT, shape=("n", 4)):
    """y = x of any type."""
    return model_of([helper.make_node("Identity", ["x"], ["y"], "copy")], [("x", dtype, list(shape))], [("y", dtype, list(shape))])


def samples(count=5, rows=ROWS):
    """For overflowing()."""
    random = np.random.default_rng(1)
    return [{"x": random.normal(0, 2, (rows, WIDTH)).astype(np.float32)} for _ in range(count)]
