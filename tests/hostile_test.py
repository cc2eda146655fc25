"""Memory and time that hostile input can cost: every stage on graphs that are large where others are small, and on small files that
stand for something huge. The bounds are those of SECURITY.md.

HALFSAFE names the binary; HALFSAFE_HOSTILE_SIZE the number of nodes and the like (4000; of what ONNX Runtime has to load a tenth).
Exits with 77 (skipped) where a package is missing. `python tests/hostile_test.py --measure 1000000 chain star` prints what stages take.
"""

from __future__ import annotations

import base64
import html.parser
import json
import mmap
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Iterator
from dataclasses import dataclass

import hostile_models

HALFSAFE = os.environ["HALFSAFE"]
SIZE = int(os.environ.get("HALFSAFE_HOSTILE_SIZE", "4000"))
MB = 1e6
# SECURITY.md: what halfsafe holds beside ONNX Runtime, at most.
BASE, PER_BYTE = 300 * MB, 1000
SECONDS = 60  # Of a stage on any of these, with a machine that does other things too.

with open(HALFSAFE, "rb") as program, mmap.mmap(program.fileno(), 0, access=mmap.ACCESS_READ) as content:
    SANITIZED = content.find(b"__asan_init") >= 0 or content.find(b"__tsan_init") >= 0


@dataclass
class Run:
    code: int
    seconds: float  # Of processors.
    peak: float  # Bytes.
    said: str


class HostileTest(unittest.TestCase):
    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def write(self, name: str, data: bytes) -> pathlib.Path:
        (self.folder / name).write_bytes(data)
        return self.folder / name

    def tool(self, *arguments: object) -> Run:
        return run(self.folder, *arguments)

    def check(self, stage: str, done: Run, size: float, codes: tuple[int, ...] = (0,)) -> None:
        self.assertIn(done.code, codes, f"{stage}: {done.said}")
        if SANITIZED:
            return  # Shadows and quarantines have a size of their own.
        self.assertLessEqual(done.peak, BASE + PER_BYTE * size, f"{stage}: {done.peak / MB:.0f} MB for {size / MB:.1f} MB")
        self.assertLessEqual(done.seconds, SECONDS, stage)


def run(folder: pathlib.Path, *arguments: object) -> Run:
    with open(folder / "log", "w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen([HALFSAFE, *map(str, arguments)], cwd=folder, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        return Run(process.returncode, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024.0, log.read()[-1000:])


def ranges_of(plan: dict) -> str:
    """Ranges in which every third of the tensors that nodes are named by overflows."""
    tensors = [{"name": node["name"], "dtype": "float32", "constant": False, "count": 4, "min": -1.0, "max": 9e4 if i % 3 == 0 else 2.0,
                "abs_max": 9e4 if i % 3 == 0 else 2.0, "abs_max_sample": "sample", "nan_count": 0, "inf_count": 0,
                "overflow_count": int(i % 3 == 0), "subnormal_count": 0, "exponents": {"0": 4}, "abs_sum": 8.0}
               for i, node in enumerate(plan["nodes"])]
    return json.dumps({"format": "halfsafe-ranges", "version": 1, "model_sha256": plan["model_sha256"], "samples": 1, "tensors": tensors})


def stages(folder: pathlib.Path, model: pathlib.Path) -> Iterator[tuple[str, Run]]:
    """Every command that needs no ONNX Runtime."""
    yield "inspect", run(folder, "inspect", model)
    yield "mark", run(folder, "mark", model, "-o", "marked.onnx")
    empty = folder / "empty.json"
    digest = run(folder, "inspect", model, "--json", "inspection.json")
    if digest.code != 0:
        return
    sha256 = json.loads((folder / "inspection.json").read_text())["model_sha256"]
    empty.write_text(json.dumps({"format": "halfsafe-ranges", "version": 1, "model_sha256": sha256, "samples": 1, "tensors": []}))
    yield "plan unseen", run(folder, "plan", model, "--ranges", empty, "-o", "unseen.json")
    (folder / "ranges.json").write_text(ranges_of(json.loads((folder / "unseen.json").read_text())))
    yield "plan", run(folder, "plan", model, "--ranges", "ranges.json", "-o", "plan.json")
    yield "plan --report", run(folder, "plan", model, "--ranges", "ranges.json", "-o", "again.json", "--report", "report.html")
    yield "plan --export", run(folder, "plan", model, "--ranges", "ranges.json", "--export", "polygraphy")
    yield "apply", run(folder, "apply", model, "--plan", "plan.json", "-o", "fixed.onnx")
    yield "diff", run(folder, "diff", empty, "ranges.json")
    yield "merge", run(folder, "merge", "ranges.json", "ranges.json", "-o", "merged.json")


class LargeGraphTest(HostileTest):
    """Many of one thing: every stage, in memory by the file's size and in time that doesn't grow faster than it."""

    def test_every_stage(self) -> None:
        for name, make in hostile_models.LARGE.items():
            size = 500 if SANITIZED else SIZE // 10 if name in ("bodies", "long_names") else SIZE
            with self.subTest(name):
                small, large = self.times(name, size // 4), self.times(name, size)
                for stage, seconds in large.items():
                    # Four times as large: 16 times the time would be quadratic.
                    self.assertLessEqual(seconds, 8 * small[stage] + 2, f"{stage}: {small[stage]:.2f} s, then {seconds:.2f} s")

    def times(self, name: str, count: int) -> dict[str, float]:
        model = self.write("model.onnx", hostile_models.LARGE[name](count))
        times = {}
        for stage, done in stages(self.folder, model):
            files = [model, self.folder / "ranges.json", self.folder / "plan.json"]
            size = sum(file.stat().st_size for file in files if file.exists())
            # Nothing to mark, nothing to plan, new overflow.
            self.check(f"{name} {count}: {stage}", done, size, (0, 1, 2))
            times[stage] = done.seconds
        return times

    def test_scan(self) -> None:
        """ONNX Runtime loads the graph, which takes it far longer."""
        count = 300 if SANITIZED else SIZE // 10
        for name in ("chain", "star", "products", "shared_name"):
            with self.subTest(name):
                model = self.write("model.onnx", hostile_models.LARGE[name](count))
                done = self.tool("scan", model, "--random", 1, "-o", "ranges.json")
                self.check(f"{name} {count}: scan", done, model.stat().st_size)


class BombTest(HostileTest):
    """Small files that stand for something huge."""

    def test_each(self) -> None:
        for make, expected in hostile_models.BOMBS.items():
            with self.subTest(make.__name__):
                model = self.write("model.onnx", make())
                for command in (["inspect", model], ["mark", model, "-o", "marked.onnx"]):
                    done = self.tool(*command)
                    self.check(f"{make.__name__}: {command[0]}", done, model.stat().st_size, (3,) if expected else (0, 2, 3))
                    self.assertIn(expected, done.said)

    def test_aliased_external_data(self) -> None:
        """A file of a megabyte that thousands of weights share."""
        self.write("weights", bytes(1 << 20))
        reference = hostile_models.message(13, hostile_models.message(1, "location") + hostile_models.message(2, "weights"))
        weights = [hostile_models.number(1, 1 << 18) + hostile_models.number(2, 1) + hostile_models.message(8, f"w{i}") + reference
                   + hostile_models.number(14, 1) for i in range(5000)]
        model = self.write("model.onnx", hostile_models.from_x_to_y([hostile_models.node("Relu", ["x"], ["y"])], weights))
        done = self.tool("inspect", model)
        self.check("aliases", done, model.stat().st_size, (3,))
        self.assertIn("share external data", done.said)

    def test_json(self) -> None:
        deep = b'{"format":' + b"[" * 100000 + b"]" * 100000 + b"}"
        numbers = b'{"format":"halfsafe-ranges","version":1,"model_sha256":"","samples":1e999,"tensors":[]}'
        twice = b'{"format":"halfsafe-ranges","format":"halfsafe-ranges"}'
        long_word = b'{"format": "' + b"a" * 10000000
        model = self.write("model.onnx", hostile_models.chain(3))
        for name, text in {"deep": deep, "numbers": numbers, "twice": twice, "long word": long_word}.items():
            file = self.write("hostile.json", text)
            for command in (["diff", file, file], ["plan", model, "--ranges", file, "-o", "out"], ["apply", model, "--plan", file, "-o", "out"],
                            ["scan", model, "--data", file, "-o", "out"], ["scan", model, "--from-outputs", file, "-o", "out"],
                            ["engine", file]):
                with self.subTest(name, command=command[0]):
                    done = self.tool(*command)
                    self.check(f"{name}: {command[0]}", done, len(text), (3,))
                    self.assertLess(len(done.said), 1000, "a message that repeats the file")

    def test_samples(self) -> None:
        """Headers that promise more than is there."""
        model = self.write("model.onnx", hostile_models.chain(3))
        header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904,), }\n"
        array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
        encoded = base64.b64encode(array).decode()
        inputs = self.write("inputs.json", json.dumps([{"x": {"array": encoded, "polygraphy_class": "ndarray"}}]).encode())
        (self.folder / "arrays").mkdir()
        self.write("arrays/x.npy", array)
        (self.folder / "data").mkdir()
        self.write("data/input_0.pb", hostile_models.tensor("x", [1 << 62], hostile_models.FLOAT, b""))
        for data in (inputs, self.folder / "arrays", self.folder / "data"):
            done = self.tool("scan", model, "--data", data, "-o", "out")
            self.check(str(data), done, 200, (3,))


class Page(html.parser.HTMLParser):
    """What a page consists of, names of attributes included."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.parts: set[tuple[str, ...]] = set()
        self.scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.parts.add((tag, *sorted(name for name, _ in attrs)))
        self.scripts += tag == "script"


class NamesTest(HostileTest):
    """Names that hold markup, what a terminal obeys, bytes that are no UTF-8: in every place that has a name."""

    def test_names(self) -> None:
        folder = self.folder / "<b>folder\x1b[2J"
        folder.mkdir()
        model = folder / "<img src=x onerror=y>.onnx"
        model.write_bytes(hostile_models.hostile_names())
        shown = self.shown("inspect", model, "--json", "inspection.json")
        self.assertIn("Mul", shown)
        self.shown("mark", model, "-o", "marked.onnx")
        sha256 = json.loads((self.folder / "inspection.json").read_text())["model_sha256"]
        names = [name.decode(errors="replace") for name in hostile_models.NAMES]
        ranges = json.loads(ranges_of({"model_sha256": sha256, "nodes": [{"name": "x"}, *({"name": f"t{name}"} for name in names)]}))
        for tensor, sample in zip(ranges["tensors"], names):
            tensor["abs_max_sample"] = sample
        ranges["skipped"] = [{"sample": name, "reason": name} for name in names]
        table = self.write("ranges.json", json.dumps(ranges).encode())
        self.shown("plan", model, "--ranges", table, "-o", "plan.json", "--report", "hostile.html")
        self.shown("plan", model, "--ranges", table, "--explain", f"n{names[0]}", "-o", "plan.json")
        self.shown("diff", table, table)
        plan = json.loads((self.folder / "plan.json").read_text())
        plan["warnings"] = names
        for node, name in zip(plan["nodes"], names):
            node.update(reason=name, evidence=name)
        self.write("plan.json", json.dumps(plan).encode())
        # Names that are no UTF-8 have no form in JSON, so a plan can't name them.
        self.shown("apply", model, "--plan", "plan.json", "-o", "fixed.onnx", codes=(0, 3))
        self.assertFalse(list(self.folder.rglob("hacked")))
        self.check_page()

    def shown(self, *arguments: object, codes: tuple[int, ...] = (0,)) -> str:
        done = subprocess.run([HALFSAFE, *map(str, arguments)], cwd=self.folder, capture_output=True, timeout=300)
        text = (done.stdout + done.stderr).decode()  # Which is UTF-8, whatever names are.
        self.assertIn(done.returncode, codes, text[-2000:])
        obeyed = [c for c in text if (ord(c) < 32 or 126 < ord(c) < 160 or 0x202A <= ord(c) <= 0x202E) and c != "\n"]
        self.assertEqual(obeyed, [], arguments)
        self.assertFalse([line for line in text.splitlines() if line.startswith("RIGHT")], text)
        return text

    def check_page(self) -> None:
        """The page has no element that one with plain names doesn't have."""
        hostile = self.folder / "hostile.html"
        if not hostile.exists():
            return  # A build without pages.
        page = Page(hostile.read_text(encoding="utf-8"))
        self.assertEqual({part for part in page.parts if part[0] in ("img", "b", "i") or any(name.startswith("on") for name in part[1:])}, set())
        self.write("plain.onnx", hostile_models.chain(3))
        self.assertEqual(self.tool("plan", "plain.onnx", "--ranges", self.plain_ranges(), "-o", "p.json", "--report", "plain.html").code, 0)
        self.assertEqual(page.scripts, Page((self.folder / "plain.html").read_text(encoding="utf-8")).scripts)

    def plain_ranges(self) -> pathlib.Path:
        self.assertEqual(self.tool("inspect", "plain.onnx", "--json", "plain.json").code, 0)
        sha256 = json.loads((self.folder / "plain.json").read_text())["model_sha256"]
        nodes = [{"name": name} for name in ("x", "t0", "t1", "y")]
        return self.write("plain_ranges.json", ranges_of({"model_sha256": sha256, "nodes": nodes}).encode())


class NothingIsSwitchedOnTest(HostileTest):
    """A model can't make the program load or write anything."""

    def test_metadata_is_no_configuration(self) -> None:
        """ONNX Runtime takes options from a model's metadata where an environment variable lets it."""
        options = json.dumps({"session_options": {"enable_profiling": 1}})
        metadata = hostile_models.message(14, hostile_models.message(1, "ort_config") + hostile_models.message(2, options))
        model = self.write("model.onnx", hostile_models.chain(3) + metadata)
        before = set(self.folder.iterdir())
        done = subprocess.run([HALFSAFE, "scan", str(model), "--random", "1", "-o", "ranges.json"], cwd=self.folder, capture_output=True,
                              env={**os.environ, "ORT_LOAD_CONFIG_FROM_MODEL": "1"}, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual({file.name for file in set(self.folder.iterdir()) - before}, {"ranges.json"})

    def test_domains_load_nothing(self) -> None:
        """An operator of a library that lies beside the model, under any name that its domain could suggest."""
        library = os.environ.get("CUSTOM_OPS")
        if not library:
            self.skipTest("no CUSTOM_OPS")
        for name in ("test.ops.so", "libtest.ops.so", "test.ops", "model.so"):
            (self.folder / name).write_bytes(pathlib.Path(library).read_bytes())
        nodes = [hostile_models.node("Relu", ["x"], ["t"]), hostile_models.node("DoubleIt", ["t"], ["y"], domain="test.ops")]
        model = self.write("model.onnx", hostile_models.from_x_to_y(nodes, imports=["test.ops"]))
        scan = ["scan", model, "--random", 1, "-o", "ranges.json"]
        seen = {}
        for name, more in {"alone": [], "named": ["--custom-ops", library]}.items():
            done = self.tool(*scan, *more)
            self.assertEqual(done.code, 0, done.said)  # What ONNX Runtime doesn't know is left out.
            ranges = json.loads((self.folder / "ranges.json").read_text())
            seen[name] = {tensor["name"] for tensor in ranges["tensors"] if tensor["count"] > 0}
        self.assertEqual(seen, {"alone": {"x", "t"}, "named": {"x", "t", "y"}})

    def test_no_shell(self) -> None:
        """What starts a process is posix_spawn, for halfsafe-load, by its path; nothing looks for a program or asks a shell."""
        symbols = subprocess.run(["nm", "--dynamic", "--undefined-only", HALFSAFE], capture_output=True, text=True)
        if symbols.returncode != 0:
            self.skipTest("no nm")
        names = {line.split()[-1].split("@")[0] for line in symbols.stdout.splitlines()}
        self.assertIn("open", {name.removesuffix("64") for name in names})
        self.assertFalse(names & {"system", "popen", "execl", "execle", "execlp", "execv", "execve", "execvp", "execvpe", "fexecve", "posix_spawnp",
                                  "fork", "vfork", "wordexp"})


def measure(count: int, names: list[str]) -> None:
    for name in names or hostile_models.LARGE:
        with tempfile.TemporaryDirectory() as holder:
            folder = pathlib.Path(holder)
            model = folder / "model.onnx"
            model.write_bytes(hostile_models.LARGE[name](count))
            print(f"{name} {count}: {model.stat().st_size / MB:.1f} MB", flush=True)
            start = time.monotonic()
            for stage, done in stages(folder, model):
                print(f"  {stage:14} exit {done.code}  {done.seconds:7.1f} s  {done.peak / MB:7.0f} MB  "
                      f"({time.monotonic() - start:.0f} s in all)", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(int(sys.argv[2]), sys.argv[3:])
    else:
        unittest.main()
