"""What rescale_models.py and exactness.py promise: models that overflow in the middle and nowhere else, twins that
don't, and a comparison that sees a single bit.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import pathlib
import unittest

from support import ToolTest, mark_all, np, onnx, read_json, run_all

import exactness
import fp16_reference
import rescale_models
from onnx import ModelProto, numpy_helper
from rescale_models import RESCALE_MODELS, make_model, make_samples

SAMPLES = 2
# A gain that is a power of two rounds nothing, unless something is added to what it scales that does not grow along.
HOMOGENEOUS = ("conv_stack", "unet", "softmax_net", "gated_mlp", "lstm_net")


def largest_values(name: str, model: ModelProto) -> dict[str, float]:
    """Largest |x| of each floating-point tensor on the samples, Constant nodes left out."""
    largest: dict[str, float] = {}
    for values in run_all(mark_all(model), make_samples(name, SAMPLES)):
        for tensor, array in values.items():
            if array.dtype.kind == "f":
                assert np.isfinite(array).all(), f"{name}: {tensor} is not finite"
                largest[tensor] = max(largest.get(tensor, 0.0), float(np.abs(array).max()))
    for node in model.graph.node:
        if node.op_type == "Constant":
            largest.pop(node.output[0], None)
    return largest


class RescaleModelsTest(ToolTest):
    def test_models_are_valid_in_every_opset(self) -> None:
        for name in RESCALE_MODELS:
            with self.subTest(name):
                for opset in (13, 17, 18, 21):
                    model = make_model(name, opset=opset)
                    onnx.checker.check_model(model, full_check=True)
                    self.assertEqual(model.opset_import[0].version, max(opset, RESCALE_MODELS[name].oldest_opset))
                    self.assertLess(model.ByteSize(), 8e6)

    def test_models_overflow_in_the_middle_only(self) -> None:
        for name in RESCALE_MODELS:
            with self.subTest(name):
                largest = largest_values(name, make_model(name))
                self.assertGreater(max(largest.values()), 1e6)
                self.assertLess(largest[RESCALE_MODELS[name].input[0]], 10)
                self.assertLess(largest["y"], 100)
                self.assertGreater(largest["y"], 0.1)

    def test_twins_stay_in_range(self) -> None:
        for name in RESCALE_MODELS:
            with self.subTest(name):
                largest = largest_values(name, make_model(name, gain=1))
                self.assertLess(max(largest.values()), 1e4)
                self.assertLess(largest["y"], 100)

    def test_twins_compute_the_same(self) -> None:
        for name in RESCALE_MODELS:
            with self.subTest(name):
                kinds = [[node.op_type for node in make_model(name, gain).graph.node] for gain in (None, 1.0)]
                self.assertEqual(kinds[0], kinds[1])
                runs = [list(run_all(make_model(name, gain), make_samples(name, SAMPLES))) for gain in (None, 1.0)]
                for found, twin in zip(*runs):
                    error = fp16_reference.relative_l2(twin["y"], found["y"])
                    if name == "transformer_growing":
                        self.assertLess(0.1, error)
                    else:
                        self.assertLess(error, 1e-4)

    def test_samples_move_the_output(self) -> None:
        """A net that answers the same to everything would hide any error."""
        for name in RESCALE_MODELS:
            with self.subTest(name):
                runs = [run["y"][0] for run in run_all(make_model(name), make_samples(name, 4))]
                spread = np.linalg.norm(np.std(runs, axis=0)) / np.linalg.norm(np.mean(np.abs(runs), axis=0))
                self.assertGreater(spread, 0.05)

    def test_batch_is_free(self) -> None:
        for name in RESCALE_MODELS:
            with self.subTest(name):
                tensor, shape = RESCALE_MODELS[name].input
                for outputs in run_all(make_model(name), [{tensor: np.ones((3, *shape), dtype=np.float32)}]):
                    self.assertEqual(outputs["y"].shape[0], 3)

    def test_models_hold_what_exporters_leave(self) -> None:
        for name in RESCALE_MODELS:
            with self.subTest(name):
                nodes = make_model(name).graph.node
                self.assertTrue(any(not node.name for node in nodes))
                self.assertTrue(any(node.op_type == "Constant" for node in nodes))
                self.assertTrue(any(node.op_type in ("Dropout", "Identity") for node in nodes))
        for name in ("softmax_net", "transformer_ln"):
            read = [inputs for node in make_model(name).graph.node for inputs in node.input if "shared" in inputs]
            self.assertEqual(len(read), 2, f"{name} shares no weight")

    def test_same_bytes_twice(self) -> None:
        for name in RESCALE_MODELS:
            with self.subTest(name):
                folders = [rescale_models.write_model(name, self.folder / turn, SAMPLES) for turn in ("one", "two")]
                files = [sorted(path.relative_to(folder) for path in folder.rglob("*.*")) for folder in folders]
                self.assertEqual(files[0], files[1])
                self.assertEqual(len(files[0]), 1 + SAMPLES)
                for file in files[0]:
                    self.assertEqual((folders[0] / file).read_bytes(), (folders[1] / file).read_bytes(), file)

    def test_tool_sees_the_overflow(self) -> None:
        for name in RESCALE_MODELS:
            with self.subTest(name):
                for gain, overflows in ((None, True), (1.0, False)):
                    folder = rescale_models.write_model(name, self.folder / str(gain), SAMPLES, gain)
                    said = folder / "scan.json"
                    self.tool("scan", folder / "model.onnx", "--data", folder / "samples", "-o", folder / "ranges.json",
                              "--json", said)
                    self.assertEqual(any(row["abs_max"] > 1e6 for row in read_json(said)["overflowing"]), overflows)


class ExactnessTest(ToolTest):
    def pair(self, name: str, gain: float) -> tuple[pathlib.Path, pathlib.Path]:
        return self.save(make_model(name, 1), "one.onnx"), self.save(make_model(name, gain), "other.onnx")

    def test_power_of_two_changes_no_bit(self) -> None:
        for name in HOMOGENEOUS:
            with self.subTest(name):
                self.assertEqual(exactness.problems(*self.pair(name, 4), make_samples(name, SAMPLES)), [])

    def test_another_factor_does(self) -> None:
        for name in HOMOGENEOUS:
            with self.subTest(name):
                found = exactness.differences(*self.pair(name, 3), make_samples(name, SAMPLES), optimized=False)
                self.assertTrue(any(item.differing for item in found))
                self.assertLess(max(item.relative for item in found), 1e-4)

    def test_one_bit_of_one_weight_is_seen(self) -> None:
        model = make_model("conv_stack", 1)
        original = self.save(model, "one.onnx")
        changed = next(tensor for tensor in reversed(model.graph.initializer) if tensor.name.endswith(".bias"))
        values = numpy_helper.to_array(changed).copy()
        values[0] = np.nextafter(values[0], np.float32(9))
        changed.CopyFrom(numpy_helper.from_array(values, changed.name))
        found = exactness.differences(original, self.save(model, "other.onnx"), make_samples("conv_stack", 1), False)
        self.assertEqual([item.allowed for item in found], [False])
        self.assertGreater(found[0].differing, 0)

    def test_what_counts_as_different(self) -> None:
        def judged(want: list[float], have: list[float], optimized: bool) -> exactness.Difference:
            return exactness.difference("y", 0, optimized, np.float32(want), np.float32(have))

        inf, nan = float("inf"), float("nan")
        self.assertTrue(judged([1, nan, inf], [1, nan, inf], False).allowed)
        self.assertFalse(judged([0.0], [-0.0], False).allowed)
        self.assertTrue(judged([0.0], [-0.0], True).allowed)
        self.assertTrue(judged([8, 1], [8, 1 + 2**-20], True).allowed)
        self.assertFalse(judged([8, 1], [8, 1 + 2**-16], True).allowed)
        for want, have in ((1.0, inf), (inf, 1.0), (nan, 1.0), (1.0, nan), (inf, -inf)):
            self.assertEqual(judged([want, 8], [have, 8], True).max_abs, inf, f"{want} became {have}")
        shapes = exactness.difference("y", 0, True, np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))
        self.assertFalse(shapes.allowed)
        self.assertIn("float32[2, 3] became float32[3, 2]", str(shapes))
        self.assertFalse(exactness.difference("y", 0, True, np.array([1, 2]), np.array([1, 3])).allowed)


if __name__ == "__main__":
    unittest.main()
