#!/usr/bin/env python3
"""Measures scans and checks on a GPU against the CPU of the same machine, and writes tables.

usage: measure.py throughput|errors HALFSAFE OUT_DIR MODEL_DIR...

A MODEL_DIR holds model.onnx and samples/. `throughput` gives samples per second: of plain inference (plain.py, with the
Python whose onnxruntime has the CUDA provider, which PLAIN_PYTHONPATH may say where to find), and of `halfsafe scan`. The time
of a scan is the difference between a long one and a short one, so that loading, sessions and libraries don't count; the
whole process on the given samples stands beside it. `errors` runs `halfsafe fix --provider cuda` and sets errors and
non-finite counts of the GPU's FP16 beside the emulation's. OUT_DIR gets NAME.jsonl and NAME.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SECONDS = float(os.environ.get("SECONDS_EACH", "3"))  # How long a rate is measured.
WARM = 5  # Turns of the samples until every session that will be made has been.


def plain_rate(folder: Path, provider: str) -> float | None:
    environment = {**os.environ, "PYTHONPATH": os.environ.get("PLAIN_PYTHONPATH", "")}
    done = subprocess.run([sys.executable, HERE / "plain.py", folder / "model.onnx", folder / "samples", provider, str(SECONDS)],
                          capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        print(done.stderr[-500:], file=sys.stderr)
        return None
    return float(done.stdout.split()[-1])


def scan(tool: str, folder: Path, provider: str, turns: int) -> tuple[int, float]:
    """Samples run, and seconds of the whole process."""
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch, "result.json")
        start = time.perf_counter()
        subprocess.run([tool, "scan", folder / "model.onnx", *["--data", folder / "samples"] * turns, "--provider", provider,
                        "-q", "--json", result], check=True)
        return json.loads(result.read_text())["samples"], time.perf_counter() - start


def scan_rate(tool: str, folder: Path, provider: str, guess: float) -> tuple[float, float]:
    """Samples per second, and seconds of a process that runs each sample once."""
    once = scan(tool, folder, provider, 1)
    short = scan(tool, folder, provider, WARM)
    more = max(2, round(guess * SECONDS / once[0]))
    long = scan(tool, folder, provider, WARM + more)
    return (long[0] - short[0]) / (long[1] - short[1]), once[1]


def throughput(tool: str, folder: Path) -> list[dict[str, Any]]:
    row: dict[str, Any] = {"model": folder.name}
    for provider in ("cpu", "cuda"):
        plain = plain_rate(folder, provider)
        row[f"plain_{provider}"] = plain
        row[f"scan_{provider}"], row[f"process_{provider}"] = scan_rate(tool, folder, provider, (plain or 10.0) / 2)
    return [row]


def worst(errors: dict[str, Any]) -> dict[str, Any]:
    sizes = [float("inf") if output["rel_l2"] is None else output["rel_l2"] for output in errors["outputs"]]
    return {"error": max(sizes, default=0.0), "nonfinite": sum(output["new_nonfinite"] for output in errors["outputs"]),
            "right": errors["right"], "failure": errors["failure"]}


def errors(tool: str, folder: Path) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch, "result.json")
        done = subprocess.run([tool, "fix", folder / "model.onnx", "--data", folder / "samples", "--provider", "cuda", "-q",
                               "-o", Path(scratch, "fixed.onnx"), "--json", result], capture_output=True, text=True, check=False)
        if done.returncode > 1:
            return [{"model": folder.name, "failure": done.stderr.strip()}]
        found = json.loads(result.read_text())
    kept = {node["evidence"].split()[-1] for node in found["fp32_nodes"] if node["evidence"].startswith("--keep-op")}
    return [{"model": folder.name, "verdict": found["verdict"], "sums_kept": " and ".join(sorted(kept)),
             **{f"{model}_{where}": worst(source[model]) for where, source in (("emulated", found), ("cuda", found["cuda"]))
                for model in ("plain_fp16", "fixed_model")}}]


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def throughput_table(rows: list[dict[str, Any]]) -> str:
    text = ("| model | plain, CPU | scan, CPU | plain, CUDA | scan, CUDA | scan: CUDA over CPU | scan over plain on CUDA | "
            "process, CPU | process, CUDA |\n" + "|---" * 9 + "|\n")
    for row in rows:
        slower = row["plain_cuda"] / row["scan_cuda"] if row["plain_cuda"] else None
        text += (f"| {row['model']} | {number(row['plain_cpu'])} | {number(row['scan_cpu'])} | {number(row['plain_cuda'])} | "
                 f"{number(row['scan_cuda'])} | {row['scan_cuda'] / row['scan_cpu']:.1f}x | {number(slower)}x | "
                 f"{row['process_cpu']:.1f} s | {row['process_cuda']:.1f} s |\n")
    return text


def errors_table(rows: list[dict[str, Any]]) -> str:
    text = ("| model | plain FP16: emulated | on the GPU | not finite: emulated | on the GPU | fixed: emulated | on the GPU | "
            "not finite: emulated | on the GPU | sums kept in FP32 | verdict |\n" + "|---" * 11 + "|\n")
    for row in rows:
        if "verdict" not in row:
            text += f"| {row['model']} | {row['failure']} |\n"
            continue
        cells = [row["model"]]
        for model in ("plain_fp16", "fixed_model"):
            pair = (row[f"{model}_emulated"], row[f"{model}_cuda"])
            cells += [one["failure"] or f"{one['error']:.2g}" for one in pair] + [str(one["nonfinite"]) for one in pair]
        text += "| " + " | ".join([*cells, row["sums_kept"], row["verdict"]]) + " |\n"
    return text


def main() -> int:
    what, tool, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    measure, table = {"throughput": (throughput, throughput_table), "errors": (errors, errors_table)}[what]
    rows = []
    for folder in map(Path, sys.argv[4:]):
        rows += measure(tool, folder)
        print(json.dumps(rows[-1]), flush=True)
        (out / f"{what}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (out / f"{what}.md").write_text(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
