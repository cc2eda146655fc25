"""Holds what `fix` makes of files in FP16 or BF16 against what it makes of their twins, the same models with the same weights in
FP32, and both against ONNX Runtime and an emulation that is not halfsafe's own (fp16_reference.py).

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import dataclasses
import unittest
from collections.abc import Iterator
from typing import Any

import support
from support import Sample, ToolTest, np, onnx, read_json

import fp16_reference
import sixteen_bits
import sweep
from generated_models import OPSETS, Case
from onnx import ModelProto
from sixteen_bits import BF16, F16, F32, MODELS, NAMES, CannotConvert

TOLERANCE = 1e-2  # of the relative L2 error, fix's default
FLOOR = TOLERANCE / 10
ROUNDING = 2.0**-9  # One of BF16.
WITH_SEQUENCES = ("SplitToSequence", "SequenceConstruct", "SequenceEmpty")  # fp16_reference.py knows none in 16 bits.
# Whose weights FP16 cannot hold: `.half()` makes them infinite, and most of these models give no finite number then, in FP32
# either. So they are here once more with the largest finite number in their place.
INFINITE = (*(f"conv_net_{opset}" for opset in OPSETS), "initializers_among_inputs", "unnamed_nodes", "transformer", "mask_bert",
            "mask_bert_fully", "mask_bert_infinite", "mask_where", "mask_where_fully", "mask_where_then_add", "mask_constant",
            "mask_two_added", "mask_two_in_a_row", "mask_filled", "mask_shared_with_output", "shared_weight", "large_weight",
            "output_read_inside", "several_outputs", "mixed_types", "if_inside", "if_outside", "scan", "loop_captures_overflow",
            "functions", "constants", "sparse_constants", "chain_of_reshapes", "rescale_conv_stack", "rescale_residual_net",
            "rescale_unet", "rescale_gated_mlp", "rescale_softmax_net", "rescale_lstm_net", "twin_ifs")
SLOW = ("transformer_rms", "transformer_growing")  # in BF16 alone: the search for nodes to take back runs to its limit
# What has no form in a type, and why.
NO_CAST = "has no Cast to bfloat16"
PAST = "samples past the type's range"
NO_FORM = {
    **{(name, BF16): NO_CAST for name in ("conv_net_7", "conv_net_9", "conv_net_11", "initializers_among_inputs")},
    **{(name, BF16): "no seq(tensor(bfloat16))" for name in ("sequences", "split")},
    **{("bitcast", kind): "BitCast of 32 bits" for kind in (F16, BF16)},
    **{(name, kind): PAST for name in ("mask_given", "mask_given_fully") for kind in (F16, BF16)},
    ("broken_numbers", F16): PAST, ("every_size", F16): PAST, ("every_size", BF16): PAST,
}


@dataclasses.dataclass(frozen=True)
class Form:
    name: str
    kind: int
    limited: bool = False
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.name, NAMES[self.kind], *(["limited"] if self.limited else []), *self.options))


def forms(name: str) -> Iterator[Form]:
    if (name, F16) not in NO_FORM:
        yield Form(name, F16)
        if name in INFINITE:
            yield Form(name, F16, limited=True)
    if (name, BF16) not in NO_FORM:
        yield Form(name, BF16)
        # Outputs in BF16 would spend a part of the tolerance on their own rounding, and the twin's don't.
        if sweep.ALL or not name.endswith(SLOW):
            yield Form(name, BF16, options=("--half", "bf16", "--io", "fp32"))


@dataclasses.dataclass
class Fixed:
    """What `fix` said and wrote, and what that computes: outputs of each sample, in the order of the model."""

    code: int
    said: str
    answer: dict[str, Any]
    fp32: int  # nodes
    outputs: list[list[Any]] | None  # None where the emulation knows no such model

    @property
    def right(self) -> bool:
        # Whether it gains anything is no matter of the numbers: Casts count, and they lie elsewhere.
        return self.answer["verdict"] in ("right", "little-gained")

    @property
    def as_it_is(self) -> bool:
        return any("right as it is" in warning for warning in self.answer["warnings"])

    def allowed(self) -> list[float]:
        """Error of each output that is called right. On the edge, the mean of eight roundings decides, and the emulation has but one."""
        return [TOLERANCE * (1.02 * output["worst_draw"] if output["on_edge"] else 1) if "float" in output["dtype"] else 0
                for output in self.answer["outputs"]]


class SixteenBitsTest(ToolTest):
    def test_every_model_has_a_form_or_a_reason(self) -> None:
        """Beside it, the lifted file gives what the twin gives, to the bit: the converter's own proof."""
        for name, kind in sweep.tenth((name, kind) for name in MODELS for kind in (F16, BF16)):
            with self.subTest(name, kind=NAMES[kind]):
                case = MODELS[name]()
                try:
                    model = sixteen_bits.converted(case.model, kind)
                    samples = support.widened(sixteen_bits.stored(model, case.samples))
                except CannotConvert as reason:
                    self.assertIn(NO_FORM.get((name, kind), "no reason is known"), str(reason))
                    continue
                self.assertNotIn((name, kind), NO_FORM)
                other = sixteen_bits.twin(case.model, kind)
                if kind == F16:
                    self.assertEqual(became_infinite(case.model, other), name in INFINITE)
                for found, expected in zip(outputs_of(support.lifted(model), samples), outputs_of(other, samples), strict=True):
                    for one, two in zip(found, expected, strict=True):
                        np.testing.assert_array_equal(flat(one), flat(two))

    def test_as_the_twin(self) -> None:
        for form in sweep.tenth(form for name in MODELS for form in forms(name)):
            with self.subTest(str(form)):
                self.compare(form)

    def compare(self, form: Form) -> None:
        case = MODELS[form.name]()
        model, other = (make(case.model, form.kind, form.limited) for make in (sixteen_bits.converted, sixteen_bits.twin))
        samples = sixteen_bits.stored(model, case.samples)
        wide = support.widened(samples)
        file, twin = self.fix("file", model, samples, form.options), self.fix("twin", other, wide, form.options)
        if not file.answer or not twin.answer:
            self.assertEqual(file.code, twin.code, file.said + twin.said)
            return
        if file.outputs is None or twin.outputs is None:
            self.assertEqual(file.right, twin.right, f"file: {file.said}\ntwin: {twin.said}")
        else:
            # With --io fp32 both have the twin's outputs.
            typed = other if "--io" in form.options else model
            floor = ROUNDING if "bf16" in form.options else FLOOR
            self.compare_errors(typed, file, twin, reference(typed, other, wide), floor)
        if file.right and twin.right:
            slack = max(2, 0.1 * max(file.fp32, twin.fp32))
            said = f"nodes in FP32: {file.fp32} and {twin.fp32}\nfile: {file.said}\ntwin: {twin.said}"
            self.assertLessEqual(file.fp32, twin.fp32 + slack, said)
            # What is right as it is comes back, though ranges speak for FP32 here and there.
            if not file.as_it_is:
                self.assertLessEqual(twin.fp32, file.fp32 + slack, said)

    def compare_errors(self, model: ModelProto, file: Fixed, twin: Fixed, expected: list[list[Any]], floor: float) -> None:
        """The file's outputs are FP16 or BF16 and the twin's FP32. So what is expected is rounded to the file's types, as the check does
        it, and so are the twin's outputs. These may be further off then than the twin itself: tiny ones lose their bits, large
        ones are infinite. No more can be asked of the file.
        """
        file_errors = errors(expected, file.outputs)
        twin_errors = errors(expected, [rounded_outputs(model, outputs, limited=False) for outputs in twin.outputs])
        said = f"errors {file_errors} and {twin_errors}\nfile: {file.said}\ntwin: {twin.said}"
        names = [output.name for output in model.graph.output]
        for name, *of_samples in zip(names, *expected, strict=True):
            values = np.concatenate([np.ravel(flat(value)) for value in of_samples])
            if values.dtype.kind == "f" and values.size and not np.isfinite(values).any():
                self.assertFalse(file.right, f"FP32 shows nothing of {name}: {said}")
        if file.right or all(error <= TOLERANCE for error in twin_errors):
            self.assertEqual(file.right, twin.right, said)
        if file.right:
            for name, error, allowed in zip(names, file_errors, file.allowed(), strict=True):
                self.assertLessEqual(error, allowed, f"{name} is called right: {said}")
        # A file that is right as it is has the roundings that it had.
        if file.right and not file.as_it_is:
            for one, two in zip(file_errors, twin_errors, strict=True):
                self.assertLessEqual(one, 1.5 * two + floor, said)
                self.assertLessEqual(two, 1.5 * one + floor, said)

    def fix(self, name: str, model: ModelProto, samples: list[Sample], options: tuple[str, ...]) -> Fixed:
        """Casts cost nothing here: the twin has more of them, at its inputs and outputs, and they decide for FP32."""
        folder = self.folder / f"{len(list(self.folder.iterdir())):04}{name}"
        folder.mkdir()
        path, plan, result = (folder / file for file in ("fixed.onnx", "plan.json", "result.json"))
        onnx.save(model, folder / "model.onnx")
        data = self.save_samples(samples, f"{folder.name}/samples")
        done = self.tool("fix", folder / "model.onnx", "--data", data, "-o", path, "--save-plan", plan, "--json", result, "--free-casts",
                         *options, code=None)
        said = done.stderr + done.stdout
        if done.returncode not in (0, 1):
            return Fixed(done.returncode, said, {}, 0, [])
        fp32 = [node["name"] for node in read_json(plan)["nodes"] if node["precision"] == "fp32"]
        fp32 = [node for node in fp32 if not node.rpartition("/")[2].startswith(sixteen_bits.ADDED)]
        outputs = None
        if not any(node.op_type in WITH_SEQUENCES for node in model.graph.node):
            emulated = fp16_reference.emulate(support.dense(onnx.load(path)))
            outputs = list(outputs_of(emulated, support.widened(samples), optimize=True))
        return Fixed(done.returncode, said, read_json(result), len(fp32), outputs)


def outputs_of(model: ModelProto, samples: list[Sample], optimize: bool = False) -> Iterator[list[Any]]:
    runner = support.session(model, optimize)
    for sample in samples:
        yield runner.run(None, sample)


def became_infinite(original: ModelProto, other: ModelProto) -> bool:
    before, after = (support.constant_values(model) for model in (support.without_functions(original), other))
    return any((np.isfinite(values) & ~np.isfinite(after[name])).any() for name, values in before.items()
               if name in after and values.dtype == np.float32)


def reference(model: ModelProto, other: ModelProto, samples: list[Sample]) -> list[list[Any]]:
    """What the twin gives in FP32, in the types of `model`. What is finite only with ONNX Runtime's optimizations, which make numbers
    of NaN here and there, is NaN.
    """
    def sure(value: Any, plain: Any) -> Any:
        if isinstance(value, list) or value.dtype.kind != "f" or value.shape != plain.shape:
            return value
        return np.where(np.isfinite(value) & ~np.isfinite(plain), np.float32(np.nan), value)

    runs = (outputs_of(other, samples, optimize) for optimize in (True, False))
    return [rounded_outputs(model, [sure(*pair) for pair in zip(*both, strict=True)]) for both in zip(*runs, strict=True)]


def flat(value: Any) -> np.ndarray:
    return np.concatenate([array.ravel() for array in value] or [np.zeros(0)]) if isinstance(value, list) else value


def rounded_outputs(model: ModelProto, outputs: list[Any], limited: bool = True) -> list[Any]:
    """In the types that `model` has them in; with `limited`, what that would make infinite stays as it is."""

    def rounded(array: Any, kind: int) -> Any:
        if array.dtype != np.float32 or kind == F32:
            return array
        result = sixteen_bits.narrowed(array, kind).astype(np.float32)
        return np.where(np.isinf(result), array, result) if limited else result

    return [rounded(array, sixteen_bits.element(value.type)) for value, array in zip(model.graph.output, outputs, strict=True)]


def errors(expected: list[list[Any]], found: list[list[Any]]) -> list[float]:
    """Of each output, the worst of all samples."""
    return [max(distance(one[i], two[i]) for one, two in zip(expected, found, strict=True)) for i in range(len(expected[0]))]


def distance(want: Any, have: Any) -> float:
    """Relative L2 error, of integers and bools the share that differs; infinite where a value is no longer finite."""
    if want.shape != have.shape:
        return float("inf")
    if want.dtype.kind != "f":
        return float(np.mean(want != have)) if want.size else 0.0
    finite = np.isfinite(want)
    if not np.isfinite(have[finite]).all():
        return float("inf")
    size, off = (float(np.linalg.norm(array.astype(np.float64))) for array in (want[finite], have[finite] - want[finite]))
    return off / size if size else float(off > 0)


if __name__ == "__main__":
    unittest.main()
