"""Arrays of any library as what the extension reads: names, types, shapes and bytes."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from ._core import Input
from ._errors import InputError

RawInput = tuple[str, str, tuple[int, ...], Any]
"""Name, type, shape, and an object with the buffer interface."""

_DTYPES = frozenset(
    ["bool", "float16", "float32", "float64"] + [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)])


class SupportsDlpack(Protocol):
    """An array of any library that has the protocol."""

    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[Any, int]: ...


class SupportsArray(Protocol):
    """What turns into an array of numpy."""

    def __array__(self, *args: Any, **kwargs: Any) -> Any: ...


def is_array(value: object) -> bool:
    """Whether it is one array, or one number."""
    if isinstance(value, (np.ndarray, np.generic, bool, int, float)):
        return True
    return not isinstance(value, type) and (hasattr(value, "__array__") or hasattr(value, "__dlpack__"))


def _is_torch(value: object) -> bool:
    """A tensor of PyTorch, which need not be there to be asked for."""
    return all(hasattr(value, name) for name in ("detach", "cpu", "numpy", "view"))


def _from_torch(tensor: Any) -> tuple[str, np.ndarray[Any, Any]]:
    tensor = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    if str(tensor.dtype) == "torch.bfloat16":  # numpy has no such type.
        return "bfloat16", tensor.view(sys.modules["torch"].int16).numpy()
    return "", tensor.numpy()


def raw(name: str, value: Any, where: str) -> RawInput:
    """The input `name` of the sample that messages call `where`."""
    dtype = ""
    try:
        if _is_torch(value):
            dtype, array = _from_torch(value)
        elif hasattr(value, "__array__") or not hasattr(value, "__dlpack__"):
            array = np.asarray(value)
        else:
            array = np.from_dlpack(value)
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        kind = type(value).__name__
        raise InputError(f"{where}: input '{name}' is a {kind} that can't be read as an array: {error}") from error
    shape = array.shape
    array = np.ascontiguousarray(array)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    if array.dtype.name == "bfloat16":  # The type of ml_dtypes, whose buffers nothing else reads.
        dtype, array = "bfloat16", array.view(np.uint16)
    dtype = dtype or array.dtype.name
    if dtype != "bfloat16" and dtype not in _DTYPES:
        raise InputError(f"{where}: input '{name}' is {dtype}, expected bool, int8 to int64, uint8 to uint64, float16, "
                         "bfloat16, float32 or float64")
    return name, dtype, shape, array


def describe(value: object) -> str:
    """What a sample is, in a few words."""
    if isinstance(value, Mapping):
        return "a mapping of " + (", ".join(repr(key) for key in value) or "nothing")
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    if is_array(value):
        shape = getattr(value, "shape", ())
        return f"one array of shape {list(shape)}"
    return f"a {type(value).__name__}"


def describe_inputs(inputs: Sequence[Input]) -> str:
    """The inputs of a model, in a line."""
    def shape(spec: Input) -> str:
        return "" if spec.shape is None else f"[{', '.join('?' if size is None else str(size) for size in spec.shape)}]"

    return ", ".join(f"'{spec.name}' {spec.dtype}{shape(spec)}" for spec in inputs) or "none"
