"""The networks that are exported: what each is built from, its inputs, and which layers are made large.

Weights are random, from a seed. What overflows in trained networks does so because some layer grew during training, and
what follows normalizes it away; `large` makes single layers grow in the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import timm
import torch
import torchvision
from torch import Tensor, nn

from . import layers, loops

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Network:
    build: Callable[[], nn.Module]
    inputs: Callable[[np.random.Generator], Inputs]  # Of one sample.
    large: Mapping[str, float] = field(default_factory=dict)  # Parameters by name, times this.
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)  # Free dimensions of inputs.
    scripted: bool = False  # Whether the module is scripted before: loops and branches in Python.
    prepare: Callable[[nn.Module], None] | None = None


# ---------------------------------------------------------------- inputs


def blobs(random: np.random.Generator, channels: int, height: int, width: int) -> np.ndarray:
    """Something smooth with detail on it, between -1 and 1 or a little more: what a normalized picture is like."""
    coarse = torch.from_numpy(random.standard_normal((1, channels, 4, 4)))
    smooth = nn.functional.interpolate(coarse, (height, width), mode="bicubic").numpy()[0]
    return (0.8 * smooth + 0.15 * random.standard_normal((channels, height, width))).astype(np.float32)


def picture(size: int, batch: int = 1, name: str = "image") -> Callable[[np.random.Generator], Inputs]:
    return lambda random: {name: torch.from_numpy(np.stack([blobs(random, 3, size, size) for _ in range(batch)]))}


def photograph(size: int) -> Callable[[np.random.Generator], Inputs]:
    """Between 0 and 1, without a batch: what torchvision's detectors take."""
    return lambda random: {"image": torch.from_numpy(np.clip(blobs(random, 3, size, size) * 0.25 + 0.45, 0, 1))}


def values(name: str, *shape: int, scale: float = 1.0) -> Callable[[np.random.Generator], Inputs]:
    return lambda random: {name: torch.from_numpy((random.standard_normal(shape) * scale).astype(np.float32))}


def sentence(random: np.random.Generator) -> Inputs:
    length = int(random.integers(8, 16))
    mask = np.ones((2, length), dtype=np.int64)
    mask[1, length - int(random.integers(1, 5)) :] = 0
    return {"ids": torch.from_numpy(random.integers(2, 200, (2, length))), "mask": torch.from_numpy(mask)}


def prompt(random: np.random.Generator, words: int = 200, size: int = 16, layers: int = 2) -> Inputs:
    past = int(random.integers(3, 9))
    cache = random.standard_normal((layers, 2, 1, 2, past, size)).astype(np.float32)
    return {"ids": torch.from_numpy(random.integers(0, words, (1, 4))), "past": torch.from_numpy(cache)}


def latent(random: np.random.Generator) -> Inputs:
    return {"latent": torch.from_numpy(random.standard_normal((2, 4, 16, 16)).astype(np.float32)),
            "step": torch.from_numpy(random.integers(0, 1000, 2))}


def recording(random: np.random.Generator) -> Inputs:
    time = np.arange(4096) / 8000
    pitch = random.uniform(90, 300)
    tone = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 12)) * (np.sin(2 * np.pi * 3 * time) + 1)
    return {"sound": torch.from_numpy((0.1 * tone + 0.003 * random.standard_normal(4096)).astype(np.float32)[None])}


def graph(random: np.random.Generator) -> Inputs:
    return {"nodes": torch.from_numpy(random.standard_normal((20, 6)).astype(np.float32)),
            "edges": torch.from_numpy(random.integers(0, 20, (2, 60)))}


def stream(random: np.random.Generator) -> Inputs:
    return {**values("frames", 1, 10, 40)(random), **values("state", 2, 1, 48, scale=0.3)(random)}


def either(random: np.random.Generator) -> Inputs:
    """Quiet and loud by turns."""
    return values("x", 3, 24, scale=float(random.choice([1.0, 5000.0])))(random)


# ---------------------------------------------------------------- builders


def vision(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: getattr(torchvision.models, name)(weights=None, **options)


def timm_model(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, pretrained=False, num_classes=20, **options)


class FirstOutput(nn.Module):
    """Torchvision's segmentation gives a dictionary."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: Tensor) -> Tensor:
        return self.inner(image)["out"]


class Detector(nn.Module):
    """One picture in; boxes, labels and scores out."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.inner([image])[0]
        return found["boxes"], found["labels"], found["scores"]


def segmentation(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: FirstOutput(getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None, **options))


def detector(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: Detector(getattr(torchvision.models.detection, name)(weights=None, weights_backbone=None, **options))


def confident(module: nn.Module) -> None:
    """Scores that differ, as those of a trained detector do: random ones are all alike, and rounding then chooses."""
    for name, parameter in module.named_parameters():
        if "_head.conv." in name and parameter.dim() == 4:  # So small that nothing of the picture is left behind them.
            nn.init.kaiming_normal_(parameter)
        elif name.endswith(("cls_score.weight", "cls_logits.weight")) or "classification_head" in name and "1.weight" in name:
            parameter.data.mul_(30.0)


def vision_transformer() -> nn.Module:
    return torchvision.models.VisionTransformer(64, 8, 3, 4, 96, 192, num_classes=20)


def swin(version: int, width: int = 32) -> nn.Module:
    block = torchvision.models.swin_transformer.SwinTransformerBlockV2 if version == 2 else None
    merging = torchvision.models.swin_transformer.PatchMergingV2 if version == 2 else None
    extra = {"block": block, "downsample_layer": merging} if version == 2 else {}
    return torchvision.models.SwinTransformer([4, 4], width, [2, 2], [2, 4], [4, 4], num_classes=20, **extra)


# ---------------------------------------------------------------- the table

BATCH = {"image": {0: "batch"}}

NETWORKS: dict[str, Network] = {
    # Convolutions
    "resnet18": Network(vision("resnet18", num_classes=20), picture(64, 2), {"layer2.0.conv1.weight": 2e5}, BATCH),
    "resnet50": Network(timm_model("resnet50", zero_init_last=False), picture(64, 2), {"layer2.1.conv2.weight": 1e5, "layer3.0.conv3.weight": 3e4},
                        BATCH),
    "mobilenet_v3": Network(vision("mobilenet_v3_small", num_classes=20), picture(96), {"features.4.block.0.0.weight": 3e5},
                            BATCH),
    "efficientnet": Network(timm_model("efficientnet_b0"), picture(96), {"blocks.2.0.conv_pw.weight": 3e5}, BATCH),
    "densenet": Network(vision("densenet121", num_classes=20), picture(64), {"features.conv0.weight": 1e5}, BATCH),
    "shufflenet": Network(vision("shufflenet_v2_x0_5", num_classes=20), picture(64), {}, BATCH),
    "regnet": Network(timm_model("regnety_002"), picture(64), {"s2.b1.conv1.conv.weight": 1e5}, BATCH),
    "inception": Network(vision("inception_v3", num_classes=20, aux_logits=False, init_weights=False), picture(96, 2)),
    "convnext": Network(timm_model("convnext_atto"), picture(64, 2), {"stages.1.blocks.0.mlp.fc2.weight": 3e6}, BATCH),
    "convnext_v2": Network(timm_model("convnextv2_atto"), picture(64), {"stages.1.blocks.0.mlp.fc1.weight": 3e4}),
    "mobilevit": Network(timm_model("mobilevit_xxs", img_size=64), picture(64)),
    "unet": Network(layers.UNet, picture(48), {"second.0.weight": 2e5}, {"image": {2: "height", 3: "width"}}),
    "style": Network(layers.StyleTransfer, picture(48), {"start.4.weight": 3e4}),
    "denoiser": Network(layers.Denoiser, latent, {"enter.weight": 1e6, "enter.bias": 1e6},
                        {"latent": {0: "batch"}, "step": {0: "batch"}}),
    "spatial": Network(layers.Spatial, picture(48)),
    "deeplab": Network(segmentation("deeplabv3_mobilenet_v3_large", num_classes=6), picture(96, 2)),
    "lraspp": Network(segmentation("lraspp_mobilenet_v3_large", num_classes=6), picture(96, 2)),
    # Detectors
    "faster_rcnn": Network(detector("fasterrcnn_mobilenet_v3_large_320_fpn", num_classes=5, rpn_post_nms_top_n_test=6,
                                    rpn_pre_nms_top_n_test=12, box_detections_per_img=4), photograph(128),
                           prepare=confident),
    "ssdlite": Network(detector("ssdlite320_mobilenet_v3_large", num_classes=5, detections_per_img=10, topk_candidates=20),
                       photograph(128), prepare=confident),
    "retinanet": Network(detector("retinanet_resnet50_fpn", num_classes=4, min_size=128, max_size=128, detections_per_img=4,
                                  topk_candidates=5), photograph(128), prepare=confident),
    "detr": Network(layers.Detr, picture(64, 2), {"backbone.0.weight": 1e5}),
    # Transformers
    "vit": Network(timm_model("vit_tiny_patch16_224", img_size=64), picture(64, 2), {"blocks.3.mlp.fc2.weight": 1e6}, BATCH),
    "vit_torchvision": Network(vision_transformer, picture(64), {"encoder.layers.encoder_layer_1.mlp.3.weight": 1e6}, BATCH),
    "deit": Network(timm_model("deit_tiny_distilled_patch16_224", img_size=64), picture(64)),
    "swin": Network(functools.partial(swin, 1), picture(64, 2), {"features.1.0.mlp.3.weight": 3e6}, BATCH),
    "swin_v2": Network(functools.partial(swin, 2), picture(64)),
    "mixer": Network(timm_model("mixer_s32_224", img_size=64), picture(64), {"blocks.2.mlp_channels.fc2.weight": 1e6}),
    "encoder": Network(layers.Encoder, sentence, {"layers.layers.1.linear2.weight": 1e6},
                       {"ids": {1: "length"}, "mask": {1: "length"}}),
    "llama": Network(layers.Llama, prompt, {"blocks.0.down.weight": 3e6}, {"past": {4: "past"}}),
    # Sound, graphs, recurrence
    "lstm": Network(functools.partial(layers.Speech, "LSTM"), values("mel", 1, 40, 50)),
    "gru": Network(functools.partial(layers.Speech, "GRU"), values("mel", 2, 40, 50, scale=30.0), {"front.0.weight": 1e5}),
    "gru_stream": Network(layers.StreamingGru, stream),
    "spectral": Network(layers.Spectral, recording, {"mel": 1e5}),
    "graph": Network(layers.GraphNetwork, graph, {"messages.0.2.weight": 1e6},
                     {"nodes": {0: "nodes"}, "edges": {1: "edges"}}),
    # Bodies
    "translator": Network(loops.Translator, lambda random: {"source": torch.from_numpy(random.integers(2, 60, (1, 9)))},
                          {"outer.weight": 3e6}, scripted=True),
    "recurrence": Network(loops.Recurrence, values("steps", 2, 9, 12), dynamic={"steps": {1: "time"}}, scripted=True),
    "scripted_branch": Network(loops.ScriptedBranch, either, scripted=True),
    "scanned": Network(loops.Scanned, values("steps", 2, 9, 12)),
    "refined": Network(loops.Refined, values("x", 2, 24)),
    "branched": Network(loops.Branched, either),
    # Small ones
    "swin_small": Network(functools.partial(swin, 1, 8), picture(32), {"features.1.0.mlp.3.weight": 3e6}),
    "llama_small": Network(functools.partial(layers.Llama, 16, 1, 20), functools.partial(prompt, words=20, size=4, layers=1),
                           {"blocks.0.down.weight": 3e6}, {"past": {4: "past"}}),
    "lstm_small": Network(functools.partial(layers.Speech, "LSTM", 8), values("mel", 1, 40, 20)),
}
