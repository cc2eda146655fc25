"""TensorRT engines held against plans, from what its inspector recorded, and plans in the words of other tools.

The recordings are TensorRT 8.6.1's; what is expected of them is derived from their JSON here. No GPU is needed. Scripts for
Polygraphy run against a stand-in for TensorRT's Python package, and through Polygraphy's own command line where that is there.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import contextlib
import io
import json
import pathlib
import re
import shlex
import subprocess
import sys
import types
import unittest
from typing import Any

import support
from support import np, onnx, read_json

from onnx import ModelProto, TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parent.parent
RECORDINGS = ROOT / "tests" / "data" / "tensorrt"
POLYGRAPHY = ROOT / ".deps" / "bench-venv" / "bin" / "polygraphy"
OK, NOT_RIGHT, USAGE, BAD_INPUT, UNAVAILABLE = 0, 1, 2, 3, 5


def halves(tensors: list[dict[str, Any]]) -> bool:
    return all("FP16" in tensor["Format/Datatype"] for tensor in tensors)


def not_as_planned(recording: dict[str, Any], plan: dict[str, Any]) -> set[str]:
    """FP32 nodes of the plan whose layer stores them in FP16, or is FP16 all around; regions are left out."""
    found = set()
    for node in plan["nodes"]:
        for layer in recording["Layers"]:
            names = re.findall(r"\[ONNX Layer: ([^\]]*)\]", layer["Metadata"])
            own = {node["name"], f"node_of_{node['name']}"} & set(names)
            if node["precision"] != "fp32" or not own or layer["Name"].startswith("shuffle_"):
                continue
            writes = names[-1] in own
            if halves(layer["Outputs"]) and (writes or halves(layer["Inputs"])):
                found.add(node["name"])
    return found


class EngineTest(support.ToolTest):
    def engine(self, recording: pathlib.Path, plan: str | None = None, code: int = OK) -> tuple[str, dict[str, Any]]:
        out = self.folder / "engine.json"
        done = self.tool("engine", recording, "--json", out, *(["--plan", RECORDINGS / plan] if plan else []), code=code)
        return done.stdout, read_json(out)

    def write(self, content: Any) -> pathlib.Path:
        path = self.folder / "layers.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    def test_verdicts_are_those_of_the_recordings(self) -> None:
        for recording, plan in (("conv_stack.pinned.json", "conv_stack.plan.json"),
                                ("conv_stack.fp16.json", "conv_stack.plan.json"),
                                ("lstm_net.pinned.json", "lstm_net.plan.json"),
                                ("magika.rescaled.json", "magika.rescaled.plan.json")):
            with self.subTest(recording=recording):
                wrong = not_as_planned(read_json(RECORDINGS / recording), read_json(RECORDINGS / plan))
                text, report = self.engine(RECORDINGS / recording, plan, NOT_RIGHT if wrong else OK)
                self.assertEqual({node["node"] for node in report["nodes"] if node["problem"]}, wrong)
                self.assertEqual(report["as_planned"], not wrong)
                self.assertIn("NOT AS PLANNED" if wrong else "AS PLANNED", text)
                wide = [node["name"] for node in read_json(RECORDINGS / plan)["nodes"] if node["precision"] == "fp32"]
                self.assertEqual([node["node"] for node in report["nodes"]], wide)

    def test_what_a_region_stores_is_held_against_its_last_node(self) -> None:
        text, report = self.engine(RECORDINGS / "transformer_ln.fp16.json", "transformer_ln.plan.json", NOT_RIGHT)
        self.assertEqual([node["node"] for node in report["nodes"] if node["problem"]], ["/y/Identity"])
        self.assertEqual({node["presence"] for node in report["nodes"]}, {"region"})

    def test_all_layers_are_listed_without_a_plan(self) -> None:
        for path in sorted(RECORDINGS.glob("*.json")):
            content = read_json(path)
            if "Layers" not in content:
                continue
            with self.subTest(recording=path.name):
                _, report = self.engine(path)
                self.assertEqual([layer["name"] for layer in report["layers"]],
                                 [layer["Name"] for layer in content["Layers"]])
                self.assertIsNone(report["as_planned"])
                self.assertEqual({node["planned"] for node in report["nodes"]}, {None})
                self.assertTrue(report["detailed"])

    def test_raw_passes_the_file_on_and_quiet_says_nothing(self) -> None:
        path = RECORDINGS / "layout_11.json"
        self.assertEqual(self.tool("engine", path, "--raw").stdout, path.read_text())
        plan = RECORDINGS / "conv_stack.plan.json"
        done = self.tool("engine", RECORDINGS / "conv_stack.fp16.json", "--plan", plan, "-q", code=NOT_RIGHT)
        self.assertEqual(done.stdout + done.stderr, "")

    def test_engines_without_details_are_named_as_such(self) -> None:
        names = self.write({"Layers": ["conv_a + relu_a", "Reformatting CopyNode for Input Tensor 0 to b"], "Bindings": ["x"]})
        text, report = self.engine(names)
        self.assertIn("--profilingVerbosity=detailed", text)
        self.assertFalse(report["detailed"])
        self.assertEqual([node["node"] for node in report["nodes"]], ["conv_a", "relu_a"])
        plan = RECORDINGS / "conv_stack.plan.json"
        done = self.tool("engine", names, "--plan", plan, code=BAD_INPUT)
        self.assertIn("--profilingVerbosity=detailed", done.stderr)

    def test_types_that_depend_on_shapes_are_missed(self) -> None:
        recording = read_json(RECORDINGS / "conv_stack.pinned.json")
        for layer in recording["Layers"]:
            for tensor in layer["Inputs"] + layer["Outputs"]:
                tensor["Format/Datatype"] = "N/A due to dynamic shapes"
        path = self.write(recording)
        text, report = self.engine(path)
        self.assertFalse(report["shaped"])
        self.assertIn("shapes", text)
        done = self.tool("engine", path, "--plan", RECORDINGS / "conv_stack.plan.json", code=BAD_INPUT)
        self.assertIn("N/A", done.stderr)

    def test_bad_files_are_refused(self) -> None:
        whole = (RECORDINGS / "conv_stack.pinned.json").read_text()
        for content, said in ((whole[:5000], "is not JSON"), ('{"Layers": 3}', '"Layers" is 3'), ("{}", '"Layers" is missing'),
                              ('{"Layers": [{"Name": 1}]}', "Layers[0]"), ('{"Layers":' + "[" * 100000, "nested"),
                              ('{"Layers": [{"Name": "a", "Outputs": [{"Name": "y", "Format/Datatype": 3}]}]}', "Outputs[0]")):
            with self.subTest(content=content[:60]):
                out = self.folder / "out.json"
                done = self.tool("engine", self.write(content), "--json", out, code=BAD_INPUT)
                self.assertIn("layers.json", done.stderr)
                self.assertIn(said, done.stderr)
                self.assertFalse(out.exists())
        self.tool("engine", self.folder / "missing.json", code=BAD_INPUT)
        self.tool("engine", code=USAGE)
        engine = self.folder / "model.engine"
        engine.write_bytes(b"ftrt" + bytes(64))
        done = self.tool("engine", engine, code=None)
        self.assertIn(done.returncode, (BAD_INPUT, UNAVAILABLE))


# ---------------------------------------------------------------- plans in the words of other tools


def overflowing_model() -> ModelProto:
    """Powers that pass 65504, of a node with a name that shells split, one without a name, and one in commas."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "first: mul"),
        helper.make_node("Mul", ["a", "a"], ["b"]),
        helper.make_node("Mul", ["b", "b"], ["c"], "one,two"),
        helper.make_node("Log", ["c"], ["y"], "/log/Log"),
    ]
    shape = [8, 8]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
                              [numpy_helper.from_array(np.full(shape, 30, np.float32), "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def split_by(text: str, separator: str) -> list[str]:
    """As trtexec splits: no word behind a separator at the end."""
    words = text.split(separator)
    return words[:-1] if words[-1] == "" else words


def trtexec_list(value: str) -> dict[str, str]:
    """Names and types as trtexec 8.6 and 10.x take them from an argument, quotes aside, which we don't write."""
    found = {}
    for entry in split_by(value, ","):
        assert "'" not in entry, entry
        name, _, kind = entry.rpartition(":")
        found[name] = kind
    return found


class FakeTensor:
    def __init__(self, dtype: str, shape_tensor: bool = False, name: str = "") -> None:
        self.dtype, self.is_shape_tensor, self.name = dtype, shape_tensor, name
        self.allowed_formats = 0


class FakeLayer:
    def __init__(self, name: str, metadata: str, inputs: list[FakeTensor | None], outputs: list[FakeTensor]) -> None:
        self.name, self.metadata, self.inputs, self.outputs = name, metadata, inputs, outputs
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)
        self.precision: str | None = None
        self.output_types: dict[int, str] = {}

    def get_input(self, index: int) -> FakeTensor | None:
        return self.inputs[index]

    def get_output(self, index: int) -> FakeTensor:
        return self.outputs[index]

    def set_output_type(self, index: int, dtype: str) -> None:
        self.output_types[index] = dtype


class FakeNetwork:
    def __init__(self, layers: list[FakeLayer]) -> None:
        self.layers, self.num_layers = layers, len(layers)

        self.ports = [FakeTensor("float32", name="x"), FakeTensor("float32", name="y")]
        self.num_inputs = self.num_outputs = 1

    def get_layer(self, index: int) -> FakeLayer:
        return self.layers[index]

    def get_input(self, index: int) -> FakeTensor:
        return self.ports[index]

    def get_output(self, index: int) -> FakeTensor:
        return self.ports[index + 1]


class ExportTest(support.ToolTest):
    def export(self, form: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
        """What is printed, and the layers that should be pinned, by the parser's names."""
        model = self.save(overflowing_model())
        samples = self.save_samples([{"x": np.full((8, 8), 3, np.float32)}])
        ranges, plan = self.folder / "ranges.json", self.folder / "plan.json"
        self.tool("scan", model, "--data", samples, "-o", ranges)
        done = self.tool("plan", model, "--ranges", ranges, "-o", plan, "--repair", "fp32", "--export", form)
        unnamed = {"b": "node_of_b"}
        wide = {unnamed.get(node["name"], node["name"]): node["precision"] for node in read_json(plan)["nodes"]
                if node["precision"] != "fp16"}
        self.assertLessEqual({"node_of_b", "one,two", "/log/Log"}, set(wide))
        return done, wide

    def test_trtexec_takes_the_arguments_apart_into_the_plan(self) -> None:
        done, wide = self.export("trtexec")
        arguments = dict(word.partition("=")[::2] for word in shlex.split(done.stdout))
        self.assertEqual(done.stdout.count("\n"), 1)
        self.assertLessEqual({"--fp16", "--precisionConstraints", "--layerPrecisions", "--layerOutputTypes"}, set(arguments))
        self.assertEqual(arguments["--precisionConstraints"], "obey")
        # Commas can't be written at all.
        said = {name: kind for name, kind in wide.items() if "," not in name}
        self.assertEqual(trtexec_list(arguments["--layerPrecisions"]), said)
        self.assertEqual(trtexec_list(arguments["--layerOutputTypes"]), said)
        self.assertIn("one,two", done.stderr)

    def test_polygraphy_scripts_pin_layers_by_name_and_metadata(self) -> None:
        done, wide = self.export("polygraphy")
        module = types.ModuleType("tensorrt")
        module.float32, module.float16, module.int64 = "float32", "float16", "int64"
        module.TensorFormat = types.SimpleNamespace(LINEAR=0)
        real, index = FakeTensor("float32"), FakeTensor("int64")
        layers = {
            "by name": FakeLayer("one,two", "", [real, None], [real]),
            "by metadata": FakeLayer("(Unnamed Layer* 3) [Shuffle]", "[ONNX Layer: node_of_b | a Mul]", [real], [real]),
            "indices": FakeLayer("/log/Log", "[ONNX Layer: /log/Log]", [real], [real, index]),
            "shapes": FakeLayer("shape", "[ONNX Layer: /log/Log]", [index], [index]),
            "other": FakeLayer("/log/Log_2", "[ONNX Layer: /log/Log_2]", [real], [real]),
        }
        network = FakeNetwork(list(layers.values()))
        before = sys.modules.get("tensorrt")
        sys.modules["tensorrt"] = module
        try:
            scope: dict[str, Any] = {}
            exec(compile(done.stdout, "pins.py", "exec"), scope)  # pylint: disable=exec-used
            self.assertEqual(scope["PINNED"], wide)
            with contextlib.redirect_stdout(io.StringIO()) as said:
                scope["postprocess"](network=network)
        finally:
            if before is None:
                del sys.modules["tensorrt"]
            else:
                sys.modules["tensorrt"] = before
        self.assertEqual(said.getvalue().count("made no layer for"), len(set(wide) - {"one,two", "node_of_b", "/log/Log"}))
        pinned = {name: (layer.precision, layer.output_types) for name, layer in layers.items()}
        wide_single = ("float32", {0: "float32"})
        self.assertEqual(pinned, {"by name": wide_single, "by metadata": wide_single, "indices": wide_single,
                                  "shapes": (None, {}), "other": (None, {})})
        self.assertEqual([tensor.allowed_formats for tensor in network.ports],
                         [1 if name in scope["WIDE_IO"] else 0 for name in ("x", "y")])
        self.assertIn("y", scope["WIDE_IO"])

    @unittest.skipUnless(POLYGRAPHY.exists(), "Polygraphy is not installed (bench/run installs it)")
    def test_polygraphy_takes_the_script(self) -> None:
        done, _ = self.export("polygraphy")
        script, written = self.folder / "pins.py", self.folder / "run.py"
        script.write_text(done.stdout)
        line = next(line for line in done.stdout.splitlines() if line.strip().startswith("polygraphy run"))
        line = line.replace("MODEL", str(self.folder / "model.onnx")).replace("THIS_FILE", str(script))
        subprocess.run([POLYGRAPHY, *shlex.split(line)[1:], "--gen-script", str(written)], check=True, capture_output=True,
                       timeout=300)
        code = written.read_text()
        self.assertIn("fp16=True", code)
        self.assertIn("precision_constraints='obey'", code)
        self.assertIn("direct_io=True", code)
        self.assertRegex(code, r"PostprocessNetwork\(.*" + re.escape(str(script)))


if __name__ == "__main__":
    unittest.main()
