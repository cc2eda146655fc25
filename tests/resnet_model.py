#!/usr/bin/env python3
"""A convolutional network like ResNet-18, as PyTorch exports one for inference, with samples to measure on.

usage: resnet_model.py OUT_DIR [--samples N]

Writes OUT_DIR/resnet/model.onnx (47 MB) and OUT_DIR/resnet/samples/000.npz, 001.npz, ... The weights are drawn, not
trained: its shapes cost what a trained one's cost, its answers mean nothing. Nothing is random from run to run.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from generated_models import Builder, Sample, random

STAGES = (64, 128, 256, 512)  # channels
BLOCKS = 2  # of each stage
CLASSES = 1000
SIDE = 224
BRANCH_GAIN = 0.5  # What a trained BatchNormalization, folded in here, does: branches add little to the stream.


class Resnet(Builder):
    def conv(self, source: str, inputs: int, outputs: int, size: int, name: str, stride: int = 1, gain: float = 1.0) -> str:
        """A Conv with its BatchNormalization folded in: He's initialization, times a gain."""
        spread = gain * math.sqrt(2 / (inputs * size * size))
        seed = len(self.weights)
        weights = [self.weight(f"{name}.weight", random(outputs, inputs, size, size, seed=seed, scale=spread)),
                   self.weight(f"{name}.bias", random(outputs, seed=seed, scale=0.1))]
        return self.node("Conv", [source, *weights], f"{name}_output", name=f"/{name}/Conv", kernel_shape=[size, size],
                         strides=[stride, stride], pads=[size // 2] * 4, dilations=[1, 1], group=1)

    def relu(self, source: str, name: str) -> str:
        return self.node("Relu", [source], f"{name}_output", name=f"/{name}/Relu")

    def block(self, source: str, inputs: int, outputs: int, name: str) -> str:
        """Two convolutions beside a shortcut, which is one too where the shape changes."""
        stride = 1 if inputs == outputs else 2
        branch = self.relu(self.conv(source, inputs, outputs, 3, f"{name}/conv1", stride), f"{name}/relu")
        branch = self.conv(branch, outputs, outputs, 3, f"{name}/conv2", gain=BRANCH_GAIN)
        shortcut = source if stride == 1 else self.conv(source, inputs, outputs, 1, f"{name}/downsample", stride)
        both = self.node("Add", [branch, shortcut], f"{name}/add_output", name=f"/{name}/Add")
        return self.relu(both, f"{name}/relu_1")


def make_model() -> ModelProto:
    net = Resnet(17)
    stream = net.relu(net.conv(net.input("input", ["batch", 3, SIDE, SIDE]), 3, STAGES[0], 7, "conv1", 2), "relu")
    stream = net.node("MaxPool", [stream], "maxpool_output", name="/maxpool/MaxPool", kernel_shape=[3, 3], strides=[2, 2],
                      pads=[1, 1, 1, 1])
    channels = STAGES[0]
    for stage, outputs in enumerate(STAGES, start=1):
        for block in range(BLOCKS):
            stream = net.block(stream, channels, outputs, f"layer{stage}/layer{stage}.{block}")
            channels = outputs
    stream = net.node("GlobalAveragePool", [stream], "avgpool_output", name="/avgpool/GlobalAveragePool")
    stream = net.node("Flatten", [stream], "flatten_output", name="/Flatten", axis=1)
    weights = [net.weight("fc.weight", random(CLASSES, channels, scale=math.sqrt(1 / channels))),
               net.weight("fc.bias", random(CLASSES, scale=0.1))]
    net.node("Gemm", [stream, *weights], net.output("output", ["batch", CLASSES]), name="/fc/Gemm", transB=1)
    return net.model()


def image(index: int) -> np.ndarray:
    """Noise, each pixel averaged with its neighbours so that edges are soft, and normalized as a photograph is."""
    pixels = random(3, SIDE, SIDE, seed=index)
    for axis in (1, 2):
        pixels = sum(np.roll(pixels, shift, axis) for shift in range(-2, 3))
    return (pixels / pixels.std()).astype(np.float32)


def make_samples(count: int) -> list[Sample]:
    return [{"input": image(index)[None]} for index in range(count)]


def write_model(out: Path, count: int) -> Path:
    """Writes the model and its samples into OUT/resnet and returns that folder."""
    folder = out / "resnet"
    # Samples of an earlier, longer run would otherwise be read along.
    shutil.rmtree(folder / "samples", ignore_errors=True)
    (folder / "samples").mkdir(parents=True)
    onnx.save(make_model(), folder / "model.onnx")
    for index, sample in enumerate(make_samples(count)):
        np.savez(folder / "samples" / f"{index:03}.npz", **sample)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes a network like ResNet-18, with samples.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--samples", type=int, default=8)
    arguments = parser.parse_args()
    print(write_model(arguments.out, arguments.samples))
    return 0


if __name__ == "__main__":
    sys.exit(main())
