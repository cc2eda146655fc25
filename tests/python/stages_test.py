"""Stages in Python against the command line, file by file and byte by byte, and against numpy."""

import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import tempfile
import unittest

import numpy as np

import halfsafe
import models
from models import onnx

HALFSAFE = shutil.which("halfsafe")


def halfsafe_command(folder, *arguments, expect=0):
    done = subprocess.run([HALFSAFE, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode != expect:
        raise AssertionError(f"{arguments}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def without_seconds(text):
    report = json.loads(text)
    del report["seconds"]
    return report


class StagesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.addClassCleanup(os.chdir, os.getcwd())
        os.chdir(cls.folder)
        cls.model = models.overflowing()
        onnx.save(cls.model, "model.onnx")
        cls.samples = models.samples()
        os.mkdir("samples")
        for index, sample in enumerate(cls.samples):
            np.savez(f"samples/{index}.npz", **sample)
        halfsafe_command(cls.folder, "scan", "model.onnx", "--data", "samples", "-o", "ranges.json")
        halfsafe_command(cls.folder, "plan", "model.onnx", "--ranges", "ranges.json", "-o", "plan.json")
        halfsafe_command(cls.folder, "apply", "model.onnx", "--plan", "plan.json", "-o", "fixed.onnx")
        halfsafe_command(cls.folder, "fix", "model.onnx", "--data", "samples", "-o", "all.onnx", "--save-plan", "all_plan.json",
                         "--save-ranges", "all_ranges.json", "--json", "all.json")

    def read(self, name):
        return (self.folder / name).read_text()

    def test_stages_give_the_files_of_the_command_line(self):
        ranges = halfsafe.scan("model.onnx", "samples")
        self.assertEqual(ranges.to_json(), self.read("ranges.json"))
        plan = halfsafe.plan("model.onnx", ranges)
        self.assertEqual(plan.to_json(), self.read("plan.json"))
        fixed = halfsafe.apply("model.onnx", plan)
        fixed.save("mine.onnx")
        self.assertEqual((self.folder / "mine.onnx").read_bytes(), (self.folder / "fixed.onnx").read_bytes())
        self.assertEqual(fixed.to_bytes(), (self.folder / "fixed.onnx").read_bytes())
        ranges.save("mine.json")
        self.assertEqual(self.read("mine.json"), self.read("ranges.json"))
        plan.save("mine_plan.json")
        self.assertEqual(self.read("mine_plan.json"), self.read("plan.json"))

    def test_files_of_the_command_line_are_read(self):
        ranges = halfsafe.Ranges.load("ranges.json")
        plan = halfsafe.Plan.load(pathlib.Path("plan.json"))
        self.assertEqual(halfsafe.plan("model.onnx", ranges).to_json(), plan.to_json())
        for value in (ranges, plan):
            self.assertEqual(type(value).from_json(value.to_json()).to_json(), value.to_json())
            self.assertEqual(pickle.loads(pickle.dumps(value)).to_json(), value.to_json())
        with self.assertRaisesRegex(halfsafe.InputError, "ranges.json"):
            halfsafe.Plan.load("ranges.json")

    def test_fix_is_that_of_the_command_line(self):
        fix = halfsafe.fix("model.onnx", "samples")
        self.assertTrue(fix.right)
        self.assertEqual(fix.verdict, "right")
        self.assertEqual(fix.ranges.to_json(), self.read("all_ranges.json"))
        self.assertEqual(fix.plan.to_json(), self.read("all_plan.json"))
        self.assertEqual(fix.model.to_bytes(), (self.folder / "all.onnx").read_bytes())
        theirs, mine = without_seconds(self.read("all.json")), without_seconds(fix.to_json())
        self.assertEqual((theirs.pop("fixed"), mine.pop("fixed")), ("all.onnx", ""))
        self.assertEqual(mine, theirs)
        self.assertIn("RIGHT", fix.report())

    def test_check_is_that_of_the_command_line(self):
        halfsafe_command(self.folder, "check", "model.onnx", "fixed.onnx", "--data", "samples", "--json", "check.json")
        check = halfsafe.check("model.onnx", "fixed.onnx", "samples")
        self.assertEqual(without_seconds(check.to_json()), without_seconds(self.read("check.json")))
        self.assertTrue(check.right)
        self.assertEqual([output.name for output in check.outputs], ["y"])
        self.assertFalse(check.plain.right)
        self.assertEqual(check.plain.first_inf.tensor, "big")
        self.assertEqual(check.plain.first_inf.node, "big")

    def test_fix_takes_the_options_of_its_stages(self):
        halfsafe_command(self.folder, "fix", "model.onnx", "--data", "samples", "-o", "kept.onnx", "--repair", "fp32", "--keep",
                         "second", "--io", "fp16", "--holdout", "0.4", "--opset", "22")
        fix = halfsafe.fix("model.onnx", "samples", repair="fp32", keep=["second"], io="fp16", holdout=0.4, opset=22)
        self.assertEqual(fix.model.to_bytes(), (self.folder / "kept.onnx").read_bytes())
        self.assertEqual({node.name: node.reason for node in fix.plan.nodes}["second"], "user")
        self.assertEqual(fix.plan.opset, 22)
        self.assertEqual(fix.ranges.samples, 3)
        self.assertIsNotNone(fix.holdout)

    def test_a_model_in_16_bits_is_that_of_the_command_line(self):
        """FP32 samples are rounded to what it takes, with a warning, and a clamp that is reached goes when it is asked for."""
        half = onnx.ModelProto()
        half.CopyFrom(models.overflowing())
        for tensor in half.graph.initializer:
            tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
        for value in (*half.graph.input, *half.graph.output):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
        half.graph.node.insert(2, onnx.helper.make_node("Min", ["big", "most"], ["clamped"], "clamp"))
        half.graph.node[3].input[0] = "clamped"
        half.graph.initializer.append(onnx.numpy_helper.from_array(np.float16(65504), "most"))
        onnx.save(half, "half.onnx")
        halfsafe_command(self.folder, "fix", "half.onnx", "--data", "samples", "-o", "lifted.onnx", "--io", "fp32", "--lift-clamps")
        with self.assertWarnsRegex(halfsafe.ModelWarning, "float32 in the samples"):
            fix = halfsafe.fix(halfsafe.load("half.onnx", lift_clamps=True), "samples", io="fp32")
        self.assertTrue(fix.right)
        self.assertEqual(fix.model.to_bytes(), (self.folder / "lifted.onnx").read_bytes())
        self.assertNotIn("clamp", [node.name for node in fix.model.to_onnx().graph.node])

    def test_a_plan_for_another_opset_is_applied_to_the_model_as_it_is(self):
        raised = halfsafe.load("model.onnx", opset=22)
        self.assertEqual(raised.opset, 22)
        plan = halfsafe.plan(raised, halfsafe.scan(raised, "samples"))
        self.assertEqual(halfsafe.apply("model.onnx", plan).to_bytes(), halfsafe.apply(raised, plan).to_bytes())
        self.assertTrue(halfsafe.check("model.onnx", halfsafe.apply(raised, plan), "samples").right)

    def test_models_of_every_kind_are_the_same(self):
        content = (self.folder / "model.onnx").read_bytes()
        expected = halfsafe.scan("model.onnx", self.samples).to_json()
        proto = onnx.load("model.onnx")
        self.assertEqual(proto.SerializeToString(deterministic=True), content)
        for model in (self.folder / "model.onnx", content, bytearray(content), proto, halfsafe.load("model.onnx")):
            with self.subTest(type(model).__name__):
                self.assertEqual(halfsafe.scan(model, self.samples).to_json(), expected)
        loaded = halfsafe.load(proto)
        self.assertIsNone(loaded.path)
        self.assertEqual(halfsafe.load("model.onnx").path, pathlib.Path("model.onnx"))
        self.assertEqual(loaded.sha256, halfsafe.load("model.onnx").sha256)
        self.assertEqual([(spec.name, spec.dtype, spec.shape) for spec in loaded.inputs], [("x", "float32", [None, models.WIDTH])])

    def test_external_data_of_a_message_lies_in_its_folder(self):
        os.makedirs("external", exist_ok=True)
        onnx.save(models.overflowing(), "external/model.onnx", save_as_external_data=True, location="weights", size_threshold=0)
        proto = onnx.load("external/model.onnx", load_external_data=False)
        model = halfsafe.load(proto, folder="external")
        self.assertTrue(halfsafe.fix(model, self.samples).right)
        with self.assertRaisesRegex(halfsafe.InputError, "weights"):
            halfsafe.load(proto)

    def test_a_fixed_model_becomes_a_message(self):
        fixed = halfsafe.fix("model.onnx", self.samples).model
        proto = fixed.to_onnx()
        onnx.checker.check_model(proto, full_check=True)
        types = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
        self.assertIn(onnx.TensorProto.FLOAT16, types.values())
        self.assertTrue(halfsafe.check("model.onnx", proto, self.samples).right)

    def test_ranges_of_a_fixed_model_are_its_own(self):
        fixed = halfsafe.fix("model.onnx", self.samples).model
        fixed.save("own.onnx")
        ranges = halfsafe.scan(fixed, self.samples)
        self.assertEqual(ranges.model_sha256, fixed.sha256)
        self.assertEqual(ranges.to_json(), halfsafe.scan("own.onnx", self.samples).to_json())
        with self.assertRaises(halfsafe.InputError):
            halfsafe.plan("model.onnx", ranges)

    def test_ranges_are_those_of_numpy(self):
        ranges = halfsafe.scan("model.onnx", self.samples)
        self.assertEqual(ranges.samples, len(self.samples))
        x = np.concatenate([sample["x"] for sample in self.samples])
        stats = ranges["x"]
        self.assertEqual((stats.count, stats.min, stats.max, stats.abs_max), (x.size, x.min(), x.max(), np.abs(x).max()))
        half = np.abs(x.astype(np.float16))
        subnormal = (x != 0) & (half < np.finfo(np.float16).smallest_normal)
        self.assertEqual(stats.subnormal_count, np.count_nonzero(subnormal))
        exponents, counts = np.unique(np.floor(np.log2(np.abs(x[x != 0]))).astype(int), return_counts=True)
        self.assertEqual(stats.exponents, dict(zip(exponents.tolist(), counts.tolist())))
        w = onnx.numpy_helper.to_array(self.model.graph.initializer[0])
        big = (x @ w) * np.float32(60000)
        self.assertTrue(np.isclose(ranges["big"].abs_max, np.abs(big).max(), rtol=1e-5))
        self.assertEqual(ranges["big"].abs_max_sample, f"samples[{np.abs(big).max(axis=1).argmax() // models.ROWS}]")
        self.assertTrue(ranges["w"].constant)
        self.assertEqual(ranges.overflowing(), [t.name for t in ranges.tensors if t.abs_max > 1e4 and not t.constant])
        self.assertIn("big", ranges.overflowing())
        self.assertIn("y", ranges)
        self.assertNotIn("nothing", ranges)
        with self.assertRaises(KeyError):
            ranges["nothing"]
        self.assertEqual(len(ranges), len(ranges.tensors))

    def test_errors_are_those_of_numpy(self):
        random = np.random.default_rng(3)
        a, b = (random.normal(0, 10, (4, 8)).astype(np.float32) for _ in range(2))
        model = models.product()
        fixed = halfsafe.fix(model, [(a, b)], rel_l2=1.0)
        check = halfsafe.check(model, fixed.model, [(a, b)])
        half = (a.astype(np.float16).astype(np.float32) * b.astype(np.float16).astype(np.float32)).astype(np.float16)
        error = half.astype(np.float64) - (a * b)
        self.assertTrue(np.isclose(check.plain.outputs[0].rel_l2, np.linalg.norm(error) / np.linalg.norm((a * b).astype(np.float64))))
        self.assertTrue(np.isclose(check.plain.outputs[0].max_abs, np.abs(error).max()))
        self.assertTrue(np.isclose(check.plain.rel_l2, check.plain.outputs[0].rel_l2))

    def test_scans_of_parts_are_merged(self):
        parts = [halfsafe.scan("model.onnx", f"samples/{index}.npz") for index in range(len(self.samples))]
        whole = halfsafe.scan("model.onnx", [f"samples/{index}.npz" for index in range(len(self.samples))])
        self.assertEqual(halfsafe.merge(parts).to_json(), whole.to_json())
        self.assertEqual(halfsafe.merge(iter(reversed(parts))).to_json(), whole.to_json())

    def test_diff_is_that_of_the_command_line(self):
        small = [{"x": sample["x"] / np.float32(1e5)} for sample in self.samples]
        before, after = halfsafe.scan("model.onnx", small), halfsafe.scan("model.onnx", self.samples)
        before.save("before.json")
        after.save("after.json")
        halfsafe_command(self.folder, "diff", "before.json", "after.json", "--json", "diff.json")
        diff = halfsafe.diff(before, after)
        self.assertEqual(diff.to_json(), self.read("diff.json"))
        self.assertTrue(diff.new_overflow and diff.same_model)
        big, = (change for change in diff.changes if change.name == "big")
        self.assertEqual((big.level_before, big.level_after, big.worse), ("within", "past-65504", True))
        self.assertEqual(big.after.abs_max, after["big"].abs_max)
        self.assertFalse(halfsafe.diff(after, before).new_overflow)
        self.assertFalse(halfsafe.diff(after, after).changes)

    def test_a_fix_writes_the_page_of_the_command_line(self):
        halfsafe_command(self.folder, "fix", "model.onnx", "--data", "samples", "-o", "all.onnx", "--report", "theirs.html")
        fix = halfsafe.fix("model.onnx", "samples")
        fix.save_report("mine.html")

        def data(name):
            value = json.loads(re.search(r'id="data">(.*?)</script>', self.read(name), re.S)[1])
            del value["result"]["seconds"], value["result"]["fixed"]
            return value

        self.assertEqual(data("mine.html"), data("theirs.html"))
        with self.assertRaises(halfsafe.InputError):
            fix.save_report("no-folder/mine.html")

    def test_errors_are_known_sample_by_sample(self):
        for check in (halfsafe.check("model.onnx", "fixed.onnx", "samples"), halfsafe.fix("model.onnx", "samples").check):
            output, = check.outputs
            self.assertEqual([error.sample for error in output.samples], [f"samples/{i}.npz" for i in range(len(self.samples))])
            self.assertEqual(max(error.rel_l2 for error in output.samples), output.rel_l2)
            self.assertTrue(all(error.right for error in output.samples))

    def test_an_edited_plan_is_followed(self):
        ranges = halfsafe.scan("model.onnx", self.samples)
        plan = halfsafe.plan("model.onnx", ranges)
        self.assertIn("second", [node.name for node in plan.nodes_in("fp16")])
        edited = plan.with_precisions({"second": "fp32"})
        self.assertIn("second", [node.name for node in edited.nodes_in("fp32")])
        self.assertIn("second", [node.name for node in plan.nodes_in("fp16")])  # A plan is a value.
        with self.assertRaises(AttributeError):
            plan.nodes[0].precision = "fp32"
        fixed = halfsafe.apply("model.onnx", edited)
        self.assertNotEqual(fixed.to_bytes(), halfsafe.apply("model.onnx", plan).to_bytes())
        with self.assertRaises(KeyError):
            plan.with_precisions({"nothing": "fp32"})
        self.assertIn("second", halfsafe.explain("model.onnx", ranges, edited, "second"))

    def test_inspect_is_that_of_the_command_line(self):
        halfsafe_command(self.folder, "inspect", "model.onnx", "--json", "inspection.json")
        inspection = halfsafe.inspect("model.onnx")
        self.assertEqual(inspection.to_json(), self.read("inspection.json"))
        self.assertEqual(inspection.operators, {"MatMul": 2, "Mul": 2})
        self.assertEqual(inspection.report(), halfsafe_command(self.folder, "inspect", "model.onnx"))

    def test_random_samples_are_those_of_the_command_line(self):
        halfsafe_command(self.folder, "scan", "model.onnx", "--random", "3", "-o", "random.json")
        samples = halfsafe.random_samples("model.onnx", 3)
        self.assertEqual(len(samples), 3)
        self.assertEqual(halfsafe.scan("model.onnx", samples).to_json(), self.read("random.json"))

    def test_the_version_is_that_of_the_program(self):
        self.assertEqual(halfsafe_command(self.folder, "--version").split()[-1], halfsafe.__version__)
        import importlib.metadata
        self.assertEqual(importlib.metadata.version("halfsafe"), halfsafe.__version__)


if __name__ == "__main__":
    unittest.main()
