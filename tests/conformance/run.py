"""One case through the program: fix writes a model and a plan, and the judge looks at both. And all cases, side by side."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import subprocess
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx

from conformance import cases, judge
from conformance.cases import Case

HALVES = ("fp16", "bf16")
TIMEOUT = 600  # Seconds; a case that takes longer hangs.
REFUSED = 3  # The exit code for a model or data that can't be used.
# Small models are all border: what Casts cost would leave most of them in FP32.
OPTIONS = ("--free-casts", "--allow-nan")


@dataclass(frozen=True)
class Outcome:
    """What became of a case in one 16-bit type."""

    case: str
    half: str
    kind: str  # One of KINDS.
    detail: str = ""  # Reasons for FP32, the message of a refusal, or what is wrong.
    engine: str = ""  # What the judge ran the fixed model with.
    precisions: dict[str, int] = field(default_factory=dict)  # Nodes of the plan in each.
    evidence: tuple[str, ...] = ()  # Of a case that is wholly FP32: what the plan says of its nodes.
    seconds: float = 0.0  # What fix took.
    error: float | None = None  # The worst relative L2 error of an output, as fix states it; None where it isn't finite.


# right: some node is in 16 bits, and the results are right. fp32: none is, and the plan says why. refused: exit code 3
# and a message. broken: the original gives no finite value in FP32, and halfsafe says not-right. The others are faults. not-right: halfsafe says itself that it could not make it right. wrong: halfsafe says
# that it is right, and the judge that it isn't. crash: any other end.
GOOD = ("right", "fp32", "refused")
BROKEN = "broken"
FAULTS = ("not-right", "wrong", "crash")


def run_cases(all_cases: Sequence[Case], halves: Sequence[str] = HALVES, jobs: int | None = None) -> Iterator[Outcome]:
    """Every case in every 16-bit type, as they end. Cases are not sent to the processes that run them: these are copies of
    this one, so it must not have threads yet."""
    global _CASES
    _CASES = all_cases
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(jobs or os.cpu_count(), mp_context=fork) as pool:
        jobs_left = [pool.submit(_run_number, number, half) for number in range(len(all_cases)) for half in halves]
        for job in as_completed(jobs_left):
            yield job.result()


_CASES: Sequence[Case] = ()


def _run_number(number: int, half: str) -> Outcome:
    warnings.simplefilter("ignore")  # numpy's, of ONNX's evaluator.
    case = _CASES[number]
    try:
        return run_case(case, half)
    except Exception:  # Of the judge, not of the program: shown with the case, as a fault.
        return Outcome(case.id, half, "crash", traceback.format_exc(limit=-3))


def run_case(case: Case, half: str, options: Sequence[str] = OPTIONS) -> Outcome:
    with tempfile.TemporaryDirectory() as name:
        return _run(case, half, Path(name), options)


def _run(case: Case, half: str, folder: Path, options: Sequence[str]) -> Outcome:
    original = case.load()
    path = case.model if isinstance(case.model, Path) else folder / "model.onnx"
    if path != case.model:
        onnx.save(original, path)
    write_samples(case, original, folder / "samples")
    fixed, plan, result = folder / "fixed.onnx", folder / "plan.json", folder / "result.json"
    data = ["--data", str(folder / "samples")] if cases.runtime_inputs(original) else ["--random", "1"]
    start = time.monotonic()
    try:
        done = _tool("fix", str(path), *data, "-o", str(fixed), "--save-plan", str(plan), "--json", str(result), "--quiet",
                     "--threads", "1", "--half", half, *options)
    except subprocess.TimeoutExpired:
        return Outcome(case.id, half, "crash", f"no end after {TIMEOUT} s")
    seconds = time.monotonic() - start
    said = done.stderr.replace(f"{folder}/", "").replace(f"{path.parent}/", "").strip()
    if done.returncode == REFUSED and said:
        return Outcome(case.id, half, "refused", said)
    if done.returncode not in (0, 1):
        return Outcome(case.id, half, "crash", f"exit code {done.returncode}: {said[-2000:]}")
    if done.returncode == 1:
        kind = BROKEN if judge.is_broken(case, original) else "not-right"
        return Outcome(case.id, half, kind, failure(json.loads(result.read_text())))
    outcome = judged(case, half, path, original, fixed, json.loads(plan.read_text()))
    return dataclasses.replace(outcome, seconds=seconds, error=worst_error(json.loads(result.read_text())))


def worst_error(result: dict[str, Any]) -> float | None:
    fixed = result["fixed_model"]  # None where all is FP32.
    return max((output["rel_l2"] for output in fixed["outputs"] if output["rel_l2"] is not None), default=None) if fixed else 0.0


def _tool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([os.environ["HALFSAFE"], *arguments], capture_output=True, text=True, errors="replace",
                          timeout=TIMEOUT)


def write_samples(case: Case, model: onnx.ModelProto, folder: Path) -> None:
    """As ONNX test data, which every type of value has a form in."""
    for index, sample in enumerate(case.samples):
        place = folder / f"{index:03}"
        place.mkdir(parents=True)
        for slot, (declared, value) in enumerate(zip(cases.runtime_inputs(model), sample, strict=True)):
            (place / f"input_{slot}.pb").write_bytes(cases.write_value(value, declared.type, declared.name))


def failure(result: dict[str, Any]) -> str:
    fixed = result["fixed_model"]
    return fixed["failure"] or "; ".join(
        output["problem"] or f"{output['name']}: relative L2 error {output['rel_l2']}, {output['flips']} flips"
        for output in fixed["outputs"] if not output["right"])


def judged(case: Case, half: str, path: Path, original: onnx.ModelProto, fixed_path: Path, plan: dict[str, Any]) -> Outcome:
    fixed = onnx.load(fixed_path)
    precisions = dict(Counter(node["precision"] for node in plan["nodes"]))
    outcome = Outcome(case.id, half, "right", precisions=precisions)
    problem = judge.judge_model(original, fixed, plan) or judge_exponents(case, path, original, fixed_path, plan)
    verdict = judge.Verdict(problem) if problem else judge.judge_outputs(case, original, fixed, half)
    outcome = dataclasses.replace(outcome, detail=verdict.problem or verdict.note, engine=verdict.engine)
    if verdict.problem:
        return dataclasses.replace(outcome, kind="wrong")
    if set(precisions) - {"fp32"}:
        return outcome
    reasons = sorted({node["reason"] for node in plan["nodes"]}) or ["nothing-to-convert"]
    return dataclasses.replace(outcome, kind="fp32", detail=", ".join(reasons),
                               evidence=tuple(sorted({node["evidence"] for node in plan["nodes"]})))


def judge_exponents(case: Case, path: Path, original: onnx.ModelProto, fixed: Path, plan: dict[str, Any]) -> str:
    """With its powers of two and all nodes in FP32 the model has to give the original's bits."""
    if not plan["tensors"]:
        return ""
    powers = {**plan, "nodes": [], "constants": [], "io": []}
    powers_path, scaled = fixed.with_name("powers.json"), fixed.with_name("scaled.onnx")
    powers_path.write_text(json.dumps(powers))
    done = _tool("apply", str(path), "--plan", str(powers_path), "-o", str(scaled))
    if done.returncode:
        return f"apply refuses the plan's powers of two: {done.stderr[-300:]}"
    return judge.judge_bits(case, original, onnx.load(scaled))
