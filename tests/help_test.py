"""Holds what is made from the description of the command line against the program and the shells: --help and its
examples, which are run; man pages, by mandoc and man; completions, in bash, zsh and fish; suggestions for slips.

HALFSAFE names the binary. Exits with 77 (skipped) where a Python package is missing; shells and tools that are missing
skip their tests.
"""

from __future__ import annotations

import functools
import os
import pathlib
import pty
import re
import select
import shlex
import shutil
import subprocess
import tempfile
import time
import unittest

from support import HALFSAFE, ToolTest, np, onnx, read_json

import generated_models

UNAVAILABLE = 5


@functools.cache
def said(*arguments: str, columns: int = 100) -> str:
    done = subprocess.run([HALFSAFE, *arguments], capture_output=True, text=True, timeout=60, check=True,
                          env=os.environ | {"COLUMNS": str(columns)})
    return done.stdout


@functools.cache
def commands() -> tuple[str, ...]:
    listed = re.search(r"^Subcommands:\n((?:  .*\n)+)", said("--help"), flags=re.M).group(1)
    return tuple(re.findall(r"^  ([a-z]+)  +\S", listed, flags=re.M))


def option_lines(command: str) -> list[str]:
    """The part before the descriptions: "-o, --output FIXED.onnx"."""
    text = re.search(r"^Options:\n((?:  .*\n)+)", said(command, "--help"), flags=re.M).group(1)
    return re.findall(r"^  (-.*?)(?:  .*)?$", text, flags=re.M)


def options(command: str) -> set[str]:
    return {name for line in option_lines(command) for name in re.findall(r"(?<![\w-])--?[a-z][\w-]*", line)}


def examples(command: str) -> list[str]:
    _, _, text = said(command, "--help").partition("\nExamples:\n")
    return re.findall(r"^  (halfsafe .*)$", text.replace(" \\\n    ", " "), flags=re.M)


class HelpTest(unittest.TestCase):
    def test_every_command_has_examples_of_itself(self) -> None:
        self.assertGreater(len(commands()), 10)
        for command in commands():
            with self.subTest(command):
                self.assertTrue(examples(command))
                for line in examples(command):
                    self.assertEqual(line.split()[:2], ["halfsafe", command])

    def test_nothing_is_wider_than_the_terminal(self) -> None:
        for columns in (60, 80, 120):
            for arguments in [("--help",), *((command, "--help") for command in commands())]:
                widest = max(map(len, said(*arguments, columns=columns).splitlines()))
                self.assertLessEqual(widest, columns, arguments)

    def test_every_value_has_a_name(self) -> None:
        """Not the parser's: TEXT, INT, FLOAT."""
        for command in commands():
            for line in option_lines(command):
                self.assertNotRegex(line, r" (TEXT|INT|UINT|FLOAT|ENUM|BOOLEAN)\b", command)


class ExamplesTest(ToolTest):
    def test_examples_run(self) -> None:
        case = generated_models.conv_net(17)
        for node in case.model.graph.node:  # The names that examples have.
            if node.op_type == "Softmax":
                node.name, node.output[0] = "Softmax_1", "Softmax_1:0"
        case.model.graph.output[0].name = "Softmax_1:0"
        self.save(case.model)
        self.save_samples(generated_models.samples(8, x=[1, 3, 16, 16]))
        (self.folder / "model.engine").write_bytes(b"engine")
        (self.folder / "fp32.engine").write_bytes(b"engine")
        (self.folder / "halfsafe").symlink_to(HALFSAFE)
        for name, shard in (("part2.json", "2/2"), ("old.json", "1/3"), ("new.json", "2/3")):
            self.tool("scan", "model.onnx", "--data", "samples", "--shard", shard, "-o", name, cwd=self.folder)
        environment = os.environ | {"PATH": f"{self.folder}:{os.environ['PATH']}"}
        for command in commands():
            # Without TensorRT these only get as far as to say so, but their command lines are parsed.
            engines = command in ("build", "bench", "engine")
            for line in examples(command):
                with self.subTest(line):
                    done = subprocess.run(["bash", "-c", line], cwd=self.folder, env=environment, capture_output=True,
                                          text=True, timeout=120)
                    gate = "--fail-on" in line
                    allowed = (0, 1, 3, UNAVAILABLE) if engines else (0, 1) if gate else (0,)
                    self.assertIn(done.returncode, allowed, done.stderr)
        for name in ("fixed.onnx", "plan.json", "ranges.json", "result.json", "diff.json", "inputs.json", "halfsafe-fix.1"):
            self.assertTrue((self.folder / name).exists(), name)
        self.assertEqual(read_json(self.folder / "result.json")["command"], "check")


@unittest.skipUnless(shutil.which("mandoc") or shutil.which("man"), "neither mandoc nor man")
class ManTest(ToolTest):
    def pages(self) -> dict[str, pathlib.Path]:
        written = {}
        for command in ("", *commands()):
            name = f"halfsafe-{command}" if command else "halfsafe"
            written[command] = self.folder / f"{name}.1"
            written[command].write_text(self.tool("man", *([command] if command else [])).stdout)
        return written

    def test_no_warnings(self) -> None:
        for page in self.pages().values():
            if shutil.which("mandoc"):
                done = subprocess.run(["mandoc", "-Tlint", "-Wstyle", page], capture_output=True, text=True, timeout=60)
                self.assertEqual((done.stdout, done.returncode), ("", 0))
            if shutil.which("man") and shutil.which("groff"):
                done = subprocess.run(["man", "--warnings", "-Tutf8", "-Z", "-l", page], stderr=subprocess.PIPE, text=True,
                                      stdout=subprocess.DEVNULL, timeout=60, env=os.environ | {"LC_ALL": "C.UTF-8"})
                self.assertEqual((done.stderr, done.returncode), ("", 0))

    def test_pages_name_every_option_command_and_example(self) -> None:
        for command, page in self.pages().items():
            text = page.read_text().replace("\\-", "-").replace(" \\e\n   ", "")
            if command:
                for option in options(command):
                    self.assertIn(f"\\fB{option}\\fR", text, command)
                for line in examples(command):
                    self.assertIn(line, text)
            else:
                for name in commands():
                    self.assertIn(f"\\fB{name}\\fR", text)

    def test_the_build_wrote_every_page(self) -> None:
        made = pathlib.Path(HALFSAFE).parent / "generated" / "man"
        if not made.is_dir():
            self.skipTest("the program is not where it was built")
        pages = self.pages()
        self.assertEqual({path.name for path in made.iterdir()}, {path.name for path in pages.values()})
        for page in pages.values():  # All but the date.
            self.assertEqual((made / page.name).read_text().split("\n", 1)[1], page.read_text().split("\n", 1)[1])

    def test_a_page_can_be_made_again(self) -> None:
        environment = os.environ | {"SOURCE_DATE_EPOCH": "86400"}
        self.assertIn(" 1970-01-02 ", self.tool("man", "fix", env=environment).stdout.splitlines()[0])

    def test_unknown_command(self) -> None:
        self.assertIn("did you mean scan?", self.tool("man", "scam", code=2).stderr)


class CompletionTest(ToolTest):
    """Each shell is asked what it offers for a line that ends at the cursor."""

    def setUp(self) -> None:
        super().setUp()
        self.scripts = self.folder / "scripts"
        self.scripts.mkdir()
        for shell, name in (("bash", "halfsafe.bash"), ("zsh", "_halfsafe"), ("fish", "halfsafe.fish")):
            (self.scripts / name).write_text(self.tool("completion", shell).stdout)
        self.place = self.folder / "place"
        (self.place / "samples").mkdir(parents=True)
        for name in ("model.onnx", "my model.onnx", "plan.json", "notes.txt", "0.npz"):
            (self.place / name).touch()
        binaries = self.folder / "bin"
        binaries.mkdir()
        (binaries / "halfsafe").symlink_to(HALFSAFE)
        self.environment = os.environ | {"HOME": str(self.folder), "PATH": f"{binaries}:{os.environ['PATH']}",
                                         "TERM": "xterm", "LC_ALL": "C.UTF-8"}

    def hold(self, offers: object) -> None:
        self.assertEqual(offers("halfsafe sc"), {"scan"})
        self.assertLessEqual(set(commands()), offers("halfsafe "))
        self.assertEqual(offers("halfsafe scan --thres"), {"--threshold"})
        for command in commands():
            long = {name for name in options(command) if name.startswith("--")}
            self.assertLessEqual(long, offers(f"halfsafe {command} --"), command)
        self.assertEqual(offers("halfsafe fix --repair "), {"rescale", "fp32", "bf16"})
        self.assertEqual(offers("halfsafe plan --export n"), {"names"})
        self.assertEqual(offers("halfsafe check --fail-on "), {"overflow", "little-gained"})
        self.assertEqual(offers("halfsafe completion "), {"bash", "zsh", "fish"})
        self.assertEqual(offers("halfsafe man fi"), {"fix"})
        self.assertEqual(offers("halfsafe scan mod"), {"model.onnx"})
        self.assertEqual(offers("halfsafe scan my"), {"my model.onnx"})
        self.assertEqual(offers("halfsafe apply model.onnx --plan pl"), {"plan.json"})
        self.assertEqual(offers("halfsafe scan model.onnx --data sam"), {"samples/"})
        self.assertEqual(offers("halfsafe scan model.onnx --data samples 0"), {"0.npz"})
        self.assertEqual(offers("halfsafe plan model.onnx --explain no"), set())

    @unittest.skipUnless(shutil.which("bash"), "no bash")
    def test_bash(self) -> None:
        def offers(line: str) -> set[str]:
            words = [*line.split(" ")]
            script = (f"source {shlex.quote(str(self.scripts / 'halfsafe.bash'))}\nCOMP_WORDS=({shlex.join(words)})\n"
                      f"COMP_CWORD={len(words) - 1}\n_halfsafe\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n")
            done = subprocess.run(["bash", "--norc", "-uc", script], cwd=self.place, capture_output=True, text=True,
                                  env=self.environment, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""), line)
            # readline adds the slash.
            found = filter(None, done.stdout.splitlines())
            return {f"{name}/" if (self.place / name).is_dir() else name for name in found}

        self.hold(offers)
        self.assertEqual(offers("halfsafe fix --repair = r"), {"rescale"})  # As bash splits --repair=r.
        done = subprocess.run(["bash", "-c", f"source {self.scripts}/halfsafe.bash; complete -p halfsafe"],
                              capture_output=True, text=True, check=True, timeout=60)
        self.assertEqual(done.stdout, "complete -F _halfsafe halfsafe\n")

    @unittest.skipUnless(shutil.which("fish"), "no fish")
    def test_fish(self) -> None:
        def offers(line: str) -> set[str]:
            script = f"source {shlex.quote(str(self.scripts / 'halfsafe.fish'))}; complete -C {shlex.quote(line)}"
            done = subprocess.run(["fish", "--no-config", "-c", script], cwd=self.place, capture_output=True, text=True,
                                  env=self.environment, timeout=60)
            self.assertEqual((done.returncode, done.stderr), (0, ""), line)
            return {row.split("\t")[0].replace("\\ ", " ") for row in done.stdout.splitlines()}

        self.hold(offers)

    @unittest.skipUnless(shutil.which("zsh"), "no zsh")
    def test_zsh(self) -> None:
        with Zsh(self.folder, self.scripts, self.place, self.environment) as zsh:
            self.hold(zsh.offers)


class Zsh:
    """An interactive zsh, whose completion can only be asked by pressing Tab. What it offers is written to a file by a
    function in place of the builtin that adds matches."""

    def __init__(self, home: pathlib.Path, scripts: pathlib.Path, place: pathlib.Path, environment: dict[str, str]) -> None:
        self.log = home / "offers"
        (home / ".zshrc").write_text(f"""
PS1='> '
fpath=({shlex.quote(str(scripts))} $fpath)
autoload -Uz compinit
compinit -u -D
setopt no_beep
compadd() {{
  # With these it only sorts out what a caller will add later.
  if (( ${{@[(I)-*[OAD]*]}} )); then builtin compadd "$@"; return; fi
  local -a matches
  builtin compadd -O matches "$@"
  print -rl -- "${{(Q)matches[@]}}" >> {shlex.quote(str(self.log))}
  builtin compadd "$@"
}}
""")
        self.place, self.environment = place, environment | {"ZDOTDIR": str(home)}

    def __enter__(self) -> Zsh:
        self.master, terminal = pty.openpty()
        self.process = subprocess.Popen(["zsh", "-i"], stdin=terminal, stdout=terminal, stderr=terminal, cwd=self.place,
                                        env=self.environment, start_new_session=True)
        os.close(terminal)
        self.offers("true ")  # Waits until it is there.
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)

    def offers(self, line: str) -> set[str]:
        self.log.write_text("")
        done = self.log.with_suffix(f".{time.monotonic_ns()}")
        os.write(self.master, f"{line}\t".encode())
        self.read(0.3)
        os.write(self.master, b"\x07")  # Leaves a question whether to list them all.
        self.read(0.1)
        os.write(self.master, f"\x15: > {shlex.quote(str(done))}\r".encode())
        deadline = time.monotonic() + 60
        while not done.exists():
            self.read(0.05)
            if time.monotonic() > deadline:
                raise AssertionError(f"zsh does not answer to {line!r}")
        found = set(filter(None, self.log.read_text().splitlines()))
        return {f"{name}/" if (self.place / name).is_dir() else name for name in found}

    def read(self, seconds: float) -> None:
        """Takes what it shows, so that it never waits for a reader."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.master], [], [], left)[0]:
                os.read(self.master, 65536)


class SlipTest(ToolTest):
    def setUp(self) -> None:
        super().setUp()
        self.case = generated_models.conv_net(17)
        self.model = self.save(self.case.model)
        self.data = ["--data", self.save_samples(self.case.samples)]
        self.ranges, self.plan = self.folder / "ranges.json", self.folder / "plan.json"

    def suggests(self, meant: str, *arguments: object, code: int = 2) -> None:
        self.assertIn(f"did you mean {meant}?", self.tool(*arguments, code=code).stderr)

    def test_commands_and_options(self) -> None:
        self.suggests("scan", "scam")
        self.suggests("--threshold", "scan", self.model, *self.data, "--treshold", "3")
        self.suggests("--threshold", "scan", self.model, *self.data, "--treshold=3")
        self.suggests("--version", "--vresion")
        self.suggests("rescale", "fix", self.model, *self.data, "-o", "x", "--repair", "rescal")
        self.suggests("overflow", "scan", self.model, *self.data, "--fail-on", "overflw")

    def test_names_of_the_model(self) -> None:
        self.tool("scan", self.model, *self.data, "-o", self.ranges)
        self.tool("plan", self.model, "--ranges", self.ranges, "-o", self.plan)
        self.suggests("node_c2", "plan", self.model, "--ranges", self.ranges, "--explain", "node_cc2")
        # Of the tensor, where the node is meant.
        done = self.tool("plan", self.model, "--ranges", self.ranges, "--explain", "c2", code=2)
        self.assertIn("the node that writes it is node_c2", done.stderr)
        self.suggests("logits", "mark", self.model, "-o", self.folder / "m.onnx", "--tensors", "logist")
        self.suggests("pooled", "scan", self.model, *self.data, "--save-outputs", self.folder / "o.json", "--tensors",
                      "poooled")
        for arguments, meant in ((("--keep", "node_c33"), "node_c3"), (("--keep-op", "softmax"), "Softmax")):
            done = self.tool("plan", self.model, "--ranges", self.ranges, *arguments)
            self.assertIn(f"did you mean {meant}?", done.stdout)

    def test_inputs_of_samples(self) -> None:
        np.savez(self.folder / "wrong.npz", X=self.case.samples[0]["x"])
        self.suggests("x", "scan", self.model, "--data", self.folder / "wrong.npz", code=3)

    def test_names_in_plans(self) -> None:
        self.tool("fix", self.model, *self.data, "-o", self.folder / "f.onnx", "--save-plan", self.plan)
        text = self.plan.read_text()
        self.plan.write_text(text.replace('"node_c3"', '"node_c3x"'))
        self.suggests("node_c3", "apply", self.model, "--plan", self.plan, "-o", self.folder / "g.onnx", code=3)


if __name__ == "__main__":
    unittest.main()
