"""The command `halfsafe`: runs the program that lies in the package, without importing the package."""

import importlib.util
import os
import pathlib
import sys
from typing import NoReturn


def main() -> NoReturn:
    package = importlib.util.find_spec("halfsafe")
    if package is None or package.origin is None:
        sys.exit("halfsafe: the package is not installed")
    program = pathlib.Path(package.origin).parent / "bin" / "halfsafe"
    os.execv(program, ["halfsafe", *sys.argv[1:]])
