"""Draws the results of bench/growth: time and peak memory against each thing that grows, as small multiples in one SVG."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import report
from processes import Outcome

if TYPE_CHECKING:  # matplotlib is imported where it is used: the memory of what measures counts as that of what it starts.
    from matplotlib.axes import Axes

TITLES = {"samples": "samples (Magika)", "nodes": "nodes", "bytes": "size of the weights", "ranks": "ranks, one thread each"}
FONT_SIZE = 9
GREY = "0.75"
SHRINKING = ("ranks",)  # More of these should take less time.


@dataclass(frozen=True)
class Style:
    """Steps are told apart by marker and dashes as well as by colour; colours are Okabe and Ito's, from dark to light."""

    label: str
    color: str
    marker: str
    dashes: str
    filled: bool = True


# By the beginning of a step's name, the first that fits.
STYLES = {
    "plain inference": Style("plain inference in Python", "black", "o", ":", False),
    "scan": Style("scan", "black", "o", "-"),
    "fix": Style("fix", "#0072B2", "D", "-."),
    "plan --repair fp32": Style("plan, fp32", "#D55E00", "s", ":", False),
    "plan": Style("plan", "#D55E00", "s", "--"),
    "apply, fp32": Style("apply, fp32", "#009E73", "^", ":", False),
    "apply": Style("apply", "#009E73", "^", "--"),
    "check": Style("check", "#0072B2", "v", "-"),
}


def demand_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("growth: --plot needs matplotlib: .deps/venv/bin/pip install -r scripts/requirements-bench.txt, and "
                         "run this script with .deps/venv/bin/python")


def style_of(step: str) -> Style:
    return next(style for start, style in STYLES.items() if step.startswith(start))


def with_unit(value: float, units: list[tuple[float, str]]) -> str:
    factor, unit = next((pair for pair in units if value >= pair[0]), units[-1])
    return f"{value / factor:.3g} {unit}"


def duration(value: float) -> str:
    return with_unit(value, [(1, "s"), (1e-3, "ms")])


def size(value: float) -> str:
    return with_unit(value, [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")])


def count(value: float) -> str:
    return f"{value:.0f}"


def draw_lines(axes: Axes, columns: Mapping[float, dict[str, Outcome]],
               value_of: Callable[[Outcome | None], float | None]) -> None:
    for step in dict.fromkeys(step for column in columns.values() for step in column):
        values = {grown: value_of(column.get(step)) for grown, column in columns.items()}
        points = [(grown, value) for grown, value in values.items() if value]
        style = style_of(step)
        if points:
            axes.plot(*zip(*points), color=style.color, marker=style.marker, linestyle=style.dashes, label=style.label,
                      markerfacecolor=style.color if style.filled else "white", markersize=5, linewidth=1.2)


def draw_proportion(axes: Axes, kind: str, columns: Mapping[float, dict[str, Outcome]]) -> None:
    """What the scan at the smallest number would take, if time grew (or shrank) as the number grows."""
    counts = sorted(columns)
    first = report.seconds_of(columns[counts[0]].get("scan"))
    first = first or next((report.seconds_of(each) for each in columns[counts[0]].values()), None)
    if first and len(counts) > 1:
        times = [first * (counts[0] / each if kind in SHRINKING else each / counts[0]) for each in counts]
        axes.plot(counts, times, color=GREY, linewidth=1.2, linestyle=(0, (6, 3)), label="in proportion", zorder=0)


def mark_axes(axes: Axes, counts: list[float], x_text: Callable[[float], str], y_text: Callable[[float], str]) -> None:
    """Ticks where something was measured, and at each power of ten of the other axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(counts, [x_text(each) for each in counts], fontsize=FONT_SIZE - 1.5)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: y_text(value)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.08)
    axes.spines[["top", "right"]].set_visible(False)


def draw(growth: Mapping[str, Mapping[float, dict[str, Outcome]]], path: Path) -> None:
    """One column for each kind of growth, time above memory. The same results give the same file, byte for byte."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "halfsafe", "font.size": FONT_SIZE,
                                "font.family": "sans-serif"})
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, len(growth), figsize=(2.9 * len(growth), 5.6), squeeze=False, sharey="row",
                                   layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)
    for (kind, columns), (above, below) in zip(growth.items(), grid.T):
        counts = sorted(columns)
        draw_lines(above, columns, report.seconds_of)
        draw_lines(below, columns, report.bytes_of)
        draw_proportion(above, kind, columns)
        if kind == "bytes":
            below.plot(counts, counts, color=GREY, linewidth=4, label="the weights themselves", zorder=0)
        x_text = size if kind == "bytes" else count
        mark_axes(above, counts, x_text, duration)
        mark_axes(below, counts, x_text, size)
        below.set_xlabel(TITLES[kind])
    grid[0][0].set_ylabel("time")
    grid[1][0].set_ylabel("peak memory")
    named = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, format="svg", metadata={"Date": None}, facecolor="white")
    pyplot.close(figure)
