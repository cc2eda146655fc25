#!/usr/bin/env python3
"""Turns the probe's JSON lines into a Markdown table.

usage: table.py RESULTS.jsonl...

Of several lines for the same model and mode the last counts. Standard library only, so that it runs beside the probe.
"""

from __future__ import annotations

import json
import sys

TITLES = {
    "fp32": "FP32",
    "fp16": "FP16, nothing pinned",
    "overflow": "FP16, overflowing layers pinned",
    "readers": "FP16, overflowing layers and their readers pinned",
    "pinned": "FP16, the plan's FP32 nodes pinned",
    "rescaled": "FP16, rescaled",
    "typed": "FP16, rescaled, with its Casts",
}
HEADER = ("model", "engine", "median ms", "p99 ms", "as a graph, ms", "of plain FP16", "non-finite", "relative L2",
          "max abs error", "layers pinned")


def number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def ratio(line: dict, plain: dict | None) -> str:
    """Of the times as graphs, where both are there: these do without the CPU's share."""
    for field in ("graph_median_ms", "median_ms"):
        if plain and line.get(field) and plain.get(field):
            return f"{line[field] / plain[field]:.2f}x"
    return "–"


def nonfinite(line: dict) -> str:
    count, outputs = line["nonfinite"], line["outputs"]
    return "0" if count == 0 else "all" if count == outputs else f"{count / outputs:.1%}"


def row(line: dict, plain: dict | None) -> list[str]:
    title = TITLES.get(line["mode"], line["mode"])
    name = line["model"] + (f", batch {line['batch']}" if line.get("batch", 1) > 1 else "")
    if line.get("error"):
        # A bar or a line's end would end the cell.
        reason = " ".join(line["error"].replace("|", "/").split())[:100]
        return [name, title, f"failed: {reason}", *[""] * (len(HEADER) - 3)]
    pinned = str(line["pinned_layers"]) + f" of {line['layers']}" if line["pinned_layers"] else "0"
    missed = len(line["unmatched_pins"])
    all_bad = line["nonfinite"] == line["outputs"] and line["outputs"]
    largest = "–" if all_bad else f"{number(line['max_abs'])} of {number(line['max_reference'])}"
    error = number(line["rel_l2"]) if not line["nonfinite"] else "–"
    if line["flips"]:
        error += f", {line['flips']} of {line['integers']} integers differ"
    return [name, title, milliseconds(line["median_ms"]), milliseconds(line["p99_ms"]),
            milliseconds(line["graph_median_ms"]), ratio(line, plain), nonfinite(line), error,
            largest,
            pinned + (f" ({missed} not found)" if missed else "")]


def main(files: list[str]) -> int:
    if not files:
        print(__doc__, file=sys.stderr)
        return 2
    lines: dict[tuple[str, str], dict] = {}
    for file in files:
        with open(file, encoding="utf-8") as stream:
            for text in stream:
                if text.strip():
                    line = json.loads(text)
                    lines[line["model"], line["mode"]] = line
    order = list(TITLES)
    models = list(dict.fromkeys(model for model, _ in lines))
    print("| " + " | ".join(HEADER) + " |")
    print("|" + "---|" * len(HEADER))
    for model in models:
        modes = sorted((mode for name, mode in lines if name == model),
                       key=lambda mode: order.index(mode) if mode in order else len(order))
        for mode in modes:
            print("| " + " | ".join(row(lines[model, mode], lines.get((model, "fp16")))) + " |")
    devices = {(line["device"], line["tensorrt"]) for line in lines.values() if line.get("device")}
    for device, version in sorted(devices):
        print(f"\n{device}, TensorRT {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
