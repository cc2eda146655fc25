"""Models in forms that ONNX's standard doesn't have and ONNX Runtime runs: held against ONNX Runtime on the same file.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import pathlib
import subprocess
import sys
import unittest

import support
from support import Sample, ToolTest, np, onnx, read_json

import fp16_reference
import onnxruntime
import sweep
from generated_models import Builder, random, samples
from onnx import ModelProto, TensorProto, helper
from sixteen_bits import MODELS

ROOT = pathlib.Path(__file__).resolve().parent.parent
# What ONNX Runtime saves and refuses itself: indices in 8 bits.
NOT_LOADED = {"sparse_constants"}


def with_optimizers_operators(kind: int = TensorProto.FLOAT) -> ModelProto:
    """What ONNX Runtime's optimizers for transformers write: operators of its own, some of them in ONNX's domain."""
    b = Builder(17)
    b.input("x", ["batch", "words", 16], kind)
    numpy_kind = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    b.weight("w", random(16, 16), numpy_kind)
    b.weight("bias", random(16), numpy_kind)
    b.weight("ones", np.ones(16), numpy_kind)
    b.node("MatMul", ["x", "w"], "a")
    b.node("FastGelu", ["a", "bias"], "f", domain="com.microsoft")
    b.node("SkipLayerNormalization", ["f", "x", "ones", "bias"], "s", domain="com.microsoft", epsilon=1e-5)
    b.node("QuickGelu", ["s"], "q", domain="com.microsoft")
    b.node("MatMul", ["q", "w"], "m")
    b.node("SimplifiedLayerNormalization", ["m", "ones"], "n", axis=-1, epsilon=1e-5)
    b.node("Mul", ["n", "ones"], "y")
    b.output("y", ["batch", "words", 16], kind)
    return b.model(domains=("com.microsoft",))


def early_layer_normalization(opset: int) -> ModelProto:
    b = Builder(opset)
    b.input("x", ["N", 16])
    b.weight("scale", np.ones(16))
    b.weight("shift", np.zeros(16))
    b.weight("w", random(16, 16))
    b.node("LayerNormalization", ["x", "scale", "shift"], "n", axis=-1)
    b.node("MatMul", ["n", "w"], "y")
    b.output("y", ["N", 16])
    return b.model()


def in_disorder() -> ModelProto:
    b = Builder(17)
    b.input("x", ["N", 16])
    b.weight("w", random(16, 16))
    b.node("Relu", ["h"], "r")
    b.node("MatMul", ["r", "w"], "y")
    b.node("MatMul", ["x", "w"], "h")
    b.output("y", ["N", 16])
    return b.model()


def scaled_by_a_scalar() -> ModelProto:
    b = Builder(17)
    b.input("x", ["N", 16])
    b.input("s", [])
    b.weight("w", random(16, 16))
    b.weight("two", 2.0)
    b.node("Mul", ["s", "two"], "t")
    b.node("Exp", ["t"], "e")
    b.node("MatMul", ["x", "w"], "h")
    b.node("Mul", ["h", "e"], "y")
    b.output("y", ["N", 16])
    return b.model()


class ImportTest(ToolTest):
    def assert_right(self, model: ModelProto, given: list[Sample], most_fp32: int = 0) -> None:
        """Fixed, and right in ONNX Runtime, by its results for the file as it is."""
        fixed, plan = self.folder / "fixed.onnx", self.folder / "plan.json"
        data = self.save_samples(given, f"samples{len(list(self.folder.iterdir()))}")
        self.tool("fix", self.save(model), "--data", data, "-o", fixed, "--save-plan", plan, "--free-casts")
        in_fp32 = [node["name"] for node in read_json(plan)["nodes"] if node["precision"] == "fp32"]
        self.assertLessEqual(len(in_fp32), most_fp32, in_fp32)
        before, after = support.session(model), support.session(onnx.load(fixed))
        for sample in given:
            for one, two in zip(before.run(None, sample), after.run(None, sample), strict=True):
                self.assertLess(fp16_reference.relative_l2(one, two), 1e-2)

    def test_operators_of_the_optimizers(self) -> None:
        self.assert_right(with_optimizers_operators(), samples(x=(2, 5, 16)), most_fp32=4)

    def test_operators_of_the_optimizers_in_16_bits(self) -> None:
        """Their results' types are known, though ONNX defines none of them: so the file can be lifted."""
        given = [{"x": sample["x"].astype(np.float16)} for sample in samples(x=(2, 5, 16))]
        path, data = self.save(with_optimizers_operators(TensorProto.FLOAT16)), self.save_samples(given)
        self.tool("check", path, path, "--data", data)

    def test_layer_normalization_before_its_opset(self) -> None:
        for opset in (13, 14):
            with self.subTest(opset=opset):
                self.assert_right(early_layer_normalization(opset), samples(x=(3, 16)))

    def test_nodes_in_disorder(self) -> None:
        self.assert_right(in_disorder(), samples(x=(3, 16)))

    def test_one_number_for_a_scalar(self) -> None:
        self.assert_right(scaled_by_a_scalar(), [{**sample, "s": np.float32([0.5])} for sample in samples(x=(3, 16))])

    def test_random_samples_of_a_shape(self) -> None:
        """A kernel that is larger than the free dimensions are by themselves."""
        b = Builder(17)
        b.input("x", ["N", 3, "H", "W"])
        b.weight("w", random(4, 3, 5, 5))
        b.node("Conv", ["x", "w"], "y")
        b.output("y", ["N", 4, "h", "v"])
        path, ranges = self.save(b.model()), self.folder / "ranges.json"
        self.tool("scan", path, "--random", 2, "-o", ranges, code=3)
        self.tool("scan", path, "--random", 2, "--shapes", "x=2x3x9x8", "-o", ranges)
        counts = {tensor["name"]: tensor["count"] for tensor in read_json(ranges)["tensors"]}
        self.assertEqual(counts["y"], 2 * 2 * 4 * 5 * 4)
        for shapes, said in (("x=2x4x9x8", "the model expects"), ("z=1", "no input z"), ("x=2x3x9x8:2x3x9x8:3x3x9x8", "three shapes")):
            self.assertIn(said, self.tool("scan", path, "--random", 2, "--shapes", shapes, "-o", ranges, code=2).stderr)

    def test_maps_are_compared_by_what_they_are_made_of(self) -> None:
        """As scikit-learn's converter writes a classifier's probabilities."""
        b = Builder(17)
        b.input("x", ["N", 8])
        b.weight("w", random(8, 3))
        b.node("MatMul", ["x", "w"], "h")
        b.node("Softmax", ["h"], "p", axis=1)
        b.node("ZipMap", ["p"], "z", domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
        model = b.model(domains=("ai.onnx.ml",))
        kind = helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])))
        model.graph.output.append(helper.make_value_info("z", kind))
        result, fixed = self.folder / "result.json", self.folder / "fixed.onnx"
        given = samples(x=(4, 8))
        self.tool("fix", self.save(model), "--data", self.save_samples(given), "-o", fixed, "--json", result, "--free-casts")
        [output] = read_json(result)["outputs"]
        self.assertEqual(output["count"], 3 * 4 * len(given))
        self.assertGreater(output["rel_l2"], 0)
        for one, two in zip(*(support.session(each).run(None, given[0])[0] for each in (model, onnx.load(fixed))), strict=True):
            np.testing.assert_allclose(list(one.values()), list(two.values()), rtol=1e-2)

    def test_the_table_is_that_of_the_package(self) -> None:
        """Else scripts/runtime-schemas has to be run."""
        table = self.folder / "table.inc"
        subprocess.run([sys.executable, ROOT / "scripts/runtime-schemas", table], check=True)
        self.assertEqual((ROOT / "src/model/runtime_schemas.inc").read_text(), table.read_text())

    def test_what_onnx_runtime_saves(self) -> None:
        """Every command takes it, and `fix` says of it what it says of the model."""
        for name, level in sweep.tenth((name, level) for name in MODELS for level in ("BASIC", "EXTENDED")):
            with self.subTest(name, level=level):
                case = MODELS[name]()
                folder = self.folder / f"{name}{level}"
                folder.mkdir()
                path, plan, ranges, fixed = (folder / file for file in ("model.onnx", "plan.json", "ranges.json", "fixed.onnx"))
                save_optimized(case.model, level, path)
                data = ["--data", self.save_samples(case.samples, f"{folder.name}/samples")]
                if name in NOT_LOADED:
                    with self.assertRaises(Exception):
                        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
                    continue
                onnx.save(case.model, folder / "original.onnx")
                code = self.tool("fix", folder / "original.onnx", *data, "-o", fixed, code=None).returncode
                self.tool("fix", path, *data, "-o", fixed, code=code)
                self.tool("scan", path, *data, "-o", ranges)
                self.tool("plan", path, "--ranges", ranges, "-o", plan)
                self.tool("apply", path, "--plan", plan, "-o", fixed)
                self.tool("check", path, fixed, *data, code=None if code else 0)


def save_optimized(model: ModelProto, level: str, path: pathlib.Path) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    unittest.main()
