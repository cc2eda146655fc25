"""Installs halfsafe, moves the tree, and uses it: the program, the library from a program of its own, packages.

HALFSAFE names the binary in its build folder. Exits with 77 (skipped) where numpy or onnx is missing, or the build has
sanitizers, which programs with the library would have to have too.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

try:
    import numpy as np
    import onnx

    from package_model import write_model_and_samples
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = pathlib.Path(os.environ["HALFSAFE"]).resolve().parent
CACHE = dict(re.findall(r"^([\w-]+):\w+=(.*)$", (BUILD / "CMakeCache.txt").read_text(), flags=re.M))
CMAKE = CACHE["CMAKE_COMMAND"]
VERSION = re.search(r"project\(halfsafe VERSION ([\d.]+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
if CACHE.get("HALFSAFE_SANITIZE"):
    print("skipped: a build with sanitizers")
    sys.exit(77)
# The dynamic linker has to find everything by itself.
CLEAN = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
# What comes with every system: the C library, and the compiler's run-time libraries.
BASE = re.compile(r"linux-vdso|ld-linux|lib(c|m|dl|rt|pthread|gcc_s|stdc\+\+)\.so")


def run(*command: object, code: int = 0, cwd: pathlib.Path | None = None) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, env=CLEAN, cwd=cwd)
    if done.returncode != code:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def sha256(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def libraries(binary: pathlib.Path) -> dict[str, pathlib.Path]:
    """What the dynamic linker takes for each library that `binary` needs, those of the base system left out."""
    text = run("ldd", binary)
    if "not found" in text:
        raise AssertionError(text)
    return {name: pathlib.Path(path) for name, path in re.findall(r"(\S+) => (\S+)", text) if not BASE.match(name)}


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.temporary = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.temporary.cleanup)
        cls.folder = pathlib.Path(cls.temporary.name)
        run(CMAKE, "--install", BUILD, "--component", "halfsafe", "--prefix", cls.folder / "before", "--strip")
        cls.tree = cls.folder / "after" / "moved"
        cls.tree.parent.mkdir()
        (cls.folder / "before").rename(cls.tree)
        cls.program = cls.tree / "bin" / "halfsafe"
        cls.model, cls.samples = write_model_and_samples(cls.folder)
        run(cls.program, "fix", cls.model, "--data", cls.samples, "-o", cls.folder / "fixed.onnx")

    def test_the_layout(self) -> None:
        expected = ["bin/halfsafe", "include/halfsafe/halfsafe.h", "include/halfsafe/version.h", "lib/libhalfsafe.so",
                    "lib/cmake/halfsafe/halfsafeConfig.cmake", "lib/cmake/halfsafe/halfsafeConfigVersion.cmake",
                    "lib/halfsafe/include/onnx/onnx_pb.h", "share/doc/halfsafe/README.md", "share/doc/halfsafe/LICENSE",
                    "share/doc/halfsafe/THIRD-PARTY-NOTICES.txt", "share/doc/halfsafe/docs/install.md",
                    "share/doc/halfsafe/examples/cpp/fix_model.cc"]
        # Written by the program when it is built, where this version of it does.
        for made, installed in {"man/halfsafe.1": "share/man/man1/halfsafe.1",
                                "completions/halfsafe.bash": "share/bash-completion/completions/halfsafe",
                                "completions/_halfsafe": "share/zsh/site-functions/_halfsafe",
                                "completions/halfsafe.fish": "share/fish/vendor_completions.d/halfsafe.fish"}.items():
            if (BUILD / "generated" / made).exists():
                expected.append(installed)
        for name in expected:
            self.assertTrue((self.tree / name).exists(), name)
        headers = {path.name for path in (ROOT / "include" / "halfsafe").glob("*.h")} | {"version.h"}
        self.assertEqual({path.name for path in (self.tree / "include" / "halfsafe").iterdir()}, headers)

    def test_no_path_of_the_machine_that_built_it(self) -> None:
        # A checkout may lie at a path as short as /src, which other words end with.
        folders = [ROOT / "src", ROOT / "include", ROOT / ".deps", (ROOT / ".deps").resolve(), BUILD / "generated",
                   BUILD / "CMakeFiles", self.folder / "before"]
        paths = [f"{folder}/".encode() for folder in folders]
        for file in self.tree.rglob("*"):
            # ONNX Runtime's own library is as its maker built it.
            if file.is_file() and not file.is_symlink() and not file.name.startswith("libonnxruntime"):
                content = file.read_bytes()
                self.assertEqual([path for path in paths if path in content], [], file)

    def test_the_moved_program_finds_its_own_libraries(self) -> None:
        self.assertEqual(run(self.program, "--version").split()[-1], VERSION)
        for binary in (self.program, self.tree / "lib" / "libhalfsafe.so"):
            used = libraries(binary)
            if (self.tree / "lib" / "halfsafe" / "libonnxruntime.so.1").exists():
                self.assertTrue(used["libonnxruntime.so.1"].resolve().is_relative_to(self.tree.resolve()), used)

    def test_the_library_shows_its_interface_alone(self) -> None:
        defined = run("nm", "-DC", "--defined-only", self.tree / "lib" / "libhalfsafe.so")
        names = re.findall(r"^[0-9a-f]+ \w (.*)$", defined, flags=re.M)
        self.assertIn("halfsafe::Model::Load(std::filesystem::__cxx11::path const&)", "\n".join(names))
        # Of ONNX its messages alone: not its checker, for one.
        messages = r"((typeinfo( name)?|vtable) for )?onnx::_?(\w*Proto|TensorAnnotation|Version_|OperatorStatus_)|descriptor_table"
        self.assertEqual([name for name in names if "halfsafe::" not in name and not re.match(messages, name)], [])
        self.assertNotIn("libmpi.so", " ".join(libraries(self.tree / "lib" / "libhalfsafe.so")))

    def consumer(self, source: pathlib.Path, name: str) -> pathlib.Path:
        build = self.folder / f"build-{name}"
        launcher = CACHE.get("CMAKE_CXX_COMPILER_LAUNCHER", "")
        run(CMAKE, "-S", source, "-B", build, "-G", "Ninja", f"-DCMAKE_PREFIX_PATH={self.tree}",
            f"-DCMAKE_MAKE_PROGRAM={CACHE['CMAKE_MAKE_PROGRAM']}", f"-DCMAKE_CXX_COMPILER={CACHE['CMAKE_CXX_COMPILER']}",
            f"-DCMAKE_CXX_COMPILER_LAUNCHER={launcher}")
        run(CMAKE, "--build", build)
        return build / name

    def test_a_program_with_the_library_does_what_fix_does(self) -> None:
        example = self.consumer(ROOT / "examples" / "cpp", "fix_model")
        said = run(example, self.model, self.samples, self.folder / "by_library.onnx")
        self.assertRegex(said, r"(?m)^big reaches [\d.e+]+$")
        self.assertRegex(said, r"(?m)^right, relative L2 error ")
        self.assertEqual(sha256(self.folder / "by_library.onnx"), sha256(self.folder / "fixed.onnx"))
        said = subprocess.run([example, self.folder / "none.onnx", self.samples, "x.onnx"], capture_output=True, text=True,
                              env=CLEAN, check=False)
        self.assertEqual(said.returncode, 3, "the library's exceptions reach the program")
        self.assertIn("none.onnx", said.stderr)

    def test_a_program_reads_and_makes_messages_of_onnx(self) -> None:
        source = self.folder / "messages"
        source.mkdir()
        (source / "CMakeLists.txt").write_text("""cmake_minimum_required(VERSION 3.25)
project(messages LANGUAGES CXX)
find_package(halfsafe REQUIRED COMPONENTS onnx)
add_executable(messages messages.cc)
target_link_libraries(messages PRIVATE halfsafe::onnx)
""")
        (source / "messages.cc").write_text("""#include <halfsafe/halfsafe.h>
#include <onnx/onnx_pb.h>
#include <cstdio>
int main(int, char** argv) {
  const halfsafe::Model model = halfsafe::Model::Load(argv[1]);
  onnx::ModelProto proto = model.proto();
  for (const onnx::NodeProto& node : proto.graph().node()) std::puts(node.op_type().c_str());
  proto.set_producer_name("messages");
  halfsafe::Model(model, std::move(proto)).Save(argv[2]);
}
""")
        said = run(self.consumer(source, "messages"), self.model, self.folder / "named.onnx")
        model = onnx.load(self.model)
        self.assertEqual(said.split(), [node.op_type for node in model.graph.node])
        model.producer_name = "messages"
        self.assertEqual(onnx.load(self.folder / "named.onnx"), model)

    def test_versions_that_fit(self) -> None:
        major, minor, patch = map(int, VERSION.split("."))
        for wanted, fits in ((VERSION, True), (f"{major}.{minor}", True), (f"{major}.{minor}.{patch + 1}", False),
                             (f"{major}.{minor + 1}", False), (f"{major + 1}", False)):
            source = self.folder / f"wants-{wanted}"
            source.mkdir()
            (source / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(wants LANGUAGES CXX)\n"
                                                   f"find_package(halfsafe {wanted} REQUIRED)\n")
            done = subprocess.run([CMAKE, "-S", source, "-B", source / "build", f"-DCMAKE_PREFIX_PATH={self.tree}"],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode == 0, fits, wanted + done.stderr)

    def test_one_version(self) -> None:
        newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.M).group(1)
        self.assertEqual(newest, VERSION)
        self.assertIn(f'"{VERSION}"', (self.tree / "include" / "halfsafe" / "version.h").read_text())

    def test_the_page_of_the_interface_shows_the_example(self) -> None:
        page = (ROOT / "docs" / "api.md").read_text()
        for language, name in (("cpp", "fix_model.cc"), ("cmake", "CMakeLists.txt")):
            self.assertIn(f"```{language}\n{(ROOT / 'examples' / 'cpp' / name).read_text()}```\n", page)

    def test_notices(self) -> None:
        self.check_notices(self.tree, [])

    def check_notices(self, tree: pathlib.Path, bundled: list[str]) -> None:
        """Each library that is inside is named in a heading, with a licence below."""
        text = (tree / "share" / "doc" / "halfsafe" / "THIRD-PARTY-NOTICES.txt").read_text(errors="replace")
        parts = re.findall(r"^={80}\n([^\n]*)\n={80}\n(.*?)(?=^={80}$|\Z)", text, flags=re.M | re.S)
        headings = {heading: body for heading, body in parts}
        self.assertEqual(len(headings), len(parts), "a notice stands there twice")
        self.assertLessEqual(text.count("Packages inside the page that halfsafe --report writes"), 1)
        for name in ("ONNX 1", "nlohmann-json3-dev", "libcli11-dev", "libfmt-dev", "libprotobuf-dev", "libhwy-dev", "boost",
                     *(["ONNX Runtime"] if (tree / "lib/halfsafe/libonnxruntime.so.1").exists() else []), *bundled):
            found = [heading for heading in headings if name in heading]
            self.assertTrue(found, f"{name} is not in {list(headings)}")
            self.assertRegex("".join(headings[heading] for heading in found), r"(?i)licen[cs]e|copyright")
        for common in re.findall(r"/usr/share/common-licenses/[\w.-]*\w", text):
            self.assertIn(common, list(headings))

    @unittest.skipUnless(shutil.which("dpkg-shlibdeps"), "no dpkg-dev")
    def test_the_debian_package(self) -> None:
        package = self.pack("DEB", "*.deb")
        fields = dict(re.findall(r"^ (\S+): (.*)$", run("dpkg-deb", "-I", package), flags=re.M))
        self.assertEqual((fields["Package"], fields["Version"]), ("halfsafe", VERSION))
        depends = set(re.findall(r"[\w.+-]+(?= \()|(?<=, )[\w.+-]+", fields["Depends"]))
        for name in ("libc6", "libstdc++6", "libprotobuf", "libzip", "libfmt", "libssl"):
            self.assertTrue(any(found.startswith(name) for found in depends), f"{name} is not in {depends}")
        self.assertFalse(any("onnx" in found for found in depends), depends)
        root = self.folder / "root"
        run("dpkg-deb", "-x", package, root)
        self.assertEqual(run(root / "usr/bin/halfsafe", "--version").split()[-1], VERSION)
        for name in ("copyright", "changelog.gz", "THIRD-PARTY-NOTICES.txt"):
            self.assertTrue((root / "usr/share/doc/halfsafe" / name).exists(), name)
        if shutil.which("lintian"):
            unwritten = [] if (BUILD / "generated" / "man").exists() else ["--suppress-tags", "no-manual-page"]
            run("lintian", "--fail-on", "error,warning", "--allow-root", *unwritten, package)

    def test_the_tarball(self) -> None:
        package = self.pack("TGZ", "*.tar.gz")
        unpacked = self.folder / "unpacked"
        unpacked.mkdir()
        run("tar", "-xzf", package, "-C", unpacked)
        (tree,) = unpacked.iterdir()
        # MPI's libraries find each other by paths of the distribution, and only the program has them.
        used = libraries(tree / "lib" / "libhalfsafe.so")
        self.assertIn("libonnxruntime.so.1", used)
        for found in (used, libraries(tree / "bin" / "halfsafe")):
            for name in used:
                self.assertTrue(found[name].resolve().is_relative_to(tree.resolve()), f"{name} is {found[name]}")
        run(tree / "bin" / "halfsafe", "fix", self.model, "--data", self.samples, "-o", self.folder / "unpacked.onnx")
        self.assertEqual(sha256(self.folder / "unpacked.onnx"), sha256(self.folder / "fixed.onnx"))
        bundled = [re.search(r"SONAME +(\S+)", run("objdump", "-p", path)).group(1)
                   for path in (tree / "lib" / "halfsafe").glob("*.so*") if not path.name.startswith("libonnxruntime")]
        self.assertIn("libzip", {name.split(".")[0] for name in bundled})
        self.check_notices(tree, sorted(set(bundled)))

    def pack(self, kind: str, pattern: str) -> pathlib.Path:
        into = self.folder / kind
        run(pathlib.Path(CMAKE).parent / "cpack", "-G", kind, "--config", BUILD / "CPackConfig.cmake", "-B", into)
        (package,) = into.glob(pattern)
        return package


if __name__ == "__main__":
    unittest.main()
