"""Holds `halfsafe scan`, `merge` and `mark` against numpy, ONNX Runtime and Polygraphy: every number, every tensor.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Iterable

import support
from support import Sample, ToolTest, np, onnx, read_json

try:
    from polygraphy.backend.onnx import ModifyOutputs
    from polygraphy.backend.onnxrt import OnnxrtRunner
    from polygraphy.comparator import Comparator, RunResults
    from polygraphy.constants import MARK_ALL
    from polygraphy.json import save_json
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

import generated_models
from generated_models import CASES, Builder, numpy_helper, random
from onnx import ModelProto, TensorProto, helper

FIELDS = ("count", "min", "max", "abs_max", "nan_count", "inf_count", "overflow_count", "subnormal_count", "exponents")


def observed(model: ModelProto, samples: Iterable[Sample], optimize: bool = False) -> dict[str, dict]:
    """Statistics of everything that a run of the model with all results as outputs shows, inputs included."""
    found: dict[str, dict] = {}
    for run in support.run_all(support.mark_all(model), samples, optimize):
        for name, values in run.items():
            if values.dtype in support.TYPE_NAMES:
                found[name] = _add(found.get(name), support.statistics([values]))
    return {name.removesuffix(support.WIDENED): stats for name, stats in found.items()}


def observed_in_bodies(model: ModelProto, samples: Iterable[Sample]) -> dict[str, dict]:
    exposed, shown = support.expose_bodies(support.inlined(model))
    found: dict[str, dict] = {}
    if shown:
        for run in support.run_all(exposed, samples):
            for path, output in shown.items():
                found[path] = _add(found.get(path), support.statistics([support.without_filler(run[output])]))
    return found


def _add(one: dict | None, other: dict) -> dict:
    return other if one is None else support.merged(one, other)


def constants_of(model: ModelProto, folder: pathlib.Path | None = None) -> dict[str, dict]:
    return {name: support.statistics([values]) for name, values in support.constant_values(model, folder).items()}


class ScanTest(ToolTest):
    def ranges(self, model: pathlib.Path, *arguments: object) -> dict[str, dict]:
        out = self.folder / "ranges.json"
        self.tool("scan", model, "-o", out, "--threads", support.THREADS, *arguments)
        document = read_json(out)
        self.assertEqual((document["format"], document["version"]), ("halfsafe-ranges", 1))
        names = [tensor["name"] for tensor in document["tensors"]]
        self.assertEqual(len(names), len(set(names)), "a tensor comes twice")
        return {tensor["name"]: tensor for tensor in document["tensors"]}

    def assert_same(self, found: dict[str, dict], expected: dict[str, dict], complete: bool = True) -> None:
        missing = sorted(set(expected) - set(found))
        self.assertEqual(missing, [], "tensors that the scan lacks")
        if complete:
            self.assertEqual(sorted(set(found) - set(expected)), [], "tensors that nobody knows")
        for name, stats in expected.items():
            for field in FIELDS:
                self.assertEqual(found[name][field], stats[field], f"{field} of {name}")

    def assert_close(self, found: dict[str, dict], expected: dict[str, dict]) -> None:
        self.assertEqual(sorted(set(expected) - set(found)), [], "tensors that the scan lacks")
        for name, stats in expected.items():
            # Near zero a sum in another order leaves another remainder, so extremes are held against the largest.
            size = max(abs(stats["abs_max"] or 0.0), 1e-30)
            for field in ("min", "max", "abs_max"):
                self.assertLessEqual(abs((found[name][field] or 0.0) - (stats[field] or 0.0)), 1e-5 * size, f"{field} of {name}")
            self.assertEqual(found[name]["count"], stats["count"], name)


class RealModelTest(ScanTest):
    def check(self, name: str, count: int) -> None:
        folder, samples = support.real_model(name, count, self.folder)
        model = onnx.load(folder / "model.onnx")
        data = ["--data", folder / "samples"]
        exact = self.ranges(folder / "model.onnx", "--no-graph-optimizations", *data)
        expected = {**observed(model, samples), **constants_of(model)}
        self.assert_same(exact, expected)
        optimized = observed(model, samples, optimize=True)
        self.assert_close(self.ranges(folder / "model.onnx", *data), {**optimized, **constants_of(model)})
        self.check_largest_samples(exact, model, folder, samples)

    def check_largest_samples(self, found: dict[str, dict], model: ModelProto, folder: pathlib.Path,
                              samples: list[Sample]) -> None:
        """abs_max_sample names a sample that shows abs_max."""
        files = sorted((folder / "samples").glob("*.npz"))
        runs = {str(file): run for file, run in zip(files, support.run_all(support.mark_all(model), samples))}
        for name, stats in found.items():
            if stats["abs_max_sample"] is not None and name in next(iter(runs.values())):
                values = runs[stats["abs_max_sample"]][name]
                self.assertEqual(float(np.abs(values[np.isfinite(values)]).max()), stats["abs_max"], name)

    def test_magika(self) -> None:
        self.check("magika", 3)

    def test_minilm_whose_shapes_change_with_every_sample(self) -> None:
        # More shapes than sessions are kept for.
        self.check("minilm", 10)

    def test_ppocr_cls(self) -> None:
        self.check("ppocr_cls", 3)

    def test_ppocr_rec(self) -> None:
        self.check("ppocr_rec", 2)


class PolygraphyTest(ScanTest):
    """The tool that people use for this today, run for real."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.shared = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.model_folder, cls.samples = support.real_model("ppocr_cls", 3, cls.shared)
        cls.model = cls.model_folder / "model.onnx"
        save_json(cls.samples, str(cls.shared / "inputs.json"))

    def recorded_without_optimizations(self) -> pathlib.Path:
        marked = ModifyOutputs(onnx.load(self.model), outputs=MARK_ALL)()
        results = Comparator.run([OnnxrtRunner(lambda: support.session(marked))], data_loader=self.samples)
        out = self.folder / "exact.json"
        results.save(str(out))
        return out

    def test_command_line(self) -> None:
        out = self.folder / "outputs.json"
        command = [pathlib.Path(sys.executable).with_name("polygraphy"), "run", self.model, "--onnxrt", "--onnx-outputs", "mark", "all",
                   "--load-inputs", self.shared / "inputs.json", "--save-outputs", out]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        expected = self.statistics_of(out)
        recorded = self.ranges(self.model, "--from-outputs", out)
        self.assert_same({name: recorded[name] for name in expected}, expected)
        self.assert_close(self.ranges(self.model, "--data", self.shared / "inputs.json"), expected)

    def test_bit_for_bit(self) -> None:
        out = self.recorded_without_optimizations()
        expected = self.statistics_of(out)
        scanned = self.ranges(self.model, "--data", self.shared / "inputs.json", "--no-graph-optimizations")
        self.assert_same(scanned, expected, complete=False)
        recorded = self.ranges(self.model, "--from-outputs", out)
        for name in expected:
            for field in FIELDS:
                self.assertEqual(scanned[name][field], recorded[name][field], f"{field} of {name}")

    def statistics_of(self, path: pathlib.Path) -> dict[str, dict]:
        ((_, iterations),) = RunResults.load(str(path)).items()
        found: dict[str, dict] = {}
        for iteration in iterations:
            for name, values in iteration.items():
                if values.dtype in support.TYPE_NAMES:
                    found[name] = _add(found.get(name), support.statistics([values]))
        return found

    def constants(self) -> set[str]:
        return {node.output[0] for node in onnx.load(self.model).graph.node if node.op_type == "Constant"}

    def test_saved_outputs_are_read_by_polygraphy(self) -> None:
        expected = list(support.run_all(support.mark_all(onnx.load(self.model)), self.samples))
        data = ["--data", self.shared / "inputs.json", "--no-graph-optimizations", "--threads", support.THREADS]
        one, many = self.folder / "saved.json", self.folder / "saved"
        for path in (one, many):
            self.tool("scan", self.model, "--save-outputs", path, *data)
        self.assertEqual(sorted(path.name for path in many.iterdir()), [f"{index:010}.json" for index in range(3)])
        ((_, iterations),) = RunResults.load(str(one)).items()
        separate = [next(iter(RunResults.load(str(path)).values()))[0] for path in sorted(many.iterdir())]
        wanted = set(expected[0]) - set(self.samples[0]) - self.constants()
        for found in (iterations, separate):
            self.assertEqual(len(found), 3)
            for iteration, run in zip(found, expected):
                self.assertEqual(set(iteration.keys()) - wanted, set())
                self.assertEqual(wanted - set(iteration.keys()), set())
                for name in wanted:
                    self.assertEqual(iteration[name].dtype, run[name].dtype, name)
                    self.assertEqual(iteration[name].shape, run[name].shape, name)
                    self.assertEqual(iteration[name].tobytes(), run[name].tobytes(), name)

    def test_saved_outputs_of_chosen_tensors(self) -> None:
        out = self.folder / "some.json"
        self.tool("scan", self.model, "--save-outputs", out, "--tensors", "^batch_norm", "--data", self.shared / "inputs.json")
        ((_, (first, *_)),) = RunResults.load(str(out)).items()
        (run,) = support.run_all(support.mark_all(onnx.load(self.model)), self.samples[:1])
        wanted = {name for name in run if name.startswith("batch_norm")} - self.constants()
        self.assertEqual(set(first.keys()), wanted)
        self.assertTrue(wanted)


class MergeTest(ScanTest):
    def scan_of(self, model: pathlib.Path, paths: list[pathlib.Path], name: str) -> pathlib.Path:
        out = self.folder / name
        self.tool("scan", model, "-o", out, "--data", *paths)
        return out

    def check(self, model: pathlib.Path, samples: pathlib.Path) -> None:
        files = sorted(samples.glob("*.npz"))
        parts = [self.scan_of(model, files[:1], "a.json"), self.scan_of(model, files[1:], "b.json")]
        whole = read_json(self.scan_of(model, files, "all.json"))
        for order in (parts, parts[::-1]):
            out = self.folder / "merged.json"
            self.tool("merge", *order, "-o", out)
            self.assertEqual(read_json(out), whole)

    def test_real_model(self) -> None:
        folder, _ = support.real_model("ppocr_cls", 3, self.folder)
        self.check(folder / "model.onnx", folder / "samples")

    def test_broken_numbers(self) -> None:
        case = generated_models.broken_numbers()
        self.check(self.save(case.model), self.save_samples(case.samples))

    def test_sizes_of_zero(self) -> None:
        case = generated_models.odd_sizes()
        self.check(self.save(case.model), self.save_samples(case.samples))

    def test_recorded_and_scanned(self) -> None:
        """Ranges of tensors that only one of the scans has are kept."""
        case = generated_models.conv_net(17)
        model, data = self.save(case.model), self.save_samples(case.samples)
        self.tool("scan", model, "--data", data, "--save-outputs", self.folder / "c2.json", "--tensors", "^c2$")
        self.tool("scan", model, "--from-outputs", self.folder / "c2.json", "-o", self.folder / "part.json")
        self.tool("scan", model, "--data", data, "-o", self.folder / "all.json")
        self.tool("merge", self.folder / "part.json", self.folder / "all.json", "-o", self.folder / "merged.json")
        names = {tensor["name"] for tensor in read_json(self.folder / "merged.json")["tensors"]}
        self.assertEqual(names, {tensor["name"] for tensor in read_json(self.folder / "all.json")["tensors"]})


class MarkTest(ToolTest):
    def check(self, path: pathlib.Path, samples: list[Sample]) -> None:
        model, out = onnx.load(path), self.folder / "marked.onnx"
        self.tool("mark", path, "-o", out)
        marked = onnx.load(out)
        names = [output.name for output in marked.graph.output]
        original = [output.name for output in model.graph.output]
        self.assertEqual(names[: len(original)], original)
        copy = ModelProto()
        copy.CopyFrom(model)
        theirs = {output.name for output in ModifyOutputs(copy, outputs=MARK_ALL)().graph.output}
        self.assertEqual(set(names) - set(original), theirs - set(original))
        for found, expected in zip(support.run_all(marked, samples[:1]), support.run_all(support.mark_all(model), samples[:1])):
            for name in names:
                self.assertEqual(found[name].tobytes(), expected[name].tobytes(), name)

    def test_real_models(self) -> None:
        for name in ("magika", "ppocr_cls"):
            with self.subTest(name):
                folder, samples = support.real_model(name, 1, self.folder)
                self.check(folder / "model.onnx", samples)

    def test_generated_models(self) -> None:
        for name in ("conv_net_9", "if_inside", "several_outputs", "dropout_and_optional", "initializers_among_inputs"):
            with self.subTest(name):
                case = CASES[name]()
                self.check(self.save(case.model, f"{name}.onnx"), case.samples)

    def test_chosen_tensors(self) -> None:
        case = generated_models.conv_net(17)
        out = self.folder / "marked.onnx"
        self.tool("mark", self.save(case.model), "-o", out, "--tensors", "^c[12]$")
        self.assertEqual([output.name for output in onnx.load(out).graph.output], ["y", "c1", "c2"])
        self.tool("mark", self.folder / "model.onnx", "-o", out, "--tensors", "nowhere", code=2)


class GeneratedModelTest(ScanTest):
    def test_every_tensor_of_every_model(self) -> None:
        for name, make in CASES.items():
            with self.subTest(name):
                case = make()
                folder = self.save_samples(case.samples, name)
                found = self.ranges(self.save(case.model), "--no-graph-optimizations", "--data", folder)
                model, samples = support.lifted(case.model), support.widened(case.samples)
                if not support.holds_halves(case.model):
                    samples = case.samples
                expected = {**observed(model, samples), **observed_in_bodies(model, samples)}
                self.assert_same(found, {**expected, **constants_of(model)})

    def test_types(self) -> None:
        case = generated_models.mixed_types()
        found = self.ranges(self.save(case.model), "--data", self.save_samples(case.samples))
        types = {name: found[name]["dtype"] for name in ("x", "h", "wh", "mh", "sum64", "factor", "y16")}
        self.assertEqual(types, {"x": "float32", "h": "float32", "wh": "float32", "mh": "float32", "sum64": "float64",
                                 "factor": "float64", "y16": "float32"})
        self.assertFalse({"mf", "xb", "xr"} & set(found), "Casts among FP32, FP16 and BF16 are no tensors of the FP32 model")

    def test_sparse_constants_by_onnx_runtime(self) -> None:
        """The runtime reads sparse constants by itself, so what it computes proves how halfsafe reads them."""
        case = generated_models.sparse_constants()
        found = self.ranges(self.save(case.model), "--no-graph-optimizations", "--data", self.save_samples(case.samples))
        run = list(support.run_all(case.model, case.samples))
        for name in [output.name for output in case.model.graph.output]:
            expected = support.statistics(sample[name] for sample in run)
            for field in FIELDS:
                self.assertEqual(found[name][field], expected[field], f"{field} of {name}")

    def test_sparse_constants_in_other_files(self) -> None:
        builder = Builder(17)
        builder.input("x", [None, 4])
        builder.node("Add", ["x", "s"], "y")
        builder.output("y", [None, 4])
        model = builder.model()
        constant = generated_models.sparse("s", np.float32([0, 1e5, 0, -3]))
        written = (constant.values.raw_data, constant.indices.raw_data)
        (self.folder / "weights").write_bytes(b"".join(written))
        for tensor, offset in ((constant.values, 0), (constant.indices, len(written[0]))):
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="weights")
            tensor.external_data.add(key="offset", value=str(offset))
            tensor.ClearField("raw_data")
        model.graph.sparse_initializer.append(constant)
        found = self.ranges(self.save(model), "--random", 1)["s"]
        for field, value in support.statistics([np.float32([0, 1e5, 0, -3])]).items():
            self.assertEqual(found[field], value, field)
        same = self.folder / "same.onnx"
        self.tool("mark", self.folder / "model.onnx", "-o", same)
        back = onnx.load(same).graph.sparse_initializer[0]
        self.assertEqual((back.values.raw_data, back.indices.raw_data), written)

    def test_broken_sparse_constants(self) -> None:
        def write(indices: np.ndarray, dims: list[int], values: np.ndarray = np.float32([1, 2])) -> pathlib.Path:
            builder = Builder(17)
            builder.input("x", [None])
            builder.node("Identity", ["x"], "y")
            builder.output("y", [None])
            model = builder.model()
            model.graph.sparse_initializer.append(helper.make_sparse_tensor(
                numpy_helper.from_array(values, "s"), numpy_helper.from_array(indices), dims))
            return self.save(model)

        for said, *broken in (("index 6 lies outside of its shape [2, 3]", np.int64([0, 6]), [2, 3]),
                              ("index -1 lies outside", np.int64([0, -1]), [2, 3]),
                              ("index 2 lies outside", np.int64([[0, 0], [2, 0]]), [2, 3]),
                              ("its indices are int64 of shape [3]", np.int64([0, 1, 2]), [2, 3]),
                              ("its indices are int32 of shape [2]", np.int32([0, 1]), [2, 3]),
                              ("expected at most 2147483648", np.int64([0, 1]), [1 << 20, 1 << 20]),
                              ("which no tensor can have", np.int64([0, 1]), [-1]),
                              ("string", np.int64([0, 1]), [2], np.array(["a", "b"], dtype=object))):
            with self.subTest(said):
                self.assertIn(said, self.tool("inspect", write(*broken), code=3).stderr)

    def test_negative_zero_and_limits(self) -> None:
        """Values at the edges of every count."""
        edges = np.float32([65504, 65505, 65519.996, 65520, 2**-14, 2**-14 - 2**-25, 2**-14 - 2**-24, 2**-24, 2**-25,
                            2**-26, 1e-45, -0.0, 3.4028235e38])
        builder = Builder(17)
        builder.input("x", [None])
        builder.node("Neg", ["x"], "y")
        builder.output("y", [None])
        found = self.ranges(self.save(builder.model()), "--data", self.save_samples([{"x": edges}]))
        self.assert_same(found, {"x": support.statistics([edges]), "y": support.statistics([-edges])})

    def test_unnamed_nodes_with_bodies(self) -> None:
        """The path of a body starts with the first output of a node that has no name."""
        model, samples = unnamed_ifs()
        found = self.ranges(self.save(model), "--no-graph-optimizations", "--data", self.save_samples(samples))
        self.assert_same(found, {**observed(model, samples), **observed_in_bodies(model, samples)})

    def test_bodies_whose_paths_are_equal(self) -> None:
        """The reference runs the same model with other names. ONNX Runtime takes no two nodes of one name."""
        for first, second, path in (("", "p", "p"), ("If_1", "If_1", "If_1")):
            case = generated_models.twin_ifs(first, second, f"{path}/then_branch/large")
            samples = self.save_samples(case.samples, path)
            found = self.ranges(self.save(case.model), "--no-graph-optimizations", "--data", samples)
            model = generated_models.twin_ifs("one", "two", "main").model
            expected = {**observed(model, case.samples), **observed_in_bodies(model, case.samples), **constants_of(model)}
            names = {"one/then_branch/large": f"{path}/then_branch/large#2", "main": f"{path}/then_branch/large"}
            for name in expected:
                one = re.sub("^one/", f"{path}/", name)
                names.setdefault(name, re.sub("^two/(.*)_branch/", rf"{path}/\1_branch#2/", one))
            self.assert_same(found, {names[name]: stats for name, stats in expected.items()})
            types = [found[f"{path}/then_branch{body}/other"]["dtype"] for body in ("", "#2")]
            self.assertEqual(types, ["float64", "float32"])

    def test_large_weights_inside_bodies(self) -> None:
        model, samples = body_weights()
        found = self.ranges(self.save(model), "--no-graph-optimizations", "--data", self.save_samples(samples))
        self.assert_same(found, {**observed(model, samples), **observed_in_bodies(model, samples), **constants_of(model)})

    def test_large_weights_that_nothing_reads(self) -> None:
        """In the model, or once a BatchNormalization has become a part of a chain."""
        for weights, ir_version, among_inputs in (([], 8, False), (["idle"], 8, False), (["idle"], 8, True),
                                                  (["idle"], 3, True)):
            with self.subTest(weights=weights, ir_version=ir_version, among_inputs=among_inputs):
                builder = Builder(17 if ir_version > 3 else 8)
                builder.input("x", [1, 400, 4])
                for seed, name in enumerate(["scale", "shift", "mean", "variance", *weights]):
                    builder.weight(name, np.abs(random(400, seed=seed)))
                builder.node("BatchNormalization", ["x", "scale", "shift", "mean", "variance"], "b")
                builder.node("Relu", ["b"], "y")
                builder.output("y", [1, 400, 4])
                model, samples = builder.model(ir_version), [{"x": random(1, 400, 4)}]
                for tensor in model.graph.initializer if among_inputs else []:
                    model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
                name = f"{len(weights)}{ir_version}{among_inputs}"
                found = self.ranges(self.save(model), "--data", self.save_samples(samples, name))
                self.assert_same(found, {**observed(model, samples), **constants_of(model)})

    def test_results_of_which_only_the_shape_is_read(self) -> None:
        """ONNX Runtime knows shapes that never change beforehand, and would compute nothing that only they are read of."""
        builder = Builder(17)
        builder.input("x", ["N", 4])
        builder.node("Relu", ["x"], "r")
        builder.node("Flatten", ["r"], "flattened", axis=0)
        builder.node("MatMul", ["x", builder.weight("w", np.eye(4, dtype=np.float32))], "product")
        builder.node("Sigmoid", ["product"], "s")
        builder.node("Shape", ["flattened"], "size")
        builder.node("Shape", ["s"], "shape")
        builder.output("size", [2], TensorProto.INT64)
        builder.output("shape", [2], TensorProto.INT64)
        model = builder.model()
        for samples in ([{"x": random(2, 4)}], [{"x": random(2, 4)}, {"x": random(3, 4)}]):
            with self.subTest(len(samples)):
                found = self.ranges(self.save(model), "--data", self.save_samples(samples, f"samples{len(samples)}"))
                self.assert_close(found, {**observed(model, samples), **constants_of(model)})

    def test_scan_body_whose_outputs_declare_no_shape(self) -> None:
        model, samples = shapeless_scan()
        found = self.ranges(self.save(model), "--no-graph-optimizations", "--data", self.save_samples(samples))
        self.assert_same(found, observed(model, samples), complete=False)

    def test_infinite_mask_as_input(self) -> None:
        """Only NaN is bad data: -inf in a mask means what it says."""
        builder = Builder(17)
        builder.input("x", [2, 3])
        builder.input("mask", [2, 3])
        builder.node("Add", ["x", "mask"], "masked")
        builder.node("Softmax", ["masked"], "y")
        builder.output("y", [2, 3])
        mask = np.float32([[0, 0, -np.inf], [0, -np.inf, -np.inf]])
        found = self.ranges(self.save(builder.model()), "--data", self.save_samples([{"x": random(2, 3), "mask": mask}]))
        self.assertEqual((found["mask"]["inf_count"], found["masked"]["inf_count"], found["y"]["inf_count"]), (3, 3, 0))

    def test_broken_model_is_reported(self) -> None:
        case = generated_models.broken_numbers()
        done = self.tool("scan", self.save(case.model), "--data", self.save_samples(case.samples))
        self.assertRegex(done.stdout + done.stderr, r"\blog\b", "the first tensor that is not finite")


class SumBoundTest(ScanTest):
    """sum_bound is a bound: no sum of the absolute terms passes it."""

    def bounds(self, model: ModelProto, samples: list[Sample]) -> dict[str, float | None]:
        found = self.ranges(self.save(model), "--data", self.save_samples(samples))
        return {name: stats["sum_bound"] for name, stats in found.items()}

    def largest(self, node: onnx.NodeProto, values: dict[str, np.ndarray]) -> float:
        """The operator itself, run on absolute values, sums up absolute terms; where it divides, that is undone."""
        builder = Builder(17)
        for name in node.input:
            builder.input(name, None, helper.np_dtype_to_tensor_dtype(values[name].dtype))
        builder.nodes.append(node)
        builder.output(node.output[0])
        fed = {name: np.abs(values[name]) for name in node.input}
        result = float(support.session(builder.model()).run(None, fed)[0].max())
        size = fed[node.input[0]].size
        return result * (size / len(fed[node.input[0]]) / 4 if node.op_type == "GlobalAveragePool" else 1)

    def test_sums_stay_below(self) -> None:
        for name, nodes in (("conv_net_17", ("node_c1", "node_c2", "node_c3", "node_logits")),
                            ("transformer", ("node_b0_up", "node_b1_down")), ("normalizations", ("node_pool",))):
            case = CASES[name]()
            folder = self.save_samples(case.samples, name)
            found = self.ranges(self.save(case.model), "--data", folder)
            known = {tensor.name: numpy_helper.to_array(tensor) for tensor in case.model.graph.initializer}
            for values in support.run_all(support.mark_all(case.model), case.samples):
                for node in case.model.graph.node:
                    if node.name in nodes:
                        with self.subTest(f"{name} {node.name}"):
                            bound = found[node.output[0]]["sum_bound"]
                            self.assertGreaterEqual(bound * (1 + 1e-5), self.largest(node, {**known, **values}))

    def test_elementwise_operators_sum_nothing(self) -> None:
        case = generated_models.conv_net(17)
        bounds = self.bounds(case.model, case.samples)
        self.assertIsNone(bounds["r1"])
        self.assertIsNone(bounds["clipped"])
        self.assertIsNotNone(bounds["c1"])


class ExternalDataTest(ScanTest):
    def check(self, **options: object) -> None:
        case = generated_models.conv_net(17)
        samples = self.save_samples(case.samples)
        inside = self.ranges(self.save(case.model), "--data", samples)
        folder = self.folder / "external"
        folder.mkdir()
        onnx.save_model(case.model, str(folder / "model.onnx"), save_as_external_data=True, size_threshold=0, **options)
        self.assertEqual(self.ranges(folder / "model.onnx", "--data", samples), inside)

    def test_one_file(self) -> None:
        self.check(all_tensors_to_one_file=True, location="weights.bin")

    def test_a_file_for_each_tensor(self) -> None:
        self.check(all_tensors_to_one_file=False)

    def test_from_another_folder(self) -> None:
        """A model named without a folder finds its data too."""
        case = generated_models.conv_net(17)
        onnx.save_model(case.model, str(self.folder / "m.onnx"), save_as_external_data=True, size_threshold=0, location="w")
        samples = self.save_samples(case.samples)
        self.tool("scan", "m.onnx", "--data", samples, "-o", "r.json", cwd=self.folder)
        inside = generated_models.conv_net(17).model
        self.assertEqual(len(read_json(self.folder / "r.json")["tensors"]),
                         len(constants_of(inside)) + len(observed(inside, case.samples)))


class DataTest(ScanTest):
    def test_same_numbers_from_every_format(self) -> None:
        case = generated_models.conv_net(17)
        model, npz = self.save(case.model), self.save_samples(case.samples)
        expected = self.ranges(model, "--data", npz)
        save_json(case.samples, str(self.folder / "inputs.json"))
        for index, sample in enumerate(case.samples):
            arrays = self.folder / "npy" / str(index)
            arrays.mkdir(parents=True)
            np.save(arrays / "x.npy", sample["x"])
            protos = self.folder / "pb" / f"test_data_set_{index}"
            protos.mkdir(parents=True)
            (protos / "input_0.pb").write_bytes(numpy_helper.from_array(sample["x"], "x").SerializeToString())
        for arguments in (["--data", self.folder / "inputs.json"], ["--data", self.folder / "npy"],
                          ["--data", self.folder / "pb"], ["--data", *sorted(npz.glob("*.npz"))],
                          ["--data", npz / "000.npz", "--data", npz / "001.npz", "--data", npz / "002.npz"]):
            with self.subTest(str(arguments[1])):
                found = self.ranges(model, *arguments)
                for name, stats in expected.items():
                    self.assertEqual({**stats, "abs_max_sample": None}, {**found[name], "abs_max_sample": None})

    def test_leading_axis(self) -> None:
        """One file of many samples, each of which keeps a first axis of one."""
        case = generated_models.conv_net(17)
        samples = [{"x": random(1, 3, 16, 16, seed=n)} for n in range(3)]
        np.savez(self.folder / "all.npz", x=np.concatenate([sample["x"] for sample in samples]))
        found = self.ranges(self.save(case.model), "--leading-axis", "--no-graph-optimizations", "--data", self.folder / "all.npz")
        self.assert_same(found, {**observed(case.model, samples), **constants_of(case.model)})

    def test_random_data_warns(self) -> None:
        case = generated_models.conv_net(17)
        done = self.tool("scan", self.save(case.model), "--random", 2)
        self.assertIn("random data hides overflow", done.stdout + done.stderr)


# ---------------------------------------------------------------- models for single tests


def unnamed_ifs() -> tuple[ModelProto, list[Sample]]:
    def body(op: str, output: str) -> onnx.GraphProto:
        inner = Builder()
        inner.node(op, ["x"], output, name="")
        inner.output(output)
        return inner.graph(output)

    builder = Builder(17)
    builder.input("x", [2, 4])
    builder.input("go", [], TensorProto.BOOL)
    builder.node("If", ["go"], "p", name="", then_branch=body("Relu", "t"), else_branch=body("Neg", "e"))
    builder.node("If", ["go"], "q", name="", then_branch=body("Exp", "t"), else_branch=body("Abs", "e"))
    builder.node("Add", ["p", "q"], "y", name="")
    builder.output("y", [2, 4])
    return builder.model(), [{"x": random(2, 4, seed=n), "go": np.array(n == 0)} for n in range(2)]


def body_weights() -> tuple[ModelProto, list[Sample]]:
    """Weights of more than a few bytes inside bodies, as an initializer and as a Constant."""
    yes, no = Builder(), Builder()
    yes.weight("w", random(40, 40, seed=1))
    yes.node("MatMul", ["h", "w"], "t")
    yes.output("t")
    no.node("Constant", [], "k", value=numpy_helper.from_array(random(40, 40, seed=2)))
    no.node("MatMul", ["h", "k"], "e")
    no.output("e")
    builder = Builder(17)
    builder.input("x", [2, 40])
    builder.input("go", [], TensorProto.BOOL)
    builder.node("Relu", ["x"], "h")
    builder.node("If", ["go"], "picked", name="If_1", then_branch=yes.graph("yes"), else_branch=no.graph("no"))
    builder.node("Sigmoid", ["picked"], "y")
    builder.output("y", [2, 40])
    return builder.model(), [{"x": random(2, 40, seed=n), "go": np.array(n == 0)} for n in range(2)]


def shapeless_scan() -> tuple[ModelProto, list[Sample]]:
    """As ONNX's own expansions of functions are: the body says nothing of shapes."""
    case = generated_models.scan(overflow=False)
    for node in case.model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "body":
                for value in [*attribute.g.input, *attribute.g.output]:
                    value.type.tensor_type.ClearField("shape")
    return case.model, case.samples


if __name__ == "__main__":
    unittest.main()
