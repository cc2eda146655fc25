"""How ModelOpt's AutoCast is installed and called. Used by bench/run and bench/repair."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DEPENDENCIES = Path(__file__).resolve().parent.parent / ".deps"
VENV = DEPENDENCIES / "bench-venv"
PYTHON = VENV / "bin" / "python"
PACKAGE = "nvidia-modelopt[onnx]==0.47.*"


def command(model: str, samples: str, result: str) -> list[str]:
    """Converts a model to FP16, the samples as calibration data, with inputs and outputs kept."""
    files = ["--onnx_path", model, "--calibration_data", samples, "--output_path", result]
    return [str(PYTHON), "-m", "modelopt.onnx.autocast", "--keep_io_types", *files]


def make_environment() -> None:
    """Installs it where it is missing."""
    has_it = [str(PYTHON), "-c", "import importlib.metadata as m; m.version('nvidia-modelopt')"]
    if PYTHON.exists() and subprocess.run(has_it, capture_output=True, check=False).returncode == 0:
        return
    print(f"bench: installing {PACKAGE} into {VENV} (7 GB)", file=sys.stderr)
    subprocess.run([str(DEPENDENCIES / "venv" / "bin" / "python"), "-m", "venv", str(VENV)], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, PACKAGE], check=True)
