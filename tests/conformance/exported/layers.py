"""Networks of which no library has a small one: the building blocks that exporters meet most, written as users write them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class UNet(nn.Module):
    """Skips, a transposed convolution on one way up and interpolation on the other."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.first, self.second, self.middle = _twice(3, width), _twice(width, 2 * width), _twice(2 * width, 4 * width)
        self.up = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.third = _twice(4 * width, 2 * width)
        self.fourth = _twice(3 * width, width)
        self.head = nn.Conv2d(width, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image)
        second = self.second(F.max_pool2d(first, 2))
        middle = self.middle(F.max_pool2d(second, 2))
        third = self.third(torch.cat([second, self.up(middle)], 1))
        wide = F.interpolate(third, size=first.shape[-2:], mode="bilinear", align_corners=False)
        return self.head(self.fourth(torch.cat([first, wide], 1)))


def _twice(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
                         nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class StyleTransfer(nn.Module):
    """Reflected borders, InstanceNorm, residual blocks, PixelShuffle."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.start = nn.Sequential(nn.ReflectionPad2d(4), nn.Conv2d(3, width, 9), nn.InstanceNorm2d(width, affine=True),
                                   nn.ReLU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
                                   nn.InstanceNorm2d(2 * width, affine=True), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(2 * width, 2 * width, 3, padding=1),
                                   nn.InstanceNorm2d(2 * width, affine=True), nn.PReLU(2 * width),
                                   nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.InstanceNorm2d(2 * width))
        self.end = nn.Sequential(nn.Conv2d(2 * width, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, image: Tensor) -> Tensor:
        inner = self.start(image)
        return torch.tanh(self.end(inner + self.block(inner)))


class Denoiser(nn.Module):
    """A step of a diffusion model: sinusoids of the time, GroupNorm, SiLU, attention between pixels, in half the resolution."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        self.time = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        self.enter = nn.Conv2d(4, width, 3, padding=1)
        self.norm, self.down = nn.GroupNorm(8, width), nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.norm2, self.attention = nn.GroupNorm(8, width), nn.MultiheadAttention(width, 4, batch_first=True)
        self.leave = nn.Sequential(nn.GroupNorm(8, 2 * width), nn.SiLU(), nn.Conv2d(2 * width, 4, 3, padding=1))

    def forward(self, latent: Tensor, step: Tensor) -> Tensor:
        frequencies = torch.exp(torch.arange(self.width // 2) * (-math.log(10000.0) / (self.width // 2)))
        angles = step[:, None].float() * frequencies[None]
        time = self.time(torch.cat([angles.sin(), angles.cos()], 1).to(latent.dtype))
        top = self.enter(latent)
        inner = self.down(F.silu(self.norm(top + time[:, :, None, None])))
        flat = self.norm2(inner).flatten(2).transpose(1, 2)
        flat = self.attention(flat, flat, flat, need_weights=False)[0]
        inner = inner + flat.transpose(1, 2).reshape(inner.shape)
        return self.leave(torch.cat([top, F.interpolate(inner, scale_factor=2.0, mode="nearest")], 1))


class Encoder(nn.Module):
    """BERT: embeddings with positions, a mask of what is padding, GELU, a pooled output beside the tokens."""

    def __init__(self, width: int = 64, layers: int = 3, words: int = 200) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(words, width), nn.Embedding(64, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, activation="gelu", batch_first=True)
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.pooler = nn.Linear(width, width)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.words(ids) + self.places(torch.arange(ids.shape[1]))[None])
        blocked = (1.0 - mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.layers.layers:
            x = self._layer(layer, x, blocked)
        return x, torch.tanh(self.pooler(x[:, 0]))

    def _layer(self, layer: nn.TransformerEncoderLayer, x: Tensor, blocked: Tensor) -> Tensor:
        attention = layer.self_attn
        queries, keys, values = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
        heads = [_split(part, attention.num_heads) for part in (queries, keys, values)]
        scores = heads[0] @ heads[1].transpose(-1, -2) / math.sqrt(heads[0].shape[-1]) + blocked
        mixed = (scores.softmax(-1) @ heads[2]).transpose(1, 2).flatten(2)
        x = layer.norm1(x + attention.out_proj(mixed))
        return layer.norm2(x + layer.linear2(F.gelu(layer.linear1(x))))


def _split(x: Tensor, heads: int) -> Tensor:
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


class RootMeanSquareNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class LlamaBlock(nn.Module):
    """RMSNorm, rotated positions, fewer keys than queries, a gated MLP, and a cache of keys and values."""

    def __init__(self, width: int, heads: int, shared: int) -> None:
        super().__init__()
        self.heads, self.shared, self.size = heads, shared, width // heads
        self.norm1, self.norm2 = RootMeanSquareNorm(width), RootMeanSquareNorm(width)
        self.q = nn.Linear(width, width, bias=False)
        self.k, self.v = (nn.Linear(width, shared * self.size, bias=False) for _ in range(2))
        self.o = nn.Linear(width, width, bias=False)
        self.gate, self.up = (nn.Linear(width, 3 * width, bias=False) for _ in range(2))
        self.down = nn.Linear(3 * width, width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], past: Tensor) -> tuple[Tensor, Tensor]:
        y = self.norm1(x)
        queries = _rotate(_split(self.q(y), self.heads), turn)
        keys = torch.cat([past[0], _rotate(_split(self.k(y), self.shared), turn)], 2)
        values = torch.cat([past[1], _split(self.v(y), self.shared)], 2)
        repeat = self.heads // self.shared
        wide = [part.repeat_interleave(repeat, 1) for part in (keys, values)]
        length, total = queries.shape[2], keys.shape[2]
        allowed = torch.ones(length, total, dtype=torch.bool).tril(total - length)
        mixed = F.scaled_dot_product_attention(queries, *wide, attn_mask=allowed)
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y)), torch.stack([keys, values])


def _rotate(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * turn[0] + torch.cat([-second, first], -1) * turn[1]


class Llama(nn.Module):
    """Some tokens behind those that the cache holds: [layers, 2, batch, heads, past, size]."""

    def __init__(self, width: int = 64, layers: int = 2, words: int = 200) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.blocks = nn.ModuleList(LlamaBlock(width, 4, 2) for _ in range(layers))
        self.norm, self.head = RootMeanSquareNorm(width), nn.Linear(width, words, bias=False)
        self.size = width // 4

    def forward(self, ids: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        places = torch.arange(past.shape[4], past.shape[4] + ids.shape[1])
        frequencies = 1.0 / 10000.0 ** (torch.arange(0, self.size, 2).float() / self.size)
        angles = (places[:, None].float() * frequencies[None]).repeat(1, 2)
        turns = angles.cos().to(past.dtype), angles.sin().to(past.dtype)
        x, caches = self.words(ids), []
        for index, block in enumerate(self.blocks):
            x, cache = block(x, turns, past[index])
            caches.append(cache)
        return self.head(self.norm(x)), torch.stack(caches)


class Speech(nn.Module):
    """Convolutions over a spectrogram, recurrent layers both ways, logits of characters."""

    def __init__(self, kind: str, width: int = 32) -> None:
        super().__init__()
        self.front = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.Hardtanh(0, 20),
                                   nn.Conv2d(8, 8, 3, stride=(2, 1), padding=1), nn.BatchNorm2d(8), nn.Hardtanh(0, 20))
        self.layers = getattr(nn, kind)(8 * 10, width, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(2 * width, 29)

    def forward(self, mel: Tensor) -> Tensor:
        front = self.front(mel[:, None])
        steps = front.permute(0, 3, 1, 2).flatten(2)
        return self.head(self.layers(steps)[0]).log_softmax(-1)


class StreamingGru(nn.Module):
    """One direction, with the state as input and output."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.enter, self.layers = nn.Linear(40, width), nn.GRU(width, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, 40)

    def forward(self, frames: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        y, state = self.layers(torch.tanh(self.enter(frames)), state)
        return frames * torch.sigmoid(self.head(y)), state


class Spectral(nn.Module):
    """From samples of sound: a Fourier transform, a mel matrix, a logarithm, convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(128))
        self.register_buffer("mel", torch.rand(65, 20).pow(8))
        self.layers = nn.Sequential(nn.Conv1d(20, 32, 5, padding=2), nn.BatchNorm1d(32), nn.GELU(),
                                    nn.Conv1d(32, 32, 5, padding=2, groups=32), nn.GroupNorm(4, 32), nn.ELU(),
                                    nn.AdaptiveAvgPool1d(1))
        self.head = nn.Linear(32, 10)

    def forward(self, sound: Tensor) -> Tensor:
        spectrum = torch.stft(sound, 128, 64, window=self.window, center=False, return_complex=False)
        power = spectrum.pow(2).sum(-1).transpose(1, 2)
        return self.head(self.layers((power @ self.mel + 1e-6).log().transpose(1, 2)).flatten(1))


class Detr(nn.Module):
    """A convolutional backbone, an encoder and a decoder, and boxes from queries."""

    def __init__(self, width: int = 32, queries: int = 10) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 16, 7, stride=4, padding=3), nn.BatchNorm2d(16), nn.ReLU(),
                                      nn.Conv2d(16, width, 3, stride=4, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.places = nn.Parameter(torch.rand(1, 16, width))
        self.queries = nn.Parameter(torch.rand(1, queries, width))
        self.transformer = nn.Transformer(width, 4, 2, 2, 2 * width, batch_first=True)
        self.kinds, self.boxes = nn.Linear(width, 8), nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 4))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.backbone(image).flatten(2).transpose(1, 2)
        queries = self.queries.expand(image.shape[0], -1, -1)
        found = self.transformer(features + self.places, queries)
        return self.kinds(found), self.boxes(found).sigmoid()


class Spatial(nn.Module):
    """An affine grid that the image itself chooses, sampled bilinearly."""

    def __init__(self) -> None:
        super().__init__()
        self.find = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                                  nn.Linear(32, 6), nn.Tanh())
        self.head = nn.Conv2d(3, 8, 3)

    def forward(self, image: Tensor) -> Tensor:
        theta = self.find(image).reshape(-1, 2, 3) * 0.2 + torch.eye(2, 3, dtype=image.dtype)
        grid = F.affine_grid(theta, [image.shape[0], 3, 24, 24], align_corners=False)
        return self.head(F.grid_sample(image, grid, align_corners=False, padding_mode="border"))


class GraphNetwork(nn.Module):
    """Messages along edges, added up at nodes: gathers and scatters."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(6, width), nn.Linear(width, 3)
        self.messages = nn.ModuleList(nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))
                                      for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        x = self.enter(nodes)
        for message, norm in zip(self.messages, self.norms):
            sent = message(torch.cat([x[edges[0]], x[edges[1]]], 1))
            target = edges[1][:, None].expand(-1, sent.shape[1])
            x = norm(x + torch.zeros_like(x).scatter_add(0, target, sent))
        return self.head(x)
