"""Models as exporters write them, through the same runner and judge as the cases of ONNX's package.

Networks exported from PyTorch (conformance.exported) lie in a cache outside the repository, because they are large; trained ones
come out of PyPI packages (conformance.packaged). Of each, the record keeps what became of it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from conformance import packaged, run, table
from conformance.cases import Case
from conformance.run import HALVES, Outcome

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENT = ROOT / ".deps/exports"
CACHE = ENVIRONMENT / "models"
RECORD = ROOT / "tests/data/exports.json"
HEADING = "\n## Exports\n"


def write_exports() -> None:
    """Fills the cache with what it lacks."""
    python = ENVIRONMENT / "bin/python"
    if not python.exists():
        raise SystemExit("no environment to export with: run scripts/setup --exports")
    done = subprocess.run([python, "-m", "conformance.exported.make", CACHE], cwd=ROOT / "tests", check=False)
    if done.returncode:
        print("conformance: not every network could be exported", file=sys.stderr)


def torch_cases(folder: Path) -> Iterator[Case]:
    for path in sorted(folder.glob("*/model.onnx")):
        yield folder_case(path.parent, "torch")


def folder_case(folder: Path, family: str) -> Case:
    """A model.onnx with samples/*.npz beside it."""
    samples = [dict(np.load(path)) for path in sorted((folder / "samples").glob("*.npz"))]
    case = packaged.as_case(folder.name, family, onnx.load(folder / "model.onnx"), samples)
    # Without the weights: they would all be in memory at the same time.
    return dataclasses.replace(case, model=folder / "model.onnx")


def export_cases() -> list[Case]:
    return [*packaged.packaged_cases(), *torch_cases(CACHE)]


# ---------------------------------------------------------------- record and page


def record(outcomes: Iterable[Outcome]) -> dict[str, dict[str, Any]]:
    """By case and type: the outcome, what there is to say about it, nodes in each precision, the error that fix states."""
    kept: dict[str, dict[str, Any]] = {}
    for outcome in sorted(outcomes, key=lambda outcome: (outcome.case, HALVES.index(outcome.half))):
        entry: dict[str, Any] = {"outcome": outcome.kind, "nodes": dict(sorted(outcome.precisions.items()))}
        if outcome.detail:
            entry["detail"] = outcome.detail
        if outcome.error is not None:
            entry["error"] = float(f"{outcome.error:.2g}")
        kept.setdefault(outcome.case, {})[outcome.half] = entry
    return kept


def save(kept: dict[str, dict[str, Any]]) -> None:
    lines = [f"  {json.dumps(case)}: {json.dumps(found, ensure_ascii=False)}" for case, found in sorted(kept.items())]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read() -> dict[str, dict[str, Any]]:
    return json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}


# Behind an exporter's name: the network was converted before, to FP16 or BF16.
TYPED = re.compile(r"torch/(?P<network>.*)-(?P<exporter>script|dynamo)_(?P<type>half|bfloat16)-")
COLUMNS = [(kept, exporter, half) for kept, halves in (("half", ("fp16",)), ("bfloat16", HALVES)) for half in halves
           for exporter in ("script", "dynamo")]


SECTION = """{heading}
Models as exporters write them, on the same terms: {torch} networks with random weights exported from PyTorch (ResNet to Swin,
detectors with NonMaxSuppression, DETR, transformers with and without a cache, recurrent ones, loops and branches), by its
TorchScript exporter (`script`) and the newer one (`dynamo`), `raw` where nothing was folded, each in the opset behind its name;
and {packages} trained ones that PyPI packages ship. Many have a layer so large that FP16 overflows. `scripts/conformance
--exports` makes them, runs them and writes this section; it takes PyTorch, which `scripts/setup --exports` installs, and a
half an hour.

Values may be off by {roundings} roundings of the largest, for the depth of networks. A sample is left out where the original
itself, in FP32, gives something else once its weights and inputs are off by a rounding: boxes of a detector whose scores are
nearly equal. The error is the worst relative L2 error of an output under emulation.

{table}

### Files in 16 bits

The same networks converted with `.half()` and `.bfloat16()` before they are exported, as far as PyTorch can, and what `fix` makes
of these files: nodes in FP32 of all, and the error against the network behind them in FP32. A *broken* file has weights that are
infinite, and gives no finite number in FP32 either; `fix` ends with NOT RIGHT then. TorchScript writes `swin` in BF16 with
an operator on complex numbers that no runtime takes.

{typed}
"""


def section(kept: dict[str, dict[str, Any]]) -> str:
    """The part of docs/conformance.md."""
    if not kept:
        return ""
    rows = ["| model | nodes | FP16 | in FP32 | in BF16 | error | BF16 | in FP32 | error |", "|---|---|---|---|---|---|---|---|---|"]
    for case, halves in sorted(kept.items()):
        if TYPED.match(case):
            continue
        fp16, bf16 = (halves.get(half, {}) for half in HALVES)
        nodes = sum(fp16.get("nodes", {}).values())
        rows.append(f"| {case.split('/')[1]} | {nodes} | {_outcome(fp16)} | {_count(fp16, 'fp32')} | {_count(fp16, 'bf16')} | "
                    f"{fp16.get('error', '')} | {_outcome(bf16)} | {_count(bf16, 'fp32')} | {bf16.get('error', '')} |")
    families = [case.split("/")[0] for case in kept if not TYPED.match(case)]
    return SECTION.format(heading=HEADING, torch=families.count("torch"), packages=families.count("packages"),
                          roundings=packaged.ROUNDINGS, table="\n".join(rows), typed="\n".join(_typed_rows(kept)))


def _typed_rows(kept: dict[str, dict[str, Any]]) -> list[str]:
    """One row a network: which file, by which exporter, made what."""
    names = {"half": ".half()", "bfloat16": ".bfloat16()", "fp16": "FP16", "bf16": "BF16"}
    rows = [f"| network | {' | '.join(f'`{names[kept_type]}` {exporter}, to {names[half]}' for kept_type, exporter, half in COLUMNS)} |",
            "|---" * (len(COLUMNS) + 1) + "|"]
    found = {match.groups(): halves for case, halves in kept.items() if (match := TYPED.match(case))}
    for network in sorted({network for network, *_ in found}):
        cells = [found.get((network, exporter, kept_type), {}).get(half) for kept_type, exporter, half in COLUMNS]
        rows.append(f"| {network} | {' | '.join(_typed_cell(entry) for entry in cells)} |")
    return rows


def _typed_cell(entry: dict[str, Any] | None) -> str:
    if not entry:
        return "-"
    if entry["outcome"] not in ("right", "fp32"):
        return entry["outcome"]
    return f"{entry['nodes'].get('fp32', 0)} of {sum(entry['nodes'].values())}, {entry['error']:.1e}"


def _outcome(entry: dict[str, Any]) -> str:
    kind = {"fp32": "all FP32"}.get(entry.get("outcome", ""), entry.get("outcome", "not run"))
    detail = entry.get("detail", "").replace("|", "\\|")
    return f"{kind}: {detail}" if detail else kind


def _count(entry: dict[str, Any], precision: str) -> int | str:
    return entry["nodes"].get(precision, 0) if "nodes" in entry else ""


def with_section(page: str) -> str:
    """The page with its last section made anew."""
    return page.split(HEADING)[0].rstrip("\n") + "\n" + section(read())


def main(pattern: str, page: Path) -> int:
    """What scripts/conformance --exports runs; with a pattern it runs the cases that match, and only their rows change."""
    write_exports()
    chosen = [case for case in export_cases() if re.search(pattern, case.id)]
    in_fp16 = [case for case in chosen if "_half-" in case.id]
    outcomes = []
    for outcome in itertools.chain(run.run_cases([case for case in chosen if case not in in_fp16]), run.run_cases(in_fp16, HALVES[:1])):
        outcomes.append(outcome)
        print(f"{outcome.case} {outcome.half}: {outcome.kind} {outcome.detail} {outcome.precisions} "
              f"error {outcome.error} {outcome.seconds:.1f} s {outcome.engine}", flush=True)
    found = record(outcomes)
    save({**read(), **found} if pattern else found)
    page.write_text(with_section(page.read_text(encoding="utf-8") if page.is_file() else ""), encoding="utf-8")
    print("exports:", table.in_words(table.count(outcomes)))
    return any(outcome.kind in run.FAULTS for outcome in outcomes)
