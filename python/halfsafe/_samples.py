"""What Python calls samples, as what the stages read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Union

from . import _core
from ._arrays import RawInput, SupportsArray, SupportsDlpack, describe, describe_inputs, is_array, raw
from ._errors import InputError, UsageError

Transform = Callable[[Any], Any]
"""Makes a sample of an element."""


class Indexed(Protocol):
    """A data set: elements by their number."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Any: ...


SamplesLike = Union[_core.Samples, str, "os.PathLike[str]", Mapping[str, Any], Iterable[Any], Indexed, SupportsArray,
                    SupportsDlpack]
"""Whatever functions take as samples."""


def _is_path(value: object) -> bool:
    return isinstance(value, (str, os.PathLike))


def match(element: Any, inputs: Sequence[_core.Input], where: str) -> list[RawInput]:
    """Finds a value for every input of the model: by name in a mapping, by position elsewhere. What data loaders put behind
    the inputs, a label most often, is left out."""
    if isinstance(element, Mapping):
        # Labels and the like come along in many data sets, so other names are no error.
        missing = [spec.name for spec in inputs if spec.name not in element]
        if missing:
            raise InputError(f"{where} is {describe(element)}, which lacks input '{missing[0]}'; the model's inputs: "
                             f"{describe_inputs(inputs)}")
        return [raw(spec.name, element[spec.name], where) for spec in inputs]
    if is_array(element):
        values: Sequence[Any] = [element]
    elif isinstance(element, (tuple, list)):
        values = element
        # (inputs, label), where the inputs are a container of their own.
        if len(values) in (1, 2) and isinstance(values[0], (Mapping, tuple, list)):
            return match(values[0], inputs, where)
        if len(values) == len(inputs) + 1:
            values = values[:-1]
    else:
        raise InputError(f"{where} is {describe(element)}; expected an array, a mapping of input names to arrays, or arrays in the "
                         "order of the model's inputs: transform= may make one of it")
    if len(values) != len(inputs):
        raise InputError(f"{where} is {describe(element)}, the model has {len(inputs)} inputs: {describe_inputs(inputs)}; "
                         "transform= may pick them out")
    for spec, value in zip(inputs, values):
        if not is_array(value):
            raise InputError(f"{where} has {describe(value)} for input '{spec.name}', expected an array")
    return [raw(spec.name, value, where) for spec, value in zip(inputs, values)]


class _Reader:
    """Elements of a sequence, made when they are asked for."""

    def __init__(self, elements: Any, inputs: Sequence[_core.Input], transform: Transform | None) -> None:
        self._elements = elements
        self._inputs = inputs
        self._transform = transform

    def __call__(self, index: int) -> list[RawInput]:
        element = self._elements[index]
        if self._transform is not None:
            element = self._transform(element)
        return match(element, self._inputs, f"samples[{index}]")


def _stream(elements: Iterable[Any], inputs: Sequence[_core.Input], transform: Transform | None) -> Iterator[list[RawInput]]:
    for index, element in enumerate(elements):
        yield match(element if transform is None else transform(element), inputs, f"samples[{index}]")


def _has_indices(elements: Any) -> bool:
    if not (hasattr(elements, "__getitem__") and hasattr(elements, "__len__")):
        return False
    if isinstance(elements, Sequence) or not hasattr(elements, "__iter__") or len(elements) == 0:
        return True
    # PyTorch's IterableDataset inherits a __getitem__ that only says that there is none.
    try:
        elements[0]
    except NotImplementedError:
        return False
    return True


def open_samples(model: _core.Model, samples: SamplesLike, transform: Transform | None) -> _core.Samples:
    """Samples that the stages can read any number of times, in any order."""
    if isinstance(samples, _core.Samples):
        if transform is not None:
            raise UsageError("transform is for elements in Python, not for samples that are ready")
        return samples
    elements: Any = [samples] if _is_path(samples) else samples
    if isinstance(elements, (list, tuple)) and elements and all(_is_path(path) for path in elements):
        if transform is not None:
            raise UsageError("transform is for elements in Python, not for files")
        return _core.open_samples(elements, model, False)
    inputs = model.inputs
    if isinstance(elements, Mapping) or is_array(elements):
        elements = [elements]
    if _has_indices(elements):
        result = _core.lazy_samples(_Reader(elements, inputs, transform), len(elements))
    elif isinstance(elements, Iterable):
        # A generator ends once it was walked, and a shuffling loader has another order each time.
        result = _core.spooled_samples(_stream(elements, inputs, transform))
    else:
        raise UsageError(f"samples is {describe(samples)}, expected paths, arrays, or an iterable of samples")
    if len(result) == 0:
        raise InputError("samples has no element: give at least one")
    return result
