"""Exit codes, messages and what is left behind: bad input, wrong usage, full disks, interrupts.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
import random
import shlex
import shutil
import signal
import subprocess
import time
import unittest
from collections.abc import Callable

from support import HALFSAFE, ToolTest, np, onnx, read_json

import generated_models
from generated_models import Builder, helper, numpy_helper

OK, NOT_RIGHT, USAGE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 3, 130


class CliTest(ToolTest):
    def setUp(self) -> None:
        super().setUp()
        self.case = generated_models.conv_net(17)
        self.model = self.save(self.case.model)
        self.samples = self.save_samples(self.case.samples)
        self.data = ["--data", self.samples]
        self.out = self.folder / "out.onnx"

    def files(self) -> list[pathlib.Path]:
        return sorted(self.folder.rglob("*"))

    def refuse(self, *arguments: object, expected: tuple[str, ...] = (), code: int = BAD_INPUT) -> str:
        """The command fails as it should, says why, and leaves no file behind, temporary ones included."""
        before = self.files()
        done = self.tool(*arguments, code=code)
        self.assertEqual(self.files(), before, "files left behind")
        # Progress and warnings may stand before it.
        lines = [line for line in done.stderr.splitlines() if line.startswith("halfsafe: ") and " warning: " not in line]
        self.assertEqual(len(lines), 1, done.stderr)
        for text in expected:
            self.assertIn(text, done.stderr)
        return done.stderr

    def refuse_everywhere(self, model: pathlib.Path, *expected: str) -> None:
        """Commands that read a model refuse it alike."""
        for arguments in (["fix", model, *self.data, "-o", self.out], ["scan", model, *self.data, "-o", self.out],
                          ["inspect", model], ["mark", model, "-o", self.out]):
            self.refuse(*arguments, expected=expected)

    def ranges(self) -> pathlib.Path:
        path = self.folder / "ranges.json"
        if not path.exists():
            self.tool("scan", self.model, *self.data, "-o", path)
        return path

    def plan(self) -> pathlib.Path:
        path = self.folder / "plan.json"
        if not path.exists():
            self.tool("plan", self.model, "--ranges", self.ranges(), "-o", path)
        return path


class UsageTest(CliTest):
    def test_unknown_command(self) -> None:
        self.assertIn("scan", self.refuse("scam", "x", code=USAGE))
        self.assertIn("inspect", self.refuse("inspct", code=USAGE))
        self.refuse("zzzzzz", code=USAGE, expected=("zzzzzz",))

    def test_no_command(self) -> None:
        self.refuse(code=USAGE)

    def test_unknown_option(self) -> None:
        self.refuse("scan", self.model, *self.data, "--frobnicate", code=USAGE, expected=("--frobnicate", "scan --help"))

    def test_missing_options(self) -> None:
        for arguments in (["fix", self.model, *self.data], ["fix", self.model, "-o", self.out], ["scan", self.model],
                          ["plan", self.model], ["apply", self.model, "-o", self.out], ["check", self.model, *self.data],
                          ["merge", "-o", self.out], ["data", self.samples], ["mark", self.model], ["inspect"]):
            with self.subTest(arguments[0]):
                self.refuse(*arguments, code=USAGE)

    def test_values_that_make_no_sense(self) -> None:
        fix = ["fix", self.model, *self.data, "-o", self.out]
        for arguments in (["--threshold", "-1"], ["--threshold", "many"], ["--holdout", "1.5"], ["--io", "fp8"],
                          ["--threads", "-2"], ["--accumulate", "int8"], ["--fail-on", "monday"], ["--keep", "("],
                          ["--rel-l2", "-1"], ["--max-flips", "2"], ["--holdout", "0.99", "--random", "1"],
                          # Nothing is past what is no number.
                          *([option, "nan"] for option in ("--threshold", "--margin", "--holdout", "--budget", "--rel-l2",
                                                           "--rtol", "--atol", "--max-flips")), ["--threshold", "inf"]):
            with self.subTest(" ".join(arguments)):
                self.refuse(*fix, *arguments, code=USAGE)
        self.refuse("scan", self.model, *self.data, "--save-outputs", self.folder / "o.json", "--tensors", "[", code=USAGE)

    def test_help_and_version(self) -> None:
        for arguments in (["--help"], ["--version"], ["fix", "--help"], ["scan", "-h"]):
            self.assertTrue(self.tool(*arguments).stdout)

    def test_random_and_data_exclude_each_other(self) -> None:
        self.refuse("scan", self.model, *self.data, "--random", "2", code=USAGE)


class PrivacyTest(CliTest):
    def test_nothing_is_written_elsewhere(self) -> None:
        """ONNX Runtime's own reports to its maker would begin with a file under the user's home."""
        home = self.folder / "home"
        home.mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("ORT_", "XDG_"))}
        self.tool("fix", self.model, *self.data, "-o", self.out, env=environment | {"HOME": str(home)})
        self.assertEqual(list(home.rglob("*")), [])


class BadModelTest(CliTest):
    def bad(self, content: bytes, name: str = "bad.onnx") -> pathlib.Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def test_missing_file(self) -> None:
        self.refuse_everywhere(self.folder / "nowhere.onnx", "nowhere.onnx")

    def test_folder(self) -> None:
        self.refuse_everywhere(self.folder, str(self.folder))

    def test_empty_file(self) -> None:
        self.refuse_everywhere(self.bad(b""), "bad.onnx")

    def test_text(self) -> None:
        self.refuse_everywhere(self.bad(b"this is not a model\n" * 20), "bad.onnx")

    def test_other_protobuf(self) -> None:
        tensor = numpy_helper.from_array(np.zeros(10, dtype=np.float32))
        self.refuse_everywhere(self.bad(tensor.SerializeToString()), "bad.onnx")

    def test_random_bytes(self) -> None:
        generator = random.Random(1)
        for size in (1, 2, 10, 100, 1000, 10000):
            path = self.bad(generator.randbytes(size))
            self.refuse("inspect", path)
            self.refuse("fix", path, *self.data, "-o", self.out)

    def test_truncated_anywhere(self) -> None:
        whole = self.model.read_bytes()
        offsets = sorted({*range(1, 24), *range(24, len(whole) - 1, max(1, len(whole) // 24)), len(whole) - 1})
        for offset in offsets:
            with self.subTest(offset):
                # What is cut off may be whole fields at the end, which leaves a smaller model, or none.
                path = self.bad(whole[:offset])
                before = self.files()
                done = self.tool("fix", path, *self.data, "-o", self.out, code=BAD_INPUT)
                self.assertIn("bad.onnx", done.stderr)
                self.assertEqual(self.files(), before)

    def test_flipped_bytes_never_crash(self) -> None:
        whole = bytearray(self.model.read_bytes())
        generator = random.Random(2)
        for _ in range(40):
            flipped = bytearray(whole)
            for _ in range(3):
                flipped[generator.randrange(len(flipped))] ^= 1 << generator.randrange(8)
            path = self.bad(bytes(flipped))
            self.tool("inspect", path, code=None)
            self.tool("fix", path, *self.data, "-o", self.folder / "flipped.onnx", code=None)

    def changed(self, change: Callable[[onnx.ModelProto], object]) -> pathlib.Path:
        model = copy.deepcopy(self.case.model)
        change(model)
        return self.bad(model.SerializeToString())

    def test_unknown_operator(self) -> None:
        path = self.changed(lambda model: setattr(model.graph.node[2], "op_type", "Reluuu"))
        self.refuse("fix", path, *self.data, "-o", self.out, expected=("Reluuu", "--custom-ops"))

    def test_tensor_that_nobody_writes(self) -> None:
        path = self.changed(lambda model: model.graph.node[2].input.__setitem__(0, "ghost"))
        self.refuse_everywhere(path, "ghost")

    def test_output_that_nobody_writes(self) -> None:
        path = self.changed(lambda model: setattr(model.graph.output[0], "name", "ghost"))
        self.refuse_everywhere(path, "ghost")

    def test_tensor_written_twice(self) -> None:
        path = self.changed(lambda model: model.graph.node[2].output.__setitem__(0, "c1"))
        self.refuse_everywhere(path, "c1")

    def test_weight_whose_data_is_too_short(self) -> None:
        def shorten(model: onnx.ModelProto) -> None:
            model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]

        self.refuse("fix", self.changed(shorten), *self.data, "-o", self.out, expected=("w1",))

    def test_negative_dimension(self) -> None:
        path = self.changed(lambda model: model.graph.initializer[0].dims.__setitem__(0, -8))
        self.refuse("fix", path, *self.data, "-o", self.out, expected=("w1",))

    def test_old_function_with_a_newer_model(self) -> None:
        """ONNX cannot put the function's old operators into the model; nothing may be called an internal error."""
        function = helper.make_function("local", "Centre", ["a"], ["b"], [
            helper.make_node("ReduceMean", ["a"], ["m"], axes=[1]), helper.make_node("Sub", ["a", "m"], ["b"])],
            [helper.make_opsetid("", 13)])
        builder = Builder(18)
        builder.input("x", [2, 4])
        builder.node("Centre", ["x"], "y", domain="local")
        builder.output("y", [2, 4])
        path = self.bad(builder.model(domains=["local"], functions=[function]).SerializeToString())
        data = self.save_samples(generated_models.samples(1, x=(2, 4)), "centre")
        self.tool("fix", path, "--data", data, "-o", self.out, code=None)


class ExternalDataTest(CliTest):
    def external(self, **entries: str) -> pathlib.Path:
        """The model with its first weight outside, at what `entries` say."""
        folder = self.folder / "external"
        folder.mkdir(exist_ok=True)
        model = copy.deepcopy(self.case.model)
        tensor = model.graph.initializer[0]
        (folder / "weights").write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
        path = folder / "model.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    def test_right(self) -> None:
        self.tool("fix", self.external(location="weights"), *self.data, "-o", self.out)

    def test_missing(self) -> None:
        self.refuse_everywhere(self.external(location="gone"), "w1", "gone")

    def test_outside_the_folder(self) -> None:
        (self.folder / "secret").write_bytes(bytes(4096))
        self.refuse_everywhere(self.external(location="../secret"), "w1")
        self.refuse_everywhere(self.external(location=str(self.folder / "secret")), "w1")
        link = self.folder / "external" / "link"
        link.symlink_to(self.folder / "secret")
        self.refuse_everywhere(self.external(location="link"), "w1")

    def test_too_short(self) -> None:
        self.refuse_everywhere(self.external(location="weights", offset="8"), "w1", "weights")
        self.refuse_everywhere(self.external(location="weights", offset="99999999999999999999"), "w1")
        self.refuse_everywhere(self.external(location="weights", offset="-4"), "w1")
        self.refuse_everywhere(self.external(location="weights", length="12"), "w1")

    def test_no_location(self) -> None:
        self.refuse_everywhere(self.external(offset="0"), "w1")


class BadDataTest(CliTest):
    def scan(self, sample: dict, *expected: str, name: str = "bad.npz") -> None:
        path = self.folder / name
        np.savez(path, **sample)
        for command in ("scan", "fix"):
            self.refuse(command, self.model, "--data", path, "-o", self.out, expected=(name, *expected))

    def good(self) -> np.ndarray:
        return self.case.samples[0]["x"]

    def test_missing_input(self) -> None:
        self.scan({"z": self.good()}, "'z'")

    def test_input_that_lacks(self) -> None:
        case = generated_models.mixed_types()
        model = self.save(case.model, "mixed.onnx")
        np.savez(self.folder / "half.npz", x=case.samples[0]["x"])
        self.refuse("scan", model, "--data", self.folder / "half.npz", expected=("half.npz", "'h'"))

    def test_extra_input(self) -> None:
        self.scan({"x": self.good(), "extra": np.zeros(2)}, "'extra'")

    def test_wrong_type(self) -> None:
        self.scan({"x": self.good().astype(np.float64)}, "'x'", "float64", "float32")

    def test_wrong_rank(self) -> None:
        self.scan({"x": self.good()[0]}, "'x'", "[3, 16, 16]")

    def test_wrong_dimension(self) -> None:
        self.scan({"x": self.good()[:, :2]}, "'x'", "[1, 2, 16, 16]")

    def test_nan(self) -> None:
        bad = self.good().copy()
        bad[0, 1, 2, 3] = np.nan
        self.scan({"x": bad}, "'x'", "NaN", "[0, 1, 2, 3]")

    def test_truncated_files(self) -> None:
        np.savez(self.folder / "whole.npz", x=self.good())
        np.savez_compressed(self.folder / "packed.npz", x=self.good())
        (self.folder / "npy").mkdir()
        np.save(self.folder / "npy" / "x.npy", self.good())
        self.tool("data", self.folder / "whole.npz", "-o", self.folder / "whole.json")
        for name in ("whole.npz", "packed.npz", "npy/x.npy", "whole.json"):
            content = (self.folder / name).read_bytes()
            for share in (0.0, 0.1, 0.5, 0.9, 0.999):
                with self.subTest(f"{share} of {name}"):
                    folder = self.folder / f"cut{share}{name.replace('/', '_')}"
                    path = folder / pathlib.Path(name).name
                    folder.mkdir()
                    path.write_bytes(content[: int(len(content) * share)])
                    data = folder if name.startswith("npy") else path
                    self.refuse("scan", self.model, "--data", data, "-o", self.out, expected=(str(folder),))

    def test_bad_base64(self) -> None:
        for text in ("@@@@", "AAA", "TlVNUFk=", ""):
            path = self.folder / "bad.json"
            path.write_text(json.dumps([{"x": {"array": text, "polygraphy_class": "ndarray"}}]))
            self.refuse("scan", self.model, "--data", path, expected=("bad.json", "x"))

    def test_wrong_json(self) -> None:
        for text in ("{}", "[]", "[1]", '[{"x": 1}]', "nonsense", '[{"x": {"array": 3}}]', "[" * 100000):
            path = self.folder / "bad.json"
            path.write_text(text)
            with self.subTest(text[:30]):
                self.refuse("scan", self.model, "--data", path, expected=("bad.json",))

    def test_nothing_to_read(self) -> None:
        (self.folder / "empty").mkdir()
        self.refuse("scan", self.model, "--data", self.folder / "empty", expected=("empty",))
        self.refuse("scan", self.model, "--data", self.folder / "nowhere", expected=("nowhere",))

    def test_bad_sample_late_in_a_run(self) -> None:
        """What was done before is not kept."""
        np.savez(self.samples / "999.npz", x=self.good()[:, :1])
        self.refuse("fix", self.model, *self.data, "-o", self.out, "--save-plan", self.folder / "p.json",
                    "--json", self.folder / "r.json", expected=("999.npz",))
        self.refuse("scan", self.model, *self.data, "-o", self.out, "--save-outputs", self.folder / "o.json")
        self.refuse("scan", self.model, *self.data, "-o", self.out, "--save-outputs", self.folder / "o")

    def test_recorded_outputs_of_another_model(self) -> None:
        other = generated_models.mask_constant()
        data = self.save_samples(other.samples, "other")
        saved = self.folder / "saved.json"
        self.tool("scan", self.save(other.model, "other.onnx"), "--data", data, "--save-outputs", saved, "--tensors", "scores")
        self.refuse("scan", self.model, "--from-outputs", saved, "-o", self.out, expected=("saved.json",))


class PlanAndRangesTest(CliTest):
    def edited(self, source: pathlib.Path, change: Callable[[dict], object]) -> pathlib.Path:
        document = read_json(source)
        change(document)
        path = self.folder / "edited.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    def refuse_plan(self, change: Callable[[dict], object], *expected: str) -> None:
        path = self.edited(self.plan(), change)
        self.refuse("apply", self.model, "--plan", path, "-o", self.out, expected=expected)

    def refuse_ranges(self, change: Callable[[dict], object], *expected: str) -> None:
        path = self.edited(self.ranges(), change)
        self.refuse("plan", self.model, "--ranges", path, "-o", self.out, expected=expected)

    def test_plan_for_another_model(self) -> None:
        self.refuse_plan(lambda plan: plan.update(model_sha256="0" * 64), "another model")

    def test_ranges_for_another_model(self) -> None:
        self.refuse_ranges(lambda ranges: ranges.update(model_sha256="0" * 64), "another model")
        other = self.edited(self.ranges(), lambda ranges: ranges.update(model_sha256="0" * 64))
        self.refuse("merge", self.ranges(), other, "-o", self.out, expected=("another model",))

    def test_wrong_formats(self) -> None:
        self.refuse("apply", self.model, "--plan", self.ranges(), "-o", self.out, expected=("halfsafe-ranges", "halfsafe-plan"))
        self.refuse("plan", self.model, "--ranges", self.plan(), "-o", self.out, expected=("halfsafe-plan", "halfsafe-ranges"))

    def test_wrong_fields(self) -> None:
        plans = {"99": lambda plan: plan.update(version=99), "nodes": lambda plan: plan.pop("nodes"),
                 '"nodes"': lambda plan: plan.update(nodes={}), "fp7": lambda plan: plan["nodes"][0].update(precision="fp7"),
                 "name": lambda plan: plan["nodes"][0].pop("name")}
        for expected, change in plans.items():
            with self.subTest(f"plan {expected}"):
                self.refuse_plan(change, expected.strip('"'))
        ranges = {"count": {"count": "many"}, "nan_count": {"nan_count": -1}, "dtype": {"dtype": "int8"},
                  "exponents": {"exponents": {"x": 1}}}
        for expected, fields in ranges.items():
            with self.subTest(f"ranges {expected}"):
                self.refuse_ranges(lambda document: document["tensors"][0].update(fields), expected)

    def test_not_json(self) -> None:
        for text in ("", "{", "[]", "null", "\x00", '{"format": 3}'):
            path = self.folder / "bad.json"
            path.write_text(text)
            self.refuse("apply", self.model, "--plan", path, "-o", self.out, expected=("bad.json",))
            self.refuse("plan", self.model, "--ranges", path, "-o", self.out, expected=("bad.json",))
            self.refuse("merge", path, "-o", self.out, expected=("bad.json",))

    def test_names_that_the_model_lacks(self) -> None:
        self.refuse_plan(lambda plan: plan["nodes"][0].update(name="ghost"), "ghost")
        self.refuse_plan(lambda plan: plan["constants"].append({"name": "ghost", "clamp": 1.0, "reason": "", "evidence": ""}),
                         "ghost")

    def test_models_that_do_not_belong_together(self) -> None:
        other = self.save(generated_models.mask_constant().model, "other.onnx")
        self.refuse("check", self.model, other, *self.data, expected=("other.onnx",))

    def test_export_names(self) -> None:
        done = self.tool("plan", self.model, "--ranges", self.ranges(), "--export", "names")
        self.assertEqual(done.stdout, "c2\nr2\n")

    def test_what_is_asked_for_in_place_of_the_text_leaves_the_rest(self) -> None:
        plan = ["plan", self.model, "--ranges", self.ranges()]
        for asked in (["--export", "names"], ["--export", "polygraphy"], ["--explain", "node_c2"]):
            with self.subTest(asked[0] + asked[1]):
                result = self.folder / "result.json"
                text = self.tool(*plan, *asked).stdout
                done = self.tool(*plan, *asked, "--json", result, "--fail-on", "overflow", code=1)
                self.assertEqual(done.stdout, text)
                self.assertEqual([row["tensor"] for row in read_json(result)["overflowing"]], ["c2", "r2"])
                result.unlink()
                self.refuse(*plan, *asked, "--json", "-", code=USAGE)
                with open("/dev/full", "w", encoding="ascii") as full:
                    self.assertEqual(subprocess.run([HALFSAFE, *map(str, [*plan, *asked])], stdout=full,
                                                    stderr=subprocess.DEVNULL, check=False).returncode, 3)
        self.refuse(*plan, "--export", "names", "--explain", "node_c2", code=USAGE)

    def test_explain(self) -> None:
        done = self.tool("plan", self.model, "--ranges", self.ranges(), "--repair", "fp32", "--explain", "node_c2")
        for text in ("node_c2", "Conv", "fp32", "overflow", "c2"):
            self.assertIn(text, done.stdout)
        stats = next(tensor for tensor in read_json(self.ranges())["tensors"] if tensor["name"] == "c2")
        self.assertIn(f"{stats['abs_max']:.6g}", done.stdout)
        self.assertIn(stats["abs_max_sample"], done.stdout)

    def test_explain_names_what_was_meant(self) -> None:
        for wrong, right in (("node_c22", "node_c2"), ("nodec1", "node_c1"), ("node_pooledd", "node_pooled")):
            self.assertIn(right, self.refuse("plan", self.model, "--ranges", self.ranges(), "--explain", wrong, code=USAGE))


class StandardErrorTest(CliTest):
    """What can't be said changes neither the result nor the exit code."""

    def run_with(self, redirection: str, *arguments: object) -> int:
        line = shlex.join(map(str, [HALFSAFE, *arguments]))
        return subprocess.run(["sh", "-c", f"exec {line} {redirection}"], stdout=subprocess.DEVNULL, check=False).returncode

    def test_full_and_closed(self) -> None:
        fix = ["fix", self.model, *self.data, "-o"]
        self.tool(*fix, self.out)
        for redirection in ("2>/dev/full", "2>&-", "<&- 2>&-"):
            with self.subTest(redirection):
                other = self.folder / "other.onnx"
                self.assertEqual(self.run_with(redirection, *fix, other), 0)
                self.assertEqual(other.read_bytes(), self.out.read_bytes())
                other.unlink()
                self.assertEqual(self.run_with(redirection, "nothing"), USAGE)
                self.assertEqual(self.run_with(redirection, "inspect", self.folder / "none.onnx"), 3)
        self.assertEqual(self.run_with(">&-", "inspect", self.model), 3)


class OutputTest(CliTest):
    def commands(self, path: object) -> list[list[object]]:
        return [["fix", self.model, *self.data, "-o", path], ["scan", self.model, *self.data, "-o", path],
                ["plan", self.model, "--ranges", self.ranges(), "-o", path], ["mark", self.model, "-o", path],
                ["apply", self.model, "--plan", self.plan(), "-o", path], ["merge", self.ranges(), "-o", path],
                ["scan", self.model, *self.data, "--json", path], ["inspect", self.model, "--json", path]]

    def test_full_disk(self) -> None:
        for arguments in self.commands("/dev/full"):
            with self.subTest(arguments[0]):
                self.refuse(*arguments, expected=("/dev/full", "No space left"))
        self.assertTrue(pathlib.Path("/dev/full").is_char_device())

    def test_folder_that_does_not_exist(self) -> None:
        for arguments in self.commands(self.folder / "no" / "where"):
            with self.subTest(arguments[0]):
                self.refuse(*arguments, expected=("where",))

    def test_file_as_a_folder(self) -> None:
        for arguments in self.commands(self.model / "out"):
            with self.subTest(arguments[0]):
                self.refuse(*arguments, expected=("out",))

    def test_folder_as_a_file(self) -> None:
        for arguments in self.commands(self.samples):
            with self.subTest(arguments[0]):
                self.refuse(*arguments, expected=("samples",))

    def test_place_where_nobody_may_write(self) -> None:
        for arguments in self.commands("/proc/halfsafe-test"):
            with self.subTest(arguments[0]):
                self.refuse(*arguments, expected=("/proc/halfsafe-test",))

    def test_failing_side_output_leaves_nothing(self) -> None:
        self.refuse("fix", self.model, *self.data, "-o", self.out, "--save-plan", self.folder / "no" / "p.json")

    def test_output_is_replaced_whole(self) -> None:
        self.out.write_text("old")
        self.tool("fix", self.model, *self.data, "-o", self.out)
        onnx.checker.check_model(str(self.out))

    def test_output_over_the_input(self) -> None:
        before = self.model.read_bytes()
        done = self.tool("fix", self.model, *self.data, "-o", self.model, code=2)
        self.assertIn("would replace what is read", done.stderr)
        self.assertEqual(self.model.read_bytes(), before)

    def test_quiet(self) -> None:
        for arguments in self.commands(self.folder / "quiet.out"):
            if arguments[0] in ("fix", "scan", "plan", "apply", "inspect"):
                done = self.tool(*arguments, "--quiet")
                self.assertEqual((done.stdout, done.stderr), ("", ""), arguments[0])

    def test_json_says_what_the_terminal_says(self) -> None:
        path = self.folder / "result.json"
        for arguments in (["fix", self.model, *self.data, "-o", self.out], ["scan", self.model, *self.data],
                          ["plan", self.model, "--ranges", self.ranges()],
                          ["apply", self.model, "--plan", self.plan(), "-o", self.out],
                          ["check", self.model, self.model, *self.data]):
            done = self.tool(*arguments, "--json", path)
            document = read_json(path)
            self.assertEqual((document["format"], document["version"]), ("halfsafe-result", 1))
            self.assertEqual(document["command"], arguments[0])
            self.assertEqual(len(document["model_sha256"]), 64)
            self.assertTrue(done.stdout)
        self.tool("fix", self.model, *self.data, "-o", self.out, "--json", path)
        answer = read_json(path)
        self.assertEqual([tensor["tensor"] for tensor in answer["overflowing"]], ["c2", "r2"])
        kept = [node["name"] for node in answer["fp32_nodes"]]
        self.assertLessEqual({"node_c2", "node_r2", "node_c3"}, set(kept))
        self.assertEqual(answer["casts"], sum(node.op_type == "Cast" for node in onnx.load(self.out).graph.node))
        self.assertEqual(answer["fixed_bytes"], self.out.stat().st_size)

    def test_fail_on_overflow(self) -> None:
        for arguments in (["scan", self.model, *self.data], ["plan", self.model, "--ranges", self.ranges()],
                          ["fix", self.model, *self.data, "-o", self.out]):
            self.tool(*arguments)
            self.tool(*arguments, "--fail-on", "overflow", code=NOT_RIGHT)
        calm = generated_models.loop(overflow=False)
        model, data = self.save(calm.model, "calm.onnx"), self.save_samples(calm.samples, "calm")
        self.tool("scan", model, "--data", data, "--fail-on", "overflow")
        large = self.save(generated_models.large_weight().model, "large.onnx")
        self.tool("inspect", large)
        self.tool("inspect", large, "--fail-on", "overflow", code=NOT_RIGHT)

    def test_not_right_is_written_all_the_same(self) -> None:
        tolerance = ["--rel-l2", "0", "--io", "fp16"]
        done = self.tool("check", self.model, self.plain(), *self.data, "--json", self.folder / "r.json", code=NOT_RIGHT)
        self.assertIn("NOT RIGHT", done.stdout)
        self.assertEqual(read_json(self.folder / "r.json")["verdict"], "not-right")
        self.tool("fix", self.model, *self.data, "-o", self.out, "--json", self.folder / "f.json", *tolerance, code=None)
        self.assertTrue(self.out.exists() and (self.folder / "f.json").exists())

    def plain(self) -> pathlib.Path:
        """Everything in FP16: wrong."""
        document = read_json(self.plan())
        document["tensors"] = []
        for node in document["nodes"]:
            node["precision"] = "fp16"
        (self.folder / "plain.json").write_text(json.dumps(document))
        self.tool("apply", self.model, "--plan", self.folder / "plain.json", "-o", self.folder / "plain.onnx")
        return self.folder / "plain.onnx"

    def test_check_gives_the_same_answer_every_time(self) -> None:
        found = set()
        for _ in range(40):
            self.tool("check", self.model, self.model, *self.data, "-q", "--json", self.folder / "r.json")
            found.add(json.dumps({**read_json(self.folder / "r.json"), "seconds": 0}))
        self.assertEqual(len(found), 1)

    def test_threads_change_nothing(self) -> None:
        answers = []
        for threads in (1, 2):
            self.tool("scan", self.model, *self.data, "-o", self.folder / "t.json", "--threads", threads)
            answers.append((self.folder / "t.json").read_bytes())
        self.assertEqual(*answers)

    def test_outputs_that_are_links(self) -> None:
        real = self.folder / "real.onnx"
        self.out.symlink_to(real)
        self.tool("mark", self.model, "-o", self.out)
        self.assertTrue(self.out.is_symlink() and real.is_file())


class InspectTest(CliTest):
    def test_says_what_is_there(self) -> None:
        done = self.tool("inspect", self.save(generated_models.large_weight().model, "large.onnx"))
        for text in ("x", "y", "Conv", "BatchNormalization", "var", "9e+07"):
            self.assertIn(text, done.stdout)


def catches(process: subprocess.Popen, number: signal.Signals) -> bool:
    """Whether the process got as far as to install its handler."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


class InterruptTest(CliTest):
    def interrupt(self, *arguments: object, after: float = 1.0) -> None:
        """SIGINT in the middle of a long run: exit 130, and nothing is left."""
        shutil.rmtree(self.samples)
        self.samples.mkdir()
        first = self.samples / "0000.npz"
        np.savez(first, x=np.concatenate([self.case.samples[0]["x"]] * 16))
        for index in range(1, 4000):
            (self.samples / f"{index:04}.npz").hardlink_to(first)
        before = self.files()
        process = subprocess.Popen([HALFSAFE, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not catches(process, signal.SIGINT):
            time.sleep(0.01)
        time.sleep(after)
        self.assertIsNone(process.poll(), "the run was too short to be interrupted")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        self.assertEqual(process.returncode, INTERRUPTED, said)
        self.assertIn("interrupted", said)
        self.assertEqual(self.files(), before)

    def test_scan(self) -> None:
        self.interrupt("scan", self.model, *self.data, "-o", self.out, "--save-outputs", self.folder / "outputs.json")

    def test_scan_into_a_folder(self) -> None:
        self.interrupt("scan", self.model, *self.data, "-o", self.out, "--save-outputs", self.folder / "outputs")

    def test_fix(self) -> None:
        self.interrupt("fix", self.model, *self.data, "-o", self.out, "--save-plan", self.folder / "plan.json")

    def test_data(self) -> None:
        self.interrupt("data", self.samples, "-o", self.folder / "all.json", after=0.2)


if __name__ == "__main__":
    unittest.main()
