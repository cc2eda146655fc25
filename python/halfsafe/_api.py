"""The stages as functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union

from . import _core
from ._core import CheckResult, FixResult, Inspection, Model, Plan, Ranges, RangesDiff, Samples
from ._errors import InputError, UsageError
from ._samples import SamplesLike, Transform, open_samples

if TYPE_CHECKING:
    from onnx import ModelProto

Path = Union[str, "os.PathLike[str]"]
ModelLike = Union[Model, Path, bytes, "ModelProto"]
"""A path, a model's bytes, an onnx.ModelProto, or what load returned."""
Progress = Callable[[str, int, int], object]
"""Called with a stage, the steps done, and their number (0 where unknown)."""
Provider = Literal["cpu", "cuda"]
Half = Literal["fp16", "bf16"]
Repair = Literal["rescale", "fp32", "bf16"]
Interface = Literal["keep", "fp16", "fp32"]


def load(model: ModelLike, *, opset: int | None = None, custom_ops: Sequence[Path] = (), folder: Path | None = None,
         lift_clamps: bool = False) -> Model:
    """Reads a model. Every function does this with what it is given; to load it once saves time where several are called.

    model: a path, the bytes of an ONNX file, or an onnx.ModelProto.
    opset: convert the model to this opset first. Checks still compare with the model as it was.
    custom_ops: libraries of custom operators for ONNX Runtime.
    folder: where bytes and a ModelProto find their external data; the current one where not given.
    lift_clamps: leave out of a model in 16 bits the clamps at +-65504 or +-64504 that its export put in to keep it finite.

    >>> model = halfsafe.load("model.onnx")
    >>> [(spec.name, spec.dtype, spec.shape) for spec in model.inputs]
    [('x', 'float32', [None, 64])]
    """
    if isinstance(model, Model):
        if opset is None and not custom_ops and not lift_clamps:
            return model
        raise UsageError("the model is loaded already: opset, custom_ops and lift_clamps are for the load that reads it")
    if isinstance(model, (str, os.PathLike)):
        return _core.load_file(model, opset, lift_clamps, list(custom_ops))
    if not isinstance(model, (bytes, bytearray, memoryview)):
        model = _serialized(model)
    return _core.load_bytes(bytes(model), folder, opset, lift_clamps, list(custom_ops))


def _serialized(model: Any) -> bytes:
    if not hasattr(model, "SerializeToString") or not hasattr(model, "graph"):
        raise UsageError(f"model is a {type(model).__name__}, expected a path, bytes, an onnx.ModelProto or a halfsafe.Model")
    try:
        content = model.SerializeToString(deterministic=True)
    except Exception as error:  # protobuf's own class, of whichever protobuf that is
        raise InputError("the model can't be made one message, which holds 2 GiB at most: save it with external data and give "
                         f"its path ({error})") from error
    return bytes(content)


def random_samples(model: ModelLike, count: int, shapes: Mapping[str, Sequence[int]] | None = None) -> Samples:
    """Samples drawn from a fixed seed, for a first look: random data hides overflow.

    shapes: sizes of inputs with free dimensions, which are 1 otherwise.

    >>> halfsafe.scan(model, halfsafe.random_samples(model, 4)).samples
    4
    """
    if count < 1:
        raise UsageError(f"count is {count}, expected one or more")
    return _core.random_samples(load(model), count, {name: list(shape) for name, shape in (shapes or {}).items()})


def scan(model: ModelLike, samples: SamplesLike, *, transform: Transform | None = None, threads: int = 0,
         low_memory: bool = False, optimize: bool = True, skip_bad_samples: bool = False, checkpoint: Path | None = None,
         allow_nan: bool = False, provider: Provider = "cpu", progress: Progress | None = None) -> Ranges:
    """Runs every sample and records what every floating-point tensor does.

    samples: a mapping of input names to arrays, or an iterable of samples, each a mapping, an array, or arrays in the order of
        the model's inputs; a data loader's batches; paths of files that the command line takes.
    transform: makes a sample of each element.
    threads: for inference; 0 takes one for each core.
    low_memory: hold weights once, slower, as is done for any model past 512 MiB.
    optimize: let ONNX Runtime change the graph; off for numbers to the bit.
    skip_bad_samples: leave out samples that can't be run, and name them in the result.
    checkpoint: a file to go on from, and to keep what was seen in.
    allow_nan: take samples with NaN.
    provider: "cuda" where the build has it.
    progress: called with stage, steps done and number of steps.

    >>> ranges = halfsafe.scan("model.onnx", [{"x": np.ones((1, 64), np.float32)}])
    >>> ranges["x"].abs_max
    1.0
    """
    loaded = load(model)
    options = _core.ScanOptions(threads, low_memory, optimize, skip_bad_samples,
                                "" if checkpoint is None else os.fspath(checkpoint), provider, allow_nan)
    return _core.scan(loaded, open_samples(loaded, samples, transform), options, progress)


def merge(ranges: Iterable[Ranges]) -> Ranges:
    """Joins scans of different samples of one model: the same as one scan of all.

    >>> halfsafe.merge([ranges, more_ranges]).samples
    2
    """
    return _core.merge(list(ranges))


def diff(before: Ranges, after: Ranges, *, threshold: float = 10000.0) -> RangesDiff:
    """What changed between two scans, of another checkpoint or other samples.

    threshold: what counts as overflow below 65504.

    >>> halfsafe.diff(ranges, more_ranges).new_overflow
    False
    """
    return _core.diff(before, after, threshold)


def plan(model: ModelLike, ranges: Ranges, *, half: Half = "fp16", repair: Repair = "rescale", threshold: float = 10000.0,
         margin: float = 2048.0, io: Interface = "keep", accumulate: Literal["fp32", "fp16"] = "fp32",
         free_casts: bool = False, keep: Sequence[str] = (), keep_op: Sequence[str] = (), cost: Path | None = None) -> Plan:
    """Decides which nodes run in FP16, and which tensors are stored times a power of two.

    half: the 16-bit type of the nodes; "bf16" holds what FP32 holds, in fewer bits, where the opset has it.
    repair: what to do about overflow: store it times a power of two ("rescale", FP32 where that fails), keep it in "fp32",
        or in "bf16" where the opset has it.
    threshold: nothing past it, as it is stored, is FP16.
    margin: what rescaled tensors stay within where they can.
    io: "fp16" gives the model FP16 inputs and outputs where their range allows, "fp32" FP32 ones in place of those that its
        file has in 16 bits.
    accumulate: "fp16" counts partial sums past 65504 as overflow, for runtimes that add up in FP16.
    free_casts: count no cost for Casts, as for a compiler that fuses them.
    keep: regular expressions on names of nodes that stay FP32; keep_op: types of operators that do.
    cost: a halfsafe-latencies file, with latencies of your GPU in place of estimates.

    >>> plan = halfsafe.plan(model, ranges)
    >>> [(node.name, node.reason) for node in plan.nodes_in("fp32")]
    [('product', 'cheaper-than-casts'), ('relu', 'cheaper-than-casts')]
    """
    options = _core.PlanOptions(half, repair, threshold, margin, io, accumulate, free_casts, list(keep), list(keep_op), cost)
    return _core.plan(load(model), ranges, options)


def explain(model: ModelLike, ranges: Ranges, plan: Plan, node: str) -> str:
    """Everything that a plan says of one node, in sentences."""
    return _core.explain(load(model), ranges, plan, node)


def apply(model: ModelLike, plan: Plan, *, accumulate: Literal["runtime", "fp32"] = "runtime") -> Model:
    """Writes a plan into a model.

    accumulate: "fp32" writes 16-bit matrix products so that a strongly typed runtime sums them in FP32.

    >>> halfsafe.apply(model, plan).save("fixed.onnx")
    """
    if accumulate not in ("runtime", "fp32"):
        raise UsageError(f"accumulate is '{accumulate}', expected 'runtime' or 'fp32'")
    return _core.apply(load(model), plan, accumulate == "fp32")


def check(model: ModelLike, fixed: ModelLike, samples: SamplesLike, *, transform: Transform | None = None,
          rel_l2: float = 0.01, rtol: float | None = None, atol: float | None = None, max_flips: float = 0.0,
          plain: bool = True, threads: int = 0, low_memory: bool = False, allow_nan: bool = False, provider: Provider = "cpu",
          progress: Progress | None = None) -> CheckResult:
    """Compares a model in FP32 with plain FP16 and with a fixed model, whose roundings are emulated.

    samples, transform, threads, low_memory, allow_nan, provider, progress: as in scan.
    rel_l2: largest relative L2 error of an output on any sample.
    rtol, atol: also element by element, |y - ref| <= atol + rtol * |ref|; off where neither is given.
    max_flips: share of elements of integer and bool outputs that may differ.
    plain: run plain FP16 too.

    >>> halfsafe.check(model, "fixed.onnx", samples).right
    True
    """
    loaded = load(model)
    options = _core.CheckOptions(rel_l2, rtol, atol, max_flips, threads, low_memory, plain, provider, allow_nan)
    return _core.check(loaded, load(fixed), open_samples(loaded, samples, transform), options, progress)


def fix(model: ModelLike, samples: SamplesLike, *, transform: Transform | None = None, opset: int | None = None,
        half: Half = "fp16", repair: Repair = "rescale", threshold: float = 10000.0, margin: float = 2048.0,
        io: Interface = "keep", accumulate: Literal["fp32", "fp16"] = "fp32", free_casts: bool = False,
        keep: Sequence[str] = (), keep_op: Sequence[str] = (), cost: Path | None = None, rel_l2: float = 0.01,
        rtol: float | None = None, atol: float | None = None, max_flips: float = 0.0, holdout: float = 0.0,
        budget: float | None = None, threads: int = 0, low_memory: bool = False, allow_nan: bool = False,
        provider: Provider = "cpu", runs_on_cpu: bool = False, progress: Progress | None = None) -> FixResult:
    """The whole job: scans, plans, applies and checks, and widens the FP32 part until the check passes.

    Arguments are those of scan, plan and check, and
    opset: convert the model to this opset first.
    holdout: share of the samples kept out of calibration and checked at the end.
    budget: seconds for taking nodes back to FP16 that widening need not have taken.
    runs_on_cpu: keep nodes in FP32 that ONNX Runtime's CPU provider can't load or run in 16 bits.

    >>> result = halfsafe.fix("model.onnx", samples)
    >>> result.right
    True
    >>> result.model.save("fixed.onnx")
    """
    loaded = load(model, opset=opset)
    scanning = _core.ScanOptions(threads, low_memory, True, False, "", provider, allow_nan)
    planning = _core.PlanOptions(half, repair, threshold, margin, io, accumulate, free_casts, list(keep), list(keep_op), cost)
    checking = _core.CheckOptions(rel_l2, rtol, atol, max_flips, threads, low_memory, True, provider, allow_nan)
    return _core.fix(loaded, open_samples(loaded, samples, transform), scanning, planning, checking, budget, holdout,
                     runs_on_cpu, progress)


def inspect(model: ModelLike) -> Inspection:
    """Inputs, outputs, operators, and weights that FP16 cannot hold; runs nothing.

    >>> halfsafe.inspect("model.onnx").operators
    {'MatMul': 1, 'Relu': 1}
    """
    return _core.inspect(load(model))
