"""Runs the shell blocks of a page, as a reader would, and holds the outputs that it shows against the real ones.

A page's `sh` blocks run one after the other in one shell, so that a folder or a variable set by one is there for the next. The
shell starts in a folder that looks like a checkout with a build and scripts/setup behind it. Blocks that call scripts/ install or
build, and are left out.

A comment in front of a block, which a reader does not see, says what it takes; where that is missing the block is not run:

    <!-- needs TensorRT -->                 a build with TensorRT, and a GPU
    <!-- needs TensorRT's weak typing -->   one older than 11

A `text` block shows lines of what the sh block before it printed, in order. `[...]` stands for anything, and for any number of
lines where it is one. Whole numbers must be the same; others may be off by a quarter, because the last digits of floating point
depend on the machine; seconds may be anything. What stands behind a block with a comment differs from GPU to GPU, and is not
compared. Commands and messages of tools that are not at hand are `console` blocks.

usage: shell_blocks.py PAGE...     prints what every block gives (HALFSAFE names the binary)
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
UNAVAILABLE = 5  # halfsafe's exit code where build or machine lack what was asked for.
TOLERANCE = 0.25
FENCE = re.compile(r"(?:^<!-- (?P<needs>needs .*?) -->\n+)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
TYPING = {"needs TensorRT": (), "needs TensorRT's weak typing": ("--typing", "weak")}
SECONDS = r"\(\d+\.\d+ s\)"
NUMBER = r"\d+(?:\.\d+)?(?:e[+-]?\d+)?"


@dataclasses.dataclass
class Block:
    language: str
    text: str
    needs: str = ""  # Empty where nothing out of the ordinary is needed.
    output: str | None = None  # What a shell block printed; None where it was not run.

    @property
    def installs(self) -> bool:
        return re.search(r"(?<![\w/])scripts/", self.text) is not None


def blocks_of(page: pathlib.Path) -> list[Block]:
    return [Block(found["language"], found["text"], found["needs"] or "")
            for found in FENCE.finditer(page.read_text(encoding="utf-8"))]


def make_checkout(folder: pathlib.Path, halfsafe: str, custom_ops: str) -> None:
    """What a page's commands find where they start."""
    (folder / "build" / "tests").mkdir(parents=True)
    (folder / "build" / "halfsafe").symlink_to(halfsafe)
    if custom_ops:
        (folder / "build" / "tests" / "libcustom_op.so").symlink_to(custom_ops)
    (folder / ".deps").mkdir()
    (folder / ".deps" / "venv").symlink_to(sys.prefix)
    for name in ("examples", "README.md"):
        (folder / name).symlink_to(ROOT / name)


def lacks(needs: str, halfsafe: str, model: pathlib.Path) -> str:
    """Why this build or machine can't run what a comment says is needed; empty where it can."""
    done = subprocess.run([halfsafe, "build", str(model), "--random", "1", "--parse-only", *TYPING[needs]],
                          capture_output=True, text=True, timeout=300)
    if done.returncode not in (0, UNAVAILABLE):
        raise AssertionError(f"halfsafe build: exit code {done.returncode}\n{done.stderr}")
    return "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def run(blocks: list[Block], folder: pathlib.Path, missing: dict[str, str]) -> int:
    """Runs the shell blocks that can be, fills in their outputs, and returns the shell's exit code. The last block that has an
    output is the one that failed, where one did."""
    mark = "==== the next block ===="
    chosen = [block for block in blocks if block.language == "sh" and not block.installs and not missing.get(block.needs)]
    script = "exec 2>&1\n" + "".join(f"echo '{mark}'\n{block.text}" for block in chosen)
    # Neither what the tests are told nor how wide the terminal is that they were started in.
    left_out = ("PYTHONPATH", "HALFSAFE", "CUSTOM_OPS", "COLUMNS")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True,
                          text=True, errors="replace", timeout=3000)
    for block, output in zip(chosen, done.stdout.split(mark + "\n")[1:]):
        block.output = output
    return done.returncode


def pattern(line: str) -> re.Pattern[str]:
    """What a shown line stands for; its groups are the numbers that need not be the same to the last digit."""
    parts = []
    for part in re.split(rf"(\[\.\.\.\]|{SECONDS}|{NUMBER}|\s+)", line.strip()):
        if part == "[...]":
            parts.append(".*")
        elif re.fullmatch(SECONDS, part):
            parts.append(SECONDS)
        elif re.fullmatch(NUMBER, part) and not part.isdigit():
            parts.append(rf"({NUMBER})")
        elif part.isspace():
            parts.append(r"\s+")
        else:
            parts.append(re.escape(part))
    return re.compile(r"\s*" + "".join(parts) + r"\s*")


def same(shown: str, real: str) -> bool:
    expression = pattern(shown)
    found = expression.fullmatch(real)
    if not found:
        return False
    expected = expression.fullmatch(shown)
    return expected is None or all(
        abs(float(left) - float(right)) <= TOLERANCE * abs(float(left)) for left, right in zip(expected.groups(), found.groups()))


def first_line_missing(shown: str, output: str) -> str | None:
    """The first line of a text block that the output lacks behind the lines before it."""
    rest = iter(output.splitlines())
    for line in shown.splitlines():
        if line.strip() not in ("", "[...]") and not any(same(line, real) for real in rest):
            return line
    return None


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    for page in sys.argv[1:]:
        blocks = blocks_of(pathlib.Path(page))
        with tempfile.TemporaryDirectory() as folder:
            make_checkout(pathlib.Path(folder), os.environ["HALFSAFE"], os.environ.get("CUSTOM_OPS", ""))
            code = run(blocks, pathlib.Path(folder), dict.fromkeys(TYPING, "not asked for"))
        for block in blocks:
            if block.output is not None:
                print(f"\n{'-' * 20} {page}\n{block.text}{'-' * 20}\n{block.output}", end="")
        print(f"\n{page}: exit code {code}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
