"""Life in one process with others: signals, threads, warnings, and modules that bring protobuf and ONNX too."""

import importlib.util
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings

import numpy as np

import halfsafe
import models
from models import onnx

# Each parses a model, and the two runtimes run one.
USES = {
    "onnx": "import onnx; onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)",
    "onnxruntime": "import onnxruntime; onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])"
                   ".run(None, {'x': x})",
    "torch": "import torch; torch.ones(3).sum()",
    "halfsafe": "import halfsafe; assert halfsafe.fix(content, [{'x': x}]).right",
}


def run(program, **options):
    return subprocess.run([sys.executable, "-W", "error::RuntimeWarning", "-c", program], capture_output=True, text=True,
                          timeout=300, **options)


class ProcessTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.path = cls.folder / "model.onnx"
        onnx.save(models.overflowing(), cls.path)
        cls.model = halfsafe.load(cls.path)

    def test_other_modules_share_the_process_in_any_order(self):
        there = [name for name in USES if importlib.util.find_spec(name)]
        prelude = f"import numpy as np; content = open({str(self.path)!r}, 'rb').read(); " \
                  f"x = np.ones((1, {models.WIDTH}), np.float32)\n"
        # Each before each other one, and all together forwards and backwards; then again, once all are there.
        orders = [*itertools.permutations(there, 2), there, there[::-1]]
        for order in [order for order in orders if "halfsafe" in order]:
            with self.subTest(order=order):
                uses = [USES[name] for name in order]
                done = run(prelude + "\n".join(uses + uses))
                self.assertEqual(done.returncode, 0, done.stderr)

    def test_an_interrupt_stops_a_scan(self):
        program = f"""if True:
            import sys, time, halfsafe, numpy as np
            class Endless:
                def __len__(self): return 10**9
                def __getitem__(self, index):
                    if index == 20: print("running", flush=True)
                    return np.ones((1, {models.WIDTH}), np.float32)
            try:
                halfsafe.scan({str(self.path)!r}, Endless())
            except KeyboardInterrupt:
                # What was asked to stop is not what comes next.
                assert halfsafe.scan({str(self.path)!r}, [np.ones((1, {models.WIDTH}), np.float32)]).samples == 1
                sys.exit(77)
        """
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        with process:
            self.assertEqual(process.stdout.readline(), "running\n")
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(timeout=60), 77)
            self.assertLess(time.monotonic() - start, 20)

    def test_other_threads_run_meanwhile(self):
        ticks = []
        done = threading.Event()

        def tick():
            while not done.is_set():
                ticks.append(time.monotonic())
                time.sleep(0.001)

        big = np.ones((20000, models.WIDTH), np.float32)
        thread = threading.Thread(target=tick)
        thread.start()
        try:
            start = time.monotonic()
            halfsafe.scan(self.model, [big, big], threads=1)
            end = time.monotonic()
        finally:
            done.set()
            thread.join()
        self.assertGreater(len([at for at in ticks if start < at < end]), 10)

    def test_scans_of_several_threads_are_right(self):
        expected = halfsafe.scan(self.model, models.samples()).to_json()
        results = []

        def scan():
            results.append(halfsafe.scan(self.model, models.samples(), threads=1).to_json())

        threads = [threading.Thread(target=scan) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(results, [expected] * 4)

    def test_progress_is_told(self):
        told = []
        halfsafe.fix(self.model, models.samples(), progress=lambda *step: told.append(step))
        self.assertEqual([step for step in told if step[0] == "scan"], [("scan", done, 5) for done in range(6)])
        self.assertGreater(len({stage for stage, _, _ in told}), 1)

        def refuse(stage, done, total):
            raise ZeroDivisionError("of the listener")

        with self.assertRaisesRegex(ZeroDivisionError, "of the listener"):
            halfsafe.scan(self.model, models.samples(), progress=refuse)

    def test_warnings_are_python_s(self):
        tiny = models.model_of([models.helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
                               [("x", models.TensorProto.FLOAT, ["n", 512])], [("y", models.TensorProto.FLOAT, ["n", 512])],
                               [models.constant("w", np.random.default_rng(0).normal(0, 1e-6, (512, 512)))])
        sample = np.ones((2, 512), np.float32)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            fix = halfsafe.fix(tiny, [sample])
        self.assertEqual([str(warning.message) for warning in caught], fix.plan.warnings)
        self.assertTrue(fix.plan.warnings)
        self.assertIs(caught[0].category, halfsafe.ModelWarning)
        self.assertEqual(caught[0].filename, __file__)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with self.assertRaises(halfsafe.ModelWarning):
                halfsafe.fix(tiny, [sample])

    def test_errors_have_the_exit_codes_of_the_command_line(self):
        sample = models.samples(1)
        cases = [
            (lambda: halfsafe.load("missing.onnx"), halfsafe.InputError, ValueError, 3, "missing.onnx"),
            (lambda: halfsafe.load(b"no model"), halfsafe.InputError, ValueError, 3, "in-memory model"),
            (lambda: halfsafe.load(3), halfsafe.UsageError, ValueError, 2, "int"),
            (lambda: halfsafe.load(self.path, opset=9), halfsafe.UsageError, ValueError, 2, "opset"),
            (lambda: halfsafe.load(self.model, opset=22), halfsafe.UsageError, ValueError, 2, "loaded already"),
            (lambda: halfsafe.fix(self.model, sample, threshold=-1), halfsafe.UsageError, ValueError, 2, "threshold"),
            (lambda: halfsafe.fix(self.model, sample, threshold=float("nan")), halfsafe.UsageError, ValueError, 2, "threshold"),
            (lambda: halfsafe.fix(self.model, sample, repair="glue"), halfsafe.UsageError, ValueError, 2, "glue"),
            (lambda: halfsafe.fix(self.model, sample, keep=["("]), halfsafe.UsageError, ValueError, 2, "("),
            (lambda: halfsafe.fix(self.model, sample, max_flips=2), halfsafe.UsageError, ValueError, 2, "max_flips"),
            (lambda: halfsafe.scan(self.model, sample, threads=-1), halfsafe.UsageError, ValueError, 2, "threads"),
            (lambda: halfsafe.scan(self.model, sample, provider="abacus"), halfsafe.UsageError, ValueError, 2, "abacus"),
            (lambda: halfsafe.scan(self.model, sample, provider="cuda"), halfsafe.UnavailableError, RuntimeError, 5, "CUDA"),
            (lambda: halfsafe.Ranges.from_json("{}"), halfsafe.InputError, ValueError, 3, "ranges"),
        ]
        for call, kind, builtin, code, part in cases:
            with self.subTest(part=part), self.assertRaises(halfsafe.Error) as raised:
                call()
            self.assertIs(type(raised.exception), kind)
            self.assertIsInstance(raised.exception, builtin)
            self.assertEqual(raised.exception.exit_code, code)
            self.assertIn(part, str(raised.exception))

    def test_the_command_is_in_the_wheel(self):
        for command in (["halfsafe"], [sys.executable, "-m", "halfsafe"]):
            done = subprocess.run([*command, "inspect", self.path], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout, halfsafe.inspect(self.path).report())
        done = subprocess.run(["halfsafe", "nothing"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        program = pathlib.Path(halfsafe.__file__).parent / "bin" / "halfsafe"
        self.assertEqual(program.read_bytes()[:4], b"\x7fELF")
        self.assertTrue(os.access(program, os.X_OK))

    def test_nothing_of_ours_is_seen_by_others(self):
        if not pathlib.Path("/usr/bin/nm").exists():
            self.skipTest("nm is not installed")
        names = subprocess.run(["/usr/bin/nm", "-D", "--defined-only", halfsafe._core.__file__], capture_output=True, text=True,
                               check=True).stdout
        self.assertEqual([line.split()[-1] for line in names.splitlines()], ["PyInit__core"])


if __name__ == "__main__":
    unittest.main()
