"""A model of 3 GB, which one protobuf file cannot hold: every stage with weights in external data, in memory that could not
hold the model twice.

HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing, or memory or disk is short. Prints time and
peak memory of each command.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import large_models
from support import HALFSAFE, np, onnx, read_json

GB = 1e9
SIZE = 3 * GB
BESIDE = 1 * GB  # what any stage may hold beside the weights: a weight that is converted, tensors, the program
NEEDED_MEMORY, NEEDED_DISK = SIZE + 2 * BESIDE, 2.5 * SIZE
WIDTH, LAYERS = large_models.width_and_layers(SIZE)


def available_memory() -> float:
    lines = pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))


class LargeModelTest(unittest.TestCase):
    def setUp(self) -> None:
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def tool(self, *arguments: str) -> None:
        with open(self.folder / "log.txt", "w+", encoding="utf-8") as log:
            start = time.monotonic()
            process = subprocess.Popen([HALFSAFE, *arguments], cwd=self.folder, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            log.seek(0)
            self.assertEqual(process.returncode, 0, f"{arguments[0]}: {log.read()[-2000:]}")
        peak = usage.ru_maxrss * 1024
        print(f"{arguments[0]}: {time.monotonic() - start:.1f} s, at most {peak / GB:.2f} GB of memory")
        self.assertLess(peak, SIZE + BESIDE, arguments[0])

    def test_every_stage(self) -> None:
        size = large_models.write_model(self.folder, SIZE)
        self.assertGreater(size, 2**31)
        random = np.random.default_rng(1)
        for name in ("one.npz", "two.npz"):
            np.savez(self.folder / name, x=random.standard_normal((1, WIDTH), dtype=np.float32))
        data = ["--data", "one.npz", "two.npz"]
        self.tool("scan", "model.onnx", *data, "-o", "ranges.json")
        self.tool("plan", "model.onnx", "--ranges", "ranges.json", "-o", "plan.json")
        self.tool("apply", "model.onnx", "--plan", "plan.json", "-o", "fixed.onnx")
        self.tool("check", "model.onnx", "fixed.onnx", *data, "--json", "result.json")
        self.tool("fix", "model.onnx", *data, "-o", "again.onnx", "--save-plan", "again.json")
        self.assertEqual((self.folder / "again.json").read_bytes(), (self.folder / "plan.json").read_bytes())
        self.check_ranges()
        precisions = {node["name"]: node["precision"] for node in read_json(self.folder / "plan.json")["nodes"]}
        self.assertEqual(set(precisions.values()), {"fp16"})
        self.assertIn("large", {tensor["name"] for tensor in read_json(self.folder / "plan.json")["tensors"]})
        self.assertEqual(read_json(self.folder / "result.json")["verdict"], "right")
        self.assertAlmostEqual(next(self.folder.glob("fixed.onnx.*.data")).stat().st_size / size, 0.5, places=3)
        onnx.checker.check_model(str(self.folder / "fixed.onnx"), full_check=True)

    def check_ranges(self) -> None:
        """Statistics of a weight that lies past 2 GB."""
        ranges = {tensor["name"]: tensor for tensor in read_json(self.folder / "ranges.json")["tensors"]}
        self.assertGreater(ranges["large"]["overflow_count"], 0)
        last = np.frombuffer(list(large_models.weight_blocks(WIDTH, LAYERS))[-1], dtype=np.float32)
        found = ranges[f"w{LAYERS - 1}"]
        self.assertEqual((found["count"], found["min"], found["max"]), (WIDTH * WIDTH, float(last.min()), float(last.max())))


if __name__ == "__main__":
    disk = shutil.disk_usage(tempfile.gettempdir()).free
    if available_memory() < NEEDED_MEMORY or disk < NEEDED_DISK:
        print(f"skipped: needs {NEEDED_MEMORY / GB:.0f} GB of memory and {NEEDED_DISK / GB:.0f} GB of disk, "
              f"found {available_memory() / GB:.1f} and {disk / GB:.1f}")
        sys.exit(77)
    unittest.main()
