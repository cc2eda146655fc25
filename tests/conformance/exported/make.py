#!/usr/bin/env python3
"""Exports networks from PyTorch, with samples; needs the environment that scripts/setup --exports installs.

usage: python -m conformance.exported.make OUT_DIR [EXPORT...]       in tests/

Writes OUT_DIR/EXPORT/model.onnx and OUT_DIR/EXPORT/samples/000.npz, ... An export is NETWORK-EXPORTER-OPSET, like
resnet18-dynamo-18. Those that are there already are left as they are. Weights and inputs come from seeds. What an exporter cannot write is said, and left out.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from .networks import NETWORKS, Inputs, Network

SAMPLES = 3

# Every network by both exporters where both can write it; the opsets take turns, and the main networks have several.
# Both fold BatchNormalization into what is before it, and constants; not the raw ones, where it can overflow by itself.
EXPORTS: dict[str, dict[str, tuple[int, ...]]] = {
    "resnet18": {"script": (11, 17, 20), "script_raw": (13,), "dynamo": (18, 21), "dynamo_raw": (23,)},
    "resnet50": {"script": (12,), "script_raw": (15,), "dynamo_raw": (20,)},
    "mobilenet_v3": {"script_raw": (14,), "dynamo": (19,)},
    "efficientnet": {"script": (11,), "script_raw": (16,), "dynamo": (22,)},
    "densenet": {"script": (15,), "dynamo": (18,)},
    "shufflenet": {"script": (13,), "dynamo": (20,)},
    "regnet": {"script_raw": (17,), "dynamo": (24,)},
    "inception": {"script": (12,), "dynamo": (18,)},
    "convnext": {"script": (11, 17), "dynamo": (18, 23)},
    "convnext_v2": {"script": (14,), "dynamo": (21,)},
    "mobilevit": {"script": (14,), "dynamo": (22,)},
    "unet": {"script": (11,), "script_raw": (19,), "dynamo": (18,), "dynamo_raw": (23,)},
    "style": {"script": (16,), "dynamo": (21,)},
    "denoiser": {"script": (17,), "dynamo": (18, 23)},
    "spatial": {"script": (20,), "dynamo": (20,)},
    "deeplab": {"script": (11,), "dynamo": (18,)},
    "lraspp": {"script": (18,), "dynamo": (22,)},
    # torch.export can't follow torchvision's detectors: how many boxes are left depends on the picture.
    "faster_rcnn": {"script": (11, 17)},
    "ssdlite": {"script": (13,)},
    "retinanet": {"script": (16,)},
    "detr": {"script_raw": (14,), "dynamo": (23,)},
    "vit": {"script": (14, 17, 20), "dynamo": (18, 23)},
    "vit_torchvision": {"script": (14,), "dynamo": (20,)},
    "deit": {"script": (15,), "dynamo": (18,)},
    "swin": {"script": (12, 17), "dynamo": (18, 23)},
    "swin_v2": {"script": (15,), "dynamo": (20,)},
    "mixer": {"script": (12,), "dynamo": (19,)},
    "encoder": {"script": (11, 14, 20), "dynamo": (18, 23)},
    "llama": {"script": (14, 17), "dynamo": (18, 23, 25)},
    "lstm": {"script": (11, 17), "dynamo": (18,)},
    "gru": {"script_raw": (13,), "dynamo": (22,)},
    "gru_stream": {"script": (17,), "dynamo": (20,)},
    "spectral": {"script_raw": (17,), "dynamo": (18,)},
    "graph": {"script": (16,), "dynamo": (18,)},
    "translator": {"script": (11, 17)},
    "recurrence": {"script": (12, 16)},
    "scripted_branch": {"script": (11, 18)},
    "scanned": {"dynamo": (18, 23)},
    "refined": {"dynamo": (18, 21)},
    "branched": {"dynamo": (18, 23)},
    # Small enough for the repository: tests/data/exports.
    "swin_small": {"script": (17,), "dynamo": (18,)},
    "llama_small": {"script": (17,), "dynamo": (23,)},
    "lstm_small": {"script": (11,), "dynamo": (20,)},
}


# As files in 16 bits come to be: the network is converted, then exported, by each exporter with the last of its opsets.
TYPES = {"half": torch.float16, "bfloat16": torch.bfloat16}
FIRST_TYPED = 14  # Opset: before 13 ONNX has no BF16.
# What PyTorch itself doesn't run or trace in these types: boxes in FP32, a transform that it has none of, a loop.
ONLY_FP32 = ("faster_rcnn", "ssdlite", "retinanet", "spectral", "recurrence")


@dataclass(frozen=True)
class Export:
    network: str
    exporter: str
    opset: int

    @property
    def name(self) -> str:
        return f"{self.network}-{self.exporter}-{self.opset}"


def exports() -> list[Export]:
    return [Export(network, exporter, opset) for network, by in EXPORTS.items()
            for exporter, opsets in {**by, **typed(network, by)}.items() for opset in opsets]


def typed(network: str, by: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    if network in ONLY_FP32:
        return {}
    last: dict[str, int] = {}
    for exporter, opsets in by.items():
        kind = exporter.partition("_")[0]
        last[kind] = max(*opsets, last.get(kind, FIRST_TYPED))
    return {f"{kind}_{kept}": (opset,) for kept in TYPES for kind, opset in last.items()}


def samples_of(name: str, network: Network) -> list[Inputs]:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    return [network.inputs(np.random.default_rng([seed, index])) for index in range(SAMPLES)]


def settled(network: Network, samples: list[Inputs], largest: float) -> nn.Module:
    """The network with its large layers, and BatchNormalization's statistics as they are for these samples. Weights stay within
    `largest`: converted, they would be infinite.
    """
    torch.manual_seed(1)
    module = network.build()
    if network.prepare:
        network.prepare(module)
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and not layer.weight.any():  # A head that training starts at zero.
            nn.init.normal_(layer.weight, std=0.02)
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, factor in network.large.items():
        tensors[name].data.mul_(min(factor, largest / float(tensors[name].abs().max())))
    module.eval()
    norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    hooks = [norm.register_forward_pre_hook(observe) for norm in norms]
    with torch.no_grad():
        for sample in samples:
            module(*sample.values())
    for norm, hook in zip(norms, hooks):
        hook.remove()
        # Random layers magnify rounding as no trained ones do, unless each makes its results a little smaller. So does
        # a channel that hardly varies on so few samples.
        norm.running_var.copy_(1.25 * norm.running_var + 0.25 * norm.running_var.mean())
    return module


def observe(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    """Takes the statistics of what comes in, and the mean of them over all samples."""
    x = inputs[0]
    axes = [0, *range(2, x.dim())]
    mean, variance = x.mean(axes), x.var(axes, unbiased=False)
    if x.numel() < 8 * x.shape[1]:  # Too few to tell.
        mean, variance = torch.zeros_like(mean), x.square().mean().expand_as(variance)
    seen = int(norm.num_batches_tracked)
    norm.num_batches_tracked += 1
    for known, new in ((norm.running_mean, mean), (norm.running_var, variance)):
        known.copy_((known * seen + new) / (seen + 1))


def export(network: Network, module: nn.Module, sample: Inputs, exporter: str, opset: int, path: Path) -> None:
    names = list(sample)
    arguments = tuple(sample.values())
    kind, _, form = exporter.partition("_")
    raw = form == "raw"
    if kind == "script":
        source = torch.jit.script(module) if network.scripted else module
        mode = torch.onnx.TrainingMode.PRESERVE if raw else torch.onnx.TrainingMode.EVAL
        torch.onnx.export(source, arguments, str(path), dynamo=False, opset_version=opset, input_names=names, training=mode,
                          do_constant_folding=not raw,
                          dynamic_axes={name: dict(axes) for name, axes in network.dynamic.items()})
    else:
        shapes = {name: {axis: torch.export.Dim(label) for axis, label in network.dynamic.get(name, {}).items()} or None
                  for name in names} if network.dynamic else None
        torch.onnx.export(module, arguments, str(path), dynamo=True, opset_version=opset, input_names=names,
                          dynamic_shapes=tuple(shapes.values()) if shapes else None, external_data=False, verbose=False,
                          optimize=not raw)


def make(wanted: Export, out: Path) -> None:
    network = NETWORKS[wanted.network]
    samples = samples_of(wanted.network, network)
    kept_type = TYPES.get(wanted.exporter.partition("_")[2])
    module = settled(network, samples, 2.0**15 if kept_type == torch.float16 else math.inf)
    if kept_type:
        module = module.to(kept_type)
        samples = [{name: value.to(kept_type) if value.is_floating_point() else value for name, value in sample.items()} for sample in samples]
    folder = out / wanted.name
    partial = out / f"{wanted.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "samples").mkdir(parents=True)
    with torch.no_grad():
        export(network, module, samples[0], wanted.exporter, wanted.opset, partial / "model.onnx")
    model = onnx.load(partial / "model.onnx")
    forget_places(model.graph)
    onnx.save(model, partial / "model.onnx")
    kept = {value.name for value in model.graph.input}
    for index, sample in enumerate(samples):
        # Exporters drop inputs that nothing reads.
        np.savez(partial / "samples" / f"{index:03}.npz", **{name: as_array(value) for name, value in sample.items() if name in kept})
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def as_array(value: torch.Tensor) -> np.ndarray:
    """Floats as FP32, in which numpy has them all."""
    return (value.float() if value.is_floating_point() else value).numpy()


def forget_places(graph: onnx.GraphProto) -> None:
    """Takes out where on this machine each node's code lies."""
    for node in graph.node:
        node.ClearField("doc_string")
        kept = [entry for entry in node.metadata_props if "stack_trace" not in entry.key]
        node.ClearField("metadata_props")
        node.metadata_props.extend(kept)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                forget_places(attribute.g)


def main() -> int:
    parser = argparse.ArgumentParser(description="Exports networks from PyTorch, with samples.")
    parser.add_argument("out", type=Path)
    parser.add_argument("exports", nargs="*", metavar="EXPORT", help="NETWORK-EXPORTER-OPSET; default: all")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)  # A fused operator that exporters don't know.
    chosen = []
    for name in arguments.exports:
        network, exporter, opset = name.rsplit("-", 2)
        chosen.append(Export(network, exporter, int(opset)))
    failed = 0
    for wanted in chosen or exports():
        start = time.monotonic()
        if (arguments.out / wanted.name).is_dir():
            continue
        try:
            make(wanted, arguments.out)
            said = "written"
        except Exception as error:  # Exporters have classes of their own for what they can't write.
            failed += 1
            said = f"failed: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
            if os.environ.get("EXPORTS_TRACE"):
                traceback.print_exc()
        print(f"{wanted.name}: {said} ({time.monotonic() - start:.1f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
