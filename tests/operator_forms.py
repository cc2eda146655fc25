"""Every operator that src/model/scale_table.cc has a row for, as small models, and how its exponents add up.

A form is one way to use an operator: operands, attributes, opset. Its law says which exponents its tensors may have
together, from the operator's definition and not from the table. operators_scale_test.py holds the program against it.
"""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from generated_models import BOOL, F32, I64, Builder, Sample

U8 = TensorProto.UINT8

NODE = "under_test"
Law = Callable[..., dict[str, int]]


@dataclass(frozen=True)
class Active:
    """A result: an input times a constant, which takes up any exponent."""

    shape: tuple[int, ...]
    positive: bool = False


@dataclass(frozen=True)
class Given:
    """An input of the model: it has its true value."""

    values: np.ndarray


@dataclass(frozen=True)
class Fixed:
    """A constant."""

    values: np.ndarray


Operand = Active | Given | Fixed | None  # None: omitted.


@dataclass(frozen=True)
class Form:
    operands: Sequence[Operand]
    # Operands are called a, b, c ..., results y, z, w, v. Takes free integers, gives the exponents that they allow.
    law: Law
    opset: int = 17
    outputs: Sequence[int | None] = (F32,)  # Element types; None: omitted.
    attributes: dict = field(default_factory=dict)
    domain: str = ""
    rank: int = 0  # Of the results, where ONNX does not infer it.


# ---------------------------------------------------------------- shorthands


def act(*shape: int, positive: bool = False) -> Active:
    return Active(shape, positive)


def rng(*key: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def mixed(generator: np.random.Generator, shape: Sequence[int], positive: bool = False) -> np.ndarray:
    """Values of mixed magnitude, of both signs, some of them zero."""
    values = generator.standard_normal(shape) * 10.0 ** generator.uniform(-1.5, 1.5, shape)
    if positive:
        return np.asarray(np.abs(values) + 1e-3, np.float32)
    return np.asarray(np.where(generator.random(shape) < 0.1, 0.0, values), np.float32)


def fix(*shape: int, positive: bool = False, seed: int = 0) -> Fixed:
    return Fixed(mixed(rng("fix", shape, seed), shape, positive))


def num(value: float) -> Fixed:
    return Fixed(np.float32(value))


def ints(*values: int) -> Fixed:
    return Fixed(np.array(values, dtype=np.int64))


def int0(value: int) -> Fixed:
    return Fixed(np.array(value, dtype=np.int64))


def floats(*values: float) -> Fixed:
    return Fixed(np.array(values, dtype=np.float32))


def array(values: object, dtype: type = np.int64) -> Fixed:
    return Fixed(np.array(values, dtype=dtype))


def given(values: object, dtype: type = np.float32) -> Given:
    return Given(np.array(values, dtype=dtype))


def uniform(low: float, high: float, *shape: int) -> Given:
    return Given(rng("uniform", shape).uniform(low, high, shape).astype(np.float32))


def form(*operands: Operand, law: Law, opset: int = 17, outputs: Sequence[int | None] = (F32,), domain: str = "",
         rank: int = 0, **attributes: object) -> Form:
    return Form(operands, law, opset, outputs, attributes, domain, rank)


def forms(opsets: Sequence[int], *operands: Operand, law: Law, **rest: object) -> list[Form]:
    return [form(*operands, law=law, opset=opset, **rest) for opset in opsets]


# ---------------------------------------------------------------- laws


def passes(p: int) -> dict[str, int]:
    return {"a": p, "y": p}


def tied(p: int) -> dict[str, int]:
    return {"a": p, "b": p, "y": p}


def third(p: int) -> dict[str, int]:
    return {"a": p, "c": p, "y": p}


def product(p: int, q: int) -> dict[str, int]:
    return {"a": p, "b": q, "y": p + q}


def free(p: int, q: int) -> dict[str, int]:
    """A constant stands between a and y."""
    return {"a": p, "y": q}


def true_result(p: int) -> dict[str, int]:
    return {"a": p}


def compared(p: int) -> dict[str, int]:
    return {"a": p, "b": p}


# ---------------------------------------------------------------- families


def elementwise(*opsets: int, law: Law = passes, outputs: Sequence[int] = (F32,), **attributes: object) -> list[Form]:
    return [form(act(*shape), law=law, opset=opset, outputs=outputs, **attributes)
            for opset in opsets for shape in ((2, 3), (7,), (2, 1, 3, 5), ())]


def comparison(*opsets: int) -> list[Form]:
    made = []
    for opset in opsets:
        made += [form(act(3, 4), act(3, 4), law=compared, opset=opset, outputs=(BOOL,)),
                 form(act(3, 1), act(2, 1, 4), law=compared, opset=opset, outputs=(BOOL,)),
                 form(act(3, 4), fix(4), law=true_result, opset=opset, outputs=(BOOL,)),
                 form(fix(3, 1), act(3, 4), law=lambda p: {"b": p}, opset=opset, outputs=(BOOL,)),
                 form(act(3, 4), num(0.0), law=true_result, opset=opset, outputs=(BOOL,))]
    return made


def variadic(*opsets: int) -> list[Form]:
    made = []
    for opset in opsets:
        made += [form(act(2, 3), law=passes, opset=opset),
                 form(act(2, 3), act(2, 3), law=tied, opset=opset),
                 form(act(2, 3), fix(3), law=passes, opset=opset),
                 form(fix(2, 1), act(2, 3), fix(2, 3), act(1, 3), opset=opset,
                      law=lambda p: {"b": p, "d": p, "y": p})]
    return made


def reduction(name: str, law: Law = passes) -> list[Form]:
    """Axes are an attribute up to opset 17 (12 for ReduceSum), then an input."""
    made = []
    for opset in (11, 13, 18, 20):
        as_input = opset >= (13 if name == "ReduceSum" else 18)
        for shape, axes, keep in (((2, 3, 4), [1], 1), ((2, 3, 4), [0, -1], 0), ((3, 5), None, 0), ((40, 9), [0], 1)):
            given_axes = (() if axes is None else (ints(*axes),)) if as_input else ()
            attributes = {} if as_input or axes is None else {"axes": axes}
            made.append(form(act(*shape), *given_axes, law=law, opset=opset, keepdims=keep, **attributes))
    return made


def squares(p: int) -> dict[str, int]:
    return {"a": p, "y": 2 * p}


def pool(**attributes: object) -> list[Form]:
    made = []
    for opset in (7, 11, 19):
        made += [form(act(1, 2, 6, 6), law=passes, opset=opset, kernel_shape=[2, 2], **attributes),
                 form(act(1, 2, 7, 5), law=passes, opset=opset, kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1],
                      **attributes),
                 form(act(2, 3, 9), law=passes, opset=opset, kernel_shape=[3], auto_pad="SAME_UPPER", **attributes),
                 form(act(1, 1, 4, 5, 4), law=passes, opset=opset, kernel_shape=[2, 2, 2], **attributes)]
    return made


def normalization(opset: int, channels: int, **attributes: object) -> list[Form]:
    """Scale and bias of one value a channel, the input (2, channels, 3, 2)."""
    x = act(2, channels, 3, 2)
    return [form(x, fix(channels), fix(channels, seed=1), law=free, opset=opset, **attributes),
            form(x, fix(channels), fix(channels, seed=1), law=free, opset=opset, epsilon=0.03, **attributes),
            form(x, act(channels), fix(channels), law=lambda p, q: {"a": p, "b": q, "y": q}, opset=opset, **attributes),
            form(x, act(channels), act(channels), opset=opset, **attributes,
                 law=lambda p, q: {"a": p, "b": q, "c": q, "y": q})]


def convolution(name: str) -> list[Form]:
    first, second = (4, 3) if name == "Conv" else (3, 4)  # ConvTranspose has the input's channels in front.
    made = []
    for opset in (7, 11, 22):
        made += [form(act(1, 3, 6, 6), fix(first, second, 3, 3), law=free, opset=opset),
                 form(act(2, 3, 6, 6), fix(first, second, 2, 3), fix(4), law=free, opset=opset, pads=[1, 0, 1, 2],
                      strides=[2, 1], dilations=[1, 2]),
                 form(act(1, 3, 9), act(first, second, 3), law=product, opset=opset),
                 form(act(1, 3, 9), act(first, second, 3), act(4), opset=opset,
                      law=lambda p, q: {"a": p, "b": q, "c": p + q, "y": p + q}),
                 form(act(1, 3, 5), fix(first, second, 1), act(4), opset=opset,
                      law=lambda p, q: {"a": p, "c": q, "y": q}),
                 form(act(1, 2, 4, 5), fix(2, 1, 3, 3), law=free, opset=opset, group=2, auto_pad="SAME_UPPER"),
                 form(act(1, 3, 4, 4, 3), fix(first, second, 2, 2, 2), fix(4), law=free, opset=opset),
                 form(fix(1, 3, 6), act(first, second, 3), law=lambda p, q: {"b": p, "y": q}, opset=opset)]
    return made


def recurrent(gates: int, extra: Sequence[dict] = ()) -> list[Form]:
    hidden, size, steps = 3, 4, 5
    made = []
    for opset in (7, 14, 22):
        for attributes in ({}, {"direction": "bidirectional"}, {"direction": "reverse", "clip": 2.0}, *extra):
            ways = 2 if attributes.get("direction") == "bidirectional" else 1
            weights, again = (ways, gates * hidden, size), (ways, gates * hidden, hidden)
            made += [form(act(steps, 2, size), fix(*weights), fix(*again), law=true_result, opset=opset,
                          hidden_size=hidden, outputs=(F32, F32), **attributes),
                     form(act(steps, 2, size), act(*weights), fix(*again), fix(ways, 2 * gates * hidden),
                          array([5, 3], np.int32), act(ways, 2, hidden), law=lambda p: {"a": p, "b": -p}, opset=opset,
                          hidden_size=hidden, outputs=(None, F32), **attributes)]
    return made


def peepholes() -> list[Form]:
    return [form(act(4, 2, 3), fix(1, 8, 3), fix(1, 8, 2), fix(1, 16), None, fix(1, 2, 2), fix(1, 2, 2, seed=1), fix(1, 6),
                 law=true_result, hidden_size=2, outputs=(F32, F32, F32), input_forget=forget) for forget in (0, 1)]


# ---------------------------------------------------------------- operators


def batch_normalization() -> list[Form]:
    made = []
    x, vector = act(2, 3, 4, 2), fix(3)
    variance = fix(3, positive=True)
    for opset in (7, 9, 14, 15):
        made += [form(x, vector, fix(3, seed=1), fix(3, seed=2), variance, opset=opset, epsilon=epsilon,
                      law=lambda p, q, r: {"a": p, "y": q, "e": 2 * r}) for epsilon in (1e-5, 0.02)]
        made += [form(x, act(3), act(3), act(3), variance, opset=opset,
                      law=lambda p, q, r: {"a": p, "b": q, "c": p + q - r, "d": p, "e": 2 * r, "y": p + q - r}),
                 form(x, vector, act(3), vector, variance, opset=opset,
                      law=lambda p, q, r: {"a": p, "c": q, "e": 2 * r, "y": q}),
                 form(x, vector, fix(3, seed=1), vector, act(3, positive=True), opset=opset, law=lambda: {})]
    return made


def clip() -> list[Form]:
    made = [form(act(3, 5), law=passes, opset=opset, **bounds) for opset in (7, 10)
            for bounds in ({}, {"min": -1.5}, {"max": 3.0}, {"min": -2.0, "max": 0.75})]
    for opset in (11, 12, 13):
        made += [form(act(3, 5), law=passes, opset=opset),
                 form(act(3, 5), num(-1.5), law=passes, opset=opset),
                 form(act(3, 5), None, num(2.5), law=passes, opset=opset),
                 form(act(3, 5), num(-1.5), num(6.0), law=passes, opset=opset),
                 form(act(3, 5), act(), num(6.0), law=tied, opset=opset),
                 form(fix(3, 5), act(), act(), law=lambda p: {"b": p, "c": p, "y": p}, opset=opset)]
    return made


def gemm() -> list[Form]:
    made = []
    for opset in (7, 9, 11, 13):
        made += [form(act(3, 4), fix(4, 5), fix(5), law=free, opset=opset),
                 form(act(4, 3), fix(5, 4), fix(3, 1), law=free, opset=opset, transA=1, transB=1, alpha=0.3, beta=-1.7),
                 form(act(3, 4), act(4, 5), fix(5), law=product, opset=opset, alpha=2.5),
                 form(act(3, 4), act(4, 5), act(3, 5), opset=opset, beta=0.5,
                      law=lambda p, q: {"a": p, "b": q, "c": p + q, "y": p + q}),
                 form(fix(3, 4), act(5, 4), num(0.3), law=lambda p, q: {"b": p, "y": q}, opset=opset, transB=1)]
    return made + [form(act(3, 4), fix(4, 5), law=free, opset=opset) for opset in (11, 13)]


def pad() -> list[Form]:
    made = [form(act(3, 4), law=passes, opset=opset, pads=[1, 0, 2, 1], mode=mode, **value) for opset in (7, 10)
            for mode, value in (("constant", {}), ("constant", {"value": 1.7}), ("reflect", {}), ("edge", {}))]
    for opset in (11, 13, 18, 19, 21):
        made += [form(act(3, 4), ints(1, 0, 2, 1), num(-2.3), law=passes, opset=opset),
                 form(act(3, 4), ints(1, 0, 2, 1), law=passes, opset=opset),
                 form(act(3, 4), ints(1, 0, 2, 1), act(), law=third, opset=opset),
                 form(act(3, 4), ints(1, 1, 2, 1), law=passes, opset=opset, mode="reflect"),
                 form(act(3, 4), ints(1, -1, 2, 1), law=passes, opset=opset, mode="edge")]
    return made + [form(act(3, 4), ints(1, 2), num(0.7), ints(1), law=passes, opset=18),
                   form(act(3, 4), ints(1, 0, 2, 1), law=passes, opset=19, mode="wrap")]


def power() -> list[Form]:
    laws: dict[float, Law] = {
        1.0: lambda p: {"a": p, "y": p}, 2.0: lambda p: {"a": p, "y": 2 * p}, 3.0: lambda p: {"a": p, "y": 3 * p},
        4.0: lambda p: {"a": p, "y": 4 * p}, 0.5: lambda p: {"a": 2 * p, "y": p},
        1.5: lambda p: {"a": 2 * p, "y": 3 * p}, 0.25: lambda p: {"a": 4 * p, "y": p},
        -0.5: lambda p: {"a": 2 * p, "y": -p}, -1.0: lambda p: {"a": p, "y": -p}, -2.0: lambda p: {"a": p, "y": -2 * p},
        0.75: lambda p: {"a": 4 * p, "y": 3 * p}, 0.0: lambda: {}, 0.3: lambda: {}, 17.0: lambda: {}}
    made = [form(act(30, 5, positive=value != int(value)), Fixed(np.full(shape, value, np.float32)), law=law, opset=opset)
            for value, law in laws.items() for opset, shape in ((7, ()), (12, (1,)), (15, (1, 1)))]
    return made + [form(act(3, 2), floats(1, 2), law=lambda: {}),
                   form(act(3, 2, positive=True), act(2), law=lambda: {})]


def resize() -> list[Form]:
    x, up = act(1, 2, 4, 5), floats(1, 1, 1.5, 2)
    made = [form(x, up, law=passes, opset=10, mode=mode) for mode in ("nearest", "linear")]
    for opset in (11, 13, 18, 19):
        made += [form(x, floats() if opset < 13 else None, up, law=passes, opset=opset, mode=mode, **attributes)
                 for mode, attributes in (
                     ("nearest", {}), ("linear", {"coordinate_transformation_mode": "align_corners"}),
                     ("cubic", {"cubic_coeff_a": -0.5}), ("cubic", {"exclude_outside": 1}),
                     ("linear", {"coordinate_transformation_mode": "pytorch_half_pixel"}))]
        made += [form(x, floats(0, 0, -0.2, 0.1, 1, 1, 1.3, 0.9), None if opset > 11 else floats(), ints(1, 2, 6, 3),
                      law=passes, opset=opset, mode=mode, coordinate_transformation_mode="tf_crop_and_resize", **value)
                 for mode in ("linear", "nearest") for value in ({}, {"extrapolation_value": 3.7})]
    return made + [form(x, None, floats(1, 1, 0.6, 0.7), law=passes, opset=18, mode=mode, antialias=1)
                   for mode in ("linear", "cubic")]


def scatter(old: bool) -> list[Form]:
    operands = (array([[0, 2], [1, 0]]), act(2, 2))
    made = []
    for opset in (9, 10) if old else (11, 13, 16, 18):
        made += [form(act(3, 2), *operands, law=third, opset=opset),
                 form(act(2, 3), *operands, law=third, opset=opset, axis=1),
                 form(fix(3, 2), *operands, law=lambda p: {"c": p, "y": p}, opset=opset),
                 form(act(3, 2), operands[0], fix(2, 2), law=passes, opset=opset)]
    if old:
        return made
    kinds = ((16, "add"), (18, "add"), (18, "max"), (18, "min"))
    return [*made, *(form(act(3, 2), *operands, law=third, opset=opset, reduction=kind) for opset, kind in kinds),
            form(act(3, 2), *operands, law=lambda: {}, opset=18, reduction="mul")]


def scatter_nd() -> list[Form]:
    operands = (array([[0], [2]]), act(2, 2))
    made = [form(act(3, 2), *operands, law=third, opset=opset) for opset in (11, 13, 16, 18)]
    made += [form(act(3, 2), *operands, law=third, opset=18, reduction=kind) for kind in ("add", "max", "min")]
    return [*made, form(act(3, 2), *operands, law=lambda: {}, opset=18, reduction="mul"),
            form(fix(2, 3), array([[0, 1], [1, 1]]), act(2), law=lambda p: {"c": p, "y": p})]


def shape_forms(name: str) -> list[Form]:
    """Squeeze and Unsqueeze: axes are an attribute up to opset 12."""
    shape = (1, 3, 1) if name == "Squeeze" else (3, 2)
    return [*(form(act(*shape), law=passes, opset=opset, axes=[0, 2]) for opset in (7, 11)),
            *(form(act(*shape), ints(0, -1), law=passes, opset=opset) for opset in (13, 21))]


def slices() -> list[Form]:
    made = [form(act(4, 5), law=passes, opset=opset, starts=[1, 0], ends=[3, -1], axes=[0, 1]) for opset in (7, 9)]
    for opset in (10, 11, 13):
        made += [form(act(4, 5), ints(1, 0), ints(4, 9), law=passes, opset=opset),
                 form(act(4, 5), ints(-1), ints(0), ints(1), ints(-2), law=passes, opset=opset)]
    return made


def splits() -> list[Form]:
    def law(p: int) -> dict[str, int]:
        return {"a": p, "y": p, "z": p}

    two = {"law": law, "outputs": (F32, F32)}
    return [form(act(4, 3), opset=7, axis=0, split=[1, 3], **two), form(act(4, 6), opset=11, axis=-1, **two),
            form(act(4, 3), ints(3, 1), opset=13, axis=0, **two), form(act(4, 5), opset=18, axis=1, num_outputs=2, **two),
            form(act(6, 2), law=lambda p: {"a": p, "y": p, "z": p, "w": p}, outputs=(F32, F32, F32), opset=18,
                 num_outputs=3)]


def top_k() -> list[Form]:
    both = {"law": passes, "outputs": (F32, I64)}
    made = [form(act(3, 7), opset=7, k=2, **both), form(act(3, 7), ints(3), opset=10, axis=0, **both)]
    for opset in (11, 24):
        made += [form(act(3, 7), ints(4), opset=opset, largest=0, **both),
                 form(act(3, 7), ints(2), opset=opset, axis=0, sorted=1, **both)]
    return made


def matmul() -> list[Form]:
    made = []
    for opset in (7, 9, 13):
        made += [form(act(3, 4), fix(4, 5), law=free, opset=opset), form(act(2, 3, 4), act(2, 4, 5), law=product, opset=opset),
                 form(fix(3, 4), act(4, 2), law=lambda p, q: {"b": p, "y": q}, opset=opset),
                 form(act(4), fix(4), law=free, opset=opset), form(act(2, 1, 3, 4), act(4), law=product, opset=opset),
                 form(act(33, 70), fix(70, 40), law=free, opset=opset)]
    return made


def einsum() -> list[Form]:
    return [form(act(3, 4), law=passes, equation="ij->ji"), form(act(3, 3), law=passes, equation="ii->i"),
            form(act(3, 4), law=passes, equation="ij->"),
            form(act(3, 4), act(4, 5), law=product, equation="ij,jk->ik"),
            form(act(2, 3, 4), fix(2, 4, 5), law=free, equation="bij,bjk->bik"),
            form(fix(3, 4), act(4), law=lambda p, q: {"b": p, "y": q}, equation="ij,j->i"),
            form(act(2, 3), act(3, 4), act(4, 2), equation="ij,jk,kl->il",
                 law=lambda p, q, r: {"a": p, "b": q, "c": r, "y": p + q + r}),
            form(act(2, 3), fix(3, 4), act(4, 2), equation="ij,jk,kl->il",
                 law=lambda p, q, r: {"a": p, "c": q, "y": r}),
            form(fix(2, 3), act(3, 4), fix(4, 2), law=lambda p, q: {"b": p, "y": q}, equation="ij,jk,kl->li"),
            form(act(2, 5, 3, 4), act(2, 5, 4, 3), law=product, equation="...ij,...jk->...ik")]


def divide() -> list[Form]:
    made = []
    for opset in (7, 13, 14):
        made += [form(act(3, 4), act(3, 4), law=lambda p, q: {"a": p, "b": q, "y": p - q}, opset=opset),
                 form(act(3, 4), fix(4, positive=True), law=free, opset=opset),
                 form(fix(3, 1), act(3, 4), law=lambda p, q: {"b": p, "y": q}, opset=opset)]
    return made


def multiply() -> list[Form]:
    made = []
    for opset in (7, 13, 14):
        made += [form(act(3, 4), act(3, 1), law=product, opset=opset), form(act(3, 4), fix(4), law=free, opset=opset),
                 form(num(-0.3), act(3, 4), law=lambda p, q: {"b": p, "y": q}, opset=opset)]
    return made


def sums() -> list[Form]:
    made = []
    for opset in (7, 13, 14):
        made += [form(act(3, 4), act(3, 4), law=tied, opset=opset), form(act(2, 1, 3), act(4, 1), law=tied, opset=opset),
                 form(act(3, 4), fix(4), law=passes, opset=opset),
                 form(num(0.7), act(3, 4), law=lambda p: {"b": p, "y": p}, opset=opset)]
    return made


def region_pool() -> list[Form]:
    rois = given([[0, 0, 5, 5], [1, 0, 3, 4]])
    return [form(act(1, 2, 6, 6), rois, ints(0, 0), law=passes, opset=opset, output_height=2, output_width=3, mode=mode,
                 sampling_ratio=2, spatial_scale=0.8) for opset in (10, 16, 22) for mode in ("avg", "max")]


def deformable() -> list[Form]:
    offset = uniform(-1, 1, 1, 8, 3, 3)
    return [form(act(1, 2, 4, 4), fix(2, 2, 2, 2), offset, law=free, opset=19),
            form(act(1, 2, 4, 4), act(2, 2, 2, 2), offset, law=product, opset=19),
            form(act(1, 2, 4, 4), fix(2, 2, 2, 2), offset, fix(2), uniform(0, 1, 1, 4, 3, 3), law=free, opset=22)]


def dropout() -> list[Form]:
    return [form(act(3, 4), law=passes, opset=7, ratio=0.3),
            form(act(3, 4), law=lambda: {}, opset=7, outputs=(F32, F32)), form(act(3, 4), law=passes, opset=10, ratio=0.3),
            form(act(3, 4), law=passes, opset=10, outputs=(F32, BOOL)),
            form(act(3, 4), law=passes, opset=12), form(act(3, 4), num(0.3), law=passes, opset=13, outputs=(F32, BOOL)),
            form(act(3, 4), num(0.3), array(False, np.bool_), law=lambda: {}, opset=13)]


def normalize_last(*opsets: int, bias: bool) -> list[Form]:
    made = []
    for opset in opsets:
        for attributes in ({}, {"axis": -2, "epsilon": 0.1}, {"axis": 1}):
            shape = (3, 6) if attributes else (6,)
            made.append(form(act(2, 3, 6), fix(*shape), law=free, opset=opset, **attributes))
            made.append(form(act(2, 3, 6), act(*shape), opset=opset, law=lambda p, q: {"a": p, "b": q, "y": q}, **attributes))
            if bias:
                made.append(form(act(2, 3, 6), fix(*shape), fix(*shape, seed=1), law=free, opset=opset, **attributes))
                made.append(form(act(2, 3, 6), fix(*shape), fix(*shape, seed=1), law=lambda: {}, opset=opset,
                                 outputs=(F32, F32, F32), **attributes))
    return made


def upsample() -> list[Form]:
    made = [form(act(1, 2, 3, 3), law=passes, opset=7, scales=[1.0, 1.0, 2.0, 1.5], mode=mode)
            for mode in ("nearest", "linear")]
    return made + [form(act(1, 2, 3, 3), floats(1, 1, 2, 1.5), law=passes, opset=9, mode=mode)
                   for mode in ("nearest", "linear")]


def attention() -> list[Form]:
    """Linear in the values; queries and keys meet a Softmax."""
    def law(p: int) -> dict[str, int]:
        return {"c": p, "y": p}

    q, k, v = act(1, 2, 3, 4), act(1, 2, 5, 4), act(1, 2, 5, 6)
    made = []
    for opset in (23, 24):
        # Far apart scores would give weights that are subnormal.
        made += [form(q, k, v, law=law, opset=opset, scale=0.01), form(q, k, v, law=law, opset=opset, softcap=2.0),
                 form(q, k, v, fix(3, 5), law=law, opset=opset, scale=0.01),
                 form(q, act(1, 2, 3, 4), act(1, 2, 3, 4), law=law, opset=opset, is_causal=1, softcap=5.0),
                 form(act(1, 3, 8), act(1, 5, 8), fix(1, 5, 8), law=lambda p: {"y": p}, opset=opset, q_num_heads=2,
                      kv_num_heads=2, scale=0.01),
                 form(q, k, v, None, act(1, 2, 2, 4), act(1, 2, 2, 6), opset=opset, outputs=(F32, F32, F32),
                      law=lambda: {})]
    return made


FLAG = given([[True, False, True], [False, False, True]], np.bool_)

FORMS: dict[str, list[Form]] = {
    "Abs": elementwise(7, 13),
    "Add": sums(),
    "ArgMax": [form(act(3, 5), law=true_result, opset=opset, outputs=(I64,), axis=axis, keepdims=keep)
               for opset in (7, 11, 13) for axis, keep in ((0, 1), (1, 0))]
    + [form(act(3, 5), law=true_result, opset=12, outputs=(I64,), select_last_index=1)],
    "ArgMin": [form(act(3, 5), law=true_result, opset=opset, outputs=(I64,), axis=axis, keepdims=keep)
               for opset in (7, 11, 13) for axis, keep in ((0, 1), (-1, 0))],
    "Attention": attention(),
    "AveragePool": pool() + pool(count_include_pad=1)
    + [form(act(1, 2, 7, 7), law=passes, opset=19, kernel_shape=[2, 2], dilations=[2, 1], ceil_mode=1)],
    "BatchNormalization": batch_normalization(),
    "Celu": elementwise(12) + elementwise(12, alpha=2.3),
    "CenterCropPad": [form(act(4, 5), ints(2, 7), law=passes, opset=18),
                      form(act(4, 5, 3), ints(7, 1), law=passes, opset=18, axes=[0, 2])],
    "Clip": clip(),
    "Col2Im": [form(act(1, 8, 9), ints(4, 4), ints(2, 2), law=passes, opset=18),
               form(act(2, 12, 4), ints(5, 6), ints(2, 3), law=passes, opset=18, pads=[0, 1, 1, 0], strides=[3, 3])],
    "Compress": [form(act(3, 4), given([True, False, True], np.bool_), law=passes, opset=opset, axis=0) for opset in (9, 11)]
    + [form(act(3, 4), array([False, True, True, False, True], np.bool_), law=passes)],
    "Concat": [form(act(2, 3), act(2, 1), law=tied, opset=opset, axis=1) for opset in (7, 11, 13)]
    + [form(fix(1, 3), act(2, 3), fix(2, 3), act(1, 3), law=lambda p: {"b": p, "d": p, "y": p}, axis=0),
       form(act(2, 3), law=passes, axis=-1)],
    "Conv": convolution("Conv"),
    "ConvTranspose": convolution("ConvTranspose")
    + [form(act(1, 3, 4, 4), fix(3, 2, 3, 3), fix(2), law=free, strides=[2, 2], output_padding=[1, 1])],
    "CumSum": [form(act(3, 4), int0(axis), law=passes, opset=opset, exclusive=exclusive, reverse=reverse)
               for opset in (11, 14) for axis, exclusive, reverse in ((0, 0, 0), (1, 1, 0), (-1, 0, 1), (0, 1, 1))],
    "DFT": [form(act(2, 8, 1), law=passes, opset=17, axis=1), form(act(2, 6, 2), law=passes, opset=17, inverse=1),
            form(act(2, 7, 1), None, int0(1), law=passes, opset=20), form(act(2, 8, 1), law=passes, opset=20, onesided=1),
            form(act(2, 5, 2), int0(8), int0(1), law=passes, opset=20, inverse=1)],
    "DeformConv": deformable(),
    "DepthToSpace": [form(act(1, 8, 2, 3), law=passes, opset=opset, blocksize=2) for opset in (7, 11, 13)]
    + [form(act(1, 8, 2, 3), law=passes, opset=13, blocksize=2, mode="CRD")],
    "Div": divide(),
    "Dropout": dropout(),
    "Einsum": einsum(),
    "Equal": comparison(11, 13, 19),
    "Erf": elementwise(9, 13, law=lambda: {}),
    "Expand": [form(act(3, 1), ints(2, 3, 4), law=passes, opset=opset) for opset in (8, 13)],
    "Flatten": [form(act(2, 3, 4), law=passes, opset=opset, axis=axis) for opset in (7, 9, 11, 13) for axis in (0, 1, 2)],
    "GRU": recurrent(3, [{"linear_before_reset": 1}]),
    "Gather": [form(act(4, 3), ints(2, 0, 2), law=passes, opset=opset, axis=axis) for opset in (7, 11, 13) for axis in (0, 1)]
    + [form(act(4, 3), int0(-1), law=passes)],
    "GatherElements": [form(act(3, 2), array([[0, 1], [2, 0]]), law=passes, opset=opset, axis=0) for opset in (11, 13)],
    "GatherND": [form(act(2, 3, 2), array([[0, 1], [1, 2]]), law=passes, opset=opset) for opset in (11, 12, 13)]
    + [form(act(2, 3, 2), array([[1], [0]]), law=passes, batch_dims=1)],
    "Gemm": gemm(),
    "GlobalAveragePool": [form(act(2, 3, 4, 5), law=passes), form(act(2, 3, 9), law=passes, opset=22)],
    "GlobalLpPool": [form(act(2, 3, 4, 5), law=passes, p=p) for p in (1, 2)]
    + [form(act(2, 3, 9), law=lambda: {}, p=3)],
    "GlobalMaxPool": [form(act(2, 3, 4, 5), law=passes), form(act(2, 3, 9), law=passes, opset=22)],
    "Greater": comparison(9, 13),
    "GreaterOrEqual": comparison(12, 16),
    "GridSample": [form(act(1, 2, 4, 5), uniform(-1.3, 1.3, 1, 3, 2, 2), law=passes, opset=opset, mode=mode,
                        padding_mode=padding, align_corners=corners)
                   for opset, modes in ((16, ("bilinear", "nearest", "bicubic")), (20, ("linear", "nearest", "cubic")))
                   for mode in modes for padding in ("zeros", "border", "reflection") for corners in (0, 1)],
    "GroupNormalization": normalization(21, 4, num_groups=2) + normalization(21, 6, num_groups=3),
    "HardSigmoid": [form(act(3, 9), law=true_result, opset=opset, **attributes) for opset in (7, 22)
                    for attributes in ({}, {"alpha": 0.07, "beta": 0.6})],
    "Hardmax": [form(act(3, 4), law=true_result, opset=opset, **attributes) for opset in (7, 11, 13)
                for attributes in ({}, {"axis": 0})],
    "Identity": elementwise(7, 13, 16),
    "InstanceNormalization": normalization(7, 3) + normalization(22, 5),
    "IsInf": elementwise(10, 20, law=true_result, outputs=(BOOL,))
    + elementwise(10, law=true_result, outputs=(BOOL,), detect_negative=0),
    "IsNaN": elementwise(9, 13, law=true_result, outputs=(BOOL,)),
    "LRN": [form(act(2, 5, 3, 3), law=passes, opset=opset, size=size, **attributes) for opset in (7, 13) for size in (1, 3)
            for attributes in ({}, {"alpha": 0.3, "beta": 0.6, "bias": 2.0})],
    "LSTM": recurrent(4) + peepholes(),
    "LayerNormalization": normalize_last(17, 22, bias=True),
    "LeakyRelu": elementwise(7, 16) + elementwise(16, alpha=0.3),
    "Less": comparison(9, 13),
    "LessOrEqual": comparison(12, 16),
    "LpNormalization": [form(act(3, 4), law=true_result, opset=opset, p=p, axis=axis)
                        for opset in (7, 22) for p in (1, 2) for axis in (0, -1)],
    "LpPool": pool(p=2) + pool(p=1) + [form(act(1, 2, 9), law=lambda: {}, kernel_shape=[3], p=3)],
    "MatMul": matmul(),
    "Max": variadic(8, 12, 13),
    "MaxPool": pool() + [form(act(1, 2, 6, 6), law=passes, opset=opset, kernel_shape=[3, 3], ceil_mode=1, strides=[2, 2],
                              outputs=(F32, I64)) for opset in (10, 12, 22)],
    "MaxRoiPool": [form(act(1, 2, 6, 6), given([[0, 0, 0, 5, 5], [0, 1, 1, 3, 4]]), law=passes, pooled_shape=[2, 2],
                        spatial_scale=0.9)],
    "MaxUnpool": [form(act(1, 1, 2, 2), array([[[[5, 7], [13, 15]]]]), law=passes, opset=opset, kernel_shape=[2, 2],
                       strides=[2, 2]) for opset in (9, 11, 22)]
    + [form(act(1, 1, 2, 2), array([[[[5, 7], [13, 15]]]]), ints(1, 1, 5, 5), law=passes, kernel_shape=[2, 2],
            strides=[2, 2])],
    "Mean": variadic(8, 13),
    "Min": variadic(8, 12, 13),
    "Mod": [form(act(3, 4), act(3, 4), law=tied, opset=opset, fmod=1) for opset in (10, 13)]
    + [form(act(3, 4), num(0.7), law=passes, fmod=1), form(floats(5.5, -7.25), act(3, 2), fmod=1,
                                                           law=lambda p: {"b": p, "y": p})],
    "Mul": multiply(),
    "Neg": elementwise(7, 13),
    "NonZero": elementwise(9, 13, law=true_result, outputs=(I64,)),
    "OneHot": [form(array([0, 2, 1]), int0(3), act(2), law=lambda p: {"c": p, "y": p}, opset=opset) for opset in (9, 11)]
    + [form(given([0, 2, -1], np.int64), int0(3), floats(-0.3, 1.7), law=lambda p: {"y": p}, axis=0)],
    "PRelu": [form(act(2, 3), fix(3), law=passes, opset=opset) for opset in (7, 9, 16)]
    + [form(act(2, 3), act(3), law=passes)],
    "Pad": pad(),
    "Pow": power(),
    "RMSNormalization": normalize_last(23, bias=False),
    "RNN": recurrent(1, [{"activations": ["Relu"]}]),
    "Reciprocal": elementwise(7, 13, law=lambda p: {"a": p, "y": -p}),
    "ReduceL1": reduction("ReduceL1"),
    "ReduceL2": reduction("ReduceL2"),
    "ReduceMax": reduction("ReduceMax"),
    "ReduceMean": reduction("ReduceMean"),
    "ReduceMin": reduction("ReduceMin"),
    "ReduceSum": reduction("ReduceSum") + [form(act(3, 4), law=passes, opset=13, noop_with_empty_axes=1)],
    "ReduceSumSquare": reduction("ReduceSumSquare", squares)
    + [form(act(3, 4), law=lambda: {}, opset=18, noop_with_empty_axes=1)],
    "Relu": elementwise(7, 13, 14),
    "Reshape": [form(act(2, 6), ints(3, -1), law=passes, opset=opset) for opset in (7, 13, 14, 21)]
    + [form(act(2, 6), given([0, 3, 2], np.int64), law=passes)],
    "Resize": resize(),
    "ReverseSequence": [form(act(3, 2), ints(2, 3), law=passes, opset=10),
                        form(act(2, 3), ints(2, 3), law=passes, opset=10, batch_axis=0, time_axis=1)],
    "RoiAlign": region_pool(),
    "RotaryEmbedding": [form(act(1, 2, 3, 4), uniform(-1, 1, 1, 3, 2), uniform(0, 1, 1, 3, 2), law=passes, opset=23,
                             interleaved=interleaved) for interleaved in (0, 1)]
    + [form(act(1, 3, 8), fix(5, 2), fix(5, 2, seed=1), array([[0, 2, 4]]), law=passes, opset=23, num_heads=2)],
    "STFT": [form(act(1, 16, 1), int0(4), floats(*np.hanning(8)), law=passes),
             form(act(2, 20, 1), int0(5), None, int0(8), law=passes, onesided=0)],
    "Scatter": scatter(old=True),
    "ScatterElements": scatter(old=False),
    "ScatterND": scatter_nd(),
    "Shape": elementwise(7, 13, law=true_result, outputs=(I64,)),
    "Shrink": [form(act(3, 9), law=passes, opset=9, **attributes) for attributes in (
        {}, {"lambd": 1.3}, {"bias": 0.4}, {"lambd": 0.2, "bias": 0.1})],
    "Sigmoid": elementwise(7, 13, law=lambda: {}),
    "Sign": elementwise(9, 13, law=true_result),
    "Size": elementwise(7, 13, law=true_result, outputs=(I64,)),
    "Slice": slices(),
    "SpaceToDepth": [form(act(1, 2, 4, 6), law=passes, opset=opset, blocksize=2) for opset in (7, 13)],
    "Split": splits(),
    "Sqrt": [form(act(*shape, positive=not shape), law=lambda p: {"a": 2 * p, "y": p}, opset=opset) for opset in (7, 13)
             for shape in ((3, 50), ())],
    "Squeeze": shape_forms("Squeeze"),
    "Sub": sums(),
    "Sum": variadic(8, 13),
    "Tanh": elementwise(7, 13, law=lambda: {}),
    "TensorScatter": [form(act(2, 4, 3), act(2, 2, 3), ints(1, 2), law=tied, opset=24),
                      form(fix(2, 4, 3), act(2, 2, 3), law=lambda p: {"b": p, "y": p}, opset=24, mode="circular")],
    "ThresholdedRelu": elementwise(10, 22) + elementwise(10, alpha=0.3),
    "Tile": [form(act(2, 3), ints(2, 1), law=passes, opset=opset) for opset in (7, 13)],
    "TopK": top_k(),
    "Transpose": [form(act(2, 3, 4), law=passes, opset=opset, **attributes) for opset in (7, 13)
                  for attributes in ({}, {"perm": [1, 0, 2]})],
    "Trilu": [form(act(4, 5), law=passes, opset=14, upper=upper) for upper in (0, 1)]
    + [form(act(2, 4, 5), int0(-1), law=passes, opset=14)],
    "Unique": [form(act(9), law=passes, opset=11, outputs=(F32, I64, I64, I64)),
               form(act(4, 3), law=passes, opset=11, axis=0, sorted=0)],
    "Unsqueeze": shape_forms("Unsqueeze"),
    "Upsample": upsample(),
    "Where": [form(FLAG, act(2, 3), act(3), law=lambda p: {"b": p, "c": p, "y": p}, opset=opset) for opset in (9, 16)]
    + [form(FLAG, act(2, 3), num(-1e4), law=lambda p: {"b": p, "y": p}),
       form(FLAG, fix(2, 1), act(3), law=lambda p: {"c": p, "y": p})],
}


def no_exponents() -> dict[str, int]:
    return {}


def true_only(*operands: Operand, opsets: Sequence[int] = (17,), **rest: object) -> list[Form]:
    return [form(*operands, law=no_exponents, opset=opset, **rest) for opset in opsets]


# Operators without a row: they read and give true values. The first operand is the one that a test gives an exponent.
TRUE_FORMS: dict[str, list[Form]] = {
    **{op: true_only(act(3, 5), opsets=(7, 13)) for op in ("Ceil", "Exp", "Floor", "LogSoftmax", "Selu", "Sin", "Softmax",
                                                           "Softsign")},
    **{op: true_only(act(3, 5), opsets=(7, 22)) for op in ("Atan", "Cos", "Elu", "Softplus", "Tan")},
    **{op: true_only(act(3, 5), opsets=(18,)) for op in ("HardSwish", "Mish")},
    "AffineGrid": true_only(act(1, 2, 3), ints(1, 1, 3, 4), opsets=(20,)),
    "Cast": true_only(act(3, 5), outputs=(I64,), to=I64) + true_only(act(3, 5), outputs=(BOOL,), to=BOOL),
    "CastLike": true_only(act(3, 5), ints(1), outputs=(I64,)),
    "CumProd": true_only(act(3, 5), int0(0), opsets=(26,)),
    "Det": true_only(act(2, 3, 3), opsets=(11, 22)),
    "DynamicQuantizeLinear": true_only(act(3, 5), outputs=(U8, F32, U8)),
    "FusedMatMul": true_only(act(3, 4), fix(4, 5), domain="com.microsoft", rank=2, alpha=0.3),
    "Gelu": true_only(act(3, 5), opsets=(20,)) + true_only(act(3, 5), opsets=(20,), approximate="tanh"),
    "Log": true_only(act(3, 5, positive=True), opsets=(7, 13)),
    "MeanVarianceNormalization": true_only(act(2, 3, 4, 4), opsets=(9,)),
    "QuantizeLinear": true_only(act(3, 5), num(0.3), array(3, np.uint8), opsets=(13, 19), outputs=(U8,)),
    "ReduceLogSum": true_only(act(3, 5, positive=True), axes=[1]),
    "ReduceLogSumExp": true_only(act(3, 5), axes=[1]),
    "ReduceProd": true_only(act(3, 5), axes=[1]),
    "Round": true_only(act(3, 5), opsets=(11, 22)),
    "Swish": true_only(act(3, 5), opsets=(24,)),
}


# ---------------------------------------------------------------- models


def free_integers(law: Law) -> int:
    return len(inspect.signature(law).parameters)


def letters(form: Form) -> list[str]:
    return [chr(ord("a") + slot) for slot in range(len(form.operands))]


def results(form: Form) -> list[str]:
    return [name if kind is not None else "" for name, kind in zip("yzwv", form.outputs)]


def make_model(op: str, form: Form) -> ModelProto:
    b = Builder(form.opset)
    generator = rng(op, repr(form.operands), form.opset)
    names = []
    for name, operand in zip(letters(form), form.operands):
        names.append("" if operand is None else name)
        if isinstance(operand, Active):
            b.input(f"x_{name}", operand.shape)
            _produce(b, name, operand, generator)
        elif isinstance(operand, Given):
            b.inputs.append(_info(name, operand.values))
        elif isinstance(operand, Fixed):
            b.weight(name, operand.values, operand.values.dtype)
    b.node(op, names, *results(form), name=NODE, domain=form.domain, **form.attributes)
    for result, kind in zip(results(form), form.outputs):
        if kind != F32:
            if result:
                b.output(result, None, kind)
            continue
        b.weight(f"k_{result}", generator.uniform(0.5, 2, ()))
        b.node("Mul", [result, f"k_{result}"], f"out_{result}")
        b.output(f"out_{result}")
    model = b.model(domains=(form.domain,) if form.domain else ())
    # ONNX's checker wants a shape for each output, if only one of free dimensions.
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for output, known in zip(model.graph.output, inferred.graph.output):
        output.CopyFrom(known)
        if not known.type.tensor_type.HasField("shape"):
            output.type.tensor_type.shape.dim.extend([onnx.TensorShapeProto.Dimension()] * form.rank)
    return model


def _info(name: str, values: np.ndarray) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape)


def _produce(b: Builder, name: str, operand: Active, generator: np.random.Generator) -> None:
    """Mul and MatMul take turns."""
    shape = operand.shape
    if len(shape) >= 2 and not operand.positive and generator.random() < 0.4:
        b.weight(f"k_{name}", generator.standard_normal((shape[-1], shape[-1])))
        b.node("MatMul", [f"x_{name}", f"k_{name}"], name)
        return
    sign = 1 if operand.positive else generator.choice([-1, 1])
    b.weight(f"k_{name}", sign * generator.uniform(0.5, 4, shape[-1:]))
    b.node("Mul", [f"x_{name}", f"k_{name}"], name)


def make_samples(op: str, form: Form, count: int = 3) -> list[Sample]:
    made: list[Sample] = []
    for index in range(count):
        generator = rng(op, index)
        sample: Sample = {}
        for name, operand in zip(letters(form), form.operands):
            if isinstance(operand, Active):
                sample[f"x_{name}"] = mixed(generator, operand.shape, operand.positive)
            elif isinstance(operand, Given):
                sample[name] = operand.values
        made.append(sample)
    return made
