"""Models that draw random numbers: the same ones in every run, in the original and in what is made of it.

Held against ONNX Runtime on the model whose noise is an input, and against the distributions that ONNX states. HALFSAFE names the
binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import pathlib
import unittest

import support
from support import ToolTest, np, onnx, read_json

from generated_models import Builder, random
from onnx import ModelProto, TensorProto, helper
from polygraphy.comparator import RunResults

MANY = 20000


def noisy(draw: bool) -> ModelProto:
    """Noise between two products, as in text to speech; without `draw` it is an input."""
    b = Builder(17)
    b.input("x", ["N", 32])
    b.weight("w", random(32, 32, seed=1, scale=0.2))
    b.weight("v", random(32, 32, seed=2, scale=0.2))
    b.node("MatMul", ["x", "w"], "h")
    if draw:
        b.node("RandomNormalLike", ["h"], "noise", mean=1.0, scale=2.0)
    else:
        b.input("noise", ["N", 32])
    b.node("Add", ["h", "noise"], "z")
    b.node("MatMul", ["z", "v"], "y")
    b.output("y", ["N", 32])
    return b.model()


class NoiseTest(ToolTest):
    def setUp(self) -> None:
        super().setUp()
        self.given = [{"x": random(3 + i, 32, seed=i)} for i in range(4)]

    def drawn(self, model: pathlib.Path, data: pathlib.Path, *tensors: str, options: tuple[object, ...] = ()) -> list[dict[str, np.ndarray]]:
        """What a scan saw of these tensors, by sample."""
        saved = self.folder / f"saved{len(list(self.folder.iterdir()))}"
        self.tool("scan", model, "--data", data, "--save-outputs", saved, "--tensors", f"^({'|'.join(tensors)})$", *options)
        runs = [RunResults.load(str(path)) for path in sorted(saved.iterdir())]
        return [{name: np.asarray(run[0][1][0][name]) for name in tensors} for run in runs]

    def test_as_the_model_whose_noise_is_an_input(self) -> None:
        model, data = self.save(noisy(True)), self.save_samples(self.given)
        saw = self.drawn(model, data, "noise", "y")
        runner = support.session(noisy(False))
        other_samples = [{**sample, "noise": found["noise"]} for sample, found in zip(self.given, saw, strict=True)]
        for sample, found in zip(other_samples, saw, strict=True):
            np.testing.assert_allclose(found["y"], runner.run(None, sample)[0], rtol=1e-5, atol=1e-5)
        results = {}
        for name, path, samples in (("own", model, data), ("input", self.save(noisy(False), "other.onnx"),
                                                             self.save_samples(other_samples, "other"))):
            plan, result = self.folder / f"{name}.json", self.folder / f"{name}_result.json"
            self.tool("fix", path, "--data", samples, "-o", self.folder / "fixed.onnx", "--save-plan", plan, "--json", result, "--free-casts")
            nodes = {node["name"]: node["precision"] for node in read_json(plan)["nodes"] if node["name"] != "node_noise"}
            results[name] = (nodes, read_json(result)["outputs"][0]["rel_l2"])
        self.assertEqual(results["own"][0], results["input"][0])
        self.assertLess(results["own"][1], 1e-3)
        self.assertAlmostEqual(results["own"][1], results["input"][1], delta=0.2 * results["own"][1])

    def test_the_same_in_every_run(self) -> None:
        model = self.save(noisy(True))
        data, alone = self.save_samples(self.given), self.folder / "alone"
        alone.mkdir()
        (alone / "002.npz").write_bytes((data / "002.npz").read_bytes())
        first = self.drawn(model, data, "noise")
        for options in (("--threads", 1), ("--threads", 2), ("--low-memory",)):
            for one, two in zip(first, self.drawn(model, data, "noise", options=options), strict=True):
                np.testing.assert_array_equal(one["noise"], two["noise"])
        [third] = self.drawn(model, alone, "noise")
        np.testing.assert_array_equal(third["noise"], first[2]["noise"])
        self.assertFalse(np.array_equal(first[0]["noise"], first[1]["noise"][:3]))

    def test_what_is_written_draws_as_before(self) -> None:
        path = self.folder / "fixed.onnx"
        self.tool("fix", self.save(noisy(True)), "--data", self.save_samples(self.given), "-o", path, "--free-casts")
        [node] = [node for node in onnx.load(path).graph.node if node.op_type == "RandomNormalLike"]
        self.assertEqual({entry.name: helper.get_attribute_value(entry) for entry in node.attribute}, {"mean": 1.0, "scale": 2.0})

    def test_each_step_of_a_loop_draws_anew(self) -> None:
        body = helper.make_graph(
            [helper.make_node("RandomNormalLike", ["state"], ["step"]), helper.make_node("Add", ["state", "step"], ["next"]),
             helper.make_node("Identity", ["go"], ["on"])],
            "body", [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
                     helper.make_tensor_value_info("state", TensorProto.FLOAT, ["N", 32])],
            [helper.make_tensor_value_info("on", TensorProto.BOOL, []), helper.make_tensor_value_info("next", TensorProto.FLOAT, ["N", 32]),
             helper.make_tensor_value_info("step", TensorProto.FLOAT, ["N", 32])])
        b = Builder(17)
        b.input("x", ["N", 32])
        b.weight("count", 3, np.int64)
        b.node("Loop", ["count", "", "x"], "end", "steps", body=body)
        b.output("end", ["N", 32])
        b.output("steps", [3, "N", 32])
        path, data = self.save(b.model()), self.save_samples(self.given)
        for sample, found in zip(self.given, self.drawn(path, data, "steps", "end"), strict=True):
            for one, two in ((0, 1), (0, 2), (1, 2)):
                self.assertLess(abs(np.corrcoef(found["steps"][one].ravel(), found["steps"][two].ravel())[0, 1]), 0.5)
            np.testing.assert_allclose(found["end"], sample["x"] + found["steps"].sum(0), atol=1e-5)
        self.tool("fix", path, "--data", data, "-o", self.folder / "fixed.onnx", "--free-casts")

    # ------------------------------------------------------------ distributions

    def draws(self, b: Builder, *tensors: str, x: np.ndarray | None = None) -> list[np.ndarray]:
        b.input("x", ["a", "b"])
        b.node("Identity", ["x"], "x_out")
        b.output("x_out", ["a", "b"])
        path = self.save(b.model())
        [found] = self.drawn(path, self.save_samples([{"x": np.zeros((2, MANY // 2), np.float32) if x is None else x}]), *tensors)
        return [found[name] for name in tensors]

    def assert_share(self, found: np.ndarray, expected: float) -> None:
        """Within five standard errors."""
        self.assertAlmostEqual(float(np.mean(found)), expected, delta=5 * np.sqrt(expected * (1 - expected) / found.size))

    def test_normal_and_uniform(self) -> None:
        b = Builder(17)
        b.node("RandomNormal", [], "n", shape=[2, MANY // 2], mean=3.0, scale=2.0)
        b.node("RandomUniform", [], "u", shape=[MANY], low=-1.0, high=3.0)
        b.node("RandomNormalLike", ["x"], "nl")
        b.node("RandomUniformLike", ["x"], "ul", dtype=TensorProto.DOUBLE)
        for name, kind in (("n", TensorProto.FLOAT), ("u", TensorProto.FLOAT), ("nl", TensorProto.FLOAT), ("ul", TensorProto.DOUBLE)):
            b.output(name, dtype=kind)
        n, u, nl, ul = self.draws(b, "n", "u", "nl", "ul")
        self.assertEqual([array.shape for array in (n, u, nl, ul)], [(2, MANY // 2), (MANY,), (2, MANY // 2), (2, MANY // 2)])
        self.assertEqual(ul.dtype, np.float64)
        for below, share in ((-1.0, 0.15866), (0.0, 0.5), (1.0, 0.84134), (2.0, 0.97725)):
            self.assert_share((n - 3.0) / 2.0 < below, share)
            self.assert_share(nl < below, share)
        for below in (0.1, 0.5, 0.9):
            self.assert_share((u + 1.0) / 4.0 < below, below)
            self.assert_share(ul < below, below)
        self.assertTrue((u >= -1.0).all() and (u < 3.0).all())
        self.assertLess(abs(np.corrcoef(nl.ravel(), n.ravel())[0, 1]), 5 / np.sqrt(MANY))

    def test_bernoulli(self) -> None:
        b = Builder(17)
        b.node("Bernoulli", ["x"], "y", dtype=TensorProto.INT32)
        b.output("y", dtype=TensorProto.INT32)
        [y] = self.draws(b, "y", x=np.repeat(np.float32([[0.2], [0.7]]), MANY // 2, axis=1))
        self.assert_share(y[0], 0.2)
        self.assert_share(y[1], 0.7)

    def test_multinomial(self) -> None:
        b = Builder(17)
        b.node("Multinomial", ["x"], "y", sample_size=MANY)
        b.output("y", dtype=TensorProto.INT32)
        shares = np.array([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]])
        [y] = self.draws(b, "y", x=np.log(shares).astype(np.float32))
        self.assertEqual((y.shape, y.dtype), ((2, MANY), np.int32))
        for row, expected in zip(y, shares, strict=True):
            for value, share in enumerate(expected):
                self.assert_share(row == value, share)

    def test_dropout_that_trains(self) -> None:
        for trains in (True, False):
            with self.subTest(trains=trains):
                b = Builder(17)
                b.weight("ratio", 0.3)
                b.weight("trains", trains, np.bool_)
                b.node("Dropout", ["x", "ratio", "trains"], "y", "mask")
                b.output("y")
                b.output("mask", dtype=TensorProto.BOOL)
                x = random(2, MANY // 2)
                self.folder = self.folder / f"trains{trains}"
                self.folder.mkdir()
                y, mask = self.draws(b, "y", "mask", x=x)
                self.assert_share(mask, 0.7) if trains else self.assertTrue(mask.all())
                np.testing.assert_allclose(y, np.where(mask, x / np.float32(0.7), 0) if trains else x, rtol=1e-6)


if __name__ == "__main__":
    unittest.main()
