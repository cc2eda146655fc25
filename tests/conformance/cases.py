"""What a case is, and those that the package `onnx` brings: node tests, and models with recorded inputs and outputs."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, OptionalProto, SequenceProto, TensorProto, TypeProto, helper, numpy_helper

# An array, a tensor that numpy has no type for, a list of values (a sequence), or None (an empty optional).
Value = Any
DATA = Path(onnx.__file__).parent / "backend/test/data"
FOLDERS = ("simple", "pytorch-converted", "pytorch-operator")


# What a value may be off by, in roundings of the largest of its tensor.
ROUNDINGS = 32


@dataclass(frozen=True)
class Case:
    """A model with samples. Values stand in the order of the model's inputs and outputs."""

    name: str
    family: str
    model: Path | ModelProto  # A path where weights lie beside the model.
    samples: Sequence[Sequence[Value]]
    # For each sample, what the model has to give; None: what ONNX Runtime gives in FP32.
    expected: Sequence[Sequence[Value]] | None = None
    roundings: int = ROUNDINGS

    @property
    def id(self) -> str:
        return f"{self.family}/{self.name}"

    def load(self) -> ModelProto:
        return self.model if isinstance(self.model, ModelProto) else onnx.load(self.model)


def all_cases() -> list[Case]:
    """Every case of the package, sorted by family and name."""
    cases = {case.id: case for family in FOLDERS for case in folder_cases(family)}
    cases.update((case.id, case) for case in [*node_cases(), *light_cases()])  # Some stand in folders too.
    return [cases[name] for name in sorted(cases)]


def node_cases() -> Iterator[Case]:
    """Those that the package computes: one or a few nodes each."""
    from onnx.backend.test.case.model import collect_testcases as collect_models
    from onnx.backend.test.case.node import collect_testcases as collect_nodes

    # They overflow on purpose, and print what they make.
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        found = {id(case): case for case in [*collect_nodes(None), *collect_models()]}
    for case in found.values():
        if case.model is None or case.data_sets is None:  # Those of light_cases.
            continue
        samples = [list(inputs) for inputs, _ in case.data_sets]
        expected = [list(outputs) for _, outputs in case.data_sets]
        yield Case(case.name, case.kind, case.model, samples, expected)


def folder_cases(family: str) -> Iterator[Case]:
    """Those that lie in the package as ONNX test data."""
    for folder in sorted((DATA / family).iterdir()):
        path = folder / "model.onnx"
        if not path.is_file():
            continue
        model = onnx.load(path)
        sets = sorted(folder.glob("test_data_set_*"))
        samples = [read_values(data, "input", [value.type for value in runtime_inputs(model)]) for data in sets]
        expected = [read_values(data, "output", [value.type for value in model.graph.output]) for data in sets]
        yield Case(folder.name, family, path, samples, expected)


def light_cases() -> Iterator[Case]:
    """Networks of the model zoo whose weights are computed in the graph; the input is the one that ONNX's runner makes."""
    for path in sorted((DATA / "light").glob("*.onnx")):
        model = onnx.load(path)
        sample = [_ramp(value.type) for value in runtime_inputs(model)]
        output = TensorProto.FromString(path.with_name(f"{path.stem}_output_0.pb").read_bytes())
        yield Case(path.stem, "light", path, [sample], [[numpy_helper.to_array(output)]])


def _ramp(kind: TypeProto) -> np.ndarray:
    shape = [dim.dim_value or 1 for dim in kind.tensor_type.shape.dim]
    count = int(np.prod(shape))
    return (np.arange(count).reshape(shape) / count).astype(np.float32)


def runtime_inputs(model: ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that have no default: weights of old models are listed among the inputs too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


# ---------------------------------------------------------------- values in files


def read_values(folder: Path, prefix: str, types: Sequence[TypeProto]) -> list[Value]:
    files = sorted(folder.glob(f"{prefix}_*.pb"), key=lambda path: int(path.stem.split("_")[1]))
    return [read_value(path.read_bytes(), kind) for path, kind in zip(files, types, strict=True)]


def read_value(content: bytes, kind: TypeProto) -> Value:
    which = kind.WhichOneof("value")
    if which == "sequence_type":
        return numpy_helper.to_list(SequenceProto.FromString(content))
    if which == "optional_type":
        return numpy_helper.to_optional(OptionalProto.FromString(content))
    tensor = TensorProto.FromString(content)
    return numpy_helper.to_array(tensor) if tensor.data_type in NUMPY_TYPES else tensor


def write_value(value: Value, kind: TypeProto, name: str) -> bytes:
    """As ONNX test data."""
    which = kind.WhichOneof("value")
    if which == "sequence_type":
        return numpy_helper.from_list([np.asarray(item) for item in value], name).SerializeToString()
    if which == "optional_type":
        element = kind.optional_type.elem_type.WhichOneof("value")
        types = {"tensor_type": OptionalProto.TENSOR, "sequence_type": OptionalProto.SEQUENCE}
        return numpy_helper.from_optional(value, name, types[element]).SerializeToString()
    return as_tensor(value, name).SerializeToString()


def as_tensor(value: Value, name: str = "") -> TensorProto:
    if isinstance(value, TensorProto):
        return value
    return numpy_helper.from_array(np.asarray(value), name)


# Element types that numpy has itself; ml_dtypes has the others.
NUMPY_TYPES = frozenset(number for number in TensorProto.DataType.values()
                        if number and helper.tensor_dtype_to_np_dtype(number).kind in "fiubcOSU")
