"""The gates for continuous integration: `check --fail-on overflow`, and the example workflow, whose command lines are run.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import unittest
from typing import Any

try:
    import yaml
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

from support import HALFSAFE, Sample, ToolTest, mark_all, np, onnx, read_json, run_all

import generated_models
from generated_models import Builder

WORKFLOW = pathlib.Path(__file__).resolve().parent.parent / "examples" / "ci" / "halfsafe.yml"


class GateTest(ToolTest):
    """Models with everything in FP16, held against themselves in FP32."""

    def check(self, model: onnx.ModelProto, samples: list[Sample], *options: object, code: int) -> dict[str, Any]:
        original, data = self.save(model), self.folder / "samples"
        if not data.exists():
            self.save_samples(samples)
        ranges, plan, plain = (self.folder / name for name in ("ranges.json", "plan.json", "plain.onnx"))
        self.tool("scan", original, "--data", data, "-o", ranges)
        self.tool("plan", original, "--ranges", ranges, "-o", plan)
        document = read_json(plan)
        document["tensors"] = document["constants"] = []
        for node in document["nodes"]:
            node["precision"] = "fp16"
        plan.write_text(json.dumps(document))
        self.tool("apply", original, "--plan", plan, "-o", plain)
        return json.loads(self.tool("check", original, plain, "--data", data, "--json", "-", *options, code=code).stdout)

    def overflowing(self, result: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {row["tensor"]: row for row in result["fixed_overflowing"]}

    def hidden(self, factor: float) -> onnx.ModelProto:
        """What overflows is flattened again before any output."""
        b = Builder(17)
        b.input("x", ["N", 4])
        b.weight("up", factor)
        b.node("Mul", ["x", "up"], "big")
        b.node("Tanh", ["big"], "y")
        b.output("y", ["N", 4])
        return b.model()

    def test_right_outputs_don_t_hide_what_overflows_inside(self) -> None:
        samples = [{"x": np.full((2, 4), value, np.float32)} for value in (1.0, 3.0)]
        model = self.hidden(30000.0)
        result = self.check(model, samples, code=0)
        self.assertIsNone(result["fixed_overflowing"])
        result = self.check(model, samples, "--fail-on", "overflow", code=1)
        self.assertEqual(result["verdict"], "right")
        rows = self.overflowing(result)
        self.assertEqual(set(rows), {"big"})
        self.assertEqual((rows["big"]["op_type"], rows["big"]["inf_count"], rows["big"]["abs_max"]), ("Mul", 8, 30000.0))

    def test_the_threshold_decides_what_counts(self) -> None:
        samples = [{"x": np.ones((2, 4), np.float32)}]
        model = self.hidden(20000.0)
        self.assertEqual(set(self.overflowing(self.check(model, samples, "--fail-on", "overflow", code=1))), {"big"})
        for options in (["--threshold", "65504"], ["--threshold", "20000"]):
            result = self.check(model, samples, "--fail-on", "overflow", *options, code=0)
            self.assertEqual((result["fixed_overflowing"], result["threshold"]), ([], float(options[1])))

    def test_infinities_that_fp32_has_are_not_new(self) -> None:
        b = Builder(17)
        b.input("x", ["N", 4])
        b.weight("zero", 0.0)
        b.node("Div", ["x", "zero"], "endless")
        b.node("Tanh", ["endless"], "y")
        b.output("y", ["N", 4])
        result = self.check(b.model(), [{"x": np.ones((2, 4), np.float32)}], "--fail-on", "overflow", code=0)
        self.assertEqual(result["fixed_overflowing"], [])

    def test_plain_fp16_of_a_net_that_overflows(self) -> None:
        case = generated_models.conv_net(17)
        result = self.check(case.model, case.samples, "--fail-on", "overflow", code=1)
        rows = self.overflowing(result)
        # Whatever numpy sees pass FP16's end first is among them; what is written before is not.
        values = list(run_all(mark_all(case.model), case.samples))
        past = {name for value in values for name, array in value.items()
                if array.dtype == np.float32 and np.abs(array).max() > 65520}
        self.assertTrue(past)
        self.assertLessEqual(past, set(rows))
        self.assertFalse({"x", "c1", "n1", "r1"} & set(rows))

    def test_fp32_tensors_don_t_count(self) -> None:
        case = generated_models.conv_net(17)
        model, samples = self.save(case.model), self.save_samples(case.samples)
        done = self.tool("check", model, model, "--data", samples, "--fail-on", "overflow")
        self.assertIn("no FP16 tensor passes 10000", done.stdout)

    def test_a_model_that_was_fixed_passes(self) -> None:
        b = Builder(17)
        b.input("x", [1, 256, 256])
        b.weight("w", generated_models.random(256, 256, scale=0.05))
        b.weight("up", 60000.0)
        b.weight("down", 1e-3)
        b.node("MatMul", ["x", "w"], "h")
        b.node("Mul", ["h", "up"], "big")
        b.node("Mul", ["big", "down"], "y")
        b.output("y", [1, 256, 256])
        given = generated_models.samples(3, x=[1, 256, 256])
        model, samples = self.save(b.model()), self.save_samples(given)
        fixed = self.folder / "fixed.onnx"
        for repair in ("rescale", "fp32"):
            self.tool("fix", model, "--data", samples, "-o", fixed, "--repair", repair)
            self.tool("check", model, fixed, "--data", samples, "--fail-on", "overflow")
        # On samples that it was not made for it may not.
        self.save_samples([{"x": given[0]["x"] * np.float32(3e4)}], "larger")
        done = self.tool("check", model, fixed, "--data", self.folder / "larger", "--fail-on", "overflow", code=1)
        self.assertIn("OVERFLOW: inside the fixed model", done.stdout)


class WorkflowTest(ToolTest):
    def steps(self) -> list[dict[str, Any]]:
        document = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
        (job,) = document["jobs"].values()
        return job["steps"]

    def prepare(self) -> pathlib.Path:
        case = generated_models.conv_net(17)
        self.save(case.model)
        self.save_samples(case.samples)
        self.save_samples(case.samples[:1], "holdout")
        (self.folder / "ci").mkdir()
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "halfsafe").symlink_to(HALFSAFE)
        self.tool("scan", "model.onnx", "--data", "samples", "-o", "ci/ranges.json", cwd=self.folder)
        return self.folder

    def run_step(self, step: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """As runners do: bash that stops at the first failure."""
        environment = os.environ | {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        return subprocess.run(["bash", "-e", "-c", step["run"]], cwd=self.folder, env=environment, capture_output=True,
                              text=True, timeout=300)

    def test_it_is_a_workflow(self) -> None:
        for step in self.steps():
            self.assertEqual(len({"uses", "run"} & set(step)), 1, step)
        self.assertTrue(any("apt-get install" in step.get("run", "") and ".deb" in step["run"] for step in self.steps()))

    def test_its_commands_run(self) -> None:
        self.prepare()
        ran = [step for step in self.steps() if "halfsafe " in step.get("run", "") and "apt-get" not in step["run"]]
        self.assertGreaterEqual(len(ran), 3)
        for step in ran:
            done = self.run_step(step)
            self.assertEqual(done.returncode, 0, f"{step['name']}\n{done.stdout}{done.stderr}")
        for name in ("fixed.onnx", "ranges.json", "diff.json", "fix.json", "check.json"):
            self.assertTrue((self.folder / name).exists(), name)

    def test_a_worse_checkpoint_stops_it(self) -> None:
        folder = self.prepare()
        model = onnx.load(folder / "model.onnx")
        for tensor in model.graph.initializer:
            if tensor.name == "w1":
                values = onnx.numpy_helper.to_array(tensor) * np.float32(1e5)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, "w1"))
        onnx.save(model, folder / "model.onnx")
        step = next(step for step in self.steps() if "halfsafe diff" in step.get("run", ""))
        done = self.run_step(step)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("NEW OVERFLOW", done.stdout)
        self.assertTrue(read_json(folder / "diff.json")["new_overflow"])


if __name__ == "__main__":
    unittest.main()
