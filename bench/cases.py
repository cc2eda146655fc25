"""What bench/ measures on: models with their samples, and plain inference to compare with."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".deps" / "venv" / "bin" / "python"
HALFSAFE = ROOT / "build" / "halfsafe"
WORK = ROOT / ".deps" / "bench"
MODELS = ("magika", "minilm", "ppocr_rec", "ppocr_det", "ppocr_cls", "resnet")


def demand(halfsafe: Path) -> None:
    """What measuring needs, before it begins."""
    if not PYTHON.exists():
        raise SystemExit("bench: run scripts/setup --tests first")
    if not halfsafe.exists():
        raise SystemExit(f"bench: {halfsafe} is not there: build it, or name another with --halfsafe")


def script(name: str, *arguments: object) -> list[str]:
    """A script of bench/ or tests/, as a command."""
    return [str(PYTHON), str(ROOT / name), *map(str, arguments)]


def make(name: str, *arguments: object) -> None:
    """Runs a script that writes models. It is a process of its own, because the peak memory of a process that starts
    others counts as theirs: what measures stays small, and imports neither numpy nor onnx."""
    subprocess.run(script(name, *arguments), check=True, stdout=subprocess.DEVNULL)


def make_case(model: str, out: Path, samples: int) -> Path:
    """Writes OUT/MODEL with model.onnx and samples, and returns that folder."""
    if model == "resnet":
        make("tests/resnet_model.py", out, "--samples", samples)
    else:
        make("tests/real_models.py", out, "--samples", samples, model)
    return out / model


def plain_inference(model: Path, samples: Path, *options: object) -> list[str]:
    return script("bench/plain_inference.py", model, samples, *options)
