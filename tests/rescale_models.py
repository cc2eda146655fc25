#!/usr/bin/env python3
"""Networks whose activations leave FP16's range in the middle, while inputs and outputs stay small, each with samples.

usage: rescale_models.py OUT_DIR [NAME...] [--gain G] [--samples N] [--opset V]      NAME: see --help (default: all)

Writes OUT_DIR/NAME/model.onnx and OUT_DIR/NAME/samples/000.npz, 001.npz, ... Nothing is random from run to run.

A network is drawn once, with activations of order one. Its gain then makes it overflow: layers on the way up multiply
by a factor more than was drawn and later ones, or a normalization, take that out again. So with --gain 1 the same
network computes the same function within FP16's range, and its error in plain FP16 is what rounding alone costs.
(transformer_growing is the exception: there the gain also says how much a later branch outweighs an earlier one.)
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from generated_models import Builder, Sample, random

Scale = float | np.ndarray  # Of a whole tensor, or one for each channel.


@dataclass(frozen=True)
class Signal:
    """A tensor, its number of channels, and the factor that the gain put on it: at a gain of 1 the scale is 1."""

    name: str
    channels: int
    scale: Scale = 1.0


@dataclass
class Net(Builder):
    """A Builder of layers. Each is told the scale that its result is to have and makes its constants to fit."""

    gain: float = 1.0
    seed: int = 0
    drawn: int = 0
    used_names: set[str] = field(default_factory=set)

    # ------------------------------------------------------------ constants

    def draw(self, *shape: int, spread: float = 1.0) -> np.ndarray:
        self.drawn += 1
        return random(*shape, seed=1000 * self.seed + self.drawn).astype(np.float64) * spread

    def constant(self, name: str, values: object, dtype: type = np.float32) -> str:
        """A Constant node, as exporters write small numbers."""
        tensor = numpy_helper.from_array(np.asarray(values, dtype=dtype))
        return self.node("Constant", [], name, value=tensor)

    def parameter(self, name: str, values: np.ndarray) -> str:
        """An initializer, but every seventh one a Constant node."""
        return self.constant(name, values) if self.drawn % 7 == 6 else self.weight(name, values)

    # ------------------------------------------------------------ nodes

    def op(self, kind: str, inputs: Iterable[str], hint: str = "", **attributes: object) -> str:
        """A node whose names nobody needs to know; every fifth has no name at all."""
        base = hint or kind.lower()
        result, count = base, 1
        while result in self.used_names:
            count += 1
            result = f"{base}_{count}"
        self.used_names.add(result)
        name = "" if len(self.nodes) % 5 == 4 else f"/{result}/{kind}"
        return self.node(kind, inputs, result, name=name, **attributes)

    def same(self, kind: str, signal: Signal, *more: str, **attributes: object) -> Signal:
        """An operator that lets a factor through: Relu, pooling, Identity, Resize and the like."""
        return Signal(self.op(kind, [signal.name, *more], **attributes), signal.channels, signal.scale)

    def relu(self, signal: Signal) -> Signal:
        return self.same("Relu", signal)

    def add(self, one: Signal, other: Signal) -> Signal:
        assert np.all(np.float64(one.scale) <= other.scale), "a stream only grows"
        return Signal(self.op("Add", [one.name, other.name]), one.channels, other.scale)

    def concat(self, signals: list[Signal]) -> Signal:
        scale = np.concatenate([np.broadcast_to(np.float64(signal.scale), signal.channels) for signal in signals])
        return Signal(self.op("Concat", [signal.name for signal in signals], axis=1), len(scale), scale)

    # ------------------------------------------------------------ layers

    def kernel(self, source: Signal, channels: int, window: tuple[int, ...], scale: Scale,
               variance: float) -> np.ndarray:
        fan_in = source.channels * math.prod(window)
        values = self.draw(channels, source.channels, *window, spread=math.sqrt(variance / fan_in))
        ratio = np.broadcast_to(scale / np.float64(source.scale), source.channels)
        return values * ratio.reshape(1, -1, *[1] * len(window))

    def conv(self, source: Signal, channels: int, scale: Scale, *, size: int = 3, stride: int = 1, rank: int = 2,
             weight: str = "", variance: float = 2.0) -> Signal:
        """A Conv with bias. `weight` names one that another Conv has too."""
        layer = f"conv{self.drawn}"
        made = weight or self.parameter(f"{layer}.weight",
                                        self.kernel(source, channels, (size,) * rank, scale, variance))
        bias = self.parameter(f"{layer}.bias", self.draw(channels, spread=0.2) * scale)
        result = self.op("Conv", [source.name, made, bias], layer, pads=[size // 2] * (2 * rank),
                         strides=[stride] * rank, kernel_shape=[size] * rank)
        return Signal(result, channels, scale)

    def conv_transpose(self, source: Signal, channels: int, scale: float) -> Signal:
        """Doubles height and width; each result is the sum over one position's channels."""
        layer = f"up{self.drawn}"
        values = self.kernel(source, channels * 4, (), scale, 1.0).T.reshape(source.channels, channels, 2, 2)
        weight = self.parameter(f"{layer}.weight", values)
        bias = self.parameter(f"{layer}.bias", self.draw(channels, spread=0.2) * scale)
        result = self.op("ConvTranspose", [source.name, weight, bias], layer, strides=[2, 2], kernel_shape=[2, 2])
        return Signal(result, channels, scale)

    def gemm(self, source: Signal, channels: int, scale: float, variance: float = 2.0) -> Signal:
        layer = f"fc{self.drawn}"
        weight = self.parameter(f"{layer}.weight", self.kernel(source, channels, (), scale, variance))
        bias = self.parameter(f"{layer}.bias", self.draw(channels, spread=0.2) * scale)
        return Signal(self.op("Gemm", [source.name, weight, bias], layer, transB=1), channels, scale)

    def linear(self, source: Signal, channels: int, scale: float, *, weight: str = "", variance: float = 1.0,
               bias_spread: float = 0.2) -> Signal:
        """MatMul and Add, as exporters write a Linear of three dimensions."""
        layer = f"linear{self.drawn}"
        made = weight or self.parameter(f"{layer}.weight", self.kernel(source, channels, (), scale, variance).T)
        bias = self.parameter(f"{layer}.bias", self.draw(channels, spread=bias_spread) * scale)
        product = self.op("MatMul", [source.name, made], f"{layer}.product")
        # Exporters write the bias on either side.
        pair = [bias, product] if self.drawn % 2 else [product, bias]
        return Signal(self.op("Add", pair, layer), channels, scale)

    def batch_norm(self, source: Signal, scale: float, variance: float) -> Signal:
        """Statistics as training would have left them: those of the source, give or take."""
        layer, channels = f"bn{self.drawn}", source.channels
        mean = self.draw(channels, spread=0.1) * source.scale
        spread = variance * np.exp(self.draw(channels, spread=0.2)) * np.square(source.scale)
        values = {"weight": (1 + self.draw(channels, spread=0.1)) * scale,
                  "bias": self.draw(channels, spread=0.2) * scale, "running_mean": mean, "running_var": spread}
        parameters = [self.weight(f"{layer}.{name}", value) for name, value in values.items()]
        return Signal(self.op("BatchNormalization", [source.name, *parameters], layer, epsilon=1e-5), channels, scale)

    def layer_norm(self, source: Signal) -> Signal:
        layer = f"ln{self.drawn}"
        weight = self.weight(f"{layer}.weight", 1 + self.draw(source.channels, spread=0.1))
        bias = self.weight(f"{layer}.bias", self.draw(source.channels, spread=0.1))
        return Signal(self.op("LayerNormalization", [source.name, weight, bias], layer, axis=-1, epsilon=1e-5),
                      source.channels)

    def rms_norm(self, source: Signal) -> Signal:
        """RMSNorm in the parts that exporters write, in one of two ways."""
        layer, x = f"rms{self.drawn}", source.name
        weight = self.weight(f"{layer}.weight", 1 + self.draw(source.channels, spread=0.1))
        divides = self.drawn % 4 < 2
        square = self.op("Pow", [x, self.constant(f"{layer}.two", 2.0)]) if divides else self.op("Mul", [x, x])
        mean = self.reduce_mean(square, [-1])
        root = self.op("Sqrt", [self.op("Add", [mean, self.constant(f"{layer}.eps", 1e-6)])])
        if divides:
            normal = self.op("Mul", [self.op("Div", [x, root]), weight])
        else:
            normal = self.op("Mul", [weight, self.op("Mul", [x, self.op("Reciprocal", [root])])])
        return Signal(normal, source.channels)

    def reduce_mean(self, source: str, axes: list[int], keepdims: int = 1) -> str:
        if self.opset < 18:
            return self.op("ReduceMean", [source], axes=axes, keepdims=keepdims)
        name = self.constant(f"axes{len(self.nodes)}", axes, np.int64)
        return self.op("ReduceMean", [source, name], keepdims=keepdims)

    def reshape(self, source: str, shape: list[int]) -> str:
        return self.op("Reshape", [source, self.constant(f"shape{len(self.nodes)}", shape, np.int64)])

    def attention(self, source: Signal, heads: int, inner: float, scale: float, fused: bool) -> Signal:
        """Self-attention over [N, tokens, channels]. The values have the scale `inner`."""
        size = source.channels // heads
        if fused:
            scales = np.repeat([1.0, 1.0, inner], source.channels)
            weight = self.kernel(source, 3 * source.channels, (), 1.0, 1.0).T * scales
            product = self.op("MatMul", [source.name, self.parameter(f"qkv{self.drawn}.weight", weight)])
            bias = self.parameter(f"qkv{self.drawn}.bias", self.draw(3 * source.channels, spread=0.2) * scales)
            sizes = self.weight(f"qkv{self.drawn}.sizes", [source.channels] * 3, np.int64)
            parts = [f"{part}{self.drawn}" for part in "qkv"]
            self.node("Split", [self.op("Add", [product, bias]), sizes], *parts, axis=-1)
        else:
            parts = [self.linear(source, source.channels, part).name for part in (1.0, 1.0, inner)]
        split = [self.reshape(part, [0, 0, heads, size]) for part in parts]
        orders = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        q, k, v = (self.op("Transpose", [part], perm=order) for part, order in zip(split, orders))
        scores = self.op("MatMul", [q, k])
        root = math.sqrt(size)
        # Both forms are in use.
        scaled = (self.op("Div", [scores, self.constant(f"root{self.drawn}", root)]) if fused else
                  self.op("Mul", [scores, self.constant(f"root{self.drawn}", 1 / root)]))
        context = self.op("MatMul", [self.op("Softmax", [scaled], axis=-1), v])
        joined = self.reshape(self.op("Transpose", [context], perm=[0, 2, 1, 3]), [0, 0, source.channels])
        # Averaging over tokens makes the values small; the projection brings them back to order one.
        return self.linear(Signal(joined, source.channels, inner), source.channels, scale, variance=6.0,
                           bias_spread=0.05)

    def gelu(self, source: Signal) -> Signal:
        x = source.name
        half = self.op("Div", [x, self.constant(f"sqrt2_{len(self.nodes)}", math.sqrt(2))])
        one = self.constant(f"one{len(self.nodes)}", 1.0)
        product = self.op("Mul", [x, self.op("Add", [self.op("Erf", [half]), one])])
        return Signal(self.op("Mul", [product, self.constant(f"half{len(self.nodes)}", 0.5)]), source.channels)

    # ------------------------------------------------------------ the whole

    def source(self, name: str, shape: list[int | str], channels: int) -> Signal:
        return Signal(self.input(name, shape), channels)

    def result(self, signal: Signal, shape: list[int | str]) -> None:
        """The graph's output `y`, behind an Identity that an exporter left."""
        assert np.all(np.float64(signal.scale) == 1), "the gain is not taken out"
        self.node("Identity", [signal.name], "y", name="/y/Identity")
        self.output("y", shape)

    def finished(self) -> ModelProto:
        opsets = [helper.make_opsetid("", self.opset)]
        model = self.model(ir_version=helper.find_min_ir_version_for(opsets))
        model.producer_name = "halfsafe-tests"
        return model


# ---------------------------------------------------------------- convolutions


def conv_stack(net: Net) -> None:
    """Twenty times Conv and Relu: ten on the way up, ten on the way down."""
    signal = net.source("x", ["N", 3, 64, 64], 3)
    for layer in range(20):
        height = layer + 1 if layer < 10 else 19 - layer
        last = layer == 19
        signal = net.conv(signal, 8 if last else 64, net.gain**height, stride=2 if layer == 0 else 1)
        if not last:
            signal = net.relu(signal)
        if layer == 11:
            signal = net.same("Dropout", signal)
    net.result(signal, ["N", 8, 32, 32])


def residual_net(net: Net) -> None:
    """Pre-activation residual blocks: only branches normalize. The stream grows by one factor a stage."""
    stream = net.conv(net.source("image", ["N", 3, 64, 64], 3), 32, net.gain)
    for stage, channels in enumerate((32, 64, 64, 64), start=1):
        scale = net.gain**stage
        if stage > 1:
            stream = net.conv(stream, channels, scale, size=1 if stage == 4 else 3, stride=2, variance=1.0)
        for _ in range(2):
            inner = scale**0.25
            branch = net.relu(net.batch_norm(stream, 1.0, variance=2.0))
            branch = net.relu(net.batch_norm(net.conv(branch, channels, 1.0), inner, variance=2.0))
            stream = net.add(stream, net.conv(branch, channels, scale))
    signal = net.relu(net.batch_norm(stream, 1.0, variance=4.0))
    pooled = net.op("Flatten", [net.op("GlobalAveragePool", [signal.name])], axis=1)
    signal = net.gemm(Signal(pooled, 64), 10, 1.0, variance=4.0)
    net.result(signal, ["N", 10])


def unet(net: Net) -> None:
    """Three levels down and up again; each Concat joins a skip with what is larger by a few factors."""
    signal = net.source("image", ["N", 3, 64, 64], 3)
    height, skips = 0, []

    def double_conv(source: Signal, channels: int, step: int) -> Signal:
        nonlocal height
        for _ in range(2):
            height += step
            source = net.relu(net.conv(source, channels, net.gain**height))
        return source

    for channels in (32, 64, 64):
        signal = double_conv(signal, channels, 1)
        skips.append(signal)
        signal = net.same("MaxPool", signal, kernel_shape=[2, 2], strides=[2, 2])
    signal = net.same("Dropout", double_conv(signal, 64, 1))
    for skip in reversed(skips):
        if skip is skips[1]:
            height -= 1
            signal = net.conv_transpose(signal, 64, net.gain**height)
        else:
            sizes = net.constant(f"scales{height}", [1, 1, 2, 2])
            signal = net.same("Resize", signal, "", sizes, mode="nearest", nearest_mode="floor",
                              coordinate_transformation_mode="asymmetric")
        signal = double_conv(net.concat([signal, skip]), skip.channels, -1)
    net.result(net.conv(signal, 4, net.gain**(height - 1), size=1, variance=1.0), ["N", 4, 64, 64])


def softmax_net(net: Net) -> None:
    """A classifier with two Convs that read the same weight, one of them behind a pool."""
    signal = net.source("image", ["N", 3, 64, 64], 3)

    def layer(source: Signal, height: int, **options: object) -> Signal:
        return net.same("LeakyRelu", net.conv(source, 64, net.gain**height, **options), alpha=0.1)

    signal = layer(signal, 1, stride=2)
    shared = net.weight("shared.weight", net.kernel(signal, 64, (3, 3), net.gain**2, 2.0))
    signal = layer(signal, 2, weight=shared)
    signal = net.same("MaxPool", signal, kernel_shape=[2, 2], strides=[2, 2])
    signal = layer(signal, 3, weight=shared)
    signal = layer(signal, 4)
    signal = layer(signal, 5)
    signal = net.same("AveragePool", signal, kernel_shape=[2, 2], strides=[2, 2])
    signal = layer(signal, 4)
    signal = layer(signal, 3)
    # Written as an exporter writes x.view(n, -1).
    flat = net.reshape(signal.name, [-1, 64 * 8 * 8])
    signal = net.relu(net.gemm(Signal(flat, 64 * 8 * 8, signal.scale), 64, net.gain**1.5))
    signal = net.same("Dropout", signal)
    logits = net.gemm(signal, 10, 1.0, variance=4.0)
    net.result(Signal(net.op("Softmax", [logits.name], axis=-1), 10), ["N", 10])


# ---------------------------------------------------------------- sequences

TOKENS, WIDTH, HEADS, BLOCKS = 64, 128, 4, 8
GROWING_BRANCHES = (5, 11)  # of the 16 that 8 blocks have, those from which on all add more


def embedded(net: Net, scale: float) -> Signal:
    signal = net.linear(net.source("tokens", ["N", TOKENS, WIDTH], WIDTH), WIDTH, scale)
    positions = net.weight("positions", net.draw(1, TOKENS, WIDTH, spread=0.5) * scale)
    return net.same("Dropout", Signal(net.op("Add", [signal.name, positions]), WIDTH, scale))


def transformer_ln(net: Net) -> None:
    """Pre-norm blocks with LayerNormalization and GELU. Every second block a Linear on the stream makes it larger, as
    between the stages of hierarchical transformers; nothing brings it down before the final norm."""
    stream = embedded(net, net.gain)
    shared = net.weight("shared_up.weight", net.kernel(Signal("", WIDTH), 4 * WIDTH, (), 1.0, 1.0).T)
    for block in range(BLOCKS):
        stream = next_stage(net, stream, block)
        scale = stream.scale
        stream = net.add(stream, net.attention(net.layer_norm(stream), HEADS, scale**0.25, scale, fused=True))
        # The first two blocks share a projection.
        up = net.linear(net.layer_norm(stream), 4 * WIDTH, 1.0, weight=shared if block < 2 else "")
        stream = net.add(stream, net.linear(net.gelu(up), WIDTH, scale, bias_spread=0.05))
    net.result(net.linear(net.layer_norm(stream), 32, 1.0), ["N", TOKENS, 32])


def next_stage(net: Net, stream: Signal, block: int) -> Signal:
    if block == 0 or block % 2:
        return stream
    return net.linear(stream, WIDTH, net.gain**(1 + block // 2), variance=0.3, bias_spread=0.05)


def rms_branches(net: Net, stream: Signal, attention_scale: float, mlp_scale: float) -> Signal:
    """One block: attention, then an MLP gated by SiLU."""
    mixed = net.attention(net.rms_norm(stream), HEADS, attention_scale**0.25, attention_scale, fused=False)
    stream = net.add(stream, mixed)
    normal, inner = net.rms_norm(stream), mlp_scale**0.25
    gate = net.linear(normal, 2 * WIDTH, 1.0).name
    silu = net.op("Mul", [gate, net.op("Sigmoid", [gate])])
    product = net.op("Mul", [silu, net.linear(normal, 2 * WIDTH, inner).name])
    result = net.linear(Signal(product, 2 * WIDTH, inner), WIDTH, mlp_scale, variance=4.0, bias_spread=0.05)
    return net.add(stream, result)


def transformer_rms(net: Net) -> None:
    """The same with RMSNorm written out."""
    stream = embedded(net, net.gain)
    for block in range(BLOCKS):
        stream = next_stage(net, stream, block)
        stream = rms_branches(net, stream, stream.scale, stream.scale)
    net.result(net.linear(net.rms_norm(stream), 32, 1.0), ["N", TOKENS, 32])


def transformer_growing(net: Net) -> None:
    """One stream from the first block to the last, from order one to 1e6: twice, what branches add jumps by the gain.

    Here the twin is another function, because its branches weigh the same. It says what such a depth costs in FP16, no
    more: where a branch outweighs all that came before, it alone hands that on, with its rounding."""
    stream = embedded(net, 1.0)
    for block in range(BLOCKS):
        powers = (sum(branch >= jump for jump in GROWING_BRANCHES) for branch in (2 * block + 1, 2 * block + 2))
        stream = rms_branches(net, stream, *(net.gain**power for power in powers))
    net.result(net.linear(net.rms_norm(stream), 32, 1.0), ["N", TOKENS, 32])


def gated_mlp(net: Net) -> None:
    """Products of two projections, one of them through Sigmoid or Relu; the products are what overflows."""
    signal = net.source("tokens", ["N", TOKENS, WIDTH], WIDTH)
    # Powers of the gain on value, gate and result of each block, and the gate's operator.
    blocks = ((2, 0, 1, "Sigmoid"), (3, 3, 3, "Relu"), (6, 0, 3, "Sigmoid"), (3, 3, 3, "Relu"), (5, 0, 3, "Sigmoid"),
              (3, 0, 2, "Sigmoid"))
    for value_power, gate_power, result_power, kind in blocks:
        value = net.linear(signal, 2 * WIDTH, net.gain**value_power)
        gate = net.linear(signal, 2 * WIDTH, net.gain**gate_power)
        gated = net.op("Mul", [value.name, net.op(kind, [gate.name])])
        product = Signal(gated, 2 * WIDTH, net.gain**(value_power + gate_power))
        signal = net.linear(product, WIDTH, net.gain**result_power, variance=2.0 if kind == "Relu" else 4.0)
    net.result(net.linear(net.relu(signal), 16, 1.0, variance=2.0), ["N", TOKENS, 16])


def lstm_net(net: Net) -> None:
    """Convolutions over time whose features overflow, read by an LSTM that takes the factor out."""
    signal = net.source("frames", ["N", 40, TOKENS], 40)
    for layer in range(6):
        signal = net.relu(net.conv(signal, 64, net.gain**(layer + 1), rank=1))
    features = net.op("Transpose", [signal.name], perm=[2, 0, 1])
    hidden = 64
    weights = net.kernel(signal, 8 * hidden, (), 1.0, 1.0).reshape(2, 4 * hidden, 64)
    recurrent = net.draw(2, 4 * hidden, hidden, spread=1 / math.sqrt(hidden))
    names = [net.weight("lstm.W", weights), net.weight("lstm.R", recurrent),
             net.weight("lstm.B", net.draw(2, 8 * hidden, spread=0.2))]
    net.node("LSTM", [features, *names], "lstm.Y", "lstm.Y_h", name="/lstm/LSTM", hidden_size=hidden,
             direction="bidirectional")
    last = net.reshape(net.op("Transpose", ["lstm.Y_h"], perm=[1, 0, 2]), [-1, 2 * hidden])
    net.result(net.gemm(Signal(last, 2 * hidden), 10, 1.0, variance=8.0), ["N", 10])


# ---------------------------------------------------------------- all of them


@dataclass(frozen=True)
class RescaleModel:
    build: Callable[[Net], None]
    gain: float  # for each step up, so that some activation passes 1e6
    input: tuple[str, tuple[int, ...]]
    oldest_opset: int = 13


RESCALE_MODELS = {
    "conv_stack": RescaleModel(conv_stack, 3.7, ("x", (3, 64, 64))),
    "residual_net": RescaleModel(residual_net, 21.0, ("image", (3, 64, 64))),
    "transformer_ln": RescaleModel(transformer_ln, 21.0, ("tokens", (TOKENS, WIDTH)), oldest_opset=17),
    "transformer_rms": RescaleModel(transformer_rms, 21.0, ("tokens", (TOKENS, WIDTH))),
    "unet": RescaleModel(unet, 5.3, ("image", (3, 64, 64))),
    "gated_mlp": RescaleModel(gated_mlp, 7.0, ("tokens", (TOKENS, WIDTH))),
    "softmax_net": RescaleModel(softmax_net, 13.0, ("image", (3, 64, 64))),
    "lstm_net": RescaleModel(lstm_net, 8.3, ("frames", (40, TOKENS))),
    "transformer_growing": RescaleModel(transformer_growing, 480.0, ("tokens", (TOKENS, WIDTH))),
}
OPSET = 17


def make_model(name: str, gain: float | None = None, opset: int = OPSET) -> ModelProto:
    """The model with its own gain, or with the one given; an opset that lacks an operator of it is raised."""
    entry = RESCALE_MODELS[name]
    net = Net(max(opset, entry.oldest_opset), gain=entry.gain if gain is None else gain,
              seed=list(RESCALE_MODELS).index(name) + 1)
    entry.build(net)
    return net.finished()


def make_samples(name: str, count: int) -> list[Sample]:
    """Inputs from N(0, 1), the same for every gain; batches of one and two take turns."""
    tensor, shape = RESCALE_MODELS[name].input
    return [{tensor: random(1 + index % 2, *shape, seed=500 + index)} for index in range(count)]


def write_model(name: str, out: Path, count: int, gain: float | None = None, opset: int = OPSET) -> Path:
    """Writes one model and its samples into OUT/NAME and returns that folder."""
    folder = out / name
    # Samples of an earlier, longer run would otherwise be read along.
    shutil.rmtree(folder / "samples", ignore_errors=True)
    (folder / "samples").mkdir(parents=True)
    onnx.save(make_model(name, gain, opset), folder / "model.onnx")
    for index, sample in enumerate(make_samples(name, count)):
        np.savez(folder / "samples" / f"{index:03}.npz", **sample)
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description="Writes models that overflow FP16 in the middle, with samples.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--gain", type=float,
                        help="factor for each step up (default: each model's own; 1: no overflow)")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--opset", type=int, default=OPSET)
    parser.add_argument("models", nargs="*", default=[], metavar="NAME", help=" ".join(RESCALE_MODELS))
    arguments = parser.parse_intermixed_args()
    unknown = [name for name in arguments.models if name not in RESCALE_MODELS]
    if unknown:
        parser.error(f"unknown model {unknown[0]}: choose from {' '.join(RESCALE_MODELS)}")
    for name in arguments.models or RESCALE_MODELS:
        print(write_model(name, arguments.out, arguments.samples, arguments.gain, arguments.opset))
    return 0


if __name__ == "__main__":
    sys.exit(main())
