"""What the program shows on a terminal: colours, widths, names of any script; and JSON on standard output.

Runs the program on pseudo-terminals. HALFSAFE names the binary. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import pty
import re
import struct
import subprocess
import termios
import unicodedata
import unittest
from typing import Any

from support import HALFSAFE, ToolTest, np, onnx, read_json

import generated_models

NAMES = "模型/编码器🔥/注意力/e\u0301tage/第三层/"


def on_terminal(*arguments: object, columns: int = 80, streams: str = "12", **environment: str | None) -> tuple[int, str]:
    """Exit code, and what a terminal of this width gets; `streams`: 1 for standard output, 2 for standard error."""
    master, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    variables = {**os.environ, "TERM": "xterm-256color", "COLUMNS": None, "NO_COLOR": None, **environment}
    process = subprocess.Popen([HALFSAFE, *map(str, arguments)], stdin=subprocess.DEVNULL,
                               stdout=terminal if "1" in streams else subprocess.DEVNULL,
                               stderr=terminal if "2" in streams else subprocess.DEVNULL,
                               env={name: value for name, value in variables.items() if value is not None})
    os.close(terminal)
    shown = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # How Linux says that nobody writes any more.
            break
        if not part:
            break
        shown += part
    os.close(master)
    return process.wait(timeout=120), shown.decode("utf-8").replace("\r\n", "\n")


def width(text: str) -> int:
    """Columns, by Python's own tables."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def without_colour(text: str) -> str:
    return re.sub("\x1b\\[[0-9;]*m", "", text)


class TerminalTest(ToolTest):
    def setUp(self) -> None:
        super().setUp()
        self.case = generated_models.conv_net(17)
        self.model = self.save(self.case.model)
        self.samples = self.save_samples(self.case.samples)
        self.data = ["--data", self.samples]
        self.ranges, self.fixed = self.folder / "ranges.json", self.folder / "fixed.onnx"

    def named(self, prefix: str) -> pathlib.Path:
        """The model with this in front of all names but the input's."""
        model = onnx.ModelProto()
        model.CopyFrom(self.case.model)
        graph = model.graph
        rename = lambda name: name if name in ("", "x") else prefix + name
        for node in graph.node:
            node.name = rename(node.name)
            node.input[:] = [rename(name) for name in node.input]
            node.output[:] = [rename(name) for name in node.output]
        for value in [*graph.initializer, *graph.output, *graph.value_info]:
            value.name = rename(value.name)
        return self.save(model, "named.onnx")


class ColourTest(TerminalTest):
    def fix(self, **environment: str | None) -> str:
        code, text = on_terminal("fix", self.model, *self.data, "-o", self.fixed, "--io", "fp16", streams="1", **environment)
        self.assertEqual(code, 0)
        return text

    def test_on_terminals_only(self) -> None:
        coloured = self.fix()
        self.assertIn("\x1b[32mRIGHT", coloured)
        for environment in ({"NO_COLOR": "1"}, {"NO_COLOR": "0"}, {"TERM": "dumb"}, {"TERM": None}):
            self.assertNotIn("\x1b", self.fix(**environment), environment)
        self.assertIn("\x1b[32m", self.fix(NO_COLOR=""))  # Set, and empty, counts as not set.
        # Without FP16 at its ends this network is too small for any.
        self.assertIn("\x1b[33mRIGHT, LITTLE GAINED", on_terminal("fix", self.model, *self.data, "-o", self.fixed, streams="1")[1])
        piped = self.tool("fix", self.model, *self.data, "-o", self.fixed)
        self.assertNotIn("\x1b", piped.stdout + piped.stderr)

    def test_never_alone(self) -> None:
        """Without colours the same words are there."""
        seconds = re.compile(r"\([0-9.]+ s\)")
        self.assertEqual(seconds.sub("", without_colour(self.fix())), seconds.sub("", self.fix(NO_COLOR="1")))

    def test_progress_and_warnings(self) -> None:
        arguments = ("scan", self.model, "--random", "2")
        _, coloured = on_terminal(*arguments, streams="2")
        self.assertIn("\x1b[33mwarning\x1b[0m: random data", coloured)
        self.assertIn("\r\x1b[K", coloured.replace("\r\r", "\r"))
        for environment in ({"TERM": "dumb"},):
            self.assertNotIn("\x1b", on_terminal(*arguments, streams="2", **environment)[1])
        self.assertNotIn("\x1b[33m", on_terminal(*arguments, streams="2", NO_COLOR="1")[1])

    def test_names_cannot_command_the_terminal(self) -> None:
        model = self.named("\x1b]0;owned\x07\x1b[2J")
        _, shown = on_terminal("scan", model, *self.data)
        self.assertIn("owned", shown)
        for forbidden in ("\x1b]", "\x07", "\x1b[2J"):
            self.assertNotIn(forbidden, shown)
        _, shown = on_terminal("plan", model, "--ranges", self.folder / "none\x1b[2J.json")
        self.assertIn("none", shown)
        self.assertNotIn("\x1b[2J", shown)

    def test_names_cannot_pass_for_a_verdict(self) -> None:
        model = self.named("n\nRIGHT: the fixed model agrees\n\x1b[32mNO NEW OVERFLOW\x1b[0m\n")
        old, new, plan = (self.folder / name for name in ("old.json", "new.json", "plan.json"))
        self.tool("scan", self.model, *self.data, "-o", old)
        self.tool("scan", model, *self.data, "-o", new)
        self.tool("plan", model, "--ranges", new, "-o", plan)
        for arguments in (["scan", model, *self.data], ["plan", model, "--ranges", new], ["inspect", model],
                          ["diff", old, new], ["diff", new, old], ["apply", model, "--plan", plan, "-o", self.fixed],
                          ["check", model, self.fixed, *self.data], ["fix", model, *self.data, "-o", self.fixed]):
            with self.subTest(arguments[0]):
                shown = self.tool(*arguments).stdout
                self.assertNotIn("\x1b", shown)
                self.assertNotRegex(shown, "(?m)^RIGHT: the fixed model agrees$|^NO NEW OVERFLOW$")


class WidthTest(TerminalTest):
    def tables(self, text: str) -> list[list[str]]:
        """Runs of indented lines that begin with a heading; sentences below them, which the terminal wraps, are not in."""
        found, current = [], []
        for line in [*text.splitlines(), ""]:
            sentence = "  " not in line.strip()
            if re.match(r"  \S", line) and not sentence and (current or re.match(r"  (tensor|node|output) ", line)):
                current.append(line)
            else:
                if current:
                    found.append(current)
                current = []
        return found

    def shown(self, model: pathlib.Path, columns: int, **environment: str | None) -> list[str]:
        """The text of every command that has tables."""
        texts = []
        for arguments in (["fix", model, *self.data, "-o", self.fixed, "--repair", "fp32"],
                          ["scan", model, *self.data, "-o", self.ranges], ["plan", model, "--ranges", self.ranges],
                          ["check", model, self.fixed, *self.data]):
            code, text = on_terminal(*arguments, columns=columns, streams="1", NO_COLOR="1", **environment)
            self.assertEqual(code, 0, text)
            texts.append(text)
        self.tool("scan", model, "--data", self.samples / "000.npz", "-o", self.folder / "other.json")
        texts.append(on_terminal("diff", self.ranges, self.folder / "other.json", columns=columns, streams="1",
                                 NO_COLOR="1", **environment)[1])
        return texts

    def test_tables_fit(self) -> None:
        for model in (self.model, self.named(NAMES), self.named("model/encoder/layer.11/attention/output/dense/" * 2)):
            for columns in (60, 80, 120):
                texts = self.shown(model, columns)
                tables = [table for text in texts for table in self.tables(text)]
                paragraphs = [line for text in texts for line in text.splitlines() if line.startswith("    ")]
                # What is too narrow for a table is shown in paragraphs.
                self.assertGreaterEqual(len(tables), 7 if columns == 120 else 4)
                for line in [*paragraphs, *(line for table in tables for line in table)]:
                    self.assertLessEqual(width(line), columns, line)

    def test_columns_stand_below_each_other(self) -> None:
        for columns in (60, 80, 120, 200):
            text = self.shown(self.named(NAMES), columns)[1]
            heading, *rows = self.tables(text)[0]
            at = width(heading[:heading.index("operator")])
            self.assertGreater(len(rows), 1)
            for row in rows:
                operator = next(op for op in ("Conv", "Relu", "(input)") if op in row)
                self.assertEqual(width(row[:row.index(operator)]), at, row)

    def test_names_are_shortened_between_characters(self) -> None:
        for columns in range(60, 90):
            self.assertNotIn("\ufffd", self.shown(self.named(NAMES), columns)[1])

    def test_where_no_table_fits_each_row_is_a_paragraph(self) -> None:
        text = self.shown(self.model, 40)[-2]
        self.assertRegex(text, r"(?m)^  y\n    plain FP16: .*\n    fixed: .*\n    max \|error\|: .*\n    cosine: .*\n    right$")
        for line in re.search(r"(?m)^  y\n(?:    .*\n)+", text).group().splitlines():
            self.assertLessEqual(width(line), 40)

    def test_columns_in_the_environment_go_first(self) -> None:
        named = self.named("model/encoder/layer.11/attention/output/dense/" * 2)
        wide = self.tables(self.shown(named, 60, COLUMNS="200")[1])[0]
        self.assertGreater(max(map(width, wide)), 100)
        for nonsense in ("", "0", "-3", "many"):
            table = self.tables(self.shown(named, 60, COLUMNS=nonsense)[1])[0]
            self.assertLessEqual(max(map(width, table)), 60)
        piped = self.tool("scan", named, *self.data, env={**os.environ, "COLUMNS": "70"}).stdout
        self.assertLessEqual(max(map(width, self.tables(piped)[0])), 70)


class JsonTest(TerminalTest):
    def commands(self) -> list[list[Any]]:
        self.tool("fix", self.model, *self.data, "-o", self.fixed, "--save-ranges", self.ranges, "--save-plan",
                  self.folder / "plan.json")
        return [["fix", self.model, *self.data, "-o", self.fixed], ["scan", self.model, *self.data],
                ["plan", self.model, "--ranges", self.ranges],
                ["apply", self.model, "--plan", self.folder / "plan.json", "-o", self.fixed],
                ["check", self.model, self.fixed, *self.data], ["inspect", self.model],
                ["diff", self.ranges, self.ranges]]

    def test_dash_is_standard_output(self) -> None:
        path = self.folder / "result.json"
        drop = lambda document: {**document, "seconds": 0}
        for arguments in self.commands():
            with self.subTest(arguments[0]):
                done = self.tool(*arguments, "--json", "-")
                file = self.tool(*arguments, "--json", path)
                self.assertEqual(drop(json.loads(done.stdout)), drop(read_json(path)))
                # The text is where progress is.
                self.assertIn(file.stdout.splitlines()[0], done.stderr.splitlines())
                quiet = self.tool(*arguments, "--json", "-", "-q")
                json.loads(quiet.stdout)
                self.assertEqual(quiet.stderr, "")
                self.assertFalse(pathlib.Path("-").exists())

    def test_a_full_disk_is_an_error(self) -> None:
        for arguments in (["inspect", self.model, "--json", "-", "-q"], ["inspect", self.model], ["fix", "--help"],
                          ["completion", "bash"]):
            with open("/dev/full", "w", encoding="ascii") as full:
                done = subprocess.run([HALFSAFE, *map(str, arguments)], stdout=full, stderr=subprocess.PIPE, text=True,
                                      timeout=60)
            self.assertEqual(done.returncode, 3)
            self.assertIn("No space left", done.stderr)


if __name__ == "__main__":
    unittest.main()
