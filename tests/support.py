"""What the tests of the command line share: running the tool, reference statistics, models with every tensor shown."""

from __future__ import annotations

import collections
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterable, Iterator
from typing import Any

try:
    import ml_dtypes
    import numpy as np
    import onnx
    import onnx.inliner
    import onnxruntime
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

    import fp16_reference
    import real_models
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

HALFSAFE = os.environ["HALFSAFE"]
# ONNX Runtime cuts matrix products by the number of its threads, and sums in the order of the cuts: what is compared bit for bit
# with a reference runs with as many.
THREADS = 2
Sample = dict[str, np.ndarray]
FLOAT_TYPES = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.DOUBLE: np.dtype(np.float64),
    TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
}
TYPE_NAMES = {np.dtype(np.float32): "float32", np.dtype(np.float16): "float16", np.dtype(np.float64): "float64",
              np.dtype(ml_dtypes.bfloat16): "bfloat16"}


class ToolTest(unittest.TestCase):
    """A test that runs the tool in a folder of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def tool(self, *arguments: object, code: int | None = 0, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs the tool and demands its exit code; None lets any pass that is not a crash."""
        done = subprocess.run([HALFSAFE, *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)
        said = f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr[-2000:]}{done.stdout[-2000:]}"
        if code is None:
            self.assertIn(done.returncode, (0, 1, 2, 3, 5), said)
        else:
            self.assertEqual(done.returncode, code, said)
        return done

    def save(self, model: ModelProto, name: str = "model.onnx") -> pathlib.Path:
        path = self.folder / name
        onnx.save(model, path)
        return path

    def save_samples(self, samples: Iterable[Sample], name: str = "samples") -> pathlib.Path:
        folder = self.folder / name
        folder.mkdir()
        for index, sample in enumerate(samples):
            np.savez(folder / f"{index:03}.npz", **sample)
        return folder


def read_json(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------- running a model for reference


def session(model: ModelProto | pathlib.Path, optimize: bool = False) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = THREADS
    source = str(model) if isinstance(model, pathlib.Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_all(model: ModelProto, samples: Iterable[Sample], optimize: bool = False) -> Iterator[Sample]:
    """Inputs and outputs of every run."""
    runner = session(model, optimize)
    names = [output.name for output in runner.get_outputs()]
    for sample in samples:
        values = runner.run(names, sample)
        yield {**sample, **{name: value for name, value in zip(names, values) if isinstance(value, np.ndarray)}}


def inlined(model: ModelProto) -> ModelProto:
    """The model without functions and sparse constants, which reference implementations don't follow."""
    return dense(without_functions(model))


def without_functions(model: ModelProto) -> ModelProto:
    return onnx.inliner.inline_local_functions(model, convert_version=True) if model.functions else model


def dense(model: ModelProto) -> ModelProto:
    result = ModelProto()
    result.CopyFrom(model)
    for _, graph in graphs_of(result.graph):
        graph.initializer.extend(_dense_tensor(sparse) for sparse in graph.sparse_initializer)
        graph.ClearField("sparse_initializer")
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "sparse_value":
                node.attribute[0].CopyFrom(helper.make_attribute("value", _dense_tensor(node.attribute[0].sparse_tensor)))
    return result


def _dense_tensor(sparse: onnx.SparseTensorProto) -> TensorProto:
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    array = np.zeros(list(sparse.dims), values.dtype)
    array[tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, array.shape)] = values
    return numpy_helper.from_array(array, sparse.values.name)


def mark_all(model: ModelProto) -> ModelProto:
    """The model with every node's results as outputs; BF16, which Python's runtime cannot hand out, widened first."""
    marked = inlined(onnx.shape_inference.infer_shapes(inlined(model)))
    types = {value.name: value.type for value in [*marked.graph.value_info, *marked.graph.output]}
    known = {output.name for output in marked.graph.output}
    for node in list(marked.graph.node):
        for name in node.output:
            if not name:
                continue
            kind = types.get(name)
            if kind is not None and kind.tensor_type.elem_type == TensorProto.BFLOAT16:
                marked.graph.node.append(helper.make_node("Cast", [name], [f"{name}{WIDENED}"], to=TensorProto.FLOAT))
                name = f"{name}{WIDENED}"
            if name not in known:
                marked.graph.output.append(onnx.ValueInfoProto(name=name))
                known.add(name)
    return marked


WIDENED = "/widened from bfloat16"


def real_model(name: str, count: int, out: pathlib.Path) -> tuple[pathlib.Path, list[Sample]]:
    """A trained model with real samples, written into `out`; skips the test where its package is missing."""
    try:
        folder = real_models.write_model(name, out, count)
    except (SystemExit, ImportError) as error:
        raise unittest.SkipTest(f"{name}: {error}") from error
    return folder, real_models.load_samples(folder / "samples")


def emulated_errors(original: ModelProto, emulated: ModelProto, samples: Iterable[Sample],
                    stored: ModelProto | None = None) -> dict[str, float]:
    """Relative L2 error of each output, the worst of all samples; for integers and bools the share that differs.

    Both run with ONNX Runtime's optimizations, as `check` does: sums in another order round to other FP16 numbers.
    Inputs are rounded where the model `stored` takes FP16: one may be an output as it comes.
    """
    halves = {value.name for value in stored.graph.input
              if value.type.tensor_type.elem_type == TensorProto.FLOAT16} if stored else set()
    first, second = session(original, optimize=True), session(emulated, optimize=True)
    names = [output.name for output in first.get_outputs()]
    worst = dict.fromkeys(names, 0.0)
    for sample in samples:
        rounded = {name: array.astype(np.float16) if name in halves else array for name, array in sample.items()}
        fed = {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in rounded.items()}
        for name, want, have in zip(names, first.run(names, sample), second.run(names, fed)):
            exact = want.dtype.kind != "f"
            error = float(np.mean(want != have)) if exact and want.size else fp16_reference.relative_l2(want, have)
            worst[name] = max(worst[name], error)
    return worst


# ---------------------------------------------------------------- models in 16 bits

HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def holds_halves(model: ModelProto) -> bool:
    model = inlined(model)
    types = [value.type.tensor_type.elem_type for _, graph in graphs_of(model.graph)
             for value in (*graph.input, *graph.output, *graph.value_info)]
    types += [tensor.data_type for _, graph in graphs_of(model.graph) for tensor in graph.initializer]
    types += [attribute.t.data_type if attribute.HasField("t") else attribute.i for node in nodes_of(model.graph).values()
              for attribute in node.attribute if attribute.name in ("to", "dtype", "value")]
    return any(kind in HALVES for kind in types)


def lifted(model: ModelProto, interface: bool = False) -> ModelProto:
    """The FP32 model behind one with 16-bit tensors: with `interface`, between Casts from and to the types that it has outside."""
    if not holds_halves(model):
        return model
    stated = [{value.name for value in graph.value_info} for _, graph in graphs_of(inlined(model).graph)]
    result = onnx.shape_inference.infer_shapes(inlined(model))
    kept = {value.name: value.type.tensor_type.elem_type for value in (*result.graph.input, *result.graph.output)}
    _lift(result.graph, {}, {})
    for (_, graph), names in zip(graphs_of(result.graph), stated, strict=True):
        infos = [value for value in graph.value_info if value.name in names]
        del graph.value_info[:]
        graph.value_info.extend(infos)
    return _between_casts(result, kept) if interface else result


def widened(samples: Iterable[Sample]) -> list[Sample]:
    """What a lifted model takes in place of these."""
    halves = (np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16))
    return [{name: array.astype(np.float32) if array.dtype in halves else array for name, array in sample.items()} for sample in samples]


def _lift(graph: GraphProto, types: dict[str, int], names: dict[str, str]) -> None:
    types = {**types, **{value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)},
             **{tensor.name: tensor.data_type for tensor in graph.initializer}}
    for node in graph.node:
        if node.op_type == "Constant":
            value = node.attribute[0]
            types[node.output[0]] = TensorProto.FLOAT if value.name.startswith("value_float") else value.t.data_type
    outputs, floats = {value.name for value in graph.output}, (*HALVES, TensorProto.FLOAT)
    names, nodes = dict(names), []
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        cast = node.op_type in ("Cast", "CastLike") and types[node.output[0]] in floats and types[node.input[0]] in floats
        if cast and node.output[0] not in outputs:
            names[node.output[0]] = node.input[0]
            continue
        if cast:
            node.op_type = "Identity"
            del node.attribute[:], node.input[1:]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _lift(attribute.g, types, names)
            if attribute.name in ("to", "dtype") and attribute.i in HALVES:
                attribute.i = TensorProto.FLOAT
            if attribute.HasField("t"):
                _widen(attribute.t)
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    for tensor in graph.initializer:
        _widen(tensor)
    infos = [value for value in graph.value_info if value.name not in names]
    del graph.value_info[:]
    graph.value_info.extend(infos)
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.sequence_type.elem_type if value.type.HasField("sequence_type") else value.type
        if kind.tensor_type.elem_type in HALVES:
            kind.tensor_type.elem_type = TensorProto.FLOAT


def _widen(tensor: TensorProto) -> None:
    if tensor.data_type in HALVES:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))


def _between_casts(model: ModelProto, kept: dict[str, int]) -> ModelProto:
    graph = model.graph
    for value in graph.input:
        if kept[value.name] in HALVES:
            inside = f"{value.name}/inside"
            for _, part in graphs_of(graph):
                for node in part.node:
                    node.input[:] = [inside if name == value.name else name for name in node.input]
            graph.node.insert(0, helper.make_node("Cast", [value.name], [inside], to=TensorProto.FLOAT))
            value.type.tensor_type.elem_type = kept[value.name]
    for value in graph.output:
        if kept[value.name] in HALVES:
            inside = f"{value.name}/inside"
            for _, part in graphs_of(graph):
                for node in part.node:
                    node.input[:] = [inside if name == value.name else name for name in node.input]
                    node.output[:] = [inside if name == value.name else name for name in node.output]
            for tensor in graph.initializer:
                tensor.name = inside if tensor.name == value.name else tensor.name
            graph.node.append(helper.make_node("Cast", [inside], [value.name], to=kept[value.name]))
            value.type.tensor_type.elem_type = kept[value.name]
    return model


# ---------------------------------------------------------------- statistics for reference


def statistics(arrays: Iterable[np.ndarray]) -> dict[str, Any]:
    """What halfsafe-ranges says of one tensor over all samples, by numpy."""
    return functools.reduce(merged, map(_statistics_of_one, arrays))


def _statistics_of_one(array: np.ndarray) -> dict[str, Any]:
    values = np.asarray(array).reshape(-1)
    if values.dtype != np.float64:
        values = values.astype(np.float32)
    finite = values[np.isfinite(values)]
    sizes = np.abs(finite)
    nonzero = sizes[sizes > 0]
    powers, counts = np.unique(np.frexp(nonzero)[1] - 1, return_counts=True)
    return {
        "count": finite.size,
        "min": float(finite.min()) if finite.size else None,
        "max": float(finite.max()) if finite.size else None,
        "abs_max": float(sizes.max()) if finite.size else None,
        "nan_count": int(np.count_nonzero(np.isnan(values))),
        "inf_count": int(np.count_nonzero(np.isinf(values))),
        "overflow_count": int(np.count_nonzero(sizes > 65504)),
        # Rounding goes up to the smallest normal number from the midpoint on, ties to even.
        "subnormal_count": int(np.count_nonzero(nonzero < 2.0**-14 - 2.0**-25)),
        "exponents": {str(power): int(count) for power, count in zip(powers, counts)},
    }


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    if not one["count"] or not other["count"]:
        extremes = {key: one[key] if one["count"] else other[key] for key in ("min", "max", "abs_max")}
    else:
        extremes = {key: choose(one[key], other[key]) for key, choose in (("min", min), ("max", max), ("abs_max", max))}
    counts = {key: one[key] + other[key] for key in one if key.endswith("count")}
    powers = collections.Counter(one["exponents"]) + collections.Counter(other["exponents"])
    return {**extremes, **counts, "exponents": dict(powers)}


def constant_values(model: ModelProto, folder: pathlib.Path | None = None) -> dict[str, np.ndarray]:
    """Float weights and Constant nodes of the main graph and of bodies, by path."""
    found: dict[str, np.ndarray] = {}
    for path, graph in graphs_of(inlined(model).graph):
        for tensor in graph.initializer:
            if tensor.data_type in FLOAT_TYPES:
                found[path + tensor.name] = numpy_helper.to_array(tensor, str(folder or ""))
        for node in graph.node:
            value = _constant_of(node)
            if value is not None:
                found[path + node.output[0]] = value
    return found


def _constant_of(node: NodeProto) -> np.ndarray | None:
    if node.op_type != "Constant":
        return None
    attribute = node.attribute[0]
    if attribute.name == "value" and attribute.t.data_type in FLOAT_TYPES:
        return numpy_helper.to_array(attribute.t)
    if attribute.name == "value_float":
        return np.array(attribute.f, dtype=np.float32)
    return np.array(attribute.floats, dtype=np.float32) if attribute.name == "value_floats" else None


def graphs_of(graph: GraphProto, path: str = "") -> Iterator[tuple[str, GraphProto]]:
    """The graph and those inside it, with the path that their tensors' names start with."""
    yield path, graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from graphs_of(attribute.g, f"{path}{node_name(node)}/{attribute.name}/")


def node_name(node: NodeProto) -> str:
    return node.name or next(output for output in node.output if output)


def nodes_of(graph: GraphProto) -> dict[str, NodeProto]:
    """Every node, those in bodies included, by path."""
    return {path + node_name(node): node for path, inner in graphs_of(graph) for node in inner.node}


# ---------------------------------------------------------------- tensors inside bodies


def expose_bodies(model: ModelProto) -> tuple[ModelProto, dict[str, str]]:
    """The model with what bodies compute as further outputs, and the name of each such output by the tensor's path.

    A Loop or Scan stacks the values of all turns. The branch of an If that is not taken gives FILLER, which
    `without_filler` takes out again: all turns of a loop around it must give one shape.
    """
    copy = ModelProto()
    copy.CopyFrom(onnx.shape_inference.infer_shapes(model))
    shown = _expose(copy.graph, "")
    for name in shown.values():
        copy.graph.output.append(onnx.ValueInfoProto(name=name))
    return copy, shown


def _expose(graph: GraphProto, path: str) -> dict[str, str]:
    shown: dict[str, str] = {}
    for node in graph.node:
        bodies = [attribute for attribute in node.attribute if attribute.type == AttributeProto.GRAPH]
        inside = {attribute.name: _body_tensors(attribute.g, f"{path}{node_name(node)}/{attribute.name}/")
                  for attribute in bodies}
        for attribute in bodies:
            for tensor, local in inside[attribute.name].items():
                outer = f"shown/{tensor}"
                shown[tensor] = outer
                node.output.append(outer)
                shape, kind = _static_shape(attribute.g, local), _element_type(attribute.g, local)
                for body in bodies:
                    own = body is attribute
                    _give_out(body.g, local if own else None, f"{outer}/given by {body.name}", shape, kind)
                graph.value_info.append(helper.make_tensor_value_info(outer, kind, shape))
    return shown


def _body_tensors(graph: GraphProto, path: str) -> dict[str, str]:
    """Local name of every float tensor of a body by its path, the bodies inside it exposed first."""
    deeper = _expose(graph, path)
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.input, *graph.value_info, *graph.output]}
    made = [name for node in graph.node for name in node.output
            if types.get(name) in FLOAT_TYPES and node.op_type != "Constant" and not name.startswith("shown/")]
    inputs = [value.name for value in graph.input if types[value.name] in FLOAT_TYPES]
    return {**{path + name: name for name in [*inputs, *made]}, **deeper}


FILLER = np.float32(12345.678)


def without_filler(values: np.ndarray) -> np.ndarray:
    return values[values != FILLER]


def _static_shape(graph: GraphProto, name: str) -> list[int]:
    """The tensor's shape where inference knows it, else an empty one."""
    for value in [*graph.input, *graph.value_info, *graph.output]:
        dims = value.type.tensor_type.shape.dim
        if value.name == name and all(dim.HasField("dim_value") for dim in dims):
            return [dim.dim_value for dim in dims]
    return [0]


def _element_type(graph: GraphProto, name: str) -> int:
    types = {value.name: value.type.tensor_type.elem_type for value in [*graph.input, *graph.value_info, *graph.output]}
    return types[name]


def _give_out(graph: GraphProto, name: str | None, output: str, shape: list[int], kind: int) -> None:
    if name is None:
        filler = numpy_helper.from_array(np.full(shape, FILLER, dtype=FLOAT_TYPES[kind]))
        graph.node.append(helper.make_node("Constant", [], [output], value=filler))
    else:
        graph.node.append(helper.make_node("Identity", [name], [output]))
    graph.output.append(helper.make_tensor_value_info(output, kind, None))
