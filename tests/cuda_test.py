"""Scans and checks on a GPU, against those on the CPU. Without one: what is said then.

HALFSAFE names the binary. REAL_MODELS, where it is set, names a folder that real_models.py wrote: its packages are then not
needed. Tests skip where a build or a machine has no CUDA.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
from typing import Any

import support
from generated_models import CASES, Builder
from onnx import TensorProto, helper
from support import HALFSAFE, ModelProto, Sample, np, read_json

import rescale_models

OK, NOT_RIGHT, UNAVAILABLE = 0, 1, 5
PREPARED = os.environ.get("REAL_MODELS")
SUMS = ("abs_sum", "sum_bound")  # Added up in another order.


def real_model(name: str, count: int, out: pathlib.Path) -> pathlib.Path:
    if PREPARED is None:
        return support.real_model(name, count, out)[0]
    folder = shutil.copytree(pathlib.Path(PREPARED, name), out / name)
    for path in sorted((folder / "samples").iterdir())[count:]:
        path.unlink()
    return folder


def refusal() -> str:
    """Why CUDA can't be used here; empty where it can."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        model, samples = write(arithmetic(), folder)
        done = subprocess.run([HALFSAFE, "scan", model, "--data", samples, "--provider", "cuda", "-q"],
                              capture_output=True, text=True, check=False)
    return done.stderr.strip() if done.returncode == UNAVAILABLE else ""


def write(case: tuple[ModelProto, list[Sample]], folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    model, samples = case
    support.onnx.save(model, folder / "model.onnx")
    (folder / "samples").mkdir()
    for index, sample in enumerate(samples):
        np.savez(folder / "samples" / f"{index}.npz", **sample)
    return folder / "model.onnx", folder / "samples"


# ---------------------------------------------------------------- a model of operations that IEEE 754 defines to the last bit


def values(seed: int) -> np.ndarray:
    """Numbers of all sizes, zeros and subnormals among them."""
    random = np.random.default_rng(seed)
    numbers = random.standard_normal((4, 6, 10)) * 10.0 ** random.integers(-30, 30, (4, 6, 10))
    numbers[0, 0, :5] = (0.0, -0.0, 1e-40, -1e-45, 65504.0)
    return numbers.astype(np.float32)


def arithmetic() -> tuple[ModelProto, list[Sample]]:
    """Its tensors hold NaN, infinity and subnormals, have every float type, are empty, or lie in bodies."""
    b = Builder(17)
    b.input("x", [4, 6, "N"])
    b.node("Neg", ["x"], "negated")
    b.node("Mul", ["x", "x"], "squares")
    b.node("Div", ["x", "x"], "ones")
    b.weight("one", 1.0)
    b.node("Div", ["one", "x"], "inverse")
    for dtype, name in ((TensorProto.FLOAT16, "half"), (TensorProto.BFLOAT16, "bfloat"), (TensorProto.DOUBLE, "double")):
        b.node("Cast", ["negated"], name, to=dtype)
    b.node("Mul", ["double", "double"], "wide")
    b.node("Mul", ["wide", "wide"], "wider")
    b.weight("zero", [0], np.int64)
    b.node("Slice", ["negated", "zero", "zero"], "nothing")
    b.node("Neg", ["nothing"], "still_nothing")
    b.node("ReduceMax", ["x"], "largest", keepdims=0)
    b.weight("threshold", 1e29)
    b.node("Greater", ["largest", "threshold"], "huge")
    branches = {name: _body([helper.make_node(op, ["negated"], [f"{name}_result"])], [f"{name}_result"])
                for name, op in (("then_branch", "Neg"), ("else_branch", "Abs"))}
    b.node("If", ["huge"], "chosen", **branches)
    b.weight("turns", 3, np.int64)
    b.weight("go", True, np.bool_)
    b.node("Loop", ["turns", "go", "negated"], "doubled", "each", body=_doubling())
    for axis in range(3):
        b.node("Abs", ["negated"], f"scores_{axis}")
        b.node("Softmax", [f"scores_{axis}"], f"softmax_{axis}", axis=axis)
        b.output(f"softmax_{axis}")
    for name in ("squares", "ones", "inverse", "wider", "still_nothing", "chosen", "doubled", "each"):
        b.output(name, dtype=TensorProto.DOUBLE if name == "wider" else TensorProto.FLOAT)
    for name, dtype in (("half", TensorProto.FLOAT16), ("bfloat", TensorProto.BFLOAT16)):
        b.node("Cast", [name], f"{name}_again", to=TensorProto.FLOAT)
        b.output(f"{name}_again")
    return b.model(), [{"x": values(seed)[:, :, : 10 - seed]} for seed in range(3)]


def _body(nodes: list[Any], outputs: list[str]) -> Any:
    return helper.make_graph(nodes, "body", [], [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs])


def _doubling() -> Any:
    scalar = [helper.make_tensor_value_info("turn", TensorProto.INT64, []), helper.make_tensor_value_info("on", TensorProto.BOOL, [])]
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, [4, 6, None])
    nodes = [helper.make_node("Identity", ["on"], ["still_on"]), helper.make_node("Add", ["state", "state"], ["twice"]),
             helper.make_node("Neg", ["twice"], ["shown"])]
    outputs = [helper.make_tensor_value_info("still_on", TensorProto.BOOL, []),
               helper.make_tensor_value_info("twice", TensorProto.FLOAT, [4, 6, None]),
               helper.make_tensor_value_info("shown", TensorProto.FLOAT, [4, 6, None])]
    return helper.make_graph(nodes, "doubling", [*scalar, state], outputs)


# ---------------------------------------------------------------- tests


class RefusalTest(support.ToolTest):
    """Without CUDA each command says what is missing, and leaves nothing behind."""

    def test_exit_code_and_message(self) -> None:
        if not REFUSAL:
            self.skipTest("CUDA can be used here")
        model, samples = write(arithmetic(), self.folder)
        out = self.folder / "out"
        for arguments in (("scan", model, "-o", out), ("check", model, model), ("fix", model, "-o", out)):
            done = self.tool(*arguments, "--data", samples, "--provider", "cuda", code=UNAVAILABLE)
            self.assertIn("docs/cuda.md", done.stderr)
            self.assertNotIn("RIGHT", done.stdout)
        self.assertFalse(out.exists())

    def test_recorded_tensors_run_on_nothing(self) -> None:
        model, samples = write(arithmetic(), self.folder)
        done = self.tool("scan", model, "--from-outputs", samples, "--provider", "cuda", code=2)
        self.assertIn("--from-outputs", done.stderr)


class CudaTest(support.ToolTest):
    def setUp(self) -> None:
        super().setUp()
        if REFUSAL:
            self.skipTest(REFUSAL)

    def scans(self, model: pathlib.Path, samples: pathlib.Path, *arguments: object) -> list[dict[str, Any]]:
        """The tensors' statistics by the CPU and by the GPU."""
        found = []
        for provider in ("cpu", "cuda"):
            out = self.folder / f"{provider}.json"
            self.tool("scan", model, "--data", samples, "--provider", provider, "-o", out, *arguments)
            found.append({tensor["name"]: tensor for tensor in read_json(out)["tensors"]})
        self.assertEqual(list(found[0]), list(found[1]))
        return found



class ExactScanTest(CudaTest):
    def test_statistics_of_exact_operations_are_the_same(self) -> None:
        model, samples = write(arithmetic(), self.folder)
        for arguments in ((), ("--no-graph-optimizations",)):
            by_cpu, by_cuda = self.scans(model, samples, *arguments)
            self.assertGreater(len(by_cpu), 30)
            for name, cpu in by_cpu.items():
                if not name.startswith("softmax"):
                    with self.subTest(tensor=name, arguments=arguments):
                        self.same(cpu, by_cuda[name])

    def same(self, cpu: dict[str, Any], cuda: dict[str, Any]) -> None:
        for key in SUMS:
            self.assertEqual(cpu.get(key) is None, cuda.get(key) is None, key)
            if cpu.get(key) is not None:
                self.assertLessEqual(abs(cpu[key] - cuda[key]), 1e-4 * cpu[key], key)
        self.assertEqual({key: value for key, value in cpu.items() if key not in SUMS},
                         {key: value for key, value in cuda.items() if key not in SUMS})

    def test_a_bad_sample_leaves_nothing(self) -> None:
        model, samples = write(arithmetic(), self.folder)
        good = read_json(self.scan(model, samples, "good"))
        np.savez(samples / "bad.npz", x=np.zeros((4, 7, 3), np.float32))
        (samples / "worse.npz").write_bytes(b"no zip")
        skipping = read_json(self.scan(model, samples, "skipping", "--skip-bad-samples"))
        self.assertEqual(len(skipping["skipped"]), 2)
        self.assertEqual(good["tensors"], skipping["tensors"])

    def test_shards_merge_into_the_whole(self) -> None:
        model, samples = write(arithmetic(), self.folder)
        whole = self.scan(model, samples, "whole")
        parts = [self.scan(model, samples, f"part{index}", "--shard", f"{index}/2") for index in (1, 2)]
        self.tool("merge", *parts, "-o", self.folder / "merged")
        self.assertEqual(whole.read_bytes(), (self.folder / "merged").read_bytes())

    def scan(self, model: pathlib.Path, samples: pathlib.Path, name: str, *arguments: object) -> pathlib.Path:
        self.tool("scan", model, "--data", samples, "--provider", "cuda", "-o", self.folder / name, *arguments)
        return self.folder / name


class CloseScanTest(CudaTest):
    """Convolutions and products add up in another order on a GPU. Where a result is the difference of two large numbers, as a
    variance may be, that shows in more digits: few tensors may be off by a few per cent, all others by a few in 10000."""

    CLOSE, FAR, FEW = 1e-3, 5e-2, 0.03

    def compare(self, model: pathlib.Path, samples: pathlib.Path) -> None:
        by_cpu, by_cuda = self.scans(model, samples)
        far = [name for name, cpu in by_cpu.items() if self.difference(cpu, by_cuda[name]) > self.CLOSE]
        self.assertLessEqual(len(far), self.FEW * len(by_cpu), far)
        for name, cpu in by_cpu.items():
            with self.subTest(tensor=name):
                self.assertLessEqual(self.difference(cpu, by_cuda[name]), self.FAR)
                self.same_counts(cpu, by_cuda[name])

    @staticmethod
    def difference(cpu: dict[str, Any], cuda: dict[str, Any]) -> float:
        """Of the largest magnitudes and of the rows' maxima, relative."""
        worst = 0.0
        for key in ("abs_max", "row_max_min"):
            one, other = cpu.get(key), cuda.get(key)
            if one is not None and other is not None:
                worst = max(worst, abs(one - other) / (abs(one) + 0.1 * (cpu["abs_max"] or 0.0) + 1e-4))
        return worst

    def same_counts(self, cpu: dict[str, Any], cuda: dict[str, Any]) -> None:
        for key in ("count", "nan_count", "inf_count"):
            self.assertEqual(cpu[key], cuda[key], key)
        for key in ("abs_max", "row_max_min"):
            self.assertEqual(cpu.get(key) is None, cuda.get(key) is None, key)
        for key in ("overflow_count", "subnormal_count"):
            self.assertLessEqual(abs(cpu[key] - cuda[key]), 0.02 * cpu["count"] + 2, key)
        powers = set(cpu["exponents"]) | set(cuda["exponents"])
        moved = sum(abs(cpu["exponents"].get(power, 0) - cuda["exponents"].get(power, 0)) for power in powers)
        self.assertLessEqual(moved, 0.05 * cpu["count"] + 4)

    def test_real_models(self) -> None:
        for name in ("ppocr_det", "minilm", "magika"):
            with self.subTest(model=name):
                folder = real_model(name, 2, self.folder)
                self.compare(folder / "model.onnx", folder / "samples")

    def test_generated_models(self) -> None:
        for name in CASES:
            with self.subTest(model=name):
                case = CASES[name]()
                folder = self.folder / name.replace("/", "_")
                folder.mkdir()
                self.compare(*write((case.model, case.samples), folder))


class CheckTest(CudaTest):
    """Real FP16 on the GPU beside its emulation: the same verdicts and infinities, errors of one size. The provider's
    ReduceMean and ReduceSum add up in FP16; where that is wrong, fix keeps them in FP32."""

    def fix(self, folder: pathlib.Path) -> dict[str, Any]:
        result = self.folder / "result.json"
        self.tool("fix", folder / "model.onnx", "--data", folder / "samples", "--provider", "cuda", "-o",
                  self.folder / "fixed.onnx", "--json", result)
        return read_json(result)

    def compare(self, result: dict[str, Any]) -> None:
        device = result["cuda"]
        self.assertEqual(result["fixed_model"]["nonfinite_outputs"], [])
        self.assertEqual(device["fixed_model"]["nonfinite_outputs"], [])
        self.assertTrue(device["fixed_model"]["right"])
        for emulated, real in zip(result["fixed_model"]["outputs"], device["fixed_model"]["outputs"], strict=True):
            self.assertLess(real["rel_l2"], 4 * emulated["rel_l2"] + 2e-3)
            self.assertLess(emulated["rel_l2"], 4 * real["rel_l2"] + 2e-3)
        self.assertEqual(result["plain_fp16"]["right"], device["plain_fp16"]["right"])
        # What overflows inside an LSTM, the emulation doesn't see.
        if "lstm" not in result["model"]:
            self.assertEqual(result["plain_fp16"]["nonfinite_outputs"], device["plain_fp16"]["nonfinite_outputs"])

    def test_models_that_overflow(self) -> None:
        for name in rescale_models.RESCALE_MODELS:
            with self.subTest(model=name):
                self.compare(self.fix(rescale_models.write_model(name, self.folder, 2)))

    def test_real_models(self) -> None:
        for name in ("ppocr_det", "minilm", "magika"):
            with self.subTest(model=name):
                self.compare(self.fix(real_model(name, 2, self.folder)))

    def test_the_check_alone_says_the_same(self) -> None:
        folder = rescale_models.write_model("conv_stack", self.folder, 2)
        fixed = self.fix(folder)
        result = self.folder / "check.json"
        done = self.tool("check", folder / "model.onnx", self.folder / "fixed.onnx", "--data", folder / "samples",
                         "--provider", "cuda", "--json", result)
        self.assertEqual(read_json(result)["cuda"]["fixed_model"], fixed["cuda"]["fixed_model"])
        self.assertIn("fixed on GPU", done.stdout)

    def test_a_model_that_overflows_is_not_right_on_either(self) -> None:
        folder = rescale_models.write_model("conv_stack", self.folder, 1)
        plan, half = self.folder / "plan.json", self.folder / "half.onnx"
        self.tool("scan", folder / "model.onnx", "--data", folder / "samples", "-o", self.folder / "ranges.json")
        self.tool("plan", folder / "model.onnx", "--ranges", self.folder / "ranges.json", "--repair", "fp32", "-o", plan)
        plan.write_text(plan.read_text(encoding="utf-8").replace('"fp32"', '"fp16"'), encoding="utf-8")
        self.tool("apply", folder / "model.onnx", "--plan", plan, "-o", half)
        result = self.folder / "check.json"
        self.tool("check", folder / "model.onnx", half, "--data", folder / "samples", "--provider", "cuda", "--json", result,
                  code=NOT_RIGHT)
        for errors in (read_json(result)["fixed_model"], read_json(result)["cuda"]["fixed_model"]):
            self.assertGreater(sum(output["new_nonfinite"] for output in errors["outputs"]), 0)


REFUSAL = refusal()

if __name__ == "__main__":
    unittest.main()
