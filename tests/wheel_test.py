"""Builds the wheel for this machine's Python, installs it into an environment of its own, runs the tests of tests/python there,
and holds the package's type stubs against the extension.

Exits with 77 (skipped) where what scripts/wheel builds with is missing.
"""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import sysconfig
import tempfile
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
NEEDED = ["auditwheel", "build", "mypy", "nanobind", "numpy", "onnx", "scikit_build_core", "wheel"]
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
if not pathlib.Path(sysconfig.get_paths()["include"], "Python.h").exists():
    MISSING.append("Python's headers")
if MISSING:
    print(f"skipped: {', '.join(MISSING)} missing")
    sys.exit(77)


def run(*command, **environment):
    done = subprocess.run([str(part) for part in command], cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}")
    return done.stdout


class WheelTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        run("scripts/wheel", "--own", "-o", cls.folder)
        cls.wheel, = cls.folder.glob("*.whl")

    def test_it_is_for_any_linux_that_is_not_older(self):
        self.assertRegex(self.wheel.name, r"-manylinux_2_\d+_\w+\.whl$")

    def test_it_holds_what_it_should(self):
        with zipfile.ZipFile(self.wheel) as wheel:
            names = wheel.namelist()
        for name in ("halfsafe/__init__.py", "halfsafe/_core.pyi", "halfsafe/py.typed", "halfsafe/bin/halfsafe", "_halfsafe.py"):
            self.assertIn(name, names)
        libraries = [name for name in names if name.startswith("halfsafe.libs/")]
        self.assertTrue(any("libonnxruntime" in name for name in libraries), libraries)
        self.assertFalse([name for name in libraries if "libmpi" in name or "libpython" in name])
        self.assertFalse([name for name in names if name.endswith((".h", ".a", ".cc"))])

    def test_notices_name_all_that_is_inside(self):
        with zipfile.ZipFile(self.wheel) as wheel:
            text = wheel.read("halfsafe/THIRD-PARTY-NOTICES.txt").decode(errors="replace")
            libraries = [name for name in wheel.namelist() if name.startswith("halfsafe.libs/lib")]
        parts = dict(re.findall(r"^={80}\n([^\n]*)\n={80}\n(.*?)(?=^={80}$|\Z)", text, flags=re.M | re.S))
        inside = [re.match(r"halfsafe\.libs/(lib\w+?)(-[0-9a-f]+)?\.so", name)[1] for name in libraries]
        for name in (*inside, "ONNX 1", "JavaScript", "nanobind", "robin_map", "nlohmann-json", "libcli11", "libboost"):
            found = [heading for heading in parts if re.search(rf"{re.escape(name)}(?![a-z])", heading)]
            self.assertTrue(found, f"{name} is not in {list(parts)}")
            self.assertRegex("".join(parts[heading] for heading in found), r"(?i)licen[cs]e|copyright")

    def test_the_program_writes_pages(self):
        with zipfile.ZipFile(self.wheel) as wheel:
            program = pathlib.Path(wheel.extract("halfsafe/bin/halfsafe", self.folder / "program"))
        self.assertIn(b"Content-Security-Policy", program.read_bytes())

    def test_it_works_in_an_environment_of_its_own(self):
        # What this environment has, for the references; the package itself is in the other one alone.
        there = sysconfig.get_paths()["purelib"]
        print(run("tests/python/run_in_venv.sh", self.wheel, PYTHON=sys._base_executable, PYTHONPATH=there))

    def test_types(self):
        package = self.folder / "package"
        with zipfile.ZipFile(self.wheel) as wheel:
            wheel.extractall(package)
        cache = f"--cache-dir={self.folder / 'cache'}"
        run(sys.executable, "-m", "mypy", cache, "python/halfsafe", "python/_halfsafe.py")
        run(sys.executable, "-m", "mypy.stubtest", "--mypy-config-file", "pyproject.toml", "--allowlist",
            "tests/python/stubtest_allowlist.txt", "halfsafe", PYTHONPATH=str(package), MYPYPATH=str(package))
        # As a user's checker sees the package: among the installed ones.
        environment = self.folder / "types"
        run(sys.executable, "-m", "venv", "--without-pip", environment)
        site, = environment.glob("lib/python3*/site-packages")
        (site / "packages.pth").write_text(f"{package}\n{sysconfig.get_paths()['purelib']}\n")
        run(sys.executable, "-m", "mypy", cache, "--python-executable", environment / "bin/python", "tests/python/typed_use.py")


if __name__ == "__main__":
    unittest.main()
