"""The same inputs give the same bytes, whatever the threads, the cores, the locale, the time zone, the folders, and the memory's
content.

Only the time that a command took, where it says so, may differ; and the last bits of ranges, where ONNX Runtime sums in another
order with another number of threads.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest
from collections.abc import Sequence

import support
from support import HALFSAFE, np, onnx

import generated_models
import sweep

TIMES = [re.compile(pattern) for pattern in (rb'"seconds": ?[-+.0-9e]+', rb"\b[0-9.]+ s\b")]


def comma_locale(folder: pathlib.Path) -> dict[str, str]:
    """A locale that writes 1.5 as 1,5: the machine's, or one made for this test."""
    named = subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout.split()
    for name in ("de_DE.utf8", "de_DE.UTF-8", "fr_FR.utf8"):
        if name in named:
            return {"LC_ALL": name}
    if shutil.which("localedef") is None or not pathlib.Path("/usr/share/i18n/locales/de_DE").exists():
        return {}
    made = subprocess.run(["localedef", "-i", "de_DE", "-f", "UTF-8", folder / "de_DE.UTF-8"], capture_output=True, check=False)
    return {"LC_ALL": "de_DE.UTF-8", "LOCPATH": str(folder)} if made.returncode == 0 else {}


class DeterminismTest(support.ToolTest):
    def place(self, name: str, model: onnx.ModelProto | pathlib.Path, samples: list[support.Sample]) -> pathlib.Path:
        """A folder with a model and samples."""
        folder = self.folder / name
        (folder / "samples").mkdir(parents=True)
        if isinstance(model, pathlib.Path):
            shutil.copy(model, folder / "model.onnx")
        else:
            onnx.save(model, folder / "model.onnx")
        for index, sample in enumerate(samples):
            np.savez(folder / "samples" / f"{index:03}.npz", **sample)
        return folder

    def outputs(self, arguments: list[str], inputs: pathlib.Path, environment: dict[str, str] | None = None,
                absolute: bool = False, prefix: Sequence[str] = ()) -> dict[str, bytes]:
        """What a command writes and prints; it finds `model.onnx` and `samples` where it runs."""
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = pathlib.Path(name).resolve()
            for path in inputs.iterdir():
                (folder / path.name).symlink_to(path, target_is_directory=path.is_dir())
            known = {path.name for path in inputs.iterdir()}
            if absolute:
                arguments = [str(folder / part) if part in known else part for part in arguments]
            done = subprocess.run([*prefix, HALFSAFE, *arguments], cwd=folder, env={**os.environ, "COLUMNS": "120", **(environment or {})},
                                  capture_output=True, timeout=600, check=False)
            self.assertIn(done.returncode, (0, 1), f"{arguments}, {environment}: {done.stderr!r}")
            found = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*"))
                     if path.is_file() and not path.is_symlink()}
            found["standard output"] = done.stdout
            if absolute:
                found = {key: value.replace(f"{folder}/".encode(), b"") for key, value in found.items()}
            return {key: self.without_times(key, value) for key, value in found.items()}

    def without_times(self, name: str, content: bytes) -> bytes:
        if name.endswith((".json", ".html")) or name == "standard output":
            for time in TIMES:
                content = time.sub(b"TIME", content)
        return content

    def require_same(self, what: str, one: dict[str, bytes], other: dict[str, bytes]) -> None:
        self.assertEqual(one.keys(), other.keys(), what)
        for name, content in one.items():
            if content != other[name]:
                at = next((i for i, (a, b) in enumerate(zip(content, other[name])) if a != b), min(len(content), len(other[name])))
                self.fail(f"{what}: {name} differs at byte {at}: {content[max(0, at - 60):at + 60]!r} and "
                          f"{other[name][max(0, at - 60):at + 60]!r}")

    def environments(self) -> dict[str, dict[str, str]]:
        temporary = self.folder / "elsewhere"
        locales = self.folder / "locales"
        for folder in (temporary, locales):
            folder.mkdir(exist_ok=True)
        comma = comma_locale(locales)
        if not comma:
            print("no locale with a decimal comma can be had", flush=True)
        return {"once more": {}, "decimal comma": comma, "no locale": {"LC_ALL": "C"},
                "time zone": {"TZ": "Asia/Kolkata"}, "temporary files": {"TMPDIR": str(temporary)},
                "home": {"HOME": str(temporary), "USER": "someone"},
                # What is freed or fresh has other bytes: nothing may depend on them.
                "memory": {"MALLOC_PERTURB_": "165", "MALLOC_ARENA_MAX": "1"}}

    def vary(self, inputs: pathlib.Path, arguments: list[str], threads: tuple[int, ...] = (1, 2, 3, 8)) -> None:
        """Runs a command in every way that may not matter."""
        first = self.outputs(arguments, inputs)
        jobs = {name: (arguments, inputs, environment) for name, environment in self.environments().items()}
        for count in threads:
            jobs[f"{count} threads"] = ([*arguments, "--threads", str(count)], inputs, {})
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for name, found in zip(jobs, pool.map(lambda job: self.outputs(*job), jobs.values())):
                self.require_same(f"{arguments[0]}, {name}", first, found)

    FIX = ["fix", "model.onnx", "--data", "samples", "-o", "fixed.onnx", "--save-plan", "plan.json", "--save-ranges",
           "ranges.json", "--json", "result.json", "--report", "page.html"]

    def test_repairs(self) -> None:
        cases = ((generated_models.conv_net(17), ["--save-outputs", "outputs", "--rel-l2", "1e-4"]),
                 (generated_models.transformer(), ["--opset", "22", "--repair", "bf16"]),
                 (generated_models.transformer(), ["--repair", "fp32", "--io", "fp16"]),
                 (generated_models.nested_bodies(), []))
        for case, extra in sweep.tenth(cases):
            with self.subTest(case=case.model.graph.name, extra=extra):
                inputs = self.place(f"case {len(list(self.folder.iterdir()))}", case.model, case.samples)
                self.vary(inputs, [*self.FIX, *extra])

    def test_stages(self) -> None:
        case = generated_models.transformer()
        inputs = self.place("stages", case.model, case.samples)
        self.tool("scan", "model.onnx", "--data", "samples", "-o", "ranges.json", "-q", cwd=inputs)
        self.tool("plan", "model.onnx", "--ranges", "ranges.json", "-o", "plan.json", "-q", cwd=inputs)
        plan = ["plan", "model.onnx", "--ranges", "ranges.json"]
        apply = ["apply", "model.onnx", "--plan", "plan.json", "-o", "fixed.onnx"]
        for arguments in ([*plan, "-o", "new.json", "--json", "result.json", "--report", "page.html"],
                          *([*plan, "--export", form] for form in ("names", "trtexec", "polygraphy")),
                          [*apply, "--json", "result.json"], [*apply, "--typing", "weak"], [*apply, "--accumulate", "fp32"],
                          ["mark", "model.onnx", "-o", "all.onnx"], ["inspect", "model.onnx", "--json", "-"],
                          ["merge", "ranges.json", "ranges.json", "-o", "joined.json"],
                          ["data", "samples", "-o", "all.json"], ["data", "samples", "-o", "all"]):
            self.vary(inputs, arguments, threads=())

    def test_folders(self) -> None:
        """Where things are, and how their paths are written, shows in names of files and nowhere else."""
        case = generated_models.conv_net(17)
        near = self.place("near", case.model, case.samples)
        far = self.place("a/much longer path/with spaces and ünïcode", case.model, case.samples)
        arguments = [*self.FIX, "--no-findings"]
        first = self.outputs(arguments, near)
        self.require_same("another folder", first, self.outputs(arguments, far))
        absolute = self.outputs(arguments, near, absolute=True)
        for found in (first, absolute):  # Tables are as wide as the longest name.
            del found["standard output"]
        self.require_same("absolute paths", first, absolute)

    def test_real_model(self) -> None:
        folder, samples = support.real_model("magika", 4, self.folder / "real")
        inputs = self.place("magika", folder / "model.onnx", samples)
        self.vary(inputs, self.FIX)
        self.vary(inputs, [*self.FIX, "--repair", "bf16", "--opset", "22"], threads=(1, 3))

    def test_sums_that_follow_the_threads(self) -> None:
        """ONNX Runtime sums a Conv of this model in another order from three threads on."""
        folder, samples = support.real_model("ppocr_cls", 2, self.folder / "real")
        inputs = self.place("ppocr_cls", folder / "model.onnx", samples)
        two, three = (self.outputs([*self.FIX, "--threads", str(count)], inputs) for count in (2, 3))
        self.assertEqual(two["fixed.onnx"], three["fixed.onnx"])
        decided, other = (json.loads(found["plan.json"]) for found in (two, three))
        self.assertEqual([(node["name"], node["precision"]) for node in decided["nodes"]],
                         [(node["name"], node["precision"]) for node in other["nodes"]])
        for one, another in zip(*(json.loads(found["ranges.json"])["tensors"] for found in (two, three)), strict=True):
            self.assertEqual(one["name"], another["name"])
            self.assertAlmostEqual(one["abs_max"] or 0.0, another["abs_max"] or 0.0, delta=1e-5 * (one["abs_max"] or 0.0))
        # How many cores there are makes no difference.
        command = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]
        self.require_same("one core", three, self.outputs([*self.FIX, "--threads", "3"], inputs, prefix=command))

    def test_low_memory(self) -> None:
        """Plans and models; sums of a scan may differ, as other kernels compute them."""
        case = generated_models.conv_net(17)
        inputs = self.place("low memory", case.model, case.samples)
        self.vary(inputs, [*self.FIX, "--low-memory"], threads=(1, 3))


if __name__ == "__main__":
    unittest.main()
