"""How measurements are written: cells and rows of Markdown tables, and the machine that they come from."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
from pathlib import Path

from processes import Outcome


def seconds_of(outcome: Outcome | None) -> float | None:
    return statistics.median(outcome.seconds) if outcome and outcome.seconds and not outcome.failure else None


def bytes_of(outcome: Outcome | None) -> float | None:
    return float(outcome.peak_bytes) if seconds_of(outcome) is not None else None


def ratio(value: float | None, base: float | None) -> str:
    return f"{value / base:.2f}x" if value is not None and base else ""


def megabytes(value: float | None) -> str:
    return f"{value / 1e6:.0f} MB" if value else ""


def seconds(value: float | None) -> str:
    return f"{value:.2f} s" if value else ""


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def head(*cells: str) -> list[str]:
    """The first row of a table whose other columns are numbers, and the line below it."""
    return [row(*cells), row("---", *["---:"] * (len(cells) - 1))]


def version_of(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "not installed"


def machine() -> str:
    processors = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")]
    return f"{processors[0] if processors else platform.machine()}, {os.cpu_count()} logical cores"
