"""Outcomes as a file to compare with, and as a page to read."""

from __future__ import annotations

import collections
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from conformance.run import BROKEN, FAULTS, GOOD, HALVES, Outcome

# From best to worst.
ORDER = (*GOOD, BROKEN, *FAULTS)
NAMES = {"fp16": "FP16", "bf16": "BF16"}


def record(outcomes: Sequence[Outcome], versions: dict[str, str]) -> dict[str, Any]:
    """What is kept: counts, and of each case its outcome in each type, with what there is to say about it."""
    by_case: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for outcome in outcomes:
        by_case[outcome.case][outcome.half] = f"{outcome.kind}: {outcome.detail}" if outcome.detail else outcome.kind
    return {
        "versions": versions,
        "counts": count(outcomes),
        "cases": {case: dict(sorted(by_case[case].items(), reverse=True)) for case in sorted(by_case)},
    }


def count(outcomes: Iterable[Outcome]) -> dict[str, dict[str, int]]:
    """How many ended how, in each type."""
    found = collections.Counter((outcome.half, outcome.kind) for outcome in outcomes)
    return {half: {kind: found[half, kind] for kind in ORDER if found[half, kind]} for half in HALVES}


def in_words(counts: dict[str, dict[str, int]]) -> str:
    return "; ".join(f"{NAMES[half]} " + ", ".join(f"{number} {kind}" for kind, number in kinds.items())
                     for half, kinds in counts.items())


def to_json(kept: dict[str, Any]) -> str:
    """One line for each case."""
    lines = [f"    {json.dumps(case)}: {json.dumps(found, ensure_ascii=False)}" for case, found in kept["cases"].items()]
    head = json.dumps({"versions": kept["versions"], "counts": kept["counts"]}, indent=2)
    return head[:-2] + ',\n  "cases": {\n' + ",\n".join(lines) + "\n  }\n}\n"


def kind_of(text: str) -> str:
    return text.split(":")[0]


def worse(kept: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Cases that ended better before, and those that are in one of the two alone."""
    lines = []
    for case in sorted(set(kept["cases"]) | set(found["cases"])):
        before, now = kept["cases"].get(case), found["cases"].get(case)
        if before is None or now is None:
            lines.append(f"{case} is {'new' if before is None else 'gone'}")
            continue
        lines += [f"{case} in {NAMES[half]}: {before[half]!r} before, {now[half]!r} now" for half in now
                  if half in before and ORDER.index(kind_of(now[half])) > ORDER.index(kind_of(before[half]))]
    return lines


# ---------------------------------------------------------------- the page

PAGE = """# Conformance

What becomes of the operator tests and models that ONNX's own package brings: each case goes through `halfsafe fix`, once with
`--half fp16` and once with `--half bf16`, and is judged without halfsafe. `scripts/conformance` writes this page and
`tests/data/conformance.json`, with which `tests/conformance_test.py` compares.

| outcome | meaning |
|---|---|
| right | at least one node is in 16 bits, and everything below holds |
| all FP32 | no node is in 16 bits, the plan says why, and everything below holds |
| refused | exit code 3 and a message; no file is written |

A case is right when

- ONNX's checker, types and shapes included, takes the fixed model, if it takes the original;
- inputs and outputs have their names and types;
- each node of the main graph has the types that the plan says, by ONNX's inference (left out for opset 6, which is converted);
- with the plan's powers of two and all nodes in FP32, ONNX Runtime gives the original's bits;
- results are those that the package recorded: shapes, integers, strings, infinities and NaN as they are, floats within a
  relative L2 error of {rel_l2:g} and {roundings} roundings of the type of the largest value.

The fixed model is run by ONNX Runtime's kernels; where it has none (most of BF16), by ONNX Runtime in FP32 with every
rounding written into the model as Casts; and where that fails too, by ONNX's evaluator. Where an engine has an opinion of its
own on what an operator means, it is held against itself on the original. A model that `fix` leaves as it was is right also where
no engine runs it, and what random numbers give is not compared. Casts count as free (`--free-casts`), since models of one node would
otherwise all be FP32 for what Casts cost, and samples may hold NaN.

Run with {versions}: {count} cases.

{families}

Besides, {broken} cases give nothing but infinities or NaN in FP32, on purpose (extremes of nothing, the remainder of a division by
zero): with no value to compare, halfsafe says NOT RIGHT. No other case ends in a crash, in a wrong result, or in the verdict that it
could not be made right; `tests/conformance_test.py` fails if one does, if more than 2% are refused, or if a case ends worse than it did.

## Refused

{refused}

## All FP32

{wide}

Where the reason is `overflow` or `error`, the case is a node or two whose results are wrong with tensors of 16 bits, whatever power
of two these carry, and the plan says by how much: differences between numbers near 10000 (softmax), integers of 16 bits
(QuantizeLinear), numbers that are compared (the tree's sets, Bernoulli), masks near FP32's limit that are an output (attention), infinities and values
past 10000 that the case is about (Casts to and from FP8),
and in BF16 what its 8 bits are too few for (Tan near its pole, powers, sums that cancel).
"""


def to_markdown(outcomes: Sequence[Outcome], versions: dict[str, str], rel_l2: float, roundings: int) -> str:
    return PAGE.format(
        rel_l2=rel_l2, roundings=roundings, count=len({outcome.case for outcome in outcomes}),
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        broken=len({outcome.case for outcome in outcomes if outcome.kind == BROKEN}), families=_families(outcomes), refused=_refused(outcomes), wide=_wide(outcomes))


def _rows(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def _families(outcomes: Sequence[Outcome]) -> str:
    counts = collections.Counter((outcome.case.split("/")[0], outcome.half, outcome.kind) for outcome in outcomes)
    families = sorted({family for family, _, _ in counts})
    head = ["family", "cases", *(f"{NAMES[half]}: {name}" for half in HALVES for name in ("right", "all FP32", "refused"))]
    rows = []
    for family in [*families, "all"]:
        def count(half: str, kind: str) -> int:
            return sum(number for key, number in counts.items()
                       if key[1:] == (half, kind) and family in (key[0], "all"))
        cells = [count(half, kind) for half in HALVES for kind in GOOD]
        rows.append([family, sum(count(HALVES[0], kind) for kind in ORDER), *cells])
    return _rows(head, rows)


def _refused(outcomes: Sequence[Outcome]) -> str:
    groups: dict[str, dict[str, set[str]]] = collections.defaultdict(lambda: collections.defaultdict(set))
    for outcome in outcomes:
        if outcome.kind == "refused":
            groups[_message(outcome.detail)][outcome.case.split("/")[1]].add(NAMES[outcome.half])
    rows = []
    for message, found in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        names = ", ".join(f"`{name}`" + ("" if len(halves) == len(HALVES) else f" ({' '.join(sorted(halves))})")
                          for name, halves in sorted(found.items()))
        rows.append([message, names])
    return _rows(["message", "cases"], rows)


def _message(said: str) -> str:
    """The message without what is the case's own, for a cell of a table."""
    text = said.splitlines()[-1].removeprefix("halfsafe: ")
    text = re.sub(r"^\S+\.onnx: |(?<=refuses )\S+\.onnx|samples/000(/input_\d+\.pb)?:? ?", "", text)
    text = re.sub(r" with node name ''|/\S+/(?=\w+\.(?:cc|h):)", "", text).replace("|", "\\|").replace("<", "\\<")
    return text if len(text) <= 160 else f"{text[:157]}..."


def _wide(outcomes: Sequence[Outcome]) -> str:
    """By reason; of what has no 16-bit type, the operators, of the rest the cases."""
    rows = []
    for half in HALVES:
        groups: dict[str, list[Outcome]] = collections.defaultdict(list)
        for outcome in outcomes:
            if outcome.half == half and outcome.kind == "fp32":
                groups[outcome.detail].append(outcome)
        for reasons, found in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
            rows.append([NAMES[half], reasons, len(found), _what(reasons, found)])
    return _rows(["type", "reason", "cases", "which"], rows)


def _what(reasons: str, found: Sequence[Outcome]) -> str:
    if reasons == "nothing-to-convert":
        return "no FP32 tensor at any node"
    if reasons == "no-half-type":
        operators = {name for outcome in found for text in outcome.evidence for name in re.findall(r"\b[A-Z]\w+(?:-\d+)?", text)
                     if name not in ("ONNX", "FP16", "BF16", "FP32")}
        return ", ".join(sorted(operators))
    return ", ".join(sorted(f"`{outcome.case.split('/')[1]}`" for outcome in found))


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))
