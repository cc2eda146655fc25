#!/usr/bin/env python3
"""Builds and measures engines with `halfsafe build`, `engine` and `bench`, model by model, in four ways:

  fp32     the model, TF32 off
  fp16     the model, FP16 wherever TensorRT likes
  pinned   the plan of `fix --repair fp32`: overflowing nodes in FP32
  repaired the plan of `fix`: rescaled, and pinned where that is not enough

usage: engines.py prepare MODELS_DIR PACKAGE --halfsafe BINARY [--models NAME...] [--samples N] [--batch N | NAME=N]...
       engines.py run PACKAGE OUT --halfsafe BINARY [--models NAME...] [--level N] [--jobs N] [--budget SECONDS]
       engines.py table OUT
       engines.py parse MODELS --halfsafe BINARY

`prepare` needs no GPU: plans, and what the emulation says of them. `run` writes OUT/results.jsonl, a line an engine,
and every engine's layers; engines of one model are built `--jobs` at a time within `--budget` and timed one by one after.
MODELS_DIR holds NAME/model.onnx and NAME/samples/*.npz, as tests/real_models.py and tests/rescale_models.py write them.

`parse` has TensorRT 10 or newer parse models that `apply` or `fix` wrote, as strongly typed: what it says is a table, and the
exit code 1 where one was not parsed, 5 where there is no GPU or no such TensorRT. They are MODELS/NAME.onnx or
MODELS/FOLDER/NAME.onnx; a folder `samples` beside them gives their shapes, else free dimensions are 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PLANS = {"pinned": ["--repair", "fp32"], "repaired": []}
BENCH_SECONDS = 60.0  # What a model's engines have to be timed in, also when building took all the time.
WAYS = ("fp32", "fp16", "pinned", "repaired")


def prepare(options: argparse.Namespace) -> None:
    names = options.models or sorted(path.parent.name for path in options.source.glob("*/model.onnx"))
    for name in names:
        source, target = options.source / name, options.package / name
        shutil.rmtree(target, ignore_errors=True)
        (target / "samples").mkdir(parents=True)
        shutil.copy(source / "model.onnx", target)
        for sample in sorted((source / "samples").glob("*.npz"))[: options.samples]:
            shutil.copy(sample, target / "samples")
        (target / "batch").write_text(str(options.batches.get(name, options.batches[""])))
        for way, arguments in PLANS.items():
            done = subprocess.run([options.halfsafe, "fix", target / "model.onnx", "--data", target / "samples", "-q",
                                   "-o", "/dev/null", "--save-plan", target / f"{way}.plan.json",
                                   "--json", target / f"{way}.fix.json", *arguments], check=False)
            print(name, way, "exit", done.returncode, flush=True)


class Runner:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.package_out
        self.end = time.monotonic() + options.budget
        self.out.mkdir(parents=True, exist_ok=True)

    def call(self, log: Path, *arguments: str | Path) -> tuple[int, float]:
        """Exit code, and seconds. 124: out of time."""
        start = time.monotonic()
        with open(log, "a", encoding="utf-8") as file:
            print("$ halfsafe", *arguments, file=file, flush=True)
            try:
                code = subprocess.run([self.options.halfsafe, *map(str, arguments)], stdout=file, stderr=file,
                                      timeout=max(1.0, self.end - start), check=False).returncode
            except subprocess.TimeoutExpired:
                code = 124
        return code, time.monotonic() - start

    def build(self, name: str, way: str) -> int:
        package, log = self.options.package / name, self.out / f"{name}.{way}.log"
        arguments = {"fp32": [], "fp16": ["--fp16"]}.get(way, ["--plan", package / f"{way}.plan.json"])
        code, seconds = self.call(log, "build", package / "model.onnx", *arguments, "-o", package / f"{way}.engine",
                                  "--data", package / "samples", "--batch", (package / "batch").read_text(),
                                  "--opt-level", str(self.options.level), "--own-kernels",
                                  "--json", self.out / f"{name}.{way}.build.json")
        print(name, way, "exit", code, f"{seconds:.0f} s", flush=True)
        if code == 0 and way in PLANS:
            self.call(log, "engine", package / f"{way}.engine", "--plan", package / f"{way}.plan.json",
                      "--json", self.out / f"{name}.{way}.engine.json")
        if code == 0:
            with open(self.out / f"{name}.{way}.layers.json", "w", encoding="utf-8") as file:
                subprocess.run([self.options.halfsafe, "engine", package / f"{way}.engine", "--raw", "-q"], stdout=file,
                               stderr=subprocess.DEVNULL, check=False)
        return code

    def run(self) -> None:
        names = self.options.models or sorted(path.parent.name for path in self.options.package.glob("*/model.onnx"))
        ways = self.options.ways or WAYS
        with ThreadPoolExecutor(self.options.jobs) as pool:
            builds = {(name, way): pool.submit(self.build, name, way) for name in names for way in ways}
            codes = {key: build.result() for key, build in builds.items()}
        for name in names:
            package = self.options.package / name
            engines = [f"{way}={package / way}.engine" for way in ways if codes[name, way] == 0]
            if engines:
                self.end = max(self.end, time.monotonic() + BENCH_SECONDS)
                code, seconds = self.call(self.out / f"{name}.bench.log", "bench", package / "model.onnx", *engines,
                                          "--data", package / "samples", "--batch", (package / "batch").read_text(),
                                          "--json", self.out / f"{name}.bench.json")
                print(name, "bench exit", code, f"{seconds:.0f} s", flush=True)
            for way in PLANS:
                shutil.copy(package / f"{way}.fix.json", self.out / f"{name}.{way}.fix.json")


def read(path: Path) -> dict | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() and path.stat().st_size else None


def errors(outputs: list[dict]) -> tuple[float | None, int]:
    floats = [output for output in outputs if output["dtype"].startswith(("float", "bfloat"))]
    return (max((output["rel_l2"] if output["rel_l2"] is not None else float("inf") for output in floats), default=None),
            sum(output["new_nonfinite"] for output in floats))


def table(options: argparse.Namespace) -> None:
    print("| model | engine | median ms | CUDA graph ms | not finite | error | emulated error | verdicts | pinned, not found "
          "| planned nodes: as planned, in regions, absent |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for path in sorted(options.out.glob("*.bench.json")):
        name = path.name[: -len(".bench.json")]
        bench = read(path)
        for engine in bench["engines"]:
            way = engine["name"]
            error, nonfinite = errors(engine["errors"]["outputs"])
            fixed = read(options.out / f"{name}.{way if way in PLANS else 'repaired'}.fix.json")
            emulated = fixed["plain_fp16"] if way == "fp16" else fixed["fixed_model"] if way in PLANS else None
            emulated = emulated["outputs"] if isinstance(emulated, dict) else emulated
            theirs = "" if emulated is None else f"{errors(emulated)[0]:.2g}"
            right = all(output["right"] for output in engine["errors"]["outputs"])
            verdicts = "right" if right else "wrong"
            if emulated is not None:
                agree = all(output["right"] for output in emulated)
                verdicts += " / " + ("right" if agree else "wrong")
            build, report = (read(options.out / f"{name}.{way}.{kind}.json") for kind in ("build", "engine"))
            pins = "" if not build or not build["pinned"] else (
                f"{len(build['pinned'])}, {sum(not pin['layers'] for pin in build['pinned'])}")
            nodes = ""
            if report:
                found = [node["presence"] for node in report["nodes"]]
                fine = sum(1 for node in report["nodes"] if node["presence"] in ("layer", "fused") and not node["problem"])
                nodes = f"{fine}, {found.count('region')}, {found.count('absent')}"
                nodes += "" if report["as_planned"] else ", **not as planned**"
            graph = engine["graph_median_ms"]
            print(f"| {name} | {way} | {engine['median_ms']:.3f} | {'' if graph is None else f'{graph:.3f}'} | {nonfinite} "
                  f"| {error if error is None else f'{error:.2g}'} | {theirs} | {verdicts} | {pins} | {nodes} |")


UNAVAILABLE = 5  # halfsafe's exit code without TensorRT, a GPU, or strong typing.


def parse_model(model: Path, halfsafe: str, out: Path) -> tuple[bool, str, str]:
    """Whether TensorRT parses it, the number of layers, and what TensorRT says."""
    samples = model.parent / "samples"
    data = ["--data", samples] if samples.is_dir() else ["--random", "1"]
    done = subprocess.run([halfsafe, "build", model, "--parse-only", "--typing", "strong", "-q", "--json", out, *data],
                          capture_output=True, text=True, check=False)
    if done.returncode == UNAVAILABLE:
        print(f"engines.py: {done.stderr.strip()}", file=sys.stderr)
        sys.exit(UNAVAILABLE)
    if done.returncode != 0:
        return False, "", " ".join(done.stderr.split()) or f"exit {done.returncode}"
    built = json.loads(out.read_text(encoding="utf-8"))
    return True, str(built["network_layers"]), "; ".join(dict.fromkeys(built["warnings"]))


def parse_models(options: argparse.Namespace) -> int:
    models = sorted([*options.models_dir.glob("*.onnx"), *options.models_dir.glob("*/*.onnx")])
    if not models:
        sys.exit(f"engines.py: no .onnx files in {options.models_dir}")
    rows, succeeded = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for model in models:
            parsed, layers, messages = parse_model(model, options.halfsafe, Path(folder) / "build.json")
            name, said = model.relative_to(options.models_dir), messages.replace("|", "\\|")
            rows.append(f"| {name} | {'yes' if parsed else '**no**'} | {layers} | {said} |")
            succeeded += parsed
    print("| model | parsed | layers | messages |\n|---|---|---|---|", *rows, sep="\n")
    print(f"\n{succeeded} of {len(models)} parsed")
    return 0 if succeeded == len(models) else 1


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    first = commands.add_parser("prepare")
    first.add_argument("source", type=Path)
    first.add_argument("package", type=Path)
    first.add_argument("--samples", type=int, default=2)
    first.add_argument("--batch", action="append", default=[], metavar="N | NAME=N")
    second = commands.add_parser("run")
    second.add_argument("package", type=Path)
    second.add_argument("package_out", type=Path, metavar="OUT")
    second.add_argument("--level", type=int, default=3)
    second.add_argument("--jobs", type=int, default=1)
    second.add_argument("--budget", type=float, default=3600.0)
    second.add_argument("--ways", nargs="+", choices=WAYS)
    third = commands.add_parser("parse")
    third.add_argument("models_dir", type=Path, metavar="MODELS")
    third.add_argument("--halfsafe", default="halfsafe")
    for command in (first, second):
        command.add_argument("--halfsafe", default="halfsafe")
        command.add_argument("--models", nargs="+", default=[])
    commands.add_parser("table").add_argument("out", type=Path)
    options = parser.parse_args()
    options.batches = {"": 1}
    for text in getattr(options, "batch", []):
        name, _, number = text.rpartition("=")
        options.batches[name] = int(number)
    return options


def main() -> int:
    options = parse()
    if options.command == "prepare":
        prepare(options)
    elif options.command == "run":
        Runner(options).run()
    elif options.command == "parse":
        return parse_models(options)
    else:
        table(options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
