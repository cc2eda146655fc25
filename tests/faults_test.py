"""Whatever goes wrong while halfsafe runs, no half-written file appears, nothing is left behind, and the exit code says so.

Faults come from faults/inject.cc, which makes the n-th call of a kind fail, sends a signal there, or cuts off a file that
is being read. By default a sample of all places is tried; SWEEP=all in the environment tries every one.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import errno
import fcntl
import itertools
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest
from collections.abc import Iterator
from typing import Any

import support
from support import HALFSAFE, helper, np, numpy_helper, onnx

import generated_models
from sweep import ALL

INJECT = os.environ.get("FAULT_INJECTION", "")
SAVE_MODEL = os.environ.get("SAVE_MODEL", "")
OLD = b"what was there before\n"
STALE = re.compile(r"\.halfsafe-\d+(/.*)?$")
OK, NOT_RIGHT, BAD_INPUT, INTERNAL, CLOSED_PIPE = 0, 1, 3, 4, 141
# Children are to have what a shell gives a command in the foreground, however this test was started.
signal.signal(signal.SIGINT, signal.default_int_handler)


def sanitizer() -> str:
    """The library of the address sanitizer, where halfsafe is built with it."""
    linked = subprocess.run(["ldd", HALFSAFE], capture_output=True, text=True, check=False).stdout
    found = re.search(r"libasan\S* => (\S+)", linked)
    return found[1] if found else ""


ASAN = sanitizer()


@dataclasses.dataclass(frozen=True)
class Case:
    """A command line, run in the folder that its outputs go to."""

    name: str
    arguments: list[str]
    outputs: list[str]  # Files, or folders where the name has no ending.
    code: int = OK
    replaces: bool = True  # Whether its outputs may be there already.


@dataclasses.dataclass(frozen=True)
class Fault:
    """What goes wrong, and where."""

    calls: str
    at: int
    does: str
    lasts: bool = False
    unnamed: bool = True  # Whether the file system has files without a name.

    def environment(self, counts: pathlib.Path) -> dict[str, str]:
        names = {"LD_PRELOAD": f"{ASAN} {INJECT}".strip(), "FAULT_CALLS": self.calls, "FAULT_AT": str(self.at),
                 "FAULT_DO": self.does, "FAULT_COUNTS": str(counts)}
        return {**os.environ, **names, **({"FAULT_LASTS": "1"} if self.lasts else {}),
                **({} if self.unnamed else {"FAULT_NO_UNNAMED": "1"})}

    def signal(self) -> int:
        return int(self.does.removeprefix("signal=")) if self.does.startswith("signal=") else 0


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_times(part) for key, part in value.items() if key != "seconds"}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def same(name: str, found: bytes, expected: bytes) -> bool:
    """Whether a file is the whole output: times and what depends on the machine's load may differ."""
    if name.endswith(".html"):
        return found.startswith(expected[:100]) and found.endswith(expected[-100:]) and abs(len(found) - len(expected)) < 200
    if name.endswith(".json"):
        try:
            return without_times(json.loads(found)) == without_times(json.loads(expected))
        except ValueError:
            return False
    return found == expected


class FaultTest(support.ToolTest):
    maxDiff = None

    @classmethod
    def setUpClass(cls) -> None:
        if not INJECT:
            raise unittest.SkipTest("FAULT_INJECTION does not name the library that makes calls fail")
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.inputs = pathlib.Path(folder.name)
        case = generated_models.conv_net(17)
        cls.model = cls.inputs / "model.onnx"
        onnx.save(case.model, cls.model)
        cls.samples = cls.inputs / "samples"
        cls.samples.mkdir()
        for index, sample in enumerate(case.samples[:2]):
            np.savez(cls.samples / f"{index}.npz", **sample)

    def run_case(self, case: Case, folder: pathlib.Path, fault: Fault | None = None) -> tuple[subprocess.CompletedProcess, int]:
        """Runs a command, and says how many calls counted."""
        with tempfile.NamedTemporaryFile() as counts:
            counts.write(bytes(8))
            counts.flush()
            environment = fault.environment(pathlib.Path(counts.name)) if fault else dict(os.environ)
            done = subprocess.run([HALFSAFE, *case.arguments], cwd=folder, env=environment, capture_output=True, text=True,
                                  errors="replace", timeout=300, check=False)
            return done, struct.unpack("<Q", pathlib.Path(counts.name).read_bytes())[0]

    def whole(self, case: Case) -> dict[str, bytes]:
        """What the command writes where nothing goes wrong."""
        folder = self.folder / f"whole {case.name}"
        folder.mkdir()
        done, _ = self.run_case(case, folder)
        self.assertEqual(done.returncode, case.code, f"{case.name}: {done.stderr}")
        return contents(folder)

    def count(self, case: Case, fault: Fault) -> int:
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        _, number = self.run_case(case, folder, dataclasses.replace(fault, at=0))
        return number

    def try_fault(self, case: Case, whole: dict[str, bytes], fault: Fault, before: bool) -> str:
        """Runs a command into a fault and says what is wrong with what it leaves; empty: nothing."""
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        if before and case.replaces:
            for name in case.outputs:
                if pathlib.Path(name).suffix:
                    (folder / name).write_bytes(OLD)
                else:
                    (folder / name).mkdir()
        done, _ = self.run_case(case, folder, fault)
        wrong = self.wrong_with(done, case, contents(folder), whole, fault)
        if not wrong and fault.signal() == signal.SIGKILL and not partial(case, folder):
            again, _ = self.run_case(case, folder)
            left = contents(folder)
            if again.returncode != case.code or left.keys() != whole.keys():
                wrong = f"run again: exit {again.returncode}, {again.stderr}, there is {sorted(left)}"
        shutil.rmtree(folder)
        return f"{case.name}, {fault}, before={before}: {wrong}\n{done.stderr}" if wrong else ""

    def wrong_with(self, done: subprocess.CompletedProcess, case: Case, left: dict[str, bytes], whole: dict[str, bytes],
                   fault: Fault) -> str:
        killed = done.returncode < 0
        stopped = {-signal.SIGKILL} if fault.signal() == signal.SIGKILL else {128 + fault.signal()} if fault.signal() else {BAD_INPUT, INTERNAL}
        if done.returncode in (BAD_INPUT, INTERNAL) and not re.fullmatch(r"(.*\n)*halfsafe: .*\n", done.stderr):
            return "no message"
        for name, found in left.items():
            if STALE.search(name):
                if not killed:
                    return f"{name} is left"
            elif name not in whole:
                if not ("checkpoint" in name and done.returncode != OK and json.loads(found)):
                    return f"{name} appeared"
            elif found != OLD and not same(name, found, whole[name]):
                return f"{name} is neither old nor whole"
        if done.returncode == case.code:
            for name, expected in whole.items():
                if name not in left or not same(name, left[name], expected):
                    return f"exit {case.code}, but {name} is not there or not whole"
        return "" if done.returncode in stopped | {case.code} else f"exit {done.returncode}"

    def cases(self) -> Iterator[Case]:
        model, data = str(self.model), ["--data", str(self.samples)]
        made = self.inputs / "made"
        if not made.exists():
            made.mkdir()
            self.tool("fix", model, *data, "-o", made / "fixed.onnx", "--save-plan", made / "plan.json", "--save-ranges",
                      made / "ranges.json", "-q")
        fixed, plan, ranges = (str(made / name) for name in ("fixed.onnx", "plan.json", "ranges.json"))
        result = ["--json", "result.json", "-q"]
        page = ["--report", "page.html"]
        # Without the run on the CPU: whether it could be tried is part of a result.
        yield Case("fix", ["fix", model, "--no-cpu-run", *data, "-o", "fixed.onnx", "--save-plan", "plan.json", "--save-ranges",
                           "ranges.json", *result, *page], ["fixed.onnx", "plan.json", "ranges.json", "result.json", "page.html"])
        yield Case("scan", ["scan", model, *data, "-o", "ranges.json", "--save-outputs", "outputs.json", *result, *page],
                   ["ranges.json", "outputs.json", "result.json", "page.html"])
        yield Case("scan with a checkpoint", ["scan", model, *data, "-o", "ranges.json", "--checkpoint", "checkpoint.json", "-q"],
                   ["ranges.json"])
        yield Case("plan", ["plan", model, "--ranges", ranges, "-o", "plan.json", *result, *page],
                   ["plan.json", "result.json", "page.html"])
        yield Case("apply", ["apply", model, "--plan", plan, "-o", "fixed.onnx", *result], ["fixed.onnx", "result.json"])
        yield Case("check", ["check", model, fixed, "--no-cpu-run", *data, "--save-outputs", "outputs", *result, *page],
                   ["outputs", "result.json", "page.html"])
        yield Case("data as JSON", ["data", str(self.samples), "-o", "all.json"], ["all.json"])
        yield Case("data as a folder", ["data", str(self.samples), "-o", "all"], ["all"])
        yield Case("mark", ["mark", model, "-o", "all.onnx"], ["all.onnx"])
        yield Case("merge", ["merge", ranges, ranges, "-o", "joined.json"], ["joined.json"])
        yield Case("inspect", ["inspect", model, *result], ["result.json"])
        yield Case("diff", ["diff", ranges, ranges, *result], ["result.json"])

    def sweep(self, calls: str, faults: list[tuple[str, bool]], most: int) -> None:
        """Every command, every fault, with and without unnamed files and older outputs; at up to `most` places each."""
        jobs = []
        for case in self.cases():
            whole = self.whole(case)
            for unnamed in (True, False):
                number = self.count(case, Fault(calls, 0, "", unnamed=unnamed))
                self.assertGreater(number, 0, case.name)
                for turn, (does, lasts) in enumerate(faults):
                    for place in places(number, most, turn):
                        for before in (True, False) if ALL else (bool((place + turn) % 2),):
                            jobs.append((case, whole, Fault(calls, place, does, lasts, unnamed), before))
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            wrong = list(filter(None, pool.map(lambda job: self.try_fault(*job), jobs)))
        print(f"{self.id()}: {len(jobs)} faults", flush=True)
        self.assertEqual(wrong[:5], [], f"{len(wrong)} of {len(jobs)}")


def partial(case: Case, folder: pathlib.Path) -> bool:
    """Whether files were moving into a folder that was there before: nothing else tells it from another's."""
    return any((folder / name).is_dir() and any(not path.name.startswith(".halfsafe-") for path in (folder / name).iterdir())
               for name in case.outputs if not pathlib.Path(name).suffix)


def places(number: int, most: int, turn: int) -> list[int]:
    """Up to `most` of the places 1 to `number`, others at another turn, the last one always among them."""
    if ALL or number <= most:
        return list(range(1, number + 1))
    step = number / most
    return sorted({min(number, 1 + int((index + turn / 7) * step)) for index in range(most - 1)} | {number})


class WritingTest(FaultTest):
    """What is being written when it happens."""

    def test_where_files_get_their_names(self) -> None:
        self.sweep("name,make_folder", [(f"signal={signal.SIGKILL}", False), (f"errno={errno.EIO}", False)], 12)

    def test_killed_or_told_to_stop(self) -> None:
        self.sweep("create,write,sync,remove", [(f"signal={number}", False) for number in
                                                (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)], 2)

    def test_told_to_stop_twice(self) -> None:
        self.sweep("create,write,name", [(f"signal={signal.SIGINT}", True)], 3)

    def test_full_disk_quota_and_bad_disk(self) -> None:
        self.sweep("create,write,name,make_folder,sync", [(f"errno={errno.ENOSPC}", True), (f"errno={errno.EDQUOT}", True),
                                                         (f"errno={errno.EIO}", False), (f"errno={errno.EROFS}", True)], 2)

    def test_too_many_open_files(self) -> None:
        self.sweep("create,read", [(f"errno={errno.EMFILE}", False)], 8)


class ShrinkTest(FaultTest):
    """Files that become shorter while they are read: small ones are read, large ones mapped."""

    def shrink(self, file: pathlib.Path, arguments: list[str], calls: str = "map,read") -> None:
        """Cuts the file at every call that reads; what was read before that may be enough for a result."""
        case = Case(file.name, arguments, [])
        content = file.read_bytes()
        number = self.count(case, Fault(calls, 0, ""))
        failed = 0
        for place in places(number, 25 if ALL else 8, 0):
            fault = Fault(calls, place, f"truncate={file}")
            folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
            done, _ = self.run_case(case, folder, fault)
            file.write_bytes(content)
            self.assertIn(done.returncode, (OK, NOT_RIGHT, BAD_INPUT), f"{arguments}, {fault}: {done.stderr}")
            if done.returncode == BAD_INPUT:
                self.assertRegex(done.stderr, "^halfsafe: .*\n$")
                self.assertEqual(contents(folder), {}, fault)
                failed += 1
        self.assertGreater(failed, 0, "the file was never cut in time")

    def large_model(self, outside: bool) -> pathlib.Path:
        """6 MB of weights, more than what is read at once."""
        weight = numpy_helper.from_array(np.ones((1500, 1000), np.float32), "w")
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
                                  [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1500])],
                                  [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        path = self.folder / "large.onnx"
        onnx.save(model, path, save_as_external_data=outside, location="large.weights", size_threshold=0)
        return path

    def large_samples(self) -> list[np.ndarray]:
        return [np.full((1, 1500), value, np.float32) for value in (1.0, 2.0)]

    def test_model(self) -> None:
        path = self.large_model(False)
        self.shrink(path, ["fix", str(path), "--random", "2", "-q", "-o", "fixed.onnx"])
        self.shrink(self.model, ["fix", str(self.model), "--random", "2", "-q", "-o", "fixed.onnx"])

    def test_external_data(self) -> None:
        path = self.large_model(True)
        self.shrink(self.folder / "large.weights", ["fix", str(path), "--random", "2", "-q", "-o", "fixed.onnx"])
        self.shrink(self.folder / "large.weights", ["mark", str(path), "-o", "all.onnx"])

    def test_says_which_file(self) -> None:
        path = self.large_model(True)
        weights = self.folder / "large.weights"
        done, _ = self.run_case(Case("mark", ["mark", str(path), "-o", "all.onnx"], []), self.inputs,
                                Fault("map", 1, f"truncate={weights}"))
        self.assertEqual(done.returncode, BAD_INPUT)
        self.assertEqual(done.stderr, f"halfsafe: {weights} became shorter while it was read\n")

    def test_samples(self) -> None:
        path = self.large_model(False)
        samples = self.folder / "samples"
        samples.mkdir()
        np.savez(samples / "0.npz", x=self.large_samples()[0])
        self.shrink(samples / "0.npz", ["scan", str(path), "--data", str(samples), "-q", "-o", "ranges.json"])

    def test_arrays(self) -> None:
        """A folder of .npy, one of them large enough to be mapped."""
        folder = self.folder / "arrays"
        folder.mkdir()
        np.save(folder / "x.npy", np.zeros((1 << 21,), np.float32))
        self.shrink(folder / "x.npy", ["data", str(folder), "-o", "out.json"])

    def test_json(self) -> None:
        for count in (1, 700):
            path = self.folder / "samples.json"
            path.write_text(self.polygraphy(count), encoding="utf-8")
            self.shrink(path, ["data", str(path), "-o", "out"])

    def polygraphy(self, count: int) -> str:
        """Inputs as Polygraphy writes them, small, or past what is read at once."""
        folder = self.folder / f"{count} arrays"
        folder.mkdir()
        np.savez(folder / "0.npz", x=self.large_samples()[0])
        out = self.folder / f"{count}.json"
        self.tool("data", *[folder / "0.npz"] * count, "-o", out)
        return out.read_text(encoding="utf-8")


class LimitTest(FaultTest):
    """Limits that the system sets for a process."""

    def limited(self, case: Case, kind: int, limit: int) -> tuple[subprocess.CompletedProcess, dict[str, bytes]]:
        folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
        done = subprocess.run([HALFSAFE, *case.arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False,
                              errors="replace", preexec_fn=lambda: resource.setrlimit(kind, (limit, limit)))
        return done, contents(folder)

    def sweep_limit(self, case: Case, kind: int, limits: list[int], codes: tuple[int, ...]) -> set[int]:
        whole = self.whole(case)
        found = set()
        ended = 0
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for limit, (done, left) in zip(limits, pool.map(lambda limit: self.limited(case, kind, limit), limits)):
                said = f"{case.name} with a limit of {limit}: exit {done.returncode}, {done.stderr}"
                self.assertIn(done.returncode, (*codes, case.code), said)
                killed = done.returncode < 0
                ended += killed
                for name, content in left.items():
                    if not (killed and STALE.search(name)):
                        self.assertTrue(name in whole and same(name, content, whole[name]), f"{said}: {name}")
                if done.returncode == case.code:
                    self.assertEqual(left.keys(), whole.keys(), said)
                elif not killed:
                    self.assertRegex(done.stderr, "halfsafe: .*\n$", said)
                found.add(done.returncode)
        self.assertLessEqual(ended, 1 + len(limits) // 20)
        return found

    def test_size_of_files(self) -> None:
        for case in self.cases():
            self.assertIn(BAD_INPUT, self.sweep_limit(case, resource.RLIMIT_FSIZE, [0, 100, 1000], (BAD_INPUT,)))

    def test_number_of_files(self) -> None:
        for case in itertools.islice(self.cases(), 0, None, 3):
            # Below 8 not even the loader finds its libraries, which exits with 127.
            self.sweep_limit(case, resource.RLIMIT_NOFILE, list(range(8, 24, 1 if ALL else 3)), (BAD_INPUT, INTERNAL))

    @unittest.skipIf(ASAN, "the address sanitizer needs address space of its own")
    def test_memory(self) -> None:
        """Address space from what the program needs to start with up to enough, for few threads and for many: each takes a stack,
        and may find no memory when the session that it is of has been made."""
        enough = 1 << 32
        started = next(limit for limit in range(32 << 20, enough, 8 << 20)
                       if subprocess.run([HALFSAFE, "--version"], capture_output=True, check=False,
                                         preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
                                         ).returncode == 0)
        limits = list(range(started, started + (640 << 20), (1 << 20) if ALL else (16 << 20)))
        # At some few limits ONNX Runtime and the C library end the process.
        ends = (INTERNAL, -signal.SIGSEGV, -signal.SIGABRT)
        few = next(self.cases())
        many = dataclasses.replace(few, name=f"{few.name} with 16 threads", arguments=[*few.arguments, "--threads", "16"])
        for case in (few, many):
            self.assertEqual(self.limited(case, resource.RLIMIT_AS, enough)[0].returncode, case.code)
            self.assertIn(INTERNAL, self.sweep_limit(case, resource.RLIMIT_AS, limits, ends))


@unittest.skipIf(ASAN, "the address sanitizer has an allocator of its own")
class MemoryTest(FaultTest):
    def allocations(self, names: tuple[str, ...]) -> tuple[list[str], int]:
        """Has allocations fail all over a run, one alone and all from one on. Says what went wrong, and of how many."""
        wrong, tried = [], 0
        for case in self.cases():
            if case.name not in names:
                continue
            whole = self.whole(case)
            number = self.count(case, Fault("allocate", 0, ""))
            turns = 400 if ALL else 20
            marks = sorted({round(number ** (index / turns)) for index in range(1, turns + 1)} | set(range(1, number, number // turns)))
            jobs = [Fault("allocate", place, f"errno={errno.ENOMEM}", lasts) for place in marks for lasts in (False, True)]
            tried += len(jobs)
            with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                wrong += filter(None, pool.map(lambda fault: self.try_fault(case, whole, fault, False), jobs))
        print(f"{self.id()}: {tried} faults", flush=True)
        return wrong, tried

    def test_in_halfsafe(self) -> None:
        wrong, tried = self.allocations(("plan", "apply", "data as JSON", "mark", "merge", "diff"))
        self.assertEqual(wrong[:5], [], f"{len(wrong)} of {tried}")

    def test_with_other_libraries(self) -> None:
        """ONNX Runtime, the C library, and OpenSSL, which has libzip's random numbers, can't do without some allocations, and end
        the process. No file may be left then."""
        wrong, tried = self.allocations(("fix", "check", "data as a folder"))
        crash = re.compile(rf": exit -({signal.SIGSEGV:d}|{signal.SIGABRT:d})\n")
        self.assertEqual([said for said in wrong if not crash.search(said)], [])
        print(f"{len(wrong)} of {tried} ended in libraries", flush=True)
        self.assertLess(len(wrong), tried / 4)


def catches(process: subprocess.Popen, number: int) -> bool:
    """Whether the process got as far as to install its handler."""
    status = pathlib.Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


class SignalTest(FaultTest):
    def test_pipe_that_nobody_reads(self) -> None:
        reads, writes = os.pipe()
        os.close(reads)
        with os.fdopen(writes, "wb") as pipe:
            done = subprocess.run([HALFSAFE, "inspect", self.model], stdout=pipe, stderr=subprocess.PIPE, check=False)
        self.assertEqual((done.returncode, done.stderr), (CLOSED_PIPE, b""))

    def test_answers_within_a_run(self) -> None:
        """A sample that runs for ever: a loop of so many turns. Every stage that runs models has to stop in it."""
        text = """<ir_version: 8, opset_import: ["" : 17]>
            endless (float[1] x) => (float[1] y) {
              turns = Constant<value: tensor = int64 {4000000000}>()
              y = Loop(turns, , x) <body = body (int64 i, bool go, float[1] v) => (bool again, float[1] w) {
                again = Identity(go)
                w = Neg(v)
              }>
            }"""
        model = self.folder / "endless.onnx"
        onnx.save(onnx.parser.parse_model(text), model)
        for arguments in (["scan", model, "--random", "2"], ["check", model, model, "--random", "2"],
                          ["fix", model, "--random", "1", "-o", self.folder / "fixed.onnx"]):
            for number in (signal.SIGINT, signal.SIGTERM):
                with self.subTest(command=arguments[0], signal=number):
                    process = subprocess.Popen([HALFSAFE, *map(str, arguments), "-q"], stderr=subprocess.PIPE, text=True)
                    while not catches(process, number):
                        time.sleep(0.01)
                    time.sleep(1.5)
                    self.assertIsNone(process.poll())
                    start = time.monotonic()
                    process.send_signal(number)
                    _, said = process.communicate(timeout=60)
                    print(f"{arguments[0]} answered signal {number} in {time.monotonic() - start:.2f} s", flush=True)
                    self.assertLess(time.monotonic() - start, 10)
                    self.assertEqual((process.returncode, said), (128 + number, "halfsafe: interrupted\n"))
        self.assertEqual(list(contents(self.folder)), ["endless.onnx"])

    def test_ignored_signals_stay_ignored(self) -> None:
        """As under nohup."""
        case = Case("mark", ["mark", str(self.model), "-o", "all.onnx"], ["all.onnx"])
        with tempfile.NamedTemporaryFile() as counts:
            counts.write(bytes(8))
            counts.flush()
            fault = Fault("create", 1, f"signal={signal.SIGHUP}")
            done = subprocess.run([HALFSAFE, *case.arguments], cwd=self.folder, env=fault.environment(pathlib.Path(counts.name)),
                                  preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN), check=False)
        self.assertEqual(done.returncode, OK)

    def test_bus_error_that_no_file_is_behind(self) -> None:
        done, _ = self.run_case(Case("inspect", ["inspect", str(self.model)], []), self.folder,
                                Fault("read", 1, f"signal={signal.SIGBUS}"))
        self.assertEqual(done.returncode, -signal.SIGBUS)


class OutputsTest(FaultTest):
    """Paths that can't all be written."""

    def test_one_path_twice(self) -> None:
        (self.folder / "link.json").symlink_to("ranges.json")
        data = ["--data", self.samples]
        for arguments in (["-o", "x.json", "--json", "x.json"], ["-o", "x.json", "--json", "./x.json"],
                          ["-o", "x.json", "--report", self.folder / "x.json"], ["-o", "ranges.json", "--json", "link.json"],
                          ["-o", "x.json", "--checkpoint", "x.json"]):
            done = self.tool("scan", self.model, *data, *arguments, code=2, cwd=self.folder)
            self.assertIn("same file", done.stderr)
        self.tool("scan", self.model, *data, "-o", "/dev/null", "--json", "/dev/null", cwd=self.folder)

    def test_an_input(self) -> None:
        before = contents(self.inputs)
        model, data = self.model, self.samples
        for arguments in (["mark", model, "-o", model], ["scan", model, "--data", data, "-o", model],
                          ["scan", model, "--data", data / "0.npz", "-o", data / "0.npz"],
                          ["scan", model, "--data", data, "--json", data / "1.npz"],
                          ["data", data / "0.npz", "-o", data / "0.npz"]):
            self.assertIn("would replace what is read", self.tool(*arguments, code=2).stderr)
        self.assertEqual(contents(self.inputs), before)

    def test_external_data_of_the_model(self) -> None:
        weights = numpy_helper.from_array(np.ones(2000, np.float32), "w")
        graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g",
                                  [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2000])],
                                  [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2000])], [weights])
        path = self.folder / "m.onnx"
        onnx.save(helper.make_model(graph, ir_version=8), path, save_as_external_data=True, location="m.weights")
        for option in ("-o", "--json"):
            done = self.tool("scan", path, "--random", "1", option, self.folder / "m.weights", code=2)
            self.assertIn("would replace what is read", done.stderr)

    def test_standard_output(self) -> None:
        done = self.tool("mark", self.model, "-o", "-", code=2, cwd=self.folder)
        self.assertIn("only --json", done.stderr)
        self.assertEqual(contents(self.folder), {})
        self.tool("mark", self.model, "-o", "./-", cwd=self.folder)
        self.assertEqual(list(contents(self.folder)), ["-"])

    def test_leftovers_of_others_stay(self) -> None:
        """What a process holds that lives, or what was never halfsafe's."""
        out = self.folder / "all.onnx"
        stale, held, link = (self.folder / f"all.onnx.halfsafe-{number}" for number in range(3))
        stale.write_bytes(b"x")
        link.symlink_to(self.model)
        with held.open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            self.tool("mark", self.model, "-o", out)
            self.assertEqual(sorted(path.name for path in self.folder.iterdir()),
                             ["all.onnx", "all.onnx.halfsafe-1", "all.onnx.halfsafe-2"])

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_protected(self) -> None:
        out = self.folder / "all.onnx"
        out.write_bytes(OLD)
        out.chmod(0o444)
        self.assertIn("cannot write", self.tool("mark", self.model, "-o", out, code=BAD_INPUT).stderr)
        self.assertEqual(out.read_bytes(), OLD)

    def test_folder_that_is_not_whole_is_not_read(self) -> None:
        """Killed while files moved into a folder that was there."""
        case = Case("data", ["data", str(self.samples), "-o", "all"], ["all"])
        number = self.count(case, Fault("name", 0, ""))
        seen = False
        for place in range(1, number + 4):
            folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
            (folder / "all").mkdir()
            self.run_case(case, folder, Fault("name,remove", place, f"signal={signal.SIGKILL}"))
            files = [path for path in (folder / "all").iterdir() if path.suffix == ".npz"]
            if files and list((folder / "all").glob(".halfsafe-*")):
                seen = True
                done = self.tool("data", folder / "all", "-o", folder / "again.json", code=BAD_INPUT)
                self.assertIn("is not whole", done.stderr)
        self.assertTrue(seen)


@unittest.skipUnless(SAVE_MODEL, "SAVE_MODEL does not name the program that saves with external data")
class ExternalDataTest(FaultTest):
    """A model never reads the weights of another one, whenever its writer is killed."""

    def model_of(self, value: float) -> pathlib.Path:
        weight = numpy_helper.from_array(np.full((64, 64), value, np.float32), "w")
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], f"all {value}",
                                  [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 64])],
                                  [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 64])], [weight])
        path = self.folder / f"{value}.onnx"
        onnx.save(helper.make_model(graph, ir_version=8), path)
        return path

    def loaded(self, path: pathlib.Path) -> float:
        """What the weights are, which the graph's name has to agree with."""
        model = onnx.load(path)
        values = numpy_helper.to_array(model.graph.initializer[0])
        self.assertEqual(model.graph.name, f"all {values[0, 0]}")
        self.assertTrue((values == values[0, 0]).all())
        return float(values[0, 0])

    def save(self, *arguments: object, **options: Any) -> int:  # type: ignore[override]
        return subprocess.run([SAVE_MODEL, *map(str, arguments)], check=False, stderr=subprocess.DEVNULL, **options).returncode

    def test_killed_at_every_call(self) -> None:
        first, second = self.model_of(1.0), self.model_of(2.0)
        outcomes = set()
        for unnamed, does in itertools.product((True, False), (f"signal={signal.SIGKILL}", f"errno={errno.EIO}")):
            for place in itertools.count(1):
                folder = pathlib.Path(tempfile.mkdtemp(dir=self.folder))
                out = folder / "out.onnx"
                self.assertEqual(self.save(first, out), 0)
                with tempfile.NamedTemporaryFile() as counts:
                    counts.write(bytes(8))
                    counts.flush()
                    fault = Fault("create,write,name,remove", place, does, unnamed=unnamed)
                    code = self.save(second, out, env=fault.environment(pathlib.Path(counts.name)))
                    done = place > struct.unpack("<Q", pathlib.Path(counts.name).read_bytes())[0]
                value = self.loaded(out)
                outcomes.add(value)
                if code == 0:
                    self.assertEqual(value, 2.0)
                elif not fault.signal():
                    self.assertEqual(value, 1.0)
                    self.assertEqual(len(list(folder.iterdir())), 2, sorted(folder.iterdir()))
                self.assertEqual(self.save(second, out), 0)
                self.assertEqual(self.loaded(out), 2.0)
                left = [path.name for path in folder.iterdir() if STALE.search(path.name)]
                self.assertEqual(left, [])
                if done:
                    self.assertEqual(len(list(folder.iterdir())), 2, "the older weights go")
                    break
        self.assertEqual(outcomes, {1.0, 2.0})

    def test_renamed_models_keep_their_weights(self) -> None:
        out, kept = self.folder / "out.onnx", self.folder / "kept.onnx"
        self.save(self.model_of(1.0), out)
        out.rename(kept)
        self.save(self.model_of(2.0), out)
        self.assertEqual((self.loaded(kept), self.loaded(out)), (1.0, 2.0))


if __name__ == "__main__":
    unittest.main()
