"""What scripts/conformance runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import onnx
import onnxruntime

from conformance import cases, exports, judge, run, table

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> int:
    if sys.argv[1:2] == ["--exports"]:
        return exports.main("".join(sys.argv[2:3]), ROOT / "docs/conformance.md")
    pattern = re.compile(sys.argv[1] if len(sys.argv) > 1 else "")
    chosen = [case for case in cases.all_cases() if pattern.search(case.id)]
    outcomes = sorted(run.run_cases(chosen), key=lambda outcome: (outcome.case, outcome.half))
    for outcome in outcomes:
        if pattern.pattern or outcome.kind in run.FAULTS:
            print(f"{outcome.case} in {table.NAMES[outcome.half]}: {outcome.kind} {outcome.detail} {outcome.precisions} "
                  f"{outcome.engine}")
    if not pattern.pattern:
        versions = {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__}
        kept = table.record(outcomes, versions)
        (ROOT / "tests/data/conformance.json").write_text(table.to_json(kept), encoding="utf-8")
        page = table.to_markdown(outcomes, versions, judge.REL_L2, judge.ROUNDINGS)
        (ROOT / "docs/conformance.md").write_text(exports.with_section(page), encoding="utf-8")
        print("ONNX's cases:", table.in_words(kept["counts"]))
    return any(outcome.kind in run.FAULTS for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
