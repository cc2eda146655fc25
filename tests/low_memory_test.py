"""Weights that are held once: external data that is converted as it is read, `--low-memory`, and the two together, held
against the ordinary way on the same models.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import os
import pathlib
import unittest
from typing import Any

import support
from support import Sample, ToolTest, np, onnx, read_json

import generated_models
import rescale_models
from generated_models import CASES, Builder, Case
from onnx import ModelProto, numpy_helper

WIDE = 160  # A weight of 160 x 160 is more than the 64 KiB from which weights are fed.
EXACT = ("count", "nan_count", "inf_count", "abs_max_sample")


def square(seed: int) -> np.ndarray:
    return generated_models.random(WIDE, WIDE, seed=seed, scale=WIDE**-0.5)


def wide_bodies() -> Case:
    """Large weights read inside bodies, by several nodes, after other operators, and as an output."""
    yes, no = Builder(), Builder()
    yes.node("MatMul", ["h", "shared"], "grown")
    yes.weight("up", 1e6)
    yes.weight("down", 1e-6)
    yes.node("Mul", ["grown", "up"], "large")
    yes.node("Mul", ["large", "down"], "t")
    yes.output("t", None)
    no.weight("inner", square(3))
    no.node("MatMul", ["h", "inner"], "e")
    no.output("e", None)
    b = Builder(17)
    b.input("x", ["N", WIDE])
    b.weight("shared", square(1))
    b.weight("turned", square(2))
    b.weight("zero", 0.0)
    b.node("Constant", [], "stated", value=numpy_helper.from_array(square(4), "stated"))
    b.node("MatMul", ["x", "shared"], "first")
    b.node("Transpose", ["turned"], "back", perm=[1, 0])
    b.node("MatMul", ["first", "back"], "second")
    b.node("MatMul", ["second", "stated"], "h")
    b.node("ReduceSum", ["x"], "total", keepdims=0)
    b.node("Greater", ["total", "zero"], "positive")
    b.node("If", ["positive"], "y", name="If_3", then_branch=yes.graph("yes"), else_branch=no.graph("no"))
    b.output("y", ["N", WIDE])
    b.node("Identity", ["turned"], "copy")
    b.output("copy", [WIDE, WIDE])
    return Case(b.model(), generated_models.samples(3, x=(2, WIDE)))


def wide_defaults() -> Case:
    """A large weight that is an input with a default value, as models before IR version 4 list all of theirs."""
    b = Builder(11)
    b.input("x", ["N", WIDE])
    b.input("w", [WIDE, WIDE])
    b.weight("w", square(1))
    b.weight("factor", 1e6)
    b.input("factor", [])
    b.node("MatMul", ["x", "w"], "h")
    b.node("Mul", ["h", "factor"], "large")
    b.node("Div", ["large", "factor"], "y")
    b.output("y", ["N", WIDE])
    return Case(b.model(ir_version=3), generated_models.samples(2, x=(3, WIDE)))


def four_bits() -> Case:
    """An operator of ONNX Runtime's own that computes zeros, without a word, where its scales are no constant."""
    random, block = np.random.default_rng(7), 32
    b = Builder(17)
    b.input("x", ["N", 1024])
    b.weight("packed", random.integers(0, 256, (1024, 1024 // block, block // 2)), np.uint8)
    b.weight("scales", random.uniform(0.001, 0.01, 1024 * 1024 // block))
    b.node("MatMulNBits", ["x", "packed", "scales"], "q", domain="com.microsoft", K=1024, N=1024, bits=4, block_size=block,
           accuracy_level=4)
    b.node("Softmax", ["q"], "y")
    b.output("y", ["N", 1024])
    return Case(b.model(domains=("com.microsoft",)), generated_models.samples(2, x=(2, 1024)))


def listed_layers(listed: bool) -> Case:
    """A chain of products whose weights may be listed among the inputs."""
    b = Builder(17)
    last = b.input("x", ["N", WIDE])
    for layer in range(10):
        b.weight(f"w{layer}", square(layer))
        if listed:
            b.input(f"w{layer}", [WIDE, WIDE])
        last = b.node("MatMul", [last, f"w{layer}"], f"h{layer}")
    b.node("Identity", [last], "y")
    b.output("y", ["N", WIDE])
    return Case(b.model(), generated_models.samples(3, x=(2, WIDE)))


def index_that_breaks() -> Case:
    """A sample whose index FP16 rounds to one that is out of range: there the model can't be run at all."""
    b = Builder(17)
    b.input("x", ["N", WIDE])
    b.input("v", [2])
    last = "x"
    for layer in range(6):
        b.weight(f"w{layer}", square(layer))
        last = b.node("MatMul", [last, f"w{layer}"], f"h{layer}")
    b.weight("one", 1.0)
    b.node("Mul", ["v", "one"], "scaled")
    b.node("ReduceMax", ["scaled"], "largest", keepdims=0)
    b.node("Cast", ["largest"], "index", to=onnx.TensorProto.INT64)
    b.weight("table", np.zeros(4100), np.int64)
    b.node("Gather", ["table", "index"], "picked")
    b.node("Cast", ["picked"], "number", to=onnx.TensorProto.FLOAT)
    b.node("Add", [last, "number"], "y")
    b.output("y", ["N", WIDE])
    samples = generated_models.samples(40, x=(2, WIDE))
    for index, sample in enumerate(samples):
        sample["v"] = np.float32([0, 4099 if index == 39 else 8])
    return Case(b.model(), samples)


def turned(op: str) -> ModelProto:
    """Two products, each transposed, and a weight meet in one operator."""
    wide, narrow = WIDE, 48
    b = Builder(17)
    b.input("x", [8, wide])
    for side in ("a", "b"):
        b.weight(f"w{side}", generated_models.random(wide, narrow, seed=ord(side)))
        b.node("MatMul", ["x", f"w{side}"], f"h{side}")
        b.node("Transpose", [f"h{side}"], f"t{side}", perm=[1, 0])
    if op == "Where":
        b.weight("mask", np.random.default_rng(1).integers(0, 2, (narrow, 8)), bool)
        b.node("Where", ["mask", "ta", "tb"], "met")
    elif op == "Concat":
        b.weight("more", generated_models.random(300, 8, seed=3, scale=50))
        b.node("Concat", ["ta", "more", "tb"], "met", axis=0)
    else:
        b.weight("more", generated_models.random(narrow, 8, seed=3, scale=50))
        b.node("Sum", ["ta", "more", "tb"], "met")
    b.weight("last", generated_models.random(8, wide, seed=4))
    b.node("MatMul", ["met", "last"], "y")
    b.output("y", [2 * narrow + 300 if op == "Concat" else narrow, wide])
    return b.model()


OWN_CASES = {"wide_bodies": wide_bodies, "wide_defaults": wide_defaults, "four_bits": four_bits}


def save_external(model: ModelProto, path: pathlib.Path) -> None:
    """Every tensor that may be outside is, Constant nodes' too."""
    copy = ModelProto()
    copy.CopyFrom(model)
    onnx.save(copy, path, save_as_external_data=True, location="weights.bin", size_threshold=0, convert_attribute=True)


def without_paths(model: ModelProto) -> bytes:
    """The written model with all data inside."""
    for tensor in onnx.external_data_helper._get_all_tensors(model):  # pylint: disable=protected-access
        del tensor.external_data[:]
        tensor.ClearField("data_location")
        array = numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model.SerializeToString(deterministic=True)


class LowMemoryTest(ToolTest):
    def fix(self, folder: str, model: pathlib.Path, data: pathlib.Path, *options: str) -> dict[str, Any]:
        out = self.folder / folder
        out.mkdir(parents=True)
        self.tool("fix", model, "--data", data, "-o", out / "fixed.onnx", "--save-plan", out / "plan.json", "--save-ranges",
                  out / "ranges.json", "--json", out / "result.json", "--budget", "0", *options, code=None)
        return read_json(out / "result.json")

    def case(self, name: str, case: Case) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
        folder = self.folder / name
        (folder / "external").mkdir(parents=True)
        onnx.save(case.model, folder / "model.onnx")
        save_external(case.model, folder / "external" / "model.onnx")
        return folder / "model.onnx", folder / "external" / "model.onnx", self.save_samples(case.samples, f"{name}/samples")

    def test_external_data_is_converted_to_the_same_weights(self) -> None:
        """In the file alone the original's weights stand; what is written must not depend on that."""
        for name, make in {**CASES, **OWN_CASES}.items():
            with self.subTest(name):
                inside, outside, data = self.case(name, make())
                first = self.fix(f"{name}/1", inside, data)
                second = self.fix(f"{name}/2", outside, data)
                self.assertEqual(first["verdict"], second["verdict"])
                self.assertEqual(first.get("outputs"), second.get("outputs"))
                written = [onnx.load(self.folder / name / number / "fixed.onnx") for number in ("1", "2")]
                self.assertEqual(*map(without_paths, written))

    def assert_close(self, first: dict[str, Any], second: dict[str, Any]) -> None:
        """Ranges of one model, whose products were summed in another order."""
        self.assertEqual([t["name"] for t in first["tensors"]], [t["name"] for t in second["tensors"]])
        for one, other in zip(first["tensors"], second["tensors"]):
            for field in EXACT:
                if field == "abs_max_sample" and one["abs_max"] != other["abs_max"]:
                    continue
                self.assertEqual(one.get(field), other.get(field), f"{one['name']}: {field}")
            if one["count"] == 0:
                continue
            self.assertAlmostEqual(one["abs_max"], other["abs_max"], delta=1e-4 * abs(one["abs_max"]) + 1e-6, msg=one["name"])

    def check_low(self, name: str, model: pathlib.Path, data: pathlib.Path) -> None:
        usual = self.fix(f"{name}/usual", model, data)
        low = self.fix(f"{name}/low", model, data, "--low-memory")
        self.assertEqual(usual["verdict"], low["verdict"])
        self.assert_close(read_json(self.folder / name / "usual/ranges.json"), read_json(self.folder / name / "low/ranges.json"))
        self.check_outputs(usual["outputs"], low["outputs"])
        self.check_outputs(usual["plain_fp16"]["outputs"], low["plain_fp16"]["outputs"])

    def check_outputs(self, usual: list[dict[str, Any]], low: list[dict[str, Any]]) -> None:
        for one, other in zip(usual, low, strict=True):
            self.assertEqual((one["name"], one["new_nonfinite"] > 0), (other["name"], other["new_nonfinite"] > 0))
            if one["rel_l2"] is not None and one["rel_l2"] < 0.1:
                self.assertAlmostEqual(one["rel_l2"], other["rel_l2"], delta=0.25 * one["rel_l2"] + 1e-6)

    def test_low_memory(self) -> None:
        for name, make in OWN_CASES.items():
            for number, path in enumerate(self.case(name, case := make())[:2]):
                with self.subTest(name, external=bool(number)):
                    self.check_low(f"{name}/{number}", path, self.save_samples(case.samples, f"{name}/samples{number}"))

    def test_low_memory_on_networks(self) -> None:
        for name in ("conv_stack", "transformer_ln", "lstm_net"):
            with self.subTest(name):
                folder = rescale_models.write_model(name, self.folder, 2)
                self.check_low(name, folder / "model.onnx", folder / "samples")

    def test_low_memory_on_trained_models(self) -> None:
        for name in ("magika", "minilm", "ppocr_rec"):
            with self.subTest(name):
                folder, _ = support.real_model(name, 3, self.folder)
                self.check_low(name, folder / "model.onnx", folder / "samples")

    def test_outputs_that_are_not_kept(self) -> None:
        """Check runs the original first and keeps its outputs in a file: the same outputs are saved as otherwise."""
        inside, _, data = self.case("wide_bodies", wide_bodies())
        self.fix("made", inside, data)
        for name, option in (("usual", []), ("low", ["--low-memory"])):
            self.tool("check", inside, self.folder / "made/fixed.onnx", "--data", data, "--save-outputs", self.folder / name,
                      "--json", self.folder / f"{name}.json", *option)
        self.check_outputs(read_json(self.folder / "usual.json")["outputs"], read_json(self.folder / "low.json")["outputs"])
        for model in ("fp32", "fp16", "fixed"):
            usual, low = ([self.recorded(self.folder / name / model, number) for number in range(3)] for name in ("usual", "low"))
            for one, other in zip(usual, low):
                self.assertEqual(one.keys(), other.keys())
                for tensor, array in one.items():
                    np.testing.assert_allclose(other[tensor], array, rtol=2e-3, atol=1e-2, err_msg=f"{model}: {tensor}")

    @staticmethod
    def recorded(folder: pathlib.Path, number: int) -> Sample:
        from polygraphy.comparator import RunResults
        ((_, (iteration,)),) = RunResults.load(str(folder / f"{number:010}.json")).items()
        return {name: np.asarray(iteration[name]) for name in iteration}

    def test_widening_with_listed_weights(self) -> None:
        """A little less than the error of plain FP16 is asked for. However weights are given, some nodes will do."""
        for listed in (False, True):
            for option in ([], ["--low-memory"]):
                with self.subTest(listed=listed, option=option):
                    name = f"listed{listed:d}{len(option)}"
                    inside, _, data = self.case(name, listed_layers(listed))
                    error = self.fix(f"{name}/plain", inside, data, "--rel-l2", "1")["outputs"][0]["rel_l2"]
                    answer = self.fix(f"{name}/fixed", inside, data, "--rel-l2", str(0.9 * error), *option)
                    self.assertIn(answer["verdict"], ("right", "little-gained"))
                    widened = {node for step in answer["widenings"] for node in step["nodes"]}
                    self.assertTrue(widened and len(widened) < 10, widened)

    def test_widening_finds_the_sample_that_can_not_be_run(self) -> None:
        inside, _, data = self.case("breaks", index_that_breaks())
        answer = self.fix("breaks/fixed", inside, data, "--rel-l2", "5e-3")
        self.assertEqual(answer["verdict"], "right")
        widened = {node for step in answer["widenings"] for node in step["nodes"]}
        self.assertFalse({name for name in widened if name.startswith("node_h")}, widened)

    def test_plain_is_fixed(self) -> None:
        """Written plain FP16 is known as such, wherever its data lies: it is run once."""
        inside, outside, data = self.case("plain", listed_layers(False))
        for number, model in enumerate((inside, outside)):
            for option in ([], ["--low-memory"]):
                self.tool("fix", model, "--data", data, "-o", self.folder / "f.onnx", "--repair", "fp32")
                done = self.tool("check", model, self.folder / "f.onnx", "--data", data, "--json", self.folder / "r.json", *option)
                result = read_json(self.folder / "r.json")
                self.assertEqual(result["plain_fp16"]["outputs"], result["outputs"])
                self.assertNotIn("check fp16", done.stderr, number)

    def test_no_folder_for_temporary_files(self) -> None:
        inside, _, data = self.case("plain", listed_layers(False))
        done = self.tool("check", inside, inside, "--data", data, "--low-memory", code=3,
                         env={**os.environ, "TMPDIR": str(self.folder / "missing")})
        self.assertIn("TMPDIR", done.stderr)

    def test_a_type_that_data_contradicts(self) -> None:
        """A weight's own type counts, whatever is stated of it elsewhere."""
        for dtype in (np.float16, np.int8):
            for listed in (False, True):
                with self.subTest(dtype.__name__, listed=listed):
                    b = Builder(17)
                    b.input("x", [1, 1024])
                    b.weight("w", np.ones((1024, 1024)), dtype)
                    if listed:
                        b.input("w", [1024, 1024])
                    b.node("MatMul", ["x", "w"], "y")
                    b.output("y", [1, 1024])
                    model = b.model()
                    if not listed:
                        model.graph.value_info.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [1024, 1024]))
                    folder = self.folder / f"{dtype.__name__}{listed:d}"
                    folder.mkdir()
                    save_external(model, folder / "m.onnx")
                    for command in (["check", folder / "m.onnx"], ["scan"], ["inspect"]):
                        arguments = [] if command[0] == "inspect" else ["--random", "1"]
                        self.tool(command[0], folder / "m.onnx", *command[1:], *arguments, code=None)

    def test_weights_between_transposes(self) -> None:
        """ONNX Runtime pushes Transposes through operators and turns their weights, which must not be the model's own."""
        for name, op in (("sum", "Sum"), ("where", "Where"), ("concat", "Concat")):
            for option in ([], ["--low-memory"]):
                with self.subTest(op, option=option):
                    model, data = self.save(turned(op), f"{name}{len(option)}.onnx"), self.save_samples(
                        generated_models.samples(2, x=(8, WIDE)), f"{name}{len(option)}")
                    for out, options in (("plain", ["--no-graph-optimizations"]), ("usual", option)):
                        self.tool("scan", model, "--data", data, "-o", self.folder / f"{out}.json", *options)
                    self.assert_close(read_json(self.folder / "plain.json"), read_json(self.folder / "usual.json"))

    def test_a_file_may_not_ask_for_a_conversion(self) -> None:
        """What models in memory say of weights that are still to be converted means nothing in a file."""
        _, outside, data = self.case("wide_bodies", wide_bodies())
        model = onnx.load(outside, load_external_data=False)
        entry = model.graph.initializer[0].external_data.add()
        entry.key, entry.value = "halfsafe.exponent", "3"
        outside.write_bytes(model.SerializeToString())
        done = self.tool("scan", outside, "--data", data, code=3)
        self.assertIn("entries that no file may have", done.stderr)


if __name__ == "__main__":
    unittest.main()
