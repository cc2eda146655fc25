"""Trained models that PyPI packages ship, with samples: what exporters wrote whom nobody here controlled.

Those of scripts/requirements-test.txt have real samples (tests/real_models.py). Those of scripts/requirements-exports.txt
have made ones here: a voice, a song, letters.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import real_models
from conformance.cases import NUMPY_TYPES, Case, Value
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parent.parent.parent
Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class Packaged:
    file: str  # Relative to where packages lie.
    samples: Callable[[Path], Sequence[Sample]]


def voice(seed: int, count: int, rate: int) -> np.ndarray:
    """A pitch that glides, harmonics, syllables with pauses between, and the noise of a room."""
    random = np.random.default_rng(seed)
    time = np.arange(count) / rate
    phase = 2 * np.pi * np.cumsum(random.uniform(90, 220) * (1 + 0.3 * np.sin(2 * np.pi * 3 * time))) / rate
    harmonics = sum(np.sin(number * phase) / number for number in range(1, 20))
    syllables = np.sin(2 * np.pi * 4 * time) > -0.3
    return (0.2 * harmonics * syllables + 0.01 * random.standard_normal(count)).astype(np.float32)


# ---------------------------------------------------------------- samples


def streamed(size: int, rates: Mapping[int, int] | None = None) -> Callable[[Path], Sequence[Sample]]:
    """A voice piece by piece, each with the state that the model gave after the one before it. `rates` has the size of
    a piece for each rate of sampling where the model takes several."""

    def samples(path: Path) -> Iterator[Sample]:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for rate, piece in (rates or {16000: size}).items():
            state = np.zeros((2, 1, 128), np.float32)
            for frame in voice(1, 4 * piece, rate).reshape(4, 1, piece):
                sample = {"input": frame, "state": state}
                if "sr" in {value.name for value in session.get_inputs()}:
                    sample["sr"] = np.array(rate, np.int64)
                yield sample
                state = session.run(["stateN"], sample)[0]

    return lambda path: list(samples(path))


def whole_voices(path: Path) -> Sequence[Sample]:
    zeros = np.zeros((1, 1, 128), np.float32)
    return [{"input": voice(seed, 576 * 6, 16000).reshape(6, 576), "h": zeros, "c": zeros} for seed in range(3)]


def songs(path: Path) -> Sequence[Sample]:
    return [{"serving_default_input_2:0": voice(seed, 43844, 22050)[None, :, None]} for seed in range(2)]


def letters(path: Path) -> Sequence[Sample]:
    random = np.random.default_rng(0)
    return [{"input_1": random.integers(1, 40, (1, length)).astype(np.float32)} for length in (12, 30, 57)]


def marked_letters(path: Path) -> Sequence[Sample]:
    random = np.random.default_rng(0)
    return [{"char_inputs": random.integers(1, 30, (1, length)), "diac_inputs": np.zeros((1, length), np.int64),
             "input_lengths": np.array([length])} for length in (12, 30, 57)]


BOTH_RATES = {16000: 576, 8000: 288}

PACKAGED = {
    "silero_vad": Packaged("silero_vad/data/silero_vad.onnx", streamed(576, BOTH_RATES)),
    "silero_vad_16k": Packaged("silero_vad/data/silero_vad_16k_op15.onnx", streamed(576)),
    "silero_vad_half": Packaged("silero_vad/data/silero_vad_half.onnx", streamed(576)),
    "silero_vad_ifless": Packaged("silero_vad/data/silero_vad_op18_ifless.onnx", streamed(576, BOTH_RATES)),
    "silero_vad_openvino": Packaged("silero_vad/data/silero_vad_openvino_16k.onnx", streamed(576)),
    "silero_vad_sequence": Packaged("silero_vad/data/silero_vad_16k_sequence.onnx", whole_voices),
    "basic_pitch": Packaged("basic_pitch/saved_models/icassp_2022/nmp.onnx", songs),
    "nakdimon": Packaged("piper/hebrew/nakdimon.onnx", letters),
    "tashkeel": Packaged("piper/tashkeel/model.onnx", marked_letters),
}


# ---------------------------------------------------------------- as cases


def packaged_cases(samples: int = 4) -> Iterator[Case]:
    """Those whose packages are installed."""
    for name in real_models.REAL_MODELS:
        try:
            with tempfile.TemporaryDirectory() as folder:
                place = real_models.write_model(name, Path(folder), samples)
                model, given = onnx.load(place / "model.onnx"), real_models.load_samples(place / "samples")
        except (SystemExit, ImportError):
            continue
        yield as_case(name, "packages", model, given)
    for folder in sorted((ROOT / ".deps/exports/lib").glob("python3*/site-packages")):
        for name, packaged in PACKAGED.items():
            path = folder / packaged.file
            if path.is_file():
                yield as_case(name, "packages", onnx.load(path), packaged.samples(path))


# In a network of hundreds of nodes, single values at a decision's edge move more than an operator's do; the norm is the same.
ROUNDINGS = 128


def as_case(name: str, family: str, model: onnx.ModelProto, samples: Sequence[Sample]) -> Case:
    inputs = [value for value in model.graph.input if value.name in samples[0]]
    values = [[as_declared(sample[value.name], value) for value in inputs] for sample in samples]
    return Case(name, family, model, values, roundings=ROUNDINGS)


def as_declared(array: np.ndarray, value: onnx.ValueInfoProto) -> Value:
    """In the input's type, where the sample has it in FP32 and the model in 16 bits."""
    kind = value.type.tensor_type.elem_type
    if array.dtype != np.float32 or kind not in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        return array
    array = array.astype(helper.tensor_dtype_to_np_dtype(kind))
    return array if kind in NUMPY_TYPES else numpy_helper.from_array(array)
