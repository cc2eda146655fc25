"""Engines on a GPU: the usual recipe for FP16 overflow, to the letter, beside halfsafe's own FP32 plan, on a pre-norm
transformer; and latencies of layers on their way into a plan.

The recipe pins what writes a tensor past 65504 and nothing else. What reads such a tensor in FP16 reads infinity, so halfsafe's
plan has the readers in FP32 too. Plans, and what the emulation makes of them, are checked everywhere; engines only where the
tool is built with a TensorRT that has weak typing (8.6 to 10.x) and a GPU is there: else those tests are skipped and say why.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import json
import pathlib
import unittest
from typing import Any

import support
from support import np, onnx, read_json

import rescale_models

OK, NOT_RIGHT, UNAVAILABLE = 0, 1, 5
NAME, SAMPLES = "transformer_ln", 2
LARGEST_HALF = 65504.0


def new_nonfinite(errors: dict[str, Any]) -> int:
    return sum(output["new_nonfinite"] for output in errors["outputs"])


class EngineToolTest(support.ToolTest):
    def build(self, model: pathlib.Path, samples: pathlib.Path, name: str,
              *arguments: object) -> tuple[pathlib.Path, dict[str, Any]]:
        """The engine, and the result of its build; skips the test where none can be built."""
        engine, result = self.folder / f"{name}.engine", self.folder / f"{name}.build.json"
        done = self.tool("build", model, "--typing", "weak", "--data", samples, "--own-kernels", "--opt-level", "1",
                         "-o", engine, "--json", result, *arguments, code=None)
        if done.returncode == UNAVAILABLE:
            self.skipTest(done.stderr.strip().removeprefix("halfsafe: "))
        self.assertEqual(done.returncode, OK, done.stderr)
        return engine, read_json(result)


class RecipeTest(EngineToolTest):
    def setUp(self) -> None:
        super().setUp()
        folder = rescale_models.write_model(NAME, self.folder, SAMPLES)
        self.model, self.samples = folder / "model.onnx", folder / "samples"
        ranges = self.folder / "ranges.json"
        self.tool("scan", self.model, "--data", self.samples, "-o", ranges)
        overflowing = {tensor["name"] for tensor in read_json(ranges)["tensors"] if not tensor.get("constant")
                       and max(abs(tensor["min"]), abs(tensor["max"])) > LARGEST_HALF}
        self.writers, self.readers = set[str](), set[str]()
        for node in onnx.load(self.model).graph.node:
            name = node.name or node.output[0]
            if overflowing & set(node.output):
                self.writers.add(name)
            if overflowing & set(node.input):
                self.readers.add(name)
        # Else the two plans would hardly differ.
        self.assertGreater(len(self.readers - self.writers), 4)
        self.own = self.folder / "own.plan.json"
        self.script = self.tool("plan", self.model, "--ranges", ranges, "-o", self.own, "--repair", "fp32",
                                "--export", "polygraphy").stdout
        plan = read_json(self.own)
        for node in plan["nodes"]:
            node["precision"] = "fp32" if node["name"] in self.writers else "fp16"
        self.recipe = self.folder / "recipe.plan.json"
        self.recipe.write_text(json.dumps(plan), encoding="utf-8")

    def wide(self, plan: pathlib.Path) -> set[str]:
        return {node["name"] for node in read_json(plan)["nodes"] if node["precision"] == "fp32"}

    def test_the_plan_pins_readers_too(self) -> None:
        self.assertEqual(self.wide(self.recipe), self.writers)
        self.assertLessEqual(self.writers | self.readers, self.wide(self.own))
        scope: dict[str, Any] = {"__name__": "pins"}
        source = self.script[self.script.index("PINNED"):]
        exec(compile(source[: source.index("}") + 1], "pins.py", "exec"), scope)  # pylint: disable=exec-used
        pinned = {name.removeprefix("node_of_") for name in scope["PINNED"]}
        self.assertEqual(pinned, self.wide(self.own))

    def test_weak_typing_changes_nothing_but_types(self) -> None:
        weak = self.folder / "weak.onnx"
        for plan in (self.recipe, self.own):
            self.tool("apply", self.model, "--plan", plan, "--typing", "weak", "-o", weak)
            self.assertEqual([node.op_type for node in onnx.load(weak).graph.node],
                             [node.op_type for node in onnx.load(self.model).graph.node])

    def test_emulated_the_recipe_is_not_finite_and_the_plan_is_right(self) -> None:
        fixed, result = self.folder / "fixed.onnx", self.folder / "check.json"
        for plan, code in ((self.recipe, NOT_RIGHT), (self.own, OK)):
            with self.subTest(plan=plan.name):
                self.tool("apply", self.model, "--plan", plan, "-o", fixed)
                self.tool("check", self.model, fixed, "--data", self.samples, "--json", result, code=code)
                nonfinite = new_nonfinite(read_json(result)["fixed_model"])
                self.assertEqual(nonfinite == 0, code == OK)

    def test_an_engine_by_the_recipe_is_not_finite_and_one_by_the_plan_is_right(self) -> None:
        engines = {}
        for plan in (self.recipe, self.own):
            engines[plan.name], built = self.build(self.model, self.samples, plan.stem, "--plan", plan)
            self.assertEqual(built["typing"], "weak")
            self.assertEqual({pin["node"] for pin in built["pinned"]}, self.wide(plan))
            self.assertEqual({pin["precision"] for pin in built["pinned"]}, {"fp32"})
            self.assertEqual([pin for pin in built["pinned"] if not pin["layers"]], [])
        result = self.folder / "bench.json"
        self.tool("bench", self.model, *(f"{name}={path}" for name, path in engines.items()), "--data", self.samples,
                  "--runs", "5", "--no-cuda-graph", "--json", result, code=NOT_RIGHT)
        by_name = {engine["name"]: engine["errors"] for engine in read_json(result)["engines"]}
        self.assertGreater(new_nonfinite(by_name[self.recipe.name]), 0)
        self.assertEqual(new_nonfinite(by_name[self.own.name]), 0)
        self.assertTrue(by_name[self.own.name]["right"])


class LargeInputsAndOutputsTest(EngineToolTest):
    """TensorRT 8.6 takes a transformer as one region, and what enters and leaves it in FP16 where it may: pins on the layers
    inside don't keep it from that."""

    def setUp(self) -> None:
        super().setUp()
        folder = rescale_models.write_model("transformer_rms", self.folder, 1)
        self.model, self.samples = folder / "model.onnx", folder / "samples"
        model = onnx.load(self.model)
        graph = model.graph
        first, last = graph.input[0].name, graph.output[0].name
        for node in graph.node:
            node.input[:] = ["inside." + name if name == first else name for name in node.input]
            node.output[:] = ["inside." + name if name == last else name for name in node.output]
        graph.initializer.extend([onnx.numpy_helper.from_array(np.float32(1e-6), "shrink"),
                                  onnx.numpy_helper.from_array(np.float32(1e6), "grow")])
        graph.node.insert(0, onnx.helper.make_node("Mul", [first, "shrink"], ["inside." + first], "shrink_input"))
        graph.node.append(onnx.helper.make_node("Mul", ["inside." + last, "grow"], [last], "grow_output"))
        onnx.save(model, self.model)
        for path in self.samples.glob("*.npz"):
            np.savez(path, **{name: array * np.float32(1e6) for name, array in np.load(path).items()})
        self.plan = self.folder / "pinned.plan.json"
        self.tool("fix", self.model, "--data", self.samples, "--repair", "fp32", "-o", self.folder / "fixed.onnx",
                  "--save-plan", self.plan)

    def test_the_plan_keeps_both_ends_wide(self) -> None:
        precisions = {node["name"]: node["precision"] for node in read_json(self.plan)["nodes"]}
        self.assertEqual((precisions["shrink_input"], precisions["grow_output"]), ("fp32", "fp32"))

    def test_an_engine_by_the_plan_is_right_and_as_planned(self) -> None:
        engine, _ = self.build(self.model, self.samples, "pinned", "--plan", self.plan)
        self.tool("engine", engine, "--plan", self.plan)
        self.tool("bench", self.model, engine, "--data", self.samples, "--runs", "5", "--no-cuda-graph")

    def test_constraints_that_are_wishes_are_not_enough(self) -> None:
        engine, _ = self.build(self.model, self.samples, "preferred", "--plan", self.plan, "--precision-constraints", "prefer")
        self.tool("engine", engine, "--plan", self.plan, code=NOT_RIGHT)
        self.tool("bench", self.model, engine, "--data", self.samples, "--runs", "5", "--no-cuda-graph", code=NOT_RIGHT)


class LatenciesTest(EngineToolTest):
    def test_plan_takes_what_bench_measures(self) -> None:
        folder = rescale_models.write_model("conv_stack", self.folder, 1, gain=1.0)
        model, samples, latencies = folder / "model.onnx", folder / "samples", self.folder / "latencies.json"
        wide, _ = self.build(model, samples, "fp32")
        half, _ = self.build(model, samples, "fp16", "--fp16")
        done = self.tool("bench", model, wide, half, "--data", samples, "--runs", "5", "--save-latencies", latencies)
        self.assertIn("fp32.engine: ", done.stderr)
        table = read_json(latencies)
        nodes = {node.name or node.output[0] for node in onnx.load(model).graph.node}
        named = [name for entry in table["nodes"] for name in entry["name"].split(" + ")]
        self.assertEqual(len(named), len(set(named)))
        self.assertLessEqual(set(named), nodes)
        convolutions = {node.name or node.output[0] for node in onnx.load(model).graph.node if node.op_type == "Conv"}
        self.assertGreater(len(convolutions & set(named)), len(convolutions) / 2)
        for entry in table["nodes"]:
            self.assertGreater(entry["fp16_us"], 0.0)
            self.assertGreater(entry["fp32_us"], 0.0)
        done = self.tool("fix", model, "--data", samples, "--cost", latencies, "-o", self.folder / "fixed.onnx")
        self.assertNotIn("no nodes of the model", done.stderr + done.stdout)


if __name__ == "__main__":
    unittest.main()
