"""Networks whose graphs have bodies: loops and branches that depend on what is computed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Translator(nn.Module):
    """An encoder, and a decoder that picks its words one by one until it says that it is done: Loop, with If inside.

    TorchScript's exporter writes loops of scripted functions, so this one is scripted.
    """

    def __init__(self, width: int = 32, words: int = 60, longest: int = 12) -> None:
        super().__init__()
        self.longest = longest
        self.words, self.head = nn.Embedding(words, width), nn.Linear(width, words)
        self.read, self.norm = nn.Linear(width, width), nn.LayerNorm(width)
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attend(self, x: Tensor, memory: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(memory).transpose(1, 2) / 5.656854
        x = x + torch.softmax(scores, -1) @ self.value(memory)
        return self.norm(x + self.outer(F.gelu(self.inner(x))))

    def forward(self, source: Tensor) -> tuple[Tensor, Tensor]:
        memory = torch.relu(self.read(self.words(source)))
        chosen = torch.zeros(source.shape[0], self.longest, dtype=torch.long)
        state = self.words(chosen[:, :1])
        step, going = 0, True
        while step < self.longest and going:
            state = self.attend(state, memory)
            best = self.head(state).argmax(-1)
            chosen[:, step] = best[:, 0]
            if step % 2 == 0:
                state = state + self.words(best)
            else:
                state = state * 0.5 + self.words(best) + memory.mean(1, keepdim=True)
            step += 1
            going = bool((best != 1).any())
        return chosen, self.head(state)


class Recurrence(nn.Module):
    """A cell of one's own, called for each step of a sequence whose length only the run knows."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.enter, self.hidden, self.head = nn.Linear(12, width), nn.Linear(width, width), nn.Linear(width, 5)

    def forward(self, steps: Tensor) -> Tensor:
        state = torch.zeros(steps.shape[0], self.hidden.in_features, dtype=steps.dtype)
        for index in range(steps.shape[1]):
            state = torch.tanh(self.enter(steps[:, index]) + self.hidden(state))
        return self.head(state)


class Scanned(Recurrence):
    """The same as a scan, which the newer exporter knows."""

    def forward(self, steps: Tensor) -> Tensor:
        from torch._higher_order_ops.scan import scan

        def step(state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
            state = torch.tanh(self.enter(x) + self.hidden(state))
            return state, state.clone()

        start = torch.zeros(steps.shape[0], self.hidden.in_features, dtype=steps.dtype)
        return self.head(scan(step, start, steps.transpose(0, 1))[1]).transpose(0, 1)


class Refined(nn.Module):
    """A solver that repeats a layer until it has settled: a loop that ends by a value in floating point."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, 6)
        nn.init.uniform_(self.inner.weight, -0.08, 0.08)

    def forward(self, x: Tensor) -> Tensor:
        from torch._higher_order_ops.while_loop import while_loop

        def going(step: Tensor, value: Tensor) -> Tensor:
            return step < 6

        def body(step: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
            return step + 1, torch.tanh(self.inner(value)) + x

        return self.outer(while_loop(going, body, (torch.tensor(0), x.clone()))[1])


class Branched(nn.Module):
    """One of two paths, by what the input is like."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.quiet, self.loud = nn.Linear(width, width), nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(),
                                                                       nn.Linear(2 * width, width))
        self.head = nn.Linear(width, 6)

    def forward(self, x: Tensor) -> Tensor:
        def loud(value: Tensor) -> Tensor:
            return self.loud(value * 1e-3)

        def quiet(value: Tensor) -> Tensor:
            return torch.relu(self.quiet(value))

        return self.head(torch.cond(x.abs().mean() > 100.0, loud, quiet, (x,)))


class ScriptedBranch(nn.Module):
    """The same for the exporter that reads scripts."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.quiet, self.first, self.second = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, 6)

    def forward(self, x: Tensor) -> Tensor:
        if bool(x.abs().mean() > 100.0):
            y = self.second(F.gelu(self.first(x * 1e-3)))
        else:
            y = torch.relu(self.quiet(x))
        return self.head(y)
