#!/usr/bin/env python3
"""Packs models, samples and FP32 reference outputs for the probe, on a machine without a GPU.

usage: prepare.py MODELS_DIR OUT_DIR [--halfsafe BINARY] [--models NAME...] [--samples N] [--batch N | NAME=N]...

Takes MODELS_DIR/NAME/model.onnx and MODELS_DIR/NAME/samples/*.npz, as tests/real_models.py writes them, and makes
OUT_DIR/package/NAME/ with

  model.onnx          the original, weights inside
  rescaled.onnx       the repaired model with its FP16 types and Casts
  rescaled_fp32.onnx  the same exponents and constants, all of it FP32: for a runtime that picks the types itself
  pinned.onnx         likewise what the plan without exponents does beside pinning, where it does anything
  pins.txt            what that plan keeps in FP32
  pins_rescaled.txt   what the plan with exponents still keeps in FP32, and inserted nodes that FP16 can't hold
  pins_overflow.txt   what writes tensors past 10000: the usual recipe
  pins_readers.txt    the same and what reads these tensors
  samples/, reference/   raw arrays and manifest.tsv
  batch               how often the probe repeats a sample

A line of a pin file has the names of one node and of the tensors that it writes, with tabs between them.

Plans and ranges are MODELS_DIR/NAME/plan.json, rescaled_plan.json and ranges.json, or are made with --halfsafe. What is
missing is left out, with a note. OUT_DIR/parts/0/, 1/, ... hold the package once more, as a compressed archive in
pieces of at most --part MiB, for machines that take only so much at once: cat package.* | tar -xz
"""

from __future__ import annotations

import argparse
import io
import json
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

THRESHOLD = 10000.0  # The usual recipe's, and the default of `halfsafe plan`.
MODEL_LIMIT = 2 << 30  # A model in one file cannot be larger.
# What the probe reads. ONNX has more types, which neither halfsafe's models nor TensorRT 8 use.
DTYPES = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool")


def note(name: str, text: str) -> None:
    print(f"prepare: {name}: {text}", file=sys.stderr)


# ---------------------------------------------------------------- arrays


def write_arrays(folder: Path, sets: list[tuple[str, dict[str, np.ndarray]]]) -> None:
    """One raw file an array, and a manifest that says what they are."""
    folder.mkdir(parents=True)
    lines = []
    for index, (sample, arrays) in enumerate(sets):
        for number, (name, array) in enumerate(arrays.items()):
            if array.dtype.name not in DTYPES:
                raise ValueError(f"{name} is {array.dtype}, which the probe does not read")
            file = f"{index:03d}_{number}.bin"
            shape = ",".join(map(str, array.shape))
            lines.append("\t".join([sample, name, array.dtype.name, shape, file]))
            (folder / file).write_bytes(np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes())
    (folder / "manifest.tsv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def load_samples(folder: Path, most: int) -> list[tuple[str, dict[str, np.ndarray]]]:
    samples = []
    for file in sorted(folder.glob("*.npz"))[:most]:
        with np.load(file) as arrays:
            samples.append((file.stem, {name: arrays[name] for name in arrays.files}))
    return samples


def reference_outputs(model: Path, samples: list[tuple[str, dict[str, np.ndarray]]]
                      ) -> list[tuple[str, dict[str, np.ndarray]]]:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return [(sample, dict(zip(names, session.run(names, arrays)))) for sample, arrays in samples]


# ---------------------------------------------------------------- pins


def aliases(node: onnx.NodeProto) -> list[str]:
    """What TensorRT's parser may call a node: by its name, by one made from its first output, by what it writes."""
    outputs = [name for name in node.output if name]
    return list(dict.fromkeys([node.name or f"node_of_{outputs[0] if outputs else ''}", *outputs]))


def write_pins(path: Path, nodes: list[list[str]]) -> None:
    path.write_text("".join("\t".join(names) + "\n" for names in nodes), encoding="utf-8")


def pins_of_plan(plan: dict, graph: onnx.GraphProto) -> list[list[str]]:
    """Nodes of a plan go by their names, or by their first outputs where these are missing or shared."""
    by_name: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        if node.output:
            by_name.setdefault(node.output[0], node)
    for node in reversed(graph.node):
        if node.name:
            by_name[node.name] = node
    pins = []
    for entry in plan["nodes"]:
        if entry["precision"] != "fp16":  # TensorRT 8 has no BF16 for what a plan keeps in it.
            node = by_name.get(entry["name"])
            # Nodes in bodies of If and Loop are not looked up; the probe says so where it finds no such layer.
            pins.append(aliases(node) if node is not None else [entry["name"]])
    return pins


def inserted_pins(pins: list[list[str]], original: onnx.GraphProto, rescaled: onnx.GraphProto) -> list[list[str]]:
    """Multiplications and clamps that rewriting put in front of pinned nodes alone, which belong to these, and those whose
    factor FP16 cannot hold. A runtime that picks types itself must be told."""
    ours = {name for node in original.node for name in node.output}
    pinned = {name for names in pins for name in names}
    factors = {tensor.name: abs(float(numpy_helper.to_array(tensor).flat[0])) for tensor in rescaled.initializer
               if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) == 1}
    least, most = float(np.finfo(np.float16).tiny), float(np.finfo(np.float16).max)
    found = []
    for node in reversed(rescaled.node):
        if ours & set(node.output):
            continue
        readers = [reader for reader in rescaled.node if set(reader.input) & set(node.output)]
        unfit = any(factors[name] != 0 and not least <= factors[name] <= most for name in node.input if name in factors)
        if unfit or (readers and all(pinned & {reader.name, *reader.output} for reader in readers)):
            found.append(aliases(node))
            pinned |= set(found[-1])
    return found


def pins_of_ranges(ranges: dict, graph: onnx.GraphProto, readers: bool) -> list[list[str]]:
    large = {tensor["name"] for tensor in ranges["tensors"]
             if not tensor.get("constant") and ((tensor["abs_max"] or 0) > THRESHOLD or tensor["inf_count"])}
    return [aliases(node) for node in graph.node
            if large & set(node.output) or (readers and large & set(node.input))]


# ---------------------------------------------------------------- halfsafe


class Halfsafe:
    """The program, where it is given. Each call says whether it did what was asked."""

    def __init__(self, binary: str | None) -> None:
        self.binary = binary

    def run(self, name: str, *arguments: str | Path) -> bool:
        if self.binary is None:
            return False
        done = subprocess.run([self.binary, *map(str, arguments), "-q"], capture_output=True, text=True, check=False)
        # 1 says that the result is not right: it is written, and worth measuring.
        if done.returncode not in (0, 1):
            note(name, f"halfsafe {arguments[0]} failed: {done.stderr.strip()}")
        elif done.returncode == 1:
            note(name, f"halfsafe {arguments[0]}: not right by its own check")
        return done.returncode in (0, 1)


def make_plans(halfsafe: Halfsafe, name: str, source: Path, target: Path, options: argparse.Namespace) -> None:
    """Takes over plans and ranges that lie beside the model, and makes the others."""
    data = [source / "model.onnx", "--data", source / "samples"]
    scratch = target / "scratch.onnx"
    for file, command, extra in (("ranges.json", "scan", ""), ("plan.json", "fix", options.pin_options),
                                 ("rescaled_plan.json", "fix", options.rescale_options)):
        if (source / file).exists():
            shutil.copy(source / file, target / file)
        elif command == "scan":
            halfsafe.run(name, "scan", *data, "-o", target / file)
        else:
            halfsafe.run(name, "fix", *data, "-o", scratch, "--save-plan", target / file, *shlex.split(extra))
        if not (target / file).exists():
            note(name, f"no {file}: what follows from it is left out")
    scratch.unlink(missing_ok=True)


def apply_as_fp32(halfsafe: Halfsafe, name: str, source: Path, target: Path, plan: dict, result: str) -> None:
    """Applies a plan's exponents and constants, and none of its types."""
    nodes = [node | {"precision": "fp32"} for node in plan["nodes"]]
    scratch = target / "scratch.json"
    scratch.write_text(json.dumps(plan | {"nodes": nodes, "io": []}), encoding="utf-8")
    halfsafe.run(name, "apply", source / "model.onnx", "--plan", scratch, "-o", target / result)
    scratch.unlink()


def make_models(halfsafe: Halfsafe, name: str, source: Path, target: Path, plans: dict[str, dict]) -> None:
    for file in ("rescaled.onnx", "rescaled_fp32.onnx", "pinned.onnx"):
        if (source / file).exists():
            shutil.copy(source / file, target / file)
    plan = plans.get("plan.json")
    if plan and (plan["tensors"] or plan["constants"]) and not (target / "pinned.onnx").exists():
        apply_as_fp32(halfsafe, name, source, target, plan, "pinned.onnx")
        if plan["tensors"]:
            note(name, f"plan.json has {len(plan['tensors'])} exponents too, which pinned.onnx applies")
    plan = plans.get("rescaled_plan.json")
    if not plan or not plan["tensors"]:
        note(name, "no plan with exponents: the rescaled model would be the pinned one")
        return
    if not (target / "rescaled.onnx").exists():
        halfsafe.run(name, "apply", source / "model.onnx", "--plan", target / "rescaled_plan.json",
                     "-o", target / "rescaled.onnx")
    if not (target / "rescaled_fp32.onnx").exists():
        apply_as_fp32(halfsafe, name, source, target, plan, "rescaled_fp32.onnx")


# ---------------------------------------------------------------- one model


def difference(reference: list[tuple[str, dict[str, np.ndarray]]],
               outputs: list[tuple[str, dict[str, np.ndarray]]]) -> float:
    """Worst relative L2 error of a floating-point output on a sample."""
    worst = 0.0
    for (_, expected), (_, found) in zip(reference, outputs):
        for output, array in expected.items():
            if array.dtype.kind == "f" and array.size:
                wide = array.astype(np.float64)
                error = np.linalg.norm(found[output].astype(np.float64) - wide)
                worst = max(worst, float(error / max(np.linalg.norm(wide), np.finfo(np.float64).tiny)))
    return worst


def prepare_model(source: Path, target: Path, halfsafe: Halfsafe, options: argparse.Namespace) -> None:
    name = source.name
    samples = load_samples(source / "samples", options.samples)
    if not samples:
        raise ValueError("no samples/*.npz")
    # External data comes along: what is loaded has it inside.
    model = onnx.load(source / "model.onnx")
    if model.ByteSize() >= MODEL_LIMIT:
        raise ValueError("larger than 2 GB")
    target.mkdir(parents=True)
    onnx.save(model, target / "model.onnx")
    reference = reference_outputs(source / "model.onnx", samples)
    write_arrays(target / "samples", samples)
    write_arrays(target / "reference", reference)
    (target / "batch").write_text(f"{options.batches.get(name, options.batches[''])}\n", encoding="utf-8")

    make_plans(halfsafe, name, source, target, options)
    plans = {file: json.loads((target / file).read_text(encoding="utf-8"))
             for file in ("plan.json", "rescaled_plan.json") if (target / file).exists()}
    for file, pins in (("plan.json", "pins.txt"), ("rescaled_plan.json", "pins_rescaled.txt")):
        if file in plans:
            write_pins(target / pins, pins_of_plan(plans[file], model.graph))
    if (target / "ranges.json").exists():
        ranges = json.loads((target / "ranges.json").read_text(encoding="utf-8"))
        write_pins(target / "pins_overflow.txt", pins_of_ranges(ranges, model.graph, readers=False))
        write_pins(target / "pins_readers.txt", pins_of_ranges(ranges, model.graph, readers=True))
        (target / "ranges.json").unlink()  # Large, and no use to the probe.
    make_models(halfsafe, name, source, target, plans)
    if (target / "rescaled_fp32.onnx").exists() and "rescaled_plan.json" in plans:
        pins = pins_of_plan(plans["rescaled_plan.json"], model.graph)
        rescaled = onnx.load(target / "rescaled_fp32.onnx", load_external_data=False).graph
        write_pins(target / "pins_rescaled.txt", pins + inserted_pins(pins, model.graph, rescaled))
    for file in ("pinned.onnx", "rescaled_fp32.onnx"):
        if (target / file).exists():
            error = difference(reference, reference_outputs(target / file, samples))
            note(name, f"{file} differs from the original by {error:.3g} in FP32")


# ---------------------------------------------------------------- parts


class Pieces(io.RawIOBase):
    """A file that goes on in the next folder whenever it is full."""

    def __init__(self, folder: Path, size: int) -> None:
        super().__init__()
        self.folder, self.size, self.count, self.file = folder, size, 0, None

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            if self.file is None or self.file.tell() >= self.size:
                self.next()
            done += self.file.write(view[done:done + self.size - self.file.tell()])
        return len(view)

    def next(self) -> None:
        if self.file is not None:
            self.file.close()
        part = self.folder / str(self.count)
        part.mkdir(parents=True)
        self.file = open(part / f"package.{self.count:02d}", "wb")
        self.count += 1

    def close(self) -> None:
        if self.file is not None:
            self.file.close()
            self.file = None
        super().close()


def write_parts(package: Path, parts: Path, size: int) -> None:
    with Pieces(parts, size) as pieces, tarfile.open(fileobj=pieces, mode="w|gz") as archive:
        archive.add(package, arcname=".")
    for part in sorted(parts.glob("*/package.*")):
        print(f"{part}: {part.stat().st_size / 2**20:.1f} MiB")


# ---------------------------------------------------------------- command line


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--halfsafe", help="the binary, to make plans and models that are not there yet")
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME", help="only these, in this order")
    parser.add_argument("--samples", type=int, default=4, help="samples a model, default 4")
    parser.add_argument("--batch", action="append", default=[], metavar="N | NAME=N", help="default 8")
    parser.add_argument("--pin-options", default="--repair fp32",
                        help="options of fix for plan.json, default --repair fp32")
    parser.add_argument("--rescale-options", default="--repair rescale",
                        help="options of fix for rescaled_plan.json, default --repair rescale")
    parser.add_argument("--part", type=int, default=40, help="MiB in a part, default 40")
    options = parser.parse_args()
    options.batches = {"": 8}
    for text in options.batch:
        name, _, number = text.rpartition("=")
        options.batches[name] = int(number)
    return options


def main() -> int:
    options = parse()
    package = options.out_dir / "package"
    for folder in (package, options.out_dir / "parts"):
        shutil.rmtree(folder, ignore_errors=True)
    names = options.models or sorted(path.parent.name for path in options.models_dir.glob("*/model.onnx"))
    halfsafe = Halfsafe(options.halfsafe)
    packed = []
    for name in names:
        try:
            prepare_model(options.models_dir / name, package / name, halfsafe, options)
            packed.append(name)
        except Exception as error:  # One bad model must not cost the others; what went wrong is said.
            note(name, f"left out: {error}")
            shutil.rmtree(package / name, ignore_errors=True)
    if not packed:
        print("prepare: nothing to pack", file=sys.stderr)
        return 1
    (package / "models.txt").write_text("".join(f"{name}\n" for name in packed), encoding="utf-8")
    write_parts(package, options.out_dir / "parts", options.part << 20)
    print(f"{len(packed)} models: {' '.join(packed)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
