"""Holds `halfsafe diff` against its definition, computed here from the two files alone: checkpoints of one model, other
samples, models that differ, merged shards.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import copy
import json
import math
import pathlib
import unittest
from typing import Any

from support import ToolTest, np, numpy_helper, onnx, read_json, real_model

import generated_models

LEVELS = ("within", "past-threshold", "past-65504", "not-finite")


def level(tensor: dict[str, Any] | None, threshold: float) -> str:
    if tensor is None:
        return "within"
    if tensor["nan_count"] or tensor["inf_count"]:
        return "not-finite"
    largest = tensor["abs_max"] or 0.0
    if tensor["overflow_count"] or largest > 65504:
        return "past-65504"
    return "past-threshold" if largest > threshold and not tensor.get("constant") else "within"


def verdict(before: dict[str, Any] | None, after: dict[str, Any] | None, threshold: float) -> str:
    if after is None:
        return "gone"
    was, now = LEVELS.index(level(before, threshold)), LEVELS.index(level(after, threshold))
    broken = any(after[key] and not (before or {key: 0})[key] for key in ("nan_count", "inf_count"))
    if now > was or broken:
        return "worse"
    return "better" if now < was else "new" if before is None else "same-level"


def difference(before: dict[str, Any], after: dict[str, Any], threshold: float = 10000.0) -> dict[str, dict[str, Any]]:
    """What changed, by the tensor's name."""
    old, new = ({tensor["name"]: tensor for tensor in table["tensors"]} for table in (before, after))
    changes = {}
    for name in [*new, *(name for name in old if name not in new)]:
        a, b = old.get(name), new.get(name)
        if a and b and all((a[key] or 0 if key == "abs_max" else bool(a[key])) == (b[key] or 0 if key == "abs_max" else bool(b[key]))
                           for key in ("abs_max", "count", "nan_count", "inf_count")):
            continue
        factor = math.log2(b["abs_max"] / a["abs_max"]) if a and b and a["abs_max"] and b["abs_max"] else None
        changes[name] = {"change": verdict(a, b, threshold), "factor": factor, "before": a, "after": b}
    return changes


class DiffTest(ToolTest):
    def setUp(self) -> None:
        super().setUp()
        self.case = generated_models.conv_net(17)
        self.model = self.save(self.case.model)
        self.samples = self.save_samples(self.case.samples)
        self.before, self.after = self.folder / "before.json", self.folder / "after.json"

    def scan(self, model: pathlib.Path, path: pathlib.Path, *data: object) -> None:
        self.tool("scan", model, "--data", *(data or (self.samples,)), "-o", path)

    def hold(self, threshold: float = 10000.0) -> dict[str, Any]:
        """The result says what the definition says; returned for what a test has to add."""
        path = self.folder / "diff.json"
        path.unlink(missing_ok=True)
        expected = difference(read_json(self.before), read_json(self.after), threshold)
        worse = [name for name, change in expected.items() if change["change"] == "worse"]
        arguments = ("diff", self.before, self.after, "--threshold", threshold, "--json", path)
        done = self.tool(*arguments)
        self.tool(*arguments, "--fail-on", "overflow", code=1 if worse else 0)
        self.assertIn("NO NEW OVERFLOW" if not worse else f"NEW OVERFLOW: {len(worse)} tensor", done.stdout)
        found = read_json(path)
        self.assertEqual((found["format"], found["version"], found["threshold"]), ("halfsafe-diff", 1, threshold))
        self.assertEqual(found["new_overflow"], bool(worse))
        self.assertEqual([tensor["name"] for tensor in found["tensors"]], list(expected))
        for tensor in found["tensors"]:
            change = expected[tensor["name"]]
            self.assertEqual(tensor["change"], change["change"], tensor)
            if change["factor"] is None:
                self.assertIsNone(tensor["log2_factor"])
            else:
                self.assertAlmostEqual(tensor["log2_factor"], change["factor"], places=9)
            for side in ("before", "after"):
                if change[side] is None:
                    self.assertIsNone(tensor[side])
                else:
                    self.assertEqual(tensor[side]["abs_max"], change[side]["abs_max"])
                    self.assertEqual(tensor[side]["level"], level(change[side], threshold))
        return found

    def scaled(self, weight: str, factor: float) -> pathlib.Path:
        """Another checkpoint: one weight is larger."""
        model = copy.deepcopy(self.case.model)
        for tensor in model.graph.initializer:
            if tensor.name == weight:
                tensor.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(tensor) * factor).astype(np.float32), weight))
        return self.save(model, f"{weight}.onnx")

    def test_nothing_changed(self) -> None:
        self.scan(self.model, self.before)
        self.scan(self.model, self.after)
        found = self.hold()
        self.assertTrue(found["same_model"])
        self.assertEqual(found["tensors"], [])

    def test_another_checkpoint_that_overflows_elsewhere(self) -> None:
        self.scan(self.model, self.before)
        self.scan(self.scaled("w1", 1e5), self.after)
        found = self.hold()
        self.assertFalse(found["same_model"])
        self.assertIn("c1", [tensor["name"] for tensor in found["tensors"] if tensor["change"] == "worse"])
        for threshold in (1.0, 1e5, 1e7):
            self.hold(threshold)

    def test_back_again(self) -> None:
        self.scan(self.scaled("w1", 1e5), self.before)
        self.scan(self.model, self.after)
        self.assertIn("better", [tensor["change"] for tensor in self.hold()["tensors"]])

    def test_other_samples_of_the_same_model(self) -> None:
        self.scan(self.model, self.before, self.samples / "000.npz")
        self.scan(self.model, self.after)
        found = self.hold()
        self.assertTrue(found["same_model"])
        self.assertEqual((found["before"]["samples"], found["after"]["samples"]), (1, 3))

    def test_merged_shards(self) -> None:
        for shard in (1, 2):
            self.tool("scan", self.model, "--data", self.samples, "--shard", f"{shard}/2", "-o", self.folder / f"{shard}.json")
        self.tool("merge", self.folder / "1.json", self.folder / "2.json", "-o", self.before)
        self.scan(self.model, self.after)
        self.assertEqual(self.hold()["tensors"], [])

    def test_tensors_that_come_and_go(self) -> None:
        self.scan(self.model, self.before)
        self.scan(self.save(generated_models.transformer().model, "other.onnx"), self.after,
                  self.save_samples(generated_models.transformer().samples, "others"))
        found = self.hold()
        self.assertLessEqual({"gone"}, {tensor["change"] for tensor in found["tensors"]})

    def test_numbers_that_break(self) -> None:
        broken = generated_models.broken_numbers()
        path, samples = self.save(broken.model, "broken.onnx"), self.save_samples(broken.samples, "broken")
        self.scan(path, self.after, samples)
        whole = read_json(self.after)
        for tensor in whole["tensors"]:
            tensor["nan_count"] = tensor["inf_count"] = 0
        self.before.write_text(json.dumps(whole))
        self.assertIn("worse", [tensor["change"] for tensor in self.hold()["tensors"]])

    def test_a_trained_model(self) -> None:
        model, samples = real_model("magika", 6, self.folder)
        folder = model / "samples"
        names = sorted(folder.iterdir())
        self.scan(model / "model.onnx", self.before, *names[:2])
        self.scan(model / "model.onnx", self.after, *names)
        found = self.hold()
        self.assertTrue(found["same_model"] and found["tensors"])

    def test_what_is_no_scan(self) -> None:
        self.scan(self.model, self.before)
        for text in ("", "{}", json.dumps({"format": "halfsafe-plan", "version": 1})):
            self.after.write_text(text)
            self.assertIn("after.json", self.tool("diff", self.before, self.after, code=3).stderr)


if __name__ == "__main__":
    unittest.main()
