"""Runs the shell blocks of the tutorial and of the how-tos, in order, and compares what they print with what the pages show.

HALFSAFE names the binary, CUSTOM_OPS a library of custom operators. Exits with 77 (skipped) where a package is missing.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import shell_blocks

PACKAGES = ("numpy", "onnx", "onnxruntime", "polygraphy", "magika")
absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
if absent:
    print(f"skipped: no {', '.join(absent)}")
    sys.exit(77)

HALFSAFE, CUSTOM_OPS = os.environ["HALFSAFE"], os.environ["CUSTOM_OPS"]
DOCS = shell_blocks.ROOT / "docs"
# The tutorial in another language has the same blocks, so it is enough to run one of them.
TUTORIAL, TRANSLATIONS = DOCS / "tutorial.md", sorted(DOCS.glob("tutorial.*.md"))
PAGES = [TUTORIAL, *sorted((DOCS / "howto").glob("*.md"))]


class PagesTest(unittest.TestCase):
    missing: dict[str, str]  # What blocks may need, and why it is not here; empty where it is.

    @classmethod
    def setUpClass(cls) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            make = shell_blocks.ROOT / "examples" / "howto" / "make_models.py"
            subprocess.run([sys.executable, make, "layernorm", folder / "tiny"], check=True)
            cls.missing = {needs: shell_blocks.lacks(needs, HALFSAFE, folder / "tiny" / "model.onnx")
                           for needs in shell_blocks.TYPING}

    def test_blocks_run_and_print_what_is_shown(self) -> None:
        compared = 0
        for page in PAGES:
            blocks = shell_blocks.blocks_of(page)
            with self.subTest(page=page.name), tempfile.TemporaryDirectory() as name:
                shell_blocks.make_checkout(pathlib.Path(name), HALFSAFE, CUSTOM_OPS)
                code = shell_blocks.run(blocks, pathlib.Path(name), self.missing)
                last = next((block for block in reversed(blocks) if block.output is not None), None)
                self.assertEqual(code, 0, last and f"\n{last.text}\n{last.output}")
                command = shell_blocks.Block("", "")
                for block in blocks:
                    if block.language == "sh":
                        command = block
                    elif block.language == "text" and not command.needs:
                        output = command.output or ""
                        line = shell_blocks.first_line_missing(block.text, output)
                        self.assertIsNone(line, f"\n{command.text}\nprints\n{output}")
                        compared += 1
        self.assertGreater(compared, 30)

    def test_a_line_that_differs_is_found(self) -> None:
        real = "Overflow: 6 of 81 tensors pass 10000\n  a  Add  1.09e+06  s.npz\nRIGHT: as said  (0.7 s)\n"
        for shown in ("Overflow: 6 of 81 tensors pass 10000", "a Add 1.1e+06 [...]\n[...]\nRIGHT: as said (9.9 s)", real):
            self.assertIsNone(shell_blocks.first_line_missing(shown, real), shown)
        for shown in ("Overflow: 5 of 81 tensors pass 10000", "a Add 2.09e+06 s.npz", "a Mul 1.09e+06 s.npz", "RIGHT",
                      "RIGHT: as said (0.7 s)\nOverflow: 6 of 81 tensors pass 10000"):
            self.assertIsNotNone(shell_blocks.first_line_missing(shown, real), shown)

    def test_every_block_is_a_shell_program(self) -> None:
        for page in PAGES:
            for block in shell_blocks.blocks_of(page):
                with self.subTest(page=page.name, block=block.text):
                    self.assertIn(block.needs, ("", *shell_blocks.TYPING))
                    if block.language == "sh":
                        subprocess.run(["bash", "-n", "-c", block.text], check=True)

    def test_blocks_for_tensorrt_were_run(self) -> None:
        skipped = {block.needs for page in PAGES for block in shell_blocks.blocks_of(page) if self.missing.get(block.needs)}
        if skipped:
            self.skipTest("; ".join(f"blocks marked \"{needs}\": {self.missing[needs]}" for needs in sorted(skipped)))

    def test_translations_have_the_same_blocks(self) -> None:
        self.assertTrue(TRANSLATIONS)
        for page in TRANSLATIONS:
            self.assertEqual(shell_blocks.blocks_of(page), shell_blocks.blocks_of(TUTORIAL))


if __name__ == "__main__":
    unittest.main()
